//! The dirty slices of one file.
//!
//! They stand in a queue in the order in which they were begun, and are committed in that order: what was
//! written later hides what was written before, and a file that grows never has a hole where bytes are still on
//! their way. A slice *grows* while writes go on at its end (or in its buffered tail) and nothing newer lies
//! there; then it is frozen, stored, committed.

use crate::commit::Frozen;
use juicefs_base::Errno;
use juicefs_chunk::{ChunkStore, PAGE_BYTES, Reservation, SliceWriter};
use juicefs_meta::types::CHUNK_BYTES;
use juicefs_meta::{SliceId, Time};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

/// Slices of one file that may grow at the same time; the oldest is frozen for a new one.
const GROWING_MAX: usize = 4;

/// How far a dirty slice has come.
pub(crate) enum Stage {
    Growing(SliceWriter),
    /// Its blocks are being stored.
    Storing,
    /// The metadata may know of it.
    Stored,
    /// Its blocks could not be stored.
    Failed(Errno),
}

/// A slice that the metadata does not know.
pub(crate) struct Dirty {
    pub(crate) seq: u64,
    pub(crate) indx: u32,
    /// Inside the chunk.
    pub(crate) pos: u32,
    pub(crate) len: u32,
    pub(crate) id: SliceId,
    pub(crate) born: Instant,
    pub(crate) touched: Instant,
    /// Of the last write into it.
    pub(crate) mtime: Time,
    pub(crate) stage: Stage,
    /// Since when it and all before it are stored.
    pub(crate) ready_at: Option<Instant>,
    /// Its bytes belong at the end of the file; where that is says the commit, `indx` and `pos` are what we expect.
    pub(crate) appends: bool,
    /// It is the other half of a write whose first lies in the slice before: they are committed together.
    pub(crate) is_half: bool,
}

impl Dirty {
    fn overlaps(&self, indx: u32, pos: u32, len: u32) -> bool {
        self.indx == indx && self.pos < pos + len && pos < self.pos + self.len
    }
}

/// The dirty slices of one file, oldest first.
#[derive(Default)]
pub(crate) struct DirtyQueue {
    pub(crate) items: VecDeque<Dirty>,
    last_seq: u64,
    growing: usize,
    /// One task commits at a time.
    pub(crate) is_committing: bool,
    /// When the metadata last took something.
    pub(crate) committed_at: Option<Instant>,
}

impl DirtyQueue {
    pub(crate) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// End of the furthest dirty byte in the file and the latest write.
    pub(crate) fn reach(&self) -> Option<(u64, Time)> {
        let end = |d: &Dirty| u64::from(d.indx) * CHUNK_BYTES + u64::from(d.pos) + u64::from(d.len);
        let furthest = self.items.iter().map(end).max()?;
        Some((furthest, self.items.iter().map(|d| d.mtime).max()?))
    }

    /// The youngest slice; all that is dirty now is dirty up to it.
    pub(crate) fn last(&self) -> Option<u64> {
        self.items.back().map(|d| d.seq)
    }

    /// Whether the slice `seq` and all before it are committed or lost.
    pub(crate) fn is_done(&self, seq: u64) -> bool {
        self.items.front().is_none_or(|d| d.seq > seq)
    }

    /// The youngest slice with bytes in this range of the file.
    pub(crate) fn youngest_in(&self, off: u64, len: u64) -> Option<u64> {
        if self.items.is_empty() {
            return None;
        }
        let parts: Vec<_> = parts(off, len).collect();
        let is_hit = |d: &&Dirty| parts.iter().any(|part| d.overlaps(part.indx, part.pos, part.len));
        self.items.iter().rev().find(is_hit).map(|d| d.seq)
    }

    /// The growing slice that can take these bytes: they begin in its tail or at its end, and nothing newer
    /// lies under them. What appends grows with appends only.
    fn target(&self, part: &Part, appends: bool) -> Option<usize> {
        let mut left = self.growing;
        for (at, d) in self.items.iter().enumerate().rev() {
            if left == 0 {
                return None;
            }
            if let Stage::Growing(writer) = &d.stage {
                left -= 1;
                let tail = d.pos + writer.uploaded_bytes();
                let fits = d.indx == part.indx && part.pos >= tail && part.pos <= d.pos + d.len;
                let is_alike = d.appends == appends && (!appends || part.pos == d.pos + d.len);
                if fits && is_alike && writer.failure().is_none() {
                    return Some(at);
                }
            }
            if d.overlaps(part.indx, part.pos, part.len) {
                return None;
            }
        }
        None
    }

