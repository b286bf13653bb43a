//! Operations on inodes: attributes, permissions, the room of the volume.

use crate::answer::Attributes;
use crate::dirty::DirtyQueue;
use crate::error::{Result, stale};
use crate::special;
use crate::vfs::Vfs;
use bytes::Bytes;
use juicefs_base::Errno;
use juicefs_base::metrics::FileOp;
use juicefs_meta::request::RangeCopy;
use juicefs_meta::{Attr, Caller, Ino, SetAttr, StatFs};

/// Bytes that one call copies: its answer is a 32-bit number.
const COPY_BYTES_MAX: u64 = 1 << 30;

impl Vfs {
    /// Attributes as they are now, with what was written here and is not committed. An open file that another
    /// client deleted keeps its last known attributes, without links.
    ///
    /// # Errors
    /// ESTALE for an inode that is gone.
    pub async fn getattr(&self, ino: Ino) -> Result<Attributes> {
        self.count(FileOp::Getattr, async {
            if let Some(attr) = self.special_attr(ino) {
                return Ok(Attributes { ino, attr, attr_ttl: special::TTL });
            }
            let asked_at = self.core.tick();
            match self.core.meta.getattr_of_open(ino).await {
                Ok(attr) => Ok(self.attributes(ino, self.core.observe(ino, attr, asked_at))),
                Err(error) if error.errno() == Errno::ENOENT => match self.last_known(ino) {
                    Some(attr) => Ok(self.attributes(ino, attr)),
                    None => Err(Errno::ESTALE.into()),
                },
                Err(error) => Err(error.into()),
            }
        })
        .await
    }

    fn last_known(&self, ino: Ino) -> Option<Attr> {
        let file = self.core.files.find(ino)?;
        let state = file.state();
        let attr = state.attr.filter(|_| state.opens > 0)?;
        Some(Attr { nlink: 0, ..state.with_dirty(attr) })
    }

    /// Changes attributes and, with `size`, the length (before everything else). `fh`: the handle through which
    /// the caller asks. Internal files and the directories of the trash stay as they are.
    ///
    /// # Errors
    /// EPERM, EACCES, ESTALE, EFBIG, ENOSPC, EROFS.
    pub async fn setattr(
        &self,
        caller: &Caller,
        ino: Ino,
        set: &SetAttr,
        size: Option<u64>,
        fh: Option<u64>,
    ) -> Result<Attributes> {
        self.count(FileOp::Setattr, async {
            self.check_writable()?;
            if special::is_fixed(ino) {
                return self.fixed(ino).await;
            }
            let mut attr = match size {
                Some(size) => Some(self.truncate(caller, ino, size, fh).await?),
                None => None,
            };
            if attr.is_none() || *set != SetAttr::default() {
                attr = Some(self.set(caller, ino, set).await?);
            }
            match attr {
                Some(attr) => Ok(self.attributes(ino, attr)),
                None => Err(Errno::EINVAL.into()),
            }
        })
        .await
    }

    /// What does not change says so by staying as it is, so that `echo > .control` works.
    async fn fixed(&self, ino: Ino) -> Result<Attributes> {
        match self.special_attr(ino) {
            Some(attr) => Ok(Attributes { ino, attr, attr_ttl: special::TTL }),
            None => Ok(self.attributes(ino, self.core.meta.getattr(ino).await.map_err(stale)?)),
        }
    }

    pub(super) async fn set(&self, caller: &Caller, ino: Ino, set: &SetAttr) -> Result<Attr> {
        let file = self.core.files.find(ino);
        let _turn = match &file {
            // A commit that is still to come would bring its own mtime.
            Some(file) if set.mtime.is_some() || set.ctime.is_some() => {
                let turn = file.turn.write().await;
                self.core.flush_before(file, DirtyQueue::last).await?;
                Some(turn)
            }
            _ => None,
        };
        let attr = self.core.meta.setattr(caller, ino, set).await.map_err(stale)?;
        let Some(file) = &file else { return Ok(attr) };
        let mut state = file.state();
        state.attributes_changed(attr, self.core.tick());
        Ok(state.with_dirty(attr))
    }

    async fn truncate(&self, caller: &Caller, ino: Ino, size: u64, fh: Option<u64>) -> Result<Attr> {
        let handle = fh.and_then(|fh| self.handles.file(fh)).filter(|handle| handle.file.ino == ino);
        let opened = handle.is_some_and(|handle| handle.flags.writes());
        self.resize(caller, ino, size, opened).await
    }

    /// Sets a file's length when nobody is writing: what was written before is committed first.
    pub(crate) async fn resize(&self, caller: &Caller, ino: Ino, size: u64, opened: bool) -> Result<Attr> {
        let file = self.core.files.get(ino);
        let _turn = file.turn.write().await;
        self.core.flush_before(&file, DirtyQueue::last).await?;
        let attr = self.core.meta.truncate(caller, ino, size, opened).await;
        self.after_change(&file, attr)
    }

