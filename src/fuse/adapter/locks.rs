//! Locks on open files.

use super::Adapter;
use crate::request::Answer;
use juicefs_vfs::{Ino, Interrupted, LockKind, Patience, RangeLock, RangeRequest};

/// What a lock call asks for; `kind` `None` gives up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LockCall {
    pub(crate) ino: Ino,
    pub(crate) fh: u64,
    pub(crate) owner: u64,
    pub(crate) kind: Option<LockKind>,
    pub(crate) pid: u32,
    pub(crate) start: u64,
    pub(crate) end: u64,
}

impl LockCall {
    fn range(&self) -> RangeRequest {
        RangeRequest { kind: self.kind, pid: self.pid, start: self.start, end: self.end }
    }
}

impl Adapter {
    pub(crate) fn getlk(&self, call: LockCall, reply: impl Answer<Option<RangeLock>>) {
        let vfs = self.vfs.clone();
        self.run("getlk", reply, async move {
            vfs.range_lock_in_the_way(call.ino, call.fh, call.owner, call.range()).await
        });
    }

    /// A POSIX lock; with `interrupted` it is waited for.
    pub(crate) fn setlk(&self, call: LockCall, interrupted: Option<Interrupted>, reply: impl Answer<()>) {
        let vfs = self.vfs.clone();
        self.run("setlk", reply, async move {
            vfs.lock_range(call.ino, call.fh, call.owner, call.range(), patience(interrupted)).await
        });
    }

    /// A BSD lock.
    pub(crate) fn flock(&self, call: LockCall, interrupted: Option<Interrupted>, reply: impl Answer<()>) {
        let vfs = self.vfs.clone();
        self.run("flock", reply, async move {
            vfs.flock(call.ino, call.fh, call.owner, call.kind, patience(interrupted)).await
        });
    }
}

fn patience(interrupted: Option<Interrupted>) -> Patience {
    interrupted.map_or(Patience::None, Patience::Until)
}
