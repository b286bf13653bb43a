//! Frozen slices on their way into the store and the metadata.
//!
//! Blocks of many slices are stored at the same time; commits of one file follow one another in the order in
//! which the slices were begun. What can't be stored or committed is lost: it is said once to every handle, at
//! its next write, fsync or close.

use crate::core::Core;
use crate::dirty::{DirtyQueue, Stage};
use crate::error::{Error, Result};
use crate::files::File;
use crate::handles::FileHandle;
use juicefs_base::Errno;
use juicefs_chunk::SliceWriter;
use juicefs_meta::{SLICES_MAX, Slice, SliceWrite};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// A slice that no longer grows.
pub(crate) struct Frozen {
    pub(crate) seq: u64,
    pub(crate) len: u32,
    pub(crate) writer: SliceWriter,
}

/// Slices that became ready within this time of one another share their end.
const TOGETHER: Duration = Duration::from_secs(3);

/// What stands ready at the front of a queue.
enum Ready {
    /// Stored slices to commit together, oldest first, and since when each has been waiting; never empty.
    Writes(Vec<SliceWrite>, Vec<Instant>),
    /// The front could not be stored.
    Failed(Errno),
}

impl DirtyQueue {
    /// Up to `most` slices from the front, and never half of a write that appends.
    fn ready(&mut self, most: usize) -> Option<Ready> {
        if let Stage::Failed(errno) = self.items.front()?.stage {
            return Some(Ready::Failed(errno));
        }
        self.mark_ready();
        let ready = self.items.iter().take(self.whole(most)).map_while(|d| {
            let write = SliceWrite {
                indx: d.indx,
                slice: Slice { pos: d.pos, id: d.id, size: d.len, off: 0, len: d.len },
                mtime: d.mtime,
                appends: d.appends,
            };
            // A commit that got through shows that it is not for nothing to go on waiting.
            Some((write, d.ready_at?.max(self.committed_at.unwrap_or(d.ready_at?))))
        });
        let (writes, since): (Vec<_>, Vec<_>) = ready.unzip();
        (!writes.is_empty()).then_some(Ready::Writes(writes, since))
    }

    /// How many stored slices at the front may be committed together.
    fn whole(&self, most: usize) -> usize {
        let stored = self.items.partition_point(|d| d.ready_at.is_some());
        // One that is lost takes the write with it.
        let is_cut =
            |at: usize| self.items.get(at).is_some_and(|d| d.is_half && !matches!(d.stage, Stage::Failed(_)));
        let mut end = stored.min(most);
        while end < stored && is_cut(end) {
            end += 1;
        }
        while end > 0 && is_cut(end) {
            end -= 1;
        }
        end
    }

    /// Notes since when slices have been waiting for nothing but the metadata.
    fn mark_ready(&mut self) {
        let (now, at) = (Instant::now(), self.items.partition_point(|d| d.ready_at.is_some()));
        for d in self.items.range_mut(at..).take_while(|d| matches!(d.stage, Stage::Stored)) {
            d.ready_at = Some(now);
        }
    }

    fn set_stage(&mut self, seq: u64, stage: Stage) {
        let at = self.items.partition_point(|d| d.seq < seq);
        if let Some(d) = self.items.get_mut(at).filter(|d| d.seq == seq) {
            d.stage = stage;
        }
        self.mark_ready();
    }
}

impl FileHandle {
    /// # Errors
    /// A write that was lost since this handle was last told.
    pub(crate) fn check_fault(&self) -> Result<()> {
        let mut state = self.file.state();
        let Some(errno) = state.fault.errno else { return Ok(()) };
        if self.fault_seen.swap(state.fault.seq, Ordering::Relaxed) == state.fault.seq {
            return Ok(());
        }
        state.fault.is_told = true;
        Err(Error::Lost(errno))
    }
}

impl Core {
    /// Stores frozen slices in the background and then commits what is ready.
    pub(crate) fn store(self: &Arc<Self>, file: &Arc<File>, frozen: Vec<Frozen>) {
        for Frozen { seq, len, writer } in frozen {
            let (core, file) = (Arc::clone(self), Arc::clone(file));
            self.runtime.spawn(async move {
                let id = writer.id();
                let stage = match writer.finish(len).await {
                    Ok(()) => Stage::Stored,
                    Err(error) => {
                        tracing::error!(ino = %file.ino, slice = id, bytes = len, %error, "written bytes are lost");
                        Stage::Failed(error.errno())
                    }
                };
                let is_ours = {
                    let mut state = file.state();
                    state.dirty.set_stage(seq, stage);
                    let is_idle = !state.dirty.is_committing && state.dirty.ready(1).is_some();
                    state.dirty.is_committing |= is_idle;
                    is_idle
                };
                if is_ours {
                    core.commit_ready(&file).await;
                }
            });
        }
    }

