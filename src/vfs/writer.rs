//! Written bytes on their way into slices: pages, then the queue of the file.

use crate::core::Core;
use crate::error::Result;
use crate::files::{File, FileState};
use crate::handles::FileHandle;
use juicefs_base::Errno;
use juicefs_chunk::{PAGE_BYTES, Reservation};
use juicefs_meta::SliceId;
use juicefs_meta::types::FILE_BYTES_MAX;
use std::sync::Arc;
use std::time::Instant;

/// Dirty slices of one file; past it writes wait for commits.
const DIRTY_MAX: usize = 1024;

impl Core {
    /// Takes `data` in at `off`, or at the end of the file for a handle that appends; answers where. It waits
    /// while the pages are all in use, and never fails for that.
    ///
    /// # Errors
    /// EFBIG past the largest file; an earlier write that was lost, once per handle.
    pub(crate) async fn write(self: &Arc<Self>, handle: &FileHandle, off: u64, data: &[u8]) -> Result<u64> {
        let file = &handle.file;
        handle.check_fault()?;
        if data.is_empty() {
            return Ok(off);
        }
        let appends = handle.flags.appends();
        let _appending = if appends { Some(file.append.lock().await) } else { None };
        let mut begin = None;
        let most = self.chunks.pages().total_bytes() / 4;
        let block = self.chunks.layout().block_bytes as usize;
        let mut done = 0;
        for part in data.chunks(most.max(block)) {
            self.wait_for_room(file).await;
            let mut pages = self.acquire_pages(part.len()).await;
            let _turn = file.turn.read().await;
            let mut ids = Vec::new();
            loop {
                let missing = {
                    let mut state = file.state();
                    let base = match begin {
                        Some(base) => base,
                        None if appends => state.length(),
                        None => off,
                    };
                    check_size(base, data.len())?;
                    begin = Some(base);
                    let at = base + done as u64;
                    let missing =
                        state.dirty.new_slices(at, part.len() as u64, appends).saturating_sub(ids.len());
                    if missing == 0 {
                        self.insert(file, &mut state, (at, appends), part, &mut pages, &mut ids)?;
                    }
                    missing
                };
                if missing == 0 {
                    break;
                }
                for _ in 0..missing {
                    ids.push(self.meta.new_slice_id().await?);
                }
            }
            done += part.len();
        }
        let begin = begin.unwrap_or(off);
        if begin != off {
            // The kernel put the bytes where it believed the end to be.
            file.state().has_wrong_pages();
            self.invalidations.inode(file.ino);
        }
        Ok(begin)
    }

    /// [`Self::write`] where nothing has to be waited for; `None` when something has, and then nothing happened.
    pub(crate) fn try_write(
        self: &Arc<Self>,
        handle: &FileHandle,
        off: u64,
        data: &[u8],
    ) -> Option<Result<()>> {
        let file = &handle.file;
        let block = self.chunks.layout().block_bytes as usize;
        if handle.flags.appends()
            || data.is_empty()
            || data.len() > block.max(self.chunks.pages().total_bytes() / 4)
        {
            return None;
        }
        if let Err(error) = handle.check_fault().and_then(|()| check_size(off, data.len())) {
            return Some(Err(error));
        }
        let _turn = file.turn.try_read().ok()?;
        let mut pages = self.chunks.pages().try_acquire(data.len() + PAGE_BYTES)?;
        let mut ids = Vec::new();
        loop {
            {
                let mut state = file.state();
                if state.dirty.items.len() >= DIRTY_MAX {
                    return None;
                }
                if state.dirty.new_slices(off, data.len() as u64, false) <= ids.len() {
                    return Some(self.insert(file, &mut state, (off, false), data, &mut pages, &mut ids));
                }
            }
            ids.push(self.meta.slice_id_at_hand()?);
        }
    }

    /// Takes bytes in under the file's lock; starts storing what no longer grows.
    fn insert(
        self: &Arc<Self>,
        file: &Arc<File>,
        state: &mut FileState,
        (off, appends): (u64, bool),
        data: &[u8],
        pages: &mut Reservation,
        ids: &mut Vec<SliceId>,
    ) -> Result<()> {
        let was_clean = state.dirty.is_empty();
        let written = state.dirty.insert(&self.chunks, off, data, appends, pages, ids);
        let frozen = state.dirty.freeze_full();
        if was_clean && !state.dirty.is_empty() {
            self.has_become_dirty(file);
        }
        self.store(file, frozen);
        Ok(written?)
    }

    async fn acquire_pages(&self, len: usize) -> Reservation {
        // One page more: the bytes may lie in two slices.
        if let Some(pages) = self.chunks.pages().try_acquire(len + PAGE_BYTES) {
            return pages;
        }
        let _waiting = WaitingWrite::new(self);
        self.chunks.pages().acquire(len + PAGE_BYTES).await
    }

    async fn wait_for_room(self: &Arc<Self>, file: &Arc<File>) {
        let is_full = file.state().dirty.items.len() >= DIRTY_MAX;
        if is_full {
            self.flush_to(file, |dirty| dirty.items.get(DIRTY_MAX / 2).map(|d| d.seq)).await;
        }
    }

    fn has_become_dirty(&self, file: &Arc<File>) {
        self.dirty_files.lock().insert(file.ino, Arc::clone(file));
        self.dirty_came.notify_one();
    }
}

/// The kernel's own limit of offsets comes first for callers through FUSE.
fn check_size(off: u64, len: usize) -> Result<()> {
    match off.checked_add(len as u64) {
        Some(end) if end <= FILE_BYTES_MAX => Ok(()),
        _ => Err(Errno::EFBIG.into()),
    }
}

/// Shows in the metrics while a write waits for pages.
struct WaitingWrite<'a> {
    core: &'a Core,
    ticket: u64,
}

impl<'a> WaitingWrite<'a> {
    fn new(core: &'a Core) -> Self {
        let ticket = core.tick();
        core.waiting_writes.lock().insert(ticket, Instant::now());
        Self { core, ticket }
    }
}

impl Drop for WaitingWrite<'_> {
    fn drop(&mut self) {
        self.core.waiting_writes.lock().remove(&self.ticket);
    }
}
