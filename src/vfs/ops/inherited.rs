//! Handles that a former process of the mount gave out: what only reads goes on with them.

use crate::error::{Result, stale};
use crate::handles::{FileHandle, Handle};
use crate::vfs::Vfs;
use juicefs_base::Errno;
use juicefs_base::sync::Mutex;
use juicefs_meta::{Caller, Ino, OpenFlags};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

impl Vfs {
    /// Opens the file behind a handle of a former process again, unless it is open here. The former process had
    /// checked the caller's right.
    ///
    /// # Errors
    /// EIO for a handle that could write, as what was written through it may be lost; ESTALE for a file that is gone.
    pub async fn inherit_file(&self, ino: Ino, fh: u64, flags: OpenFlags) -> Result<()> {
        if self.handles.get(fh).is_some() {
            return Ok(());
        }
        if flags.writes() {
            return Err(Errno::EIO.into());
        }
        let asked_at = self.core.tick();
        let flags = OpenFlags(libc::O_RDONLY);
        let attr = self.core.meta.open_file(&Caller::internal(), ino, flags).await.map_err(stale)?;
        let file = self.core.files.open(ino);
        let fault_seen = {
            let mut state = file.state();
            state.observe(attr, asked_at);
            AtomicU64::new(state.fault.seq)
        };
        let handle = FileHandle {
            file: Arc::clone(&file),
            flags,
            fault_seen,
            streams: Mutex::default(),
            // The former process's locks keep others out until its session is cleaned up.
            locks: Mutex::default(),
            lost_lock: AtomicBool::new(false),
        };
        if !self.handles.put_back(fh, Handle::File(Arc::new(handle))) {
            // Another request of the same handle was faster.
            self.core.files.close(&file);
            self.core.meta.close_file(ino).await?;
        }
        Ok(())
    }

    /// The same for a directory; its listing is read anew, and the cookies of the former one go on in it.
    pub fn inherit_dir(&self, ino: Ino, fh: u64) {
        if self.handles.get(fh).is_none() {
            self.handles.put_back(fh, Handle::Dir(self.directories.open(ino)));
        }
    }
}
