//! What is asked of the file system as a whole.

use super::Adapter;
use crate::request::{Answer, Request};
use juicefs_vfs::{Ino, StatFs};

impl Adapter {
    pub(crate) fn statfs(&self, request: &Request, ino: Ino, reply: impl Answer<StatFs>) {
        let (vfs, caller) = (self.vfs.clone(), self.caller(request));
        self.run("statfs", reply, async move { vfs.statfs(&caller, ino).await });
    }
}
