//! Chunks whose lists have grown: what their records show is copied into one new slice, which then takes their
//! place.
//!
//! Reading a chunk costs one request for each visible piece, and every client fetches the whole list. So a list is
//! shortened after writes (each time it has grown by 100 records, from 350 on after every write, and from 2500 on
//! before the write goes on) and when somebody reads one of 5 or more records that are small. The copy goes block by
//! block through the pages that writes use, so that it is bounded by the same budget. The list is replaced only if
//! it still begins with what was copied; otherwise, and after any failure, the new objects are removed
//! and the chunk is as it was. Whatever ends a process in between leaves objects for `gc`, never a chunk without them.

use crate::core::Core;
use crate::error::Result;
use futures::stream::{self, StreamExt as _};
use juicefs_base::Errno;
use juicefs_base::sync::Mutex;
use juicefs_chunk::{ChunkStore, SliceWriter};
use juicefs_meta::{Compaction, Ino, Slice, SlicesDone, plan_compaction};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Records of a list that a reader asks to have compacted.
pub(crate) const COMPACTED_FROM: usize = 5;
/// Compactions at once, if memory suffices.
const AT_ONCE_MAX: usize = 10;
/// Reads at once of one compaction.
const READS_AT_ONCE: usize = 8;
/// From this length on a writer waits for the compaction; engines with a largest record depend on it.
const LONG: u32 = 2500;
/// A chunk that could not be compacted is left alone for so long, and how many of them are remembered.
const REST: Duration = Duration::from_secs(60);
const RESTING_MAX: usize = 1000;
/// Holes are copied in pieces of this.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// Why a chunk is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    Write,
    /// Copying must pay.
    Read,
}

/// What it took to make a list short.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compacted {
    /// Records that new slices took the place of.
    pub records: u64,
    /// Bytes of the new slices.
    pub bytes: u64,
}

/// What became of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// There was nothing to gain.
    Nothing,
    Shorter(Compacted),
    /// Somebody else was faster.
    Changed,
}

type Chunk = (Ino, u32);

#[derive(Default)]
struct State {
    /// Chunks that are being compacted.
    busy: HashSet<Chunk>,
    resting: HashMap<Chunk, Instant>,
    is_closed: bool,
}

/// Which compactions are under way, at most one a chunk.
pub(crate) struct Compactions {
    state: Mutex<State>,
    /// Moves when one ends.
    ended: Notify,
    at_once: usize,
    done: AtomicU64,
    bytes: AtomicU64,
}

/// The turn at one chunk.
struct Turn {
    compactions: Arc<Compactions>,
    chunk: Chunk,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.compactions.state.lock().busy.remove(&self.chunk);
        self.compactions.ended.notify_waiters();
    }
}

impl Compactions {
    /// `read_only`: none at all.
    pub(crate) fn new(chunks: &ChunkStore, read_only: bool) -> Arc<Self> {
        // Each holds the pages of a block or two; writes need theirs too.
        let fitting = chunks.pages().total_bytes() / (4 * chunks.layout().block_bytes as usize);
        let state = State { is_closed: read_only, ..State::default() };
        Arc::new(Self {
            state: Mutex::new(state),
            ended: Notify::new(),
            at_once: fitting.clamp(1, AT_ONCE_MAX),
            done: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        })
    }

