//! What adding, taking or moving a name makes of the directories and of a node's parent.

use std::time::Duration;

use crate::types::{Attr, Ino, Kind, Time};

/// A change of a directory's entries.
#[derive(Clone, Copy)]
pub(crate) struct Touch {
    pub(crate) now: Time,
    /// Younger directories keep their times unless a sub-directory comes or goes.
    pub(crate) skip: Duration,
}

impl Touch {
    /// The directory with `subdirs` more sub-directories and, where due, new times.
    pub(crate) fn directory(&self, was: &Attr, subdirs: i32) -> Attr {
        let mut attr = *was;
        attr.nlink = attr.nlink.saturating_add_signed(subdirs);
        if subdirs != 0 || self.skip.is_zero() || self.is_old(was.mtime) {
            attr.mtime = self.now;
            attr.ctime = self.now;
        }
        attr
    }

    fn is_old(&self, mtime: Time) -> bool {
        let nanos = |time: Time| i128::from(time.sec) * 1_000_000_000 + i128::from(time.nsec);
        nanos(self.now) - nanos(mtime) >= i128::try_from(self.skip.as_nanos()).unwrap_or(i128::MAX)
    }
}

/// A node that is found in `parent` from now on; files with several names have no parent of their own.
pub(crate) fn moved(was: &Attr, parent: Ino, now: Time) -> Attr {
    let mut attr = *was;
    attr.ctime = now;
    if was.kind == Kind::Directory || was.parent.0 > 0 {
        attr.parent = parent;
    }
    attr
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fresh_directories_keep_their_times_when_asked_to() {
        let made = Time { sec: 100, nsec: 0 };
        let directory = Attr::new(Kind::Directory, 0o755, 0, 0, Ino::ROOT, made);
        let soon = Time { sec: 100, nsec: 50_000_000 };
        let lazy = Touch { now: soon, skip: Duration::from_millis(100) };
        assert_eq!(lazy.directory(&directory, 0), directory);
        let attr = lazy.directory(&directory, 1);
        assert_eq!((attr.nlink, attr.mtime, attr.ctime), (3, soon, soon));
        let strict = Touch { now: soon, skip: Duration::ZERO };
        assert_eq!(strict.directory(&directory, 0).mtime, soon);
        let later = Touch { now: Time { sec: 101, nsec: 0 }, ..lazy };
        assert_eq!(later.directory(&directory, 0).mtime.sec, 101);
    }
}
