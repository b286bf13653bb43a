//! Telling the kernel to forget. The vfs calls this from a thread of its own: a notification waits for locks
//! that a request in work may hold.

use crate::transport::Notifier;
use juicefs_vfs::{Ino, Invalidate};

pub(crate) struct KernelCaches(Notifier);

impl KernelCaches {
    pub(crate) fn new(notifier: Notifier) -> Self {
        Self(notifier)
    }
}

impl Invalidate for KernelCaches {
    fn inode(&self, ino: Ino, off: i64, len: i64) {
        if let Err(error) = self.0.invalid_inode(ino.0, off, len) {
            tracing::debug!(%ino, %error, "the kernel did not take an inode invalidation");
        }
    }

    fn entry(&self, parent: Ino, name: &[u8]) {
        if let Err(error) = self.0.invalid_entry(parent.0, name) {
            tracing::debug!(%parent, %error, "the kernel did not take an entry invalidation");
        }
    }
}
