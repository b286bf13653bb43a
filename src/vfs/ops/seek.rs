//! Where bytes are, and where holes.

use crate::core::Core;
use crate::dirty::DirtyQueue;
use crate::error::{Result, stale};
use crate::files::File;
use crate::special;
use crate::vfs::Vfs;
use juicefs_base::Errno;
use juicefs_base::metrics::FileOp;
use juicefs_meta::Ino;
use juicefs_meta::types::CHUNK_BYTES;
use std::sync::Arc;

/// Chunks that one call looks at (64 GiB); what lies behind counts as bytes, which is never wrong.
const CHUNKS_MAX: usize = 1024;

/// What `lseek(2)` looks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seek {
    Data,
    Hole,
}

impl Vfs {
    /// The first place at or behind `off` that holds bytes, or none. What was written here and is not stored yet is
    /// stored first. The end of a file is a hole.
    ///
    /// # Errors
    /// ENXIO at and behind the end of the file, and for data behind the last; ESTALE, EIO.
    pub async fn seek(&self, ino: Ino, fh: u64, off: u64, seek: Seek) -> Result<u64> {
        self.count(FileOp::Lseek, async {
            if special::is_special(ino) {
                return Err(Errno::EINVAL.into());
            }
            let file = match self.handles.file(fh).filter(|handle| handle.file.ino == ino) {
                Some(handle) => Arc::clone(&handle.file),
                // A handle of a former process: its file is the inode's.
                None => self.core.files.get(ino),
            };
            self.core.flush_before(&file, DirtyQueue::last).await?;
            let asked_at = self.core.tick();
            let attr = self.core.meta.getattr(ino).await.map_err(stale)?;
            let length = { file.state().observe(attr, asked_at).0.length };
            self.core.seek(&file, off, length, seek).await
        })
        .await
    }
}

impl Core {
    async fn seek(self: &Arc<Self>, file: &File, off: u64, length: u64, seek: Seek) -> Result<u64> {
        if off >= length {
            return Err(Errno::ENXIO.into());
        }
        let mut at = off;
        for _ in 0..CHUNKS_MAX {
            if at >= length {
                break;
            }
            let end = ((at / CHUNK_BYTES + 1) * CHUNK_BYTES).min(length);
            for run in self.runs(file, at, (end - at) as usize).await? {
                match seek {
                    Seek::Data if run.start >= at => return Ok(run.start),
                    Seek::Hole if run.start > at => return Ok(at),
                    Seek::Data | Seek::Hole => at = run.end,
                }
            }
            if seek == Seek::Hole && at < end {
                return Ok(at);
            }
            at = end;
        }
        match seek {
            Seek::Data if at >= length => Err(Errno::ENXIO.into()),
            Seek::Data => Ok(at),
            Seek::Hole => Ok(length),
        }
    }
}
