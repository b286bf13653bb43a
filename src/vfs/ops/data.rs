//! Operations on open files.

use crate::answer::{Created, Opened};
use crate::control::ControlHandle;
use crate::directory::Touch;
use crate::error::{Result, stale};
use crate::files::{File, Shape};
use crate::handles::{FileHandle, Handle};
use crate::special;
use crate::vfs::Vfs;
use bytes::Bytes;
use juicefs_base::Errno;
use juicefs_base::metrics::FileOp;
use juicefs_base::sync::Mutex;
use juicefs_meta::{Caller, Ino, Kind, Name, OpenFlags, SetAttr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

impl Vfs {
    /// Opens a file, with attributes fresh from the metadata: bytes that any client had closed are seen.
    ///
    /// # Errors
    /// ESTALE for an inode that is gone or has no name any more, so that the kernel walks the path again; EACCES, EPERM, EISDIR, EROFS.
    pub async fn open(&self, caller: &Caller, ino: Ino, flags: OpenFlags) -> Result<Opened> {
        self.count(FileOp::Open, async {
            if special::is_special(ino) {
                return self.open_special(caller, ino, flags);
            }
            if flags.writes() {
                self.check_writable()?;
            }
            let asked_at = self.core.tick();
            let attr = self.core.meta.open_file(caller, ino, flags).await.map_err(stale)?;
            if attr.kind == Kind::File && attr.nlink == 0 && self.core.stale_paths.must_tell(caller.pid) {
                self.core.meta.close_file(ino).await?;
                return Err(Errno::ESTALE.into());
            }
            self.core.stale_paths.forget(caller.pid);
            let file = self.core.files.open(ino);
            let (attr, _) = { file.state().observe(attr, asked_at) };
            if self.core.told.is_outdated(ino, Shape::of(&attr)) {
                self.core.invalidations.attributes(ino).await;
            }
            self.opened(caller, file, flags).await
        })
        .await
    }

    /// Makes and opens a file, or opens the one that is there. `mode` is cut by `umask`.
    ///
    /// # Errors
    /// EEXIST with `O_EXCL`, otherwise as [`Self::mknod`] and [`Self::open`].
    pub async fn create(
        &self,
        caller: &Caller,
        parent: Ino,
        name: &Name,
        mode: u16,
        umask: u16,
        flags: OpenFlags,
    ) -> Result<Created> {
        self.count(FileOp::Create, async {
            self.check_changes(parent, name)?;
            let asked_at = self.core.tick();
            let (ino, attr, is_new) = self.core.meta.create(caller, parent, name, mode, umask, flags).await?;
            let file = self.core.files.open(ino);
            self.touch(parent, name, Touch::Changed);
            let flags = if is_new { OpenFlags(flags.0 & !libc::O_TRUNC) } else { flags };
            {
                let mut state = file.state();
                state.observe(attr, asked_at);
                if is_new {
                    state.has_no_pages();
                }
            }
            let opened = self.opened(caller, Arc::clone(&file), flags).await?;
            let attr = { file.state().attr.unwrap_or(attr) };
            Ok(Created { found: self.found(ino, attr), opened })
        })
        .await
    }

    /// Makes and opens a file without a name (`O_TMPFILE`); [`Self::link`] may give it one while it is open.
    ///
    /// # Errors
    /// As [`Self::mknod`]; ENOTSUP on a mount without a session.
    pub async fn tmpfile(
        &self,
        caller: &Caller,
        parent: Ino,
        mode: u16,
        umask: u16,
        flags: OpenFlags,
    ) -> Result<Created> {
        self.count(FileOp::Create, async {
            self.check_writable()?;
            if special::is_special(parent) {
                return Err(Errno::ENOTDIR.into());
            }
            let asked_at = self.core.tick();
            let (ino, attr) = self.core.meta.tmpfile(caller, parent, mode, umask).await?;
            let file = self.core.files.open(ino);
            {
                let mut state = file.state();
                state.observe(attr, asked_at);
                state.has_no_pages();
            }
            let flags = OpenFlags(flags.0 & !libc::O_TRUNC);
            let opened = self.opened(caller, file, flags).await?;
            Ok(Created { found: self.found(ino, attr), opened })
        })
        .await
    }

    /// The handle for a file that the metadata and the table count as open; undoes both when it fails.
    async fn opened(&self, caller: &Caller, file: Arc<File>, flags: OpenFlags) -> Result<Opened> {
        let ino = file.ino;
        if flags.truncates()
            && let Err(error) = self.resize(caller, ino, 0, true).await
        {
            self.core.files.close(&file);
            self.core.meta.close_file(ino).await?;
            return Err(error);
        }
        let (keep_cache, fault_seen) = {
            let mut state = file.state();
            // A loss that nobody was told of is said to the next who opens.
            let unseen = u64::from(!state.fault.is_told);
            (state.keeps_pages(), state.fault.seq.saturating_sub(unseen))
        };
        let handle = FileHandle {
            file,
            flags,
            fault_seen: AtomicU64::new(fault_seen),
            streams: Mutex::default(),
            locks: Mutex::default(),
            lost_lock: AtomicBool::new(false),
        };
        let fh = self.handles.add(Handle::File(Arc::new(handle)));
        // The kernel places appended bytes where it believes the end to be. Without pages it believes nothing
        // for long; a handle that reads may be mapped and needs its pages.
        let direct = flags.appends() && !flags.reads();
        Ok(Opened { fh, keep_cache, direct })
    }

    fn open_special(&self, caller: &Caller, ino: Ino, flags: OpenFlags) -> Result<Opened> {
        if ino == special::CONTROL {
            let fh = self.handles.add(Handle::Control(ControlHandle::new(caller)));
            return Ok(Opened { fh, keep_cache: false, direct: true });
        }
        if flags.writes() {
            return Err(Errno::EACCES.into());
        }
        if ino == special::ACCESS_LOG {
            // Where the kernel does not check modes; `.config` holds nothing that the peer keeps from users then.
            if caller.checks_permission && caller.uid != 0 {
                return Err(Errno::EACCES.into());
            }
            let reader = self.access_log.open().ok_or(Errno::EMFILE)?;
            let fh = self.handles.add(Handle::Log(Arc::new(reader)));
            return Ok(Opened { fh, keep_cache: false, direct: true });
        }
        let fh = self.handles.add(Handle::Text(Bytes::from(self.special_text(ino))));
        Ok(Opened { fh, keep_cache: false, direct: true })
    }

    /// Up to `size` bytes; fewer at the end of the file only.
    ///
    /// # Errors
    /// EBADF, EIO.
    pub async fn read(&self, ino: Ino, fh: u64, off: u64, size: u32) -> Result<Bytes> {
        self.count(FileOp::Read, async {
            let bytes = match self.handles.get(fh) {
                Some(Handle::File(handle)) if handle.file.ino == ino => {
                    handle.check_lock()?;
                    self.core.read(&handle, off, size as usize).await?
                }
                Some(Handle::Text(text)) => {
                    let from = usize::try_from(off).unwrap_or(usize::MAX).min(text.len());
                    text.slice(from..from.saturating_add(size as usize).min(text.len()))
                }
                Some(Handle::Control(control)) if ino == special::CONTROL => {
                    control.read(off, size as usize).await.into()
                }
                Some(Handle::Log(reader)) if ino == special::ACCESS_LOG => {
                    reader.read(size as usize).await.into()
                }
                _ => return Err(Errno::EBADF.into()),
            };
            self.core.metrics.count_read(bytes.len());
            Ok(bytes)
        })
        .await
    }

    /// Takes `data` in whole; a handle that appends has it put at the end of the file, whatever `off` says.
    /// Waits while memory is short.
    ///
    /// # Errors
    /// EBADF, EFBIG; what an earlier write was lost to, once per handle.
    pub async fn write(&self, ino: Ino, fh: u64, off: u64, data: &[u8]) -> Result<u32> {
        self.count(FileOp::Write, async {
            if ino == special::CONTROL
                && let Some(Handle::Control(control)) = self.handles.get(fh)
            {
                control.write(&self.core, data)?;
                return Ok(u32::try_from(data.len()).unwrap_or(u32::MAX));
            }
            let handle = self.handles.file(fh).filter(|handle| handle.file.ino == ino).ok_or(Errno::EBADF)?;
            if !handle.flags.writes() {
                return Err(Errno::EBADF.into());
            }
            handle.check_lock()?;
            self.core.write(&handle, off, data).await?;
            self.core.metrics.count_written(data.len());
            Ok(u32::try_from(data.len()).unwrap_or(u32::MAX))
        })
        .await
    }

    /// Whether the file may have suid or sgid bits, which a write by somebody without CAP_FSETID takes away.
    #[must_use]
    pub fn may_have_suid(&self, ino: Ino, fh: u64) -> bool {
        let handle = self.handles.file(fh).filter(|handle| handle.file.ino == ino);
        handle.is_some_and(|handle| handle.file.state().attr.is_none_or(|attr| attr.mode & 0o6000 != 0))
    }

    /// Takes suid and sgid away, as a write by such somebody does before it.
    ///
    /// # Errors
    /// As [`Self::setattr`].
    pub async fn clear_suid(&self, ino: Ino) -> Result<()> {
        let set = SetAttr { clear_suid: true, ..SetAttr::default() };
        self.setattr(&Caller::internal(), ino, &set, None, None).await.map(drop)
    }

    /// [`Self::write`] if memory can take `data` at once; `None` when it has to wait, and then nothing happened.
    /// Saves the copy of the bytes that a wait needs.
    pub fn try_write(&self, ino: Ino, fh: u64, off: u64, data: &[u8]) -> Option<Result<u32>> {
        let begin = std::time::Instant::now();
        let _inside = self.core.runtime.enter();
        let handle =
            self.handles.file(fh).filter(|handle| handle.file.ino == ino && handle.flags.writes())?;
        // The one that may wait says why.
        handle.check_lock().ok()?;
        let written = self.core.try_write(&handle, off, data)?;
        let failure = written.as_ref().err().map(crate::Error::errno);
        self.core.metrics.count(FileOp::Write, begin.elapsed(), failure);
        if failure.is_none() {
            self.core.metrics.count_written(data.len());
        }
        Some(written.map(|()| u32::try_from(data.len()).unwrap_or(u32::MAX)))
    }

    /// One descriptor of a handle is closed: its bytes are stored and committed, so that the next open anywhere
    /// sees them. The POSIX locks of `owner`, who closes it, are given up.
    ///
    /// # Errors
    /// What a write was lost to, once per handle; EBADF.
    pub async fn flush(&self, ino: Ino, fh: u64, owner: u64) -> Result<()> {
        self.count(FileOp::Flush, async {
            let stored = self.store_all(ino, fh, false).await;
            // Only then may others look.
            stored.and(self.unlock_at_close(ino, fh, owner).await)
        })
        .await
    }

    /// As [`Self::flush`], and the metadata survives a power cut of its host.
    ///
    /// # Errors
    /// As [`Self::flush`].
    pub async fn fsync(&self, ino: Ino, fh: u64) -> Result<()> {
        self.count(FileOp::Fsync, async {
            self.store_all(ino, fh, true).await?;
            Ok(self.core.meta.engine().sync().await?)
        })
        .await
    }

    /// `for_readers`: also what others wrote, through a handle that only reads (`fsync`).
    async fn store_all(&self, ino: Ino, fh: u64, for_readers: bool) -> Result<()> {
        let handle = match self.handles.get(fh) {
            Some(Handle::File(handle)) if handle.file.ino == ino => handle,
            Some(Handle::Text(_) | Handle::Control(_) | Handle::Log(_) | Handle::Dir(_)) => return Ok(()),
            _ => return Err(Errno::EBADF.into()),
        };
        if !handle.flags.writes() && !for_readers {
            return Ok(());
        }
        self.core.flush(&handle.file).await;
        handle.check_fault()?;
        handle.check_lock()
    }

    /// The handle is gone: its bytes are stored, and a file without names may go.
    ///
    /// # Errors
    /// As [`Self::flush`]; nobody is left to hear them.
    pub async fn release(&self, ino: Ino, fh: u64) -> Result<()> {
        self.count(FileOp::Release, async {
            let Some(Handle::File(handle)) = self.handles.remove(fh) else { return Ok(()) };
            if handle.flags.writes() {
                self.core.flush(&handle.file).await;
            }
            let unlocked = self.unlock_at_end(&handle).await;
            self.core.files.close(&handle.file);
            drop(handle);
            unlocked.and(self.core.meta.close_file(ino).await.map_err(Into::into))
        })
        .await
    }
}