    /// How many new slices a write needs.
    pub(crate) fn new_slices(&self, off: u64, len: u64, appends: bool) -> usize {
        parts(off, len).filter(|part| self.target(part, appends).is_none()).count()
    }

    /// Takes the bytes in; `ids` has one for each new slice.
    pub(crate) fn insert(
        &mut self,
        chunks: &Arc<ChunkStore>,
        off: u64,
        data: &[u8],
        appends: bool,
        pages: &mut Reservation,
        ids: &mut Vec<SliceId>,
    ) -> juicefs_chunk::Result<()> {
        let (now, mtime) = (Instant::now(), Time::now());
        for part in parts(off, data.len() as u64) {
            let at = match self.target(&part, appends) {
                Some(at) => at,
                None => {
                    let Some(id) = ids.pop() else { return Err(juicefs_chunk::Error::Stopped) };
                    self.begin(&part, id, chunks.writer(id), now, mtime)
                }
            };
            let d = &mut self.items[at];
            let Stage::Growing(writer) = &mut d.stage else { return Err(juicefs_chunk::Error::Stopped) };
            let bytes = &data[part.start..part.start + part.len as usize];
            let written = writer.write_at(part.pos - d.pos, bytes, pages);
            d.len = writer.length();
            d.touched = now;
            d.mtime = d.mtime.max(mtime);
            d.appends = appends;
            d.is_half = appends && part.start > 0;
            writer.flush_full_blocks();
            if d.len == 0 {
                self.growing -= 1;
                self.items.remove(at);
            }
            written?;
        }
        Ok(())
    }

    fn begin(&mut self, part: &Part, id: SliceId, writer: SliceWriter, now: Instant, mtime: Time) -> usize {
        self.last_seq += 1;
        self.growing += 1;
        self.items.push_back(Dirty {
            seq: self.last_seq,
            indx: part.indx,
            pos: part.pos,
            len: 0,
            id,
            born: now,
            touched: now,
            mtime,
            stage: Stage::Growing(writer),
            ready_at: None,
            appends: false,
            is_half: false,
        });
        self.items.len() - 1
    }

    /// Freezes growing slices that `is_due`, oldest first; the caller stores what comes back.
    pub(crate) fn freeze(&mut self, mut is_due: impl FnMut(&Dirty) -> bool) -> Vec<Frozen> {
        let mut frozen = Vec::new();
        let mut left = self.growing;
        for d in &mut self.items {
            if left == 0 {
                break;
            }
            if !matches!(d.stage, Stage::Growing(_)) {
                continue;
            }
            left -= 1;
            if !is_due(d) {
                continue;
            }
            if let Stage::Growing(writer) = std::mem::replace(&mut d.stage, Stage::Storing) {
                self.growing -= 1;
                frozen.push(Frozen { seq: d.seq, len: d.len, writer });
            }
        }
        frozen
    }

    /// What must not grow any longer after a write: full slices, halves of appends, and the oldest where too many grow.
    pub(crate) fn freeze_full(&mut self) -> Vec<Frozen> {
        let mut excess = self.growing.saturating_sub(GROWING_MAX);
        self.freeze(|d| {
            let is_full = u64::from(d.pos) + u64::from(d.len) >= CHUNK_BYTES;
            let is_excess = excess > 0;
            excess -= usize::from(is_excess);
            is_full || is_excess || d.is_half
        })
    }

    /// Bytes in growing slices that no upload will free, with the birth of the oldest.
    pub(crate) fn held(&self) -> (usize, Option<Instant>) {
        let (mut bytes, mut oldest) = (0, None);
        for d in &self.items {
            if let Stage::Growing(writer) = &d.stage {
                let tail = writer.length() - writer.uploaded_bytes();
                bytes += (tail as usize).next_multiple_of(PAGE_BYTES);
                oldest = oldest.or(Some(d.born));
            }
        }
        (bytes, oldest)
    }
}

/// The part of a write that lies in one chunk.
struct Part {
    indx: u32,
    pos: u32,
    len: u32,
    /// Inside the written bytes.
    start: usize,
}

/// `off + len` is at most [`FILE_BYTES_MAX`].
fn parts(off: u64, len: u64) -> impl Iterator<Item = Part> {
    let end = off + len;
    let mut at = off;
    std::iter::from_fn(move || {
        if at >= end {
            return None;
        }
        let (indx, pos) = (at / CHUNK_BYTES, at % CHUNK_BYTES);
        let part_len = (end - at).min(CHUNK_BYTES - pos);
        let start = (at - off) as usize;
        at += part_len;
        Some(Part { indx: indx as u32, pos: pos as u32, len: part_len as u32, start })
    })
}
