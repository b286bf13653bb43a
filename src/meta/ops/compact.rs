//! A chunk's list gets shorter: one new slice takes the place of many records.
//!
//! What was read must still be there, record by record; what was appended since stays behind it. The node is written
//! too, unchanged: a stock client on Redis watches nothing but the node while it copies a file's list, and would
//! otherwise refer to slices that this commit has just freed.

use crate::change_log::Entry;
use crate::error::Result;
use crate::meta::Meta;
use crate::overlay::narrow;
use crate::port::{Change, Hold};
use crate::rules::Compaction;
use crate::txn::{ChunkOf, DelayedSlicesOf, NodeOf, Operation, Txn};
use crate::types::{Ino, Slice, SliceId};

/// Changes of a compaction beside the releases.
const OTHER_CHANGES: usize = 8;

impl Meta {
    /// How many records one compaction can take out of a list.
    #[must_use]
    pub fn compaction_records_max(&self) -> usize {
        self.engine.limits().changes_max.saturating_sub(OTHER_CHANGES)
    }

    /// The records of a chunk as they are now, whatever is remembered.
    ///
    /// # Errors
    /// As the engine's; nothing for a missing chunk or file.
    pub async fn fresh_chunk(&self, ino: Ino, indx: u32) -> Result<Vec<Slice>> {
        let (slices,) = self.peek((ChunkOf(ino, indx, Hold::Peek),)).await?;
        Ok(slices)
    }

    /// Puts slice `id`, whose objects are all stored, in the place of what `plan` replaces. False when the list does
    /// not begin any more with what the plan was made on, or the file is gone: nothing happened, and the
    /// objects are the caller's to remove. What was replaced is kept as long as the trash is, or freed at once.
    ///
    /// # Errors
    /// EROFS; as the engine's. After [`crate::Error::InDoubt`] the objects may be in use.
    pub async fn replace_slices(&self, ino: Ino, indx: u32, plan: &Compaction, id: SliceId) -> Result<bool> {
        self.check_writable()?;
        let keeps_replaced = self.format().has_trash();
        self.transact(&ReplaceSlices { ino, indx, plan, id, keeps_replaced }).await
    }

    /// Releases the slices that were compacted away into `id` and kept at `deleted_at`; false when somebody was faster.
    ///
    /// # Errors
    /// As the engine's.
    pub(crate) async fn release_delayed(&self, id: SliceId, deleted_at: i64) -> Result<bool> {
        self.check_writable()?;
        self.transact(&ReleaseDelayed { id, deleted_at }).await
    }
}

struct ReplaceSlices<'a> {
    ino: Ino,
    indx: u32,
    plan: &'a Compaction,
    id: SliceId,
    keeps_replaced: bool,
}

impl Operation for ReplaceSlices<'_> {
    type Output = bool;
    const NAME: &'static str = "compact";
    const FLUSHES: u32 = 2;

    fn contends_on(&self) -> [Option<Ino>; 2] {
        [Some(self.ino), None]
    }

    async fn run(&self, txn: &mut Txn<'_>) -> Result<bool> {
        let Self { ino, indx, id, .. } = *self;
        let Compaction { read, kept, pos, size, .. } = self.plan;
        let (node, list) = txn.read((NodeOf(ino, Hold::Update), ChunkOf(ino, indx, Hold::Update))).await?;
        let Some(node) = node.filter(|_| list.starts_with(read)) else { return Ok(false) };
        let mut now = read[..*kept].to_vec();
        now.push(Slice { pos: *pos, id, size: *size, off: 0, len: *size });
        txn.change(Change::ReplaceSlices { ino, indx, was: read.clone(), now });
        txn.change(Change::TrackSlice { id, size: *size });
        // One reference for each record, the same slice twice included.
        let replaced: Vec<_> = self
            .plan
            .replaced()
            .iter()
            .filter(|slice| slice.id > 0)
            .map(|slice| (slice.id, slice.size))
            .collect();
        if !self.keeps_replaced {
            replaced.into_iter().for_each(|(id, size)| txn.change(Change::ReleaseSlice { id, size }));
        } else if !replaced.is_empty() {
            let deleted_at = txn.now().sec;
            txn.change(Change::InsertDelayedSlices { id, deleted_at, slices: replaced });
        }
        txn.change(Change::UpdateNode { ino, was: node, now: node });
        let (skipped, compacted) = (narrow(*kept as u64), narrow(self.plan.replaced().len() as u64));
        let (pos, size) = (*pos, *size);
        txn.log(&Entry::CompactChunk { ino, indx, skipped, compacted, pos, id, size });
        txn.after().changed_chunks.push(ino);
        Ok(true)
    }
}

struct ReleaseDelayed {
    id: SliceId,
    deleted_at: i64,
}

impl Operation for ReleaseDelayed {
    type Output = bool;
    const NAME: &'static str = "release_delayed_slices";
    const FLUSHES: u32 = 2;

    fn contends_on(&self) -> [Option<Ino>; 2] {
        [None, None]
    }

    async fn run(&self, txn: &mut Txn<'_>) -> Result<bool> {
        let Self { id, deleted_at } = *self;
        let (slices,) = txn.read((DelayedSlicesOf(id, deleted_at),)).await?;
        let Some(slices) = slices else { return Ok(false) };
        txn.change(Change::DeleteDelayedSlices { id, deleted_at });
        txn.log(&Entry::CleanDelayedSlices { id, deleted_at });
        for (id, size) in slices.into_iter().filter(|(id, _)| *id > 0) {
            txn.change(Change::ReleaseSlice { id, size });
        }
        Ok(true)
    }
}
