//! Locks on open files, and what they make visible between mounts.
//!
//! A lock is a promise about bytes: whoever gets one sees what others wrote under theirs, and what was written under
//! one is stored and committed before it is given up. So a call first commits what is dirty, and one that has got a
//! lock drops what this mount and its kernel remember of the file, unless nobody has changed it.

use crate::error::{Error, Result};
use crate::files::Shape;
use crate::handles::{FileHandle, Handle};
use crate::vfs::Vfs;
use juicefs_base::Errno;
use juicefs_base::metrics::FileOp;
use juicefs_meta::{Ino, LockKind, LostLock, Patience, RangeLock, RangeRequest};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Owners that locked through a handle.
#[derive(Debug, Default)]
pub(crate) struct HandleLocks {
    /// The handle's own, for BSD locks.
    flock: Option<u64>,
    /// Of POSIX locks: processes, which give up at their close, and the handle itself (`F_OFD_SETLK`), which gives up
    /// at its end.
    ranges: Vec<u64>,
}

impl Vfs {
    /// Takes, changes or gives up (`None`) the BSD lock of a handle; `owner` as the kernel names it.
    ///
    /// # Errors
    /// EAGAIN, EINTR, EBADF, ENOLCK, EROFS; EIO when others' bytes could not be made visible.
    pub async fn flock(
        &self,
        ino: Ino,
        fh: u64,
        owner: u64,
        kind: Option<LockKind>,
        patience: Patience,
    ) -> Result<()> {
        self.count(FileOp::Flock, async {
            let handle = self.lockable(ino, fh)?;
            // As the peer numbers them.
            let owner = owner ^ fh;
            handle.locks.lock().flock = Some(owner);
            self.core.flush(&handle.file).await;
            self.core.meta.flock(ino, owner, kind, patience).await?;
            if kind.is_some()
                && let Err(error) = self.see_others(&handle).await
            {
                self.core.meta.flock(ino, owner, None, Patience::None).await?;
                return Err(error);
            }
            Ok(())
        })
        .await
    }

    /// Takes, changes or gives up POSIX locks of `owner`.
    ///
    /// # Errors
    /// As [`Self::flock`]; EDEADLK, EINVAL.
    pub async fn lock_range(
        &self,
        ino: Ino,
        fh: u64,
        owner: u64,
        asked: RangeRequest,
        patience: Patience,
    ) -> Result<()> {
        self.count(FileOp::Setlk, async {
            let handle = self.lockable(ino, fh)?;
            {
                let mut locks = handle.locks.lock();
                if !locks.ranges.contains(&owner) {
                    locks.ranges.push(owner);
                }
            }
            self.core.flush(&handle.file).await;
            self.core.meta.lock_range(ino, owner, asked, patience).await?;
            if asked.kind.is_some()
                && let Err(error) = self.see_others(&handle).await
            {
                let unlock = RangeRequest { kind: None, ..asked };
                self.core.meta.lock_range(ino, owner, unlock, Patience::None).await?;
                return Err(error);
            }
            Ok(())
        })
        .await
    }

    /// The lock that would keep `owner` from getting `asked`.
    ///
    /// # Errors
    /// EBADF, EINVAL; as the metadata's.
    pub async fn range_lock_in_the_way(
        &self,
        ino: Ino,
        fh: u64,
        owner: u64,
        asked: RangeRequest,
    ) -> Result<Option<RangeLock>> {
        self.count(FileOp::Getlk, async {
            self.lockable(ino, fh)?;
            Ok(self.core.meta.range_lock_in_the_way(ino, owner, asked).await?)
        })
        .await
    }

    fn lockable(&self, ino: Ino, fh: u64) -> Result<Arc<FileHandle>> {
        let handle = match self.handles.get(fh) {
            Some(Handle::File(handle)) if handle.file.ino == ino => handle,
            Some(Handle::Text(_) | Handle::Dir(_)) => return Err(Errno::ENOLCK.into()),
            _ => return Err(Errno::EBADF.into()),
        };
        handle.check_lock()?;
        Ok(handle)
    }

    /// From here on reads show what anybody had committed before.
    async fn see_others(&self, handle: &FileHandle) -> Result<()> {
        let (core, file) = (&self.core, &handle.file);
        let asked_at = core.tick();
        let attr = match core.meta.getattr(file.ino).await {
            Ok(attr) => attr,
            // Deleted meanwhile: nobody can have changed it since, and reads say so themselves.
            Err(error) if error.errno() == Errno::ENOENT => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        core.guarded.note(attr.parent);
        let pages = {
            let mut state = file.state();
            state.observe(attr, asked_at);
            state.stale_pages()
        };
        if let Some(version) = pages {
            if !core.invalidations.pages(file.ino).await {
                return Err(Errno::EIO.into());
            }
            file.state().pages_are_of(version);
        } else if core.told.is_outdated(file.ino, Shape::of(&attr)) {
            core.invalidations.attributes(file.ino).await;
        }
        Ok(())
    }

    /// A process closes a descriptor: as POSIX has it, all its POSIX locks on the file go, wherever they came from.
    pub(crate) async fn unlock_at_close(&self, ino: Ino, fh: u64, owner: u64) -> Result<()> {
        if let Some(handle) = self.handles.file(fh) {
            handle.locks.lock().ranges.retain(|other| *other != owner);
        }
        Ok(self.core.meta.lock_range(ino, owner, RangeRequest::unlock_all(), Patience::None).await?)
    }

    /// A handle ends: its BSD lock goes, and POSIX locks that belong to it rather than to a process.
    pub(crate) async fn unlock_at_end(&self, handle: &FileHandle) -> Result<()> {
        let HandleLocks { flock, ranges } = std::mem::take(&mut *handle.locks.lock());
        let (meta, ino) = (&self.core.meta, handle.file.ino);
        let mut outcome = Ok(());
        if let Some(owner) = flock {
            outcome = meta.flock(ino, owner, None, Patience::None).await;
        }
        for owner in ranges {
            outcome =
                outcome.and(meta.lock_range(ino, owner, RangeRequest::unlock_all(), Patience::None).await);
        }
        Ok(outcome?)
    }
}

impl FileHandle {
    /// # Errors
    /// EIO once a lock that was taken through this handle is somebody else's.
    pub(crate) fn check_lock(&self) -> Result<()> {
        if self.lost_lock.load(Ordering::Acquire) { Err(Error::LostLock) } else { Ok(()) }
    }

    pub(crate) fn lose_lock(&self, lost: LostLock) {
        let locks = self.locks.lock();
        let is_ours = match lost {
            LostLock::Flock(owner) => locks.flock == Some(owner),
            LostLock::Ranges(owner) => locks.ranges.contains(&owner),
        };
        if is_ours {
            self.lost_lock.store(true, Ordering::Release);
        }
    }
}
