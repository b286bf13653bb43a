//! Telling the kernel to forget. The vfs calls this from a thread of its own: a notification waits for locks
//! that a request in work may hold.

use fuser::{INodeNo, Notifier};
use juicefs_vfs::{Ino, Invalidate};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

pub(crate) struct KernelCaches(Notifier);

impl KernelCaches {
    pub(crate) fn new(notifier: Notifier) -> Self {
        Self(notifier)
    }
}

impl Invalidate for KernelCaches {
    fn inode(&self, ino: Ino, off: i64, len: i64) {
        if let Err(error) = self.0.inval_inode(INodeNo(ino.0), off, len) {
            tracing::debug!(%ino, %error, "the kernel did not take an inode invalidation");
        }
    }

    fn entry(&self, parent: Ino, name: &[u8]) {
        if let Err(error) = self.0.inval_entry(INodeNo(parent.0), OsStr::from_bytes(name)) {
            tracing::debug!(%parent, %error, "the kernel did not take an entry invalidation");
        }
    }
}
