//! Whole blocks fetched ahead of need: a short queue, a few workers that exist only while it is not empty. When the
//! queue is full the oldest wish is dropped.

use crate::layout::BlockId;
use crate::store::ChunkStore;
use juicefs_base::sync::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;

const MOST_WISHES: usize = 128;

#[derive(Debug, Default)]
pub(crate) struct Wishes {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<BlockId>,
    workers: usize,
}

impl Wishes {
    /// Queues `block`; whether one more worker should start.
    fn push(&self, block: BlockId, most_workers: usize) -> bool {
        let mut state = self.state.lock();
        if state.queue.contains(&block) {
            return false;
        }
        if state.queue.len() == MOST_WISHES {
            state.queue.pop_front();
        }
        state.queue.push_back(block);
        let starts = state.workers < most_workers;
        state.workers += usize::from(starts);
        starts
    }

    /// The next wish; `None` ends the worker that asked.
    fn pop(&self) -> Option<BlockId> {
        let mut state = self.state.lock();
        let block = state.queue.pop_front();
        state.workers -= usize::from(block.is_none());
        block
    }
}

impl ChunkStore {
    /// Fetches the blocks of bytes `off..off + len` in the background unless they are cached. Never waits; wishes may
    /// be dropped. Does nothing if prefetch is off or nothing could keep the blocks.
    pub fn prefetch(&self, id: u64, size: u32, off: u32, len: u32) {
        let end = u64::from(off).saturating_add(u64::from(len)).min(u64::from(size));
        if u64::from(off) >= end {
            return;
        }
        let block_bytes = self.layout().block_bytes;
        let last = ((end - 1) / u64::from(block_bytes)) as u32;
        for indx in off / block_bytes..=last {
            self.wish(self.layout().block(id, size, indx));
        }
    }

    pub(crate) fn wish(&self, block: BlockId) {
        if self.config.prefetch == 0 || !self.has_cache() || self.is_cached(block) {
            return;
        }
        let Some(me) = self.me.upgrade() else { return };
        if self.wishes.push(block, self.config.prefetch) {
            self.runtime().spawn(me.grant_wishes());
        }
    }

    async fn grant_wishes(self: Arc<Self>) {
        while let Some(block) = self.wishes.pop() {
            if self.is_cached(block) || self.is_on_disk(block).await {
                continue;
            }
            if let Err(cause) = self.fetch(block, true).await {
                tracing::debug!("prefetch of {}: {cause}", self.layout().key(block));
            }
        }
    }

    /// Whether the disk has a block that the first scan has not met yet.
    pub(crate) async fn is_on_disk(&self, block: BlockId) -> bool {
        match &self.disk {
            Some(disk) if disk.may_have(block) => disk.read(block, 0, 1.min(block.size)).await.is_some(),
            _ => false,
        }
    }
}