    /// # Errors
    /// As [`Self::setattr`] with a size; EBADF, EINVAL, EOPNOTSUPP for modes that move data.
    pub async fn fallocate(
        &self,
        caller: &Caller,
        ino: Ino,
        fh: u64,
        mode: u8,
        off: u64,
        len: u64,
    ) -> Result<()> {
        self.count(FileOp::Fallocate, async {
            self.check_writable()?;
            let handle = self.handles.file(fh).filter(|handle| handle.flags.writes()).ok_or(Errno::EBADF)?;
            let file = &handle.file;
            if file.ino != ino {
                return Err(Errno::EBADF.into());
            }
            let _turn = file.turn.write().await;
            self.core.flush_before(file, DirtyQueue::last).await?;
            let attr = self.core.meta.fallocate(caller, ino, mode, off, len).await;
            self.after_change(file, attr).map(drop)
        })
        .await
    }

    /// Copies bytes between open files by reference, within the volume; may end short. `src_fh` and `dst_fh` are handles of
    /// the files that `copy` names.
    ///
    /// # Errors
    /// EBADF, EINVAL, EFBIG, EPERM, ENOSPC, EROFS; what an earlier write of either file was lost to.
    pub async fn copy_file_range(
        &self,
        caller: &Caller,
        (src_fh, dst_fh): (u64, u64),
        copy: RangeCopy,
    ) -> Result<u32> {
        self.count(FileOp::CopyFileRange, async {
            self.check_writable()?;
            let handle = |fh, ino| self.handles.file(fh).filter(|handle| handle.file.ino == ino);
            let src = handle(src_fh, copy.src).filter(|handle| handle.flags.reads()).ok_or(Errno::EBADF)?;
            let dst = handle(dst_fh, copy.dst).filter(|handle| handle.flags.writes()).ok_or(Errno::EBADF)?;
            self.core.flush_before(&src.file, DirtyQueue::last).await?;
            let _turn = dst.file.turn.write().await;
            self.core.flush_before(&dst.file, DirtyQueue::last).await?;
            let copy = RangeCopy { len: copy.len.min(COPY_BYTES_MAX), ..copy };
            let answer = self.core.meta.copy_file_range(caller, &copy).await;
            let (copied, answer) = match answer {
                Ok((copied, attr)) => (copied, Ok(attr)),
                Err(error) => (0, Err(error)),
            };
            self.after_change(&dst.file, answer)?;
            Ok(u32::try_from(copied).unwrap_or(u32::MAX))
        })
        .await
    }

    /// Takes in the answer to a change of a file's bytes; a change that may have happened drops what is known.
    fn after_change(&self, file: &crate::files::File, answer: juicefs_meta::Result<Attr>) -> Result<Attr> {
        let mut state = file.state();
        match answer {
            Ok(attr) => {
                state.changed(attr, self.core.tick());
                Ok(state.with_dirty(attr))
            }
            Err(error) => {
                state.forget_lists();
                Err(stale(error))
            }
        }
    }

    /// # Errors
    /// ESTALE, EINVAL for anything but a symlink.
    pub async fn readlink(&self, ino: Ino) -> Result<Bytes> {
        self.count(FileOp::Readlink, async {
            let target = self.core.meta.readlink(ino).await.map_err(stale)?;
            self.core.meta.touch_atime_of(ino).await;
            Ok(target)
        })
        .await
    }

    /// Whether the caller may do what `mask` says (4 read, 2 write, 1 execute).
    ///
    /// # Errors
    /// EACCES, ESTALE.
    pub async fn access(&self, caller: &Caller, ino: Ino, mask: u8) -> Result<()> {
        self.count(FileOp::Access, async {
            if let Some(attr) = self.special_attr(ino) {
                let is_refused =
                    caller.uid != 0 && (mask & 2 != 0 || attr.mode & 0o004 == 0) || mask & 1 != 0;
                return if is_refused { Err(Errno::EACCES.into()) } else { Ok(()) };
            }
            self.core.meta.access(caller, ino, mask).await.map_err(stale)
        })
        .await
    }

    /// # Errors
    /// As the metadata's.
    pub async fn statfs(&self, caller: &Caller, ino: Ino) -> Result<StatFs> {
        self.count(FileOp::Statfs, async {
            let ino = if special::is_special(ino) { Ino::ROOT } else { ino };
            Ok(self.core.meta.statfs(caller, ino).await?)
        })
        .await
    }

    /// The directory that `ino` is in; the root is its own.
    ///
    /// # Errors
    /// ESTALE.
    pub async fn parent_of(&self, ino: Ino) -> Result<Ino> {
        if special::is_special(ino) {
            return Ok(Ino::ROOT);
        }
        self.core.meta.parent_of(ino).await.map_err(stale)
    }
}
