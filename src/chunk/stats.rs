//! What the chunk room does now and has done: counters that its parts bump, read by [`crate::ChunkStore::stats`].

use juicefs_base::sync::Mutex;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A reading of every gauge and counter.
#[derive(Clone, Copy, Debug, Default)]
pub struct ChunkStats {
    /// Requests under way, and for how long the oldest has been.
    pub uploads_in_flight: usize,
    pub oldest_upload: Option<Duration>,
    pub downloads_in_flight: usize,
    pub oldest_download: Option<Duration>,
    /// Callers that wait for dirty pages.
    pub waiting_for_pages: usize,
    pub dirty_bytes: usize,
    pub dirty_bytes_most: usize,
    /// Of the mount's one budget.
    pub budget_used_bytes: usize,
    pub budget_bytes: usize,
    pub memory_cache_bytes: u64,
    pub memory_cache_blocks: u64,
    pub disk_cache_bytes: u64,
    pub disk_cache_blocks: u64,
    /// Acknowledged, and not stored yet.
    pub staging_blocks: u64,
    pub staging_bytes: u64,
    pub cache_dirs_up: usize,
    pub cache_dirs_down: usize,
    pub cache_hits: u64,
    pub cache_hit_bytes: u64,
    pub cache_misses: u64,
    pub cache_miss_bytes: u64,
    pub cache_writes: u64,
    pub cache_write_bytes: u64,
    /// Blocks that were not cached because the disk was behind.
    pub cache_drops: u64,
    pub cache_evictions: u64,
    pub cache_evict_bytes: u64,
    /// Cached blocks that were found damaged and removed.
    pub cache_damaged: u64,
}

impl ChunkStats {
    /// What reads under way hold of the budget: all that is neither dirty nor cached.
    #[must_use]
    pub fn reads_bytes(&self) -> usize {
        let cached = usize::try_from(self.memory_cache_bytes).unwrap_or(usize::MAX);
        self.budget_used_bytes.saturating_sub(self.dirty_bytes.saturating_add(cached))
    }
}

/// Counters; relaxed, they order nothing.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) hits: Counter,
    pub(crate) misses: Counter,
    pub(crate) cache_writes: Counter,
    pub(crate) evictions: Counter,
    pub(crate) drops: Counter,
    pub(crate) damaged: Counter,
    pub(crate) uploads: Waits,
    pub(crate) downloads: Waits,
}

/// Events and their bytes.
#[derive(Debug, Default)]
pub(crate) struct Counter {
    events: AtomicU64,
    bytes: AtomicU64,
}

impl Counter {
    pub(crate) fn add(&self, bytes: usize) {
        self.events.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn events(&self) -> u64 {
        self.events.load(Ordering::Relaxed)
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

/// Requests under way, by start.
#[derive(Debug, Default)]
pub(crate) struct Waits {
    next: AtomicU64,
    since: Mutex<BTreeMap<u64, Instant>>,
}

/// One request under way; ends on drop.
pub(crate) struct Wait<'a> {
    waits: &'a Waits,
    ticket: u64,
}

impl Waits {
    pub(crate) fn begin(&self) -> Wait<'_> {
        let ticket = self.next.fetch_add(1, Ordering::Relaxed);
        self.since.lock().insert(ticket, Instant::now());
        Wait { waits: self, ticket }
    }

    pub(crate) fn count(&self) -> usize {
        self.since.lock().len()
    }

    pub(crate) fn oldest(&self) -> Option<Duration> {
        self.since.lock().first_key_value().map(|(_, since)| since.elapsed())
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        self.waits.since.lock().remove(&self.ticket);
    }
}