    /// How many compactions succeeded so far, and how many bytes they copied.
    pub(crate) fn done(&self) -> (u64, u64) {
        (self.done.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed))
    }

    /// The turn at `chunk` for work that nobody waits for. Who does not get it is not queued: the next write or read
    /// asks again.
    fn try_turn(self: &Arc<Self>, chunk: Chunk) -> Option<Turn> {
        let mut state = self.state.lock();
        if state.is_closed || state.busy.len() >= self.at_once {
            return None;
        }
        if state.resting.get(&chunk).is_some_and(|since| since.elapsed() < REST) {
            return None;
        }
        state.busy.insert(chunk).then(|| Turn { compactions: Arc::clone(self), chunk })
    }

    async fn turn(self: &Arc<Self>, chunk: Chunk) -> Result<Turn> {
        loop {
            let ended = self.ended.notified();
            tokio::pin!(ended);
            ended.as_mut().enable();
            {
                let mut state = self.state.lock();
                if state.is_closed {
                    return Err(Errno::EINTR.into());
                }
                if state.busy.len() < self.at_once && state.busy.insert(chunk) {
                    return Ok(Turn { compactions: Arc::clone(self), chunk });
                }
            }
            ended.await;
        }
    }

    fn rest(&self, chunk: Chunk) {
        let mut state = self.state.lock();
        if state.resting.len() >= RESTING_MAX {
            state.resting.clear();
        }
        state.resting.insert(chunk, Instant::now());
    }

    fn is_closed(&self) -> bool {
        self.state.lock().is_closed
    }

    /// Begins no more and has those under way give up before their next block.
    pub(crate) async fn close(&self) {
        self.state.lock().is_closed = true;
        self.idle().await;
    }

    /// Waits until none is under way.
    pub(crate) async fn idle(&self) {
        loop {
            let ended = self.ended.notified();
            tokio::pin!(ended);
            ended.as_mut().enable();
            if self.state.lock().busy.is_empty() {
                return;
            }
            ended.await;
        }
    }
}

impl Core {
    /// Has a chunk compacted in the background, if it is worth it and not too much is under way.
    pub(crate) fn compact_soon(self: &Arc<Self>, ino: Ino, indx: u32, cause: Cause) {
        let Some(turn) = self.compactions.try_turn((ino, indx)) else { return };
        let core = Arc::clone(self);
        self.runtime.spawn(async move {
            let _turn = turn;
            match core.compact_once(ino, indx, Some(cause)).await {
                Err(error) if !core.compactions.is_closed() => {
                    core.compactions.rest((ino, indx));
                    tracing::warn!(%ino, indx, %error, "a chunk could not be compacted and stays as it is");
                }
                _ => {}
            }
        });
    }

    /// After a commit: lists that have become long.
    pub(crate) async fn compact_long_lists(self: &Arc<Self>, ino: Ino, done: &SlicesDone) {
        let mut longest: HashMap<u32, u32> = HashMap::new();
        for (write, &records) in done.placed.iter().zip(&done.slices) {
            if records % 100 == 99 || records > 350 {
                let most = longest.entry(write.indx).or_default();
                *most = records.max(*most);
            }
        }
        for (indx, records) in longest {
            if records < LONG {
                self.compact_soon(ino, indx, Cause::Write);
                continue;
            }
            let Ok(_turn) = self.compactions.turn((ino, indx)).await else { return };
            if let Err(error) = self.compact_once(ino, indx, Some(Cause::Write)).await {
                tracing::warn!(%ino, indx, records, %error, "a long list could not be compacted");
            }
        }
    }

    /// Compacts until there is nothing to gain any more.
    pub(crate) async fn compact_all(&self, ino: Ino, indx: u32) -> Result<Compacted> {
        let _turn = self.compactions.turn((ino, indx)).await?;
        let mut all = Compacted::default();
        loop {
            match self.compact_once(ino, indx, None).await? {
                Outcome::Nothing => return Ok(all),
                Outcome::Shorter(now) => {
                    all.records += now.records;
                    all.bytes += now.bytes;
                }
                Outcome::Changed => {}
            }
        }
    }