    /// Commits from the front of the queue as long as it is ready. One at a time per file.
    async fn commit_ready(self: &Arc<Self>, file: &Arc<File>) {
        let mut most = SLICES_MAX;
        loop {
            let ready = {
                let mut state = file.state();
                let Some(ready) = state.dirty.ready(most) else {
                    state.dirty.is_committing = false;
                    if state.dirty.is_empty() {
                        self.dirty_files.lock().remove(&file.ino);
                    }
                    return;
                };
                ready
            };
            let (count, lost) = match ready {
                Ready::Failed(errno) => (1, Some(errno)),
                Ready::Writes(writes, since) => {
                    match self.meta.write_slices(file.ino, &writes, since[0]).await {
                        Ok(done) => {
                            self.compact_long_lists(file.ino, &done).await;
                            let mut state = file.state();
                            state.committed(&done, self.tick());
                            // Under the same lock: a read finds the bytes here or there.
                            state.dirty.items.drain(..writes.len());
                            state.dirty.committed_at = Some(Instant::now());
                            if done.placed != writes {
                                // Another client's bytes are where the kernel shows appended ones.
                                state.has_wrong_pages();
                                drop(state);
                                self.invalidations.inode(file.ino);
                            }
                            (0, None)
                        }
                        // Some of them may still fit.
                        Err(error) if error.errno() == Errno::ENOSPC && writes.len() > 1 => {
                            most = 1;
                            continue;
                        }
                        Err(error) => {
                            // Where nothing was written, those that have not waited for long go on waiting.
                            let is_over = |at: &&Instant| !error.may_retry() || **at <= since[0] + TOGETHER;
                            let writes = &writes[..since.iter().take_while(is_over).count()];
                            let bytes: u64 = writes.iter().map(|write| u64::from(write.slice.len)).sum();
                            let slices = writes.len();
                            tracing::error!(ino = %file.ino, slices, bytes, %error, "written bytes are lost");
                            (slices, Some(self.give_up(writes, error.errno())))
                        }
                    }
                }
            };
            if let Some(errno) = lost {
                let mut state = file.state();
                state.dirty.items.drain(..count);
                state.lose(errno);
                drop(state);
                self.invalidations.inode(file.ino);
            }
            file.progress.notify_waiters();
        }
    }

    /// A commit was refused. Where it surely did not happen the blocks go; answers what to say.
    fn give_up(&self, writes: &[SliceWrite], errno: Errno) -> Errno {
        if matches!(errno, Errno::ENOENT | Errno::ENOSPC | Errno::EDQUOT) {
            self.deletions.add_refused(writes.iter().map(|write| (write.slice.id, write.slice.size)));
        }
        // The file itself is gone.
        if errno == Errno::ENOENT { Errno::ESTALE } else { errno }
    }

    /// Freezes everything up to the slice that `up_to` names and waits until it is committed or lost.
    pub(crate) async fn flush_to(
        self: &Arc<Self>,
        file: &Arc<File>,
        up_to: impl FnOnce(&DirtyQueue) -> Option<u64>,
    ) {
        let seq = {
            let mut state = file.state();
            let Some(seq) = up_to(&state.dirty) else { return };
            let frozen = state.dirty.freeze(|d| d.seq <= seq);
            self.store(file, frozen);
            seq
        };
        loop {
            let progress = file.progress.notified();
            tokio::pin!(progress);
            progress.as_mut().enable();
            if file.state().dirty.is_done(seq) {
                return;
            }
            progress.await;
        }
    }

    /// Waits until all that is dirty now is committed or lost.
    pub(crate) async fn flush(self: &Arc<Self>, file: &Arc<File>) {
        self.flush_to(file, DirtyQueue::last).await;
    }

    /// [`Self::flush_to`] before something else is done to the file.
    ///
    /// # Errors
    /// EIO when bytes could not be stored or committed meanwhile: what comes next would wait in vain again. The
    /// handles are still to be told.
    pub(crate) async fn flush_before(
        self: &Arc<Self>,
        file: &Arc<File>,
        up_to: impl FnOnce(&DirtyQueue) -> Option<u64>,
    ) -> Result<()> {
        let known = file.state().fault.seq;
        self.flush_to(file, up_to).await;
        let fault = file.state().fault;
        match fault.errno {
            Some(Errno::EIO) if fault.seq != known => Err(Error::Lost(Errno::EIO)),
            _ => Ok(()),
        }
    }
}
