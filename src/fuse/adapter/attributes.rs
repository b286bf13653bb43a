//! Attributes of nodes.

use super::{Adapter, permissions};
use crate::request::{Answer, Request};
use juicefs_vfs::{Attributes, Ino, SetAttr, SetTime, Time};

/// What a `setattr` asks for. A time of `None` within `Some` means now.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Changes {
    pub(crate) mode: Option<u32>,
    pub(crate) uid: Option<u32>,
    pub(crate) gid: Option<u32>,
    pub(crate) size: Option<u64>,
    pub(crate) atime: Option<Option<Time>>,
    pub(crate) mtime: Option<Option<Time>>,
    pub(crate) fh: Option<u64>,
}

impl Changes {
    fn set(&self) -> SetAttr {
        let time = |time: Option<Time>| time.map_or(SetTime::Now, SetTime::At);
        SetAttr {
            mode: self.mode.map(permissions),
            uid: self.uid,
            gid: self.gid,
            atime: self.atime.map(time),
            mtime: self.mtime.map(time),
            ..SetAttr::default()
        }
    }
}

impl Adapter {
    pub(crate) fn getattr(&self, ino: Ino, reply: impl Answer<Attributes>) {
        let vfs = self.vfs.clone();
        self.run("getattr", reply, async move { vfs.getattr(ino).await });
    }

    pub(crate) fn setattr(
        &self,
        request: &Request,
        ino: Ino,
        changes: Changes,
        reply: impl Answer<Attributes>,
    ) {
        let (vfs, caller) = (self.vfs.clone(), self.caller(request));
        self.run("setattr", reply, async move {
            vfs.setattr(&caller, ino, &changes.set(), changes.size, changes.fh).await
        });
    }

    /// Only asked when the kernel does not check permissions itself.
    pub(crate) fn access(&self, request: &Request, ino: Ino, mask: i32, reply: impl Answer<()>) {
        let (vfs, caller) = (self.vfs.clone(), self.caller(request));
        self.run("access", reply, async move { vfs.access(&caller, ino, (mask & 7) as u8).await });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_now_or_a_moment_or_untouched() {
        let moment = Time { sec: -5, nsec: 1 };
        let changes = Changes {
            mode: Some(0o104_755),
            atime: Some(None),
            mtime: Some(Some(moment)),
            ..Changes::default()
        };
        let set = changes.set();
        assert_eq!(set.mode, Some(0o4755));
        assert_eq!((set.atime, set.mtime), (Some(SetTime::Now), Some(SetTime::At(moment))));
        assert_eq!(Changes::default().set(), SetAttr::default());
    }
}
