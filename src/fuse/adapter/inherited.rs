//! Requests on handles that a former process of the mount gave out.

use super::Adapter;
use crate::request::Answer;
use bytes::Bytes;
use juicefs_vfs::{Ino, OpenFlags};

impl Adapter {
    /// `flags`: how the handle was opened.
    pub(crate) fn read_inherited(
        &self,
        (ino, fh, flags): (Ino, u64, i32),
        offset: u64,
        size: u32,
        reply: impl Answer<Bytes>,
    ) {
        let vfs = self.vfs.clone();
        self.run("read", reply, async move {
            vfs.inherit_file(ino, fh, OpenFlags(flags)).await?;
            vfs.read(ino, fh, offset, size).await
        });
    }

    pub(crate) fn inherit_dir(&self, ino: Ino, fh: u64) {
        self.vfs.inherit_dir(ino, fh);
    }
}
