//! Blocks kept in memory. Every entry's bytes carry their lease on the mount's budget, so they stay counted while a
//! reader still holds a piece of them after the entry is gone.

use super::lru::Lru;
use crate::layout::BlockId;
use bytes::Bytes;
use juicefs_base::budget::Lease;
use juicefs_base::sync::Mutex;

#[derive(Debug)]
pub(crate) struct MemoryCache {
    most_bytes: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    blocks: Lru<Bytes>,
    bytes: usize,
}

/// Bytes that give their lease back when the last clone is dropped.
pub(crate) fn leased(data: impl AsRef<[u8]> + Send + 'static, lease: Lease) -> Bytes {
    struct Leased<T>(T, #[expect(dead_code, reason = "held for its drop")] Lease);
    impl<T: AsRef<[u8]>> AsRef<[u8]> for Leased<T> {
        fn as_ref(&self) -> &[u8] {
            self.0.as_ref()
        }
    }
    Bytes::from_owner(Leased(data, lease))
}

impl MemoryCache {
    pub(crate) fn new(most_bytes: usize) -> Self {
        Self { most_bytes, state: Mutex::default() }
    }

    pub(crate) fn is_on(&self) -> bool {
        self.most_bytes > 0
    }

    pub(crate) fn get(&self, block: BlockId) -> Option<Bytes> {
        if !self.is_on() {
            return None;
        }
        self.state.lock().blocks.get(block).cloned()
    }

    pub(crate) fn contains(&self, block: BlockId) -> bool {
        self.state.lock().blocks.contains(block)
    }

    /// Keeps `data`, whose memory is leased already. The least recently used leave.
    pub(crate) fn insert(&self, block: BlockId, data: Bytes) {
        if data.len() > self.most_bytes {
            return;
        }
        let mut gone = Vec::new();
        let mut state = self.state.lock();
        state.bytes += data.len();
        if let Some(before) = state.blocks.insert(block, data) {
            state.bytes -= before.len();
            gone.push(before);
        }
        while state.bytes > self.most_bytes {
            gone.extend(state.pop());
        }
        drop(state);
        // Freed outside the lock: unmapping megabytes takes longer than a lookup.
        drop(gone);
    }

    pub(crate) fn remove(&self, block: BlockId) {
        let mut state = self.state.lock();
        let gone = state.blocks.remove(block);
        state.bytes -= gone.as_ref().map_or(0, Bytes::len);
        drop(state);
        drop(gone);
    }

    /// Drops the least recently used until `bytes` are gone; whether any were.
    pub(crate) fn give_back(&self, bytes: usize) -> bool {
        let mut state = self.state.lock();
        let (before, mut gone) = (state.bytes, Vec::new());
        while before - state.bytes < bytes
            && let Some(block) = state.pop()
        {
            gone.push(block);
        }
        drop(state);
        !gone.is_empty()
    }

    /// Bytes and blocks.
    pub(crate) fn used(&self) -> (u64, u64) {
        let state = self.state.lock();
        (state.bytes as u64, state.blocks.len() as u64)
    }
}

impl State {
    fn pop(&mut self) -> Option<Bytes> {
        let (block, _) = self.blocks.oldest()?;
        let gone = self.blocks.remove(block)?;
        self.bytes -= gone.len();
        Some(gone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use juicefs_base::budget::Budget;

    fn block(id: u64) -> BlockId {
        BlockId { id, indx: 0, size: 4096 }
    }

    #[test]
    fn the_least_recently_used_leaves_and_its_lease_with_the_last_reader() {
        let budget = Budget::new(1 << 20);
        let cache = MemoryCache::new(3 * 4096);
        let insert =
            |id| cache.insert(block(id), leased(vec![id as u8; 4096], budget.try_acquire(4096).unwrap()));
        (1..=3).for_each(insert);
        let reader = cache.get(block(1)).unwrap();
        insert(4);
        assert!(!cache.contains(block(2)) && cache.contains(block(1)));
        assert_eq!(cache.used(), (3 * 4096, 3));
        assert!(cache.give_back(usize::MAX));
        assert_eq!((cache.used(), budget.used_bytes()), ((0, 0), 4096));
        drop(reader);
        assert_eq!(budget.used_bytes(), 0);
        assert!(!cache.give_back(1));
    }
}