    /// The caller has the turn. `cause`: nobody asked for it by name.
    async fn compact_once(&self, ino: Ino, indx: u32, cause: Option<Cause>) -> Result<Outcome> {
        let list = self.meta.fresh_chunk(ino, indx).await?;
        let Some(plan) = plan_compaction(&list, self.meta.compaction_records_max()) else {
            return Ok(Outcome::Nothing);
        };
        if cause == Some(Cause::Read) && !plan.pays_for_readers() {
            return Ok(Outcome::Nothing);
        }
        drop(list);
        let id = self.meta.new_slice_id().await?;
        if let Err(error) = self.copy(id, &plan).await {
            // Compacted by somebody else, the pieces may be gone already.
            let is_outdated =
                error.is_missing() && !self.meta.fresh_chunk(ino, indx).await?.starts_with(&plan.read);
            return if is_outdated { Ok(Outcome::Changed) } else { Err(error.into()) };
        }
        match self.meta.replace_slices(ino, indx, &plan, id).await {
            Ok(true) => {
                if let Some(file) = self.files.find(ino) {
                    file.state().forget_list(indx);
                }
                self.compactions.done.fetch_add(1, Ordering::Relaxed);
                self.compactions.bytes.fetch_add(u64::from(plan.size), Ordering::Relaxed);
                let records = plan.replaced().len();
                tracing::debug!(%ino, indx, records, bytes = plan.size, slice = id, "compacted");
                Ok(Outcome::Shorter(Compacted { records: records as u64, bytes: u64::from(plan.size) }))
            }
            Ok(false) => {
                self.remove_copy(id, plan.size).await;
                Ok(Outcome::Changed)
            }
            // The list may name it.
            Err(error @ juicefs_meta::Error::InDoubt(_)) => Err(error.into()),
            Err(error) => {
                self.remove_copy(id, plan.size).await;
                Err(error.into())
            }
        }
    }

    async fn remove_copy(&self, id: u64, size: u32) {
        if let Err(error) = self.chunks.remove(id, size).await {
            tracing::warn!(slice = id, %error, "objects of a compaction that came too late stay until gc");
        }
    }

    /// Stores what `plan` shows as slice `id`; after a failure nothing of it is left.
    async fn copy(&self, id: u64, plan: &Compaction) -> juicefs_chunk::Result<()> {
        let mut writer = self.chunks.writer(id);
        let block = self.chunks.layout().block_bytes;
        for at in (0..plan.size).step_by(block as usize) {
            let end = plan.size.min(at.saturating_add(block));
            if let Err(error) = self.copy_block(&mut writer, plan, at, end).await {
                writer.abort().await;
                return Err(error);
            }
        }
        writer.finish(plan.size).await
    }

    /// One block of the new slice. Its pages come before what is read into them: who waits for pages holds no other
    /// memory.
    async fn copy_block(
        &self,
        writer: &mut SliceWriter,
        plan: &Compaction,
        at: u32,
        end: u32,
    ) -> juicefs_chunk::Result<()> {
        if self.compactions.is_closed() {
            return Err(juicefs_chunk::Error::Stopped);
        }
        let mut pages = self.chunks.pages().acquire((end - at) as usize).await;
        let read = |piece: Slice| async move {
            match piece.id {
                0 => Ok((piece.len, None)),
                id => {
                    let bytes = self.chunks.read(id, piece.size, piece.off, piece.len).await?;
                    Ok::<_, juicefs_chunk::Error>((piece.len, Some(bytes)))
                }
            }
        };
        let mut parts = stream::iter(cut(plan, at, end)).map(read).buffered(READS_AT_ONCE).boxed();
        let mut off = at;
        while let Some(part) = parts.next().await {
            match part? {
                (_, Some(bytes)) => {
                    writer.write_at(off, &bytes, &mut pages)?;
                    off += bytes.len() as u32;
                }
                (zeros, None) => {
                    let hole_end = off + zeros;
                    while off < hole_end {
                        let now = (hole_end - off).min(ZEROS.len() as u32);
                        writer.write_at(off, &ZEROS[..now as usize], &mut pages)?;
                        off += now;
                    }
                }
            }
        }
        writer.flush_full_blocks();
        Ok(())
    }
}

/// The pieces of bytes `at..end` of the new slice, in order.
fn cut(plan: &Compaction, at: u32, end: u32) -> Vec<Slice> {
    let (first, last) = (plan.pos + at, plan.pos + end);
    let parts = plan.pieces.iter().filter(|piece| piece.pos < last && piece.pos + piece.len > first);
    parts
        .map(|piece| {
            let start = piece.pos.max(first);
            let stop = (piece.pos + piece.len).min(last);
            let off = if piece.id == 0 { 0 } else { piece.off + (start - piece.pos) };
            Slice { pos: start, off, len: stop - start, ..*piece }
        })
        .collect()
}
