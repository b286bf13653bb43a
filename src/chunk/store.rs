//! The chunk room's one object: owns the store, the caches, the page pool and the limits on all of them.

use crate::cache::{DiskCache, MemoryCache, leased};
use crate::config::ChunkConfig;
use crate::error::{Error, Result};
use crate::flight::Flights;
use crate::layout::{BlockId, Layout};
use crate::pages::PagePool;
use crate::prefetch::Wishes;
use crate::staging::Staging;
use crate::stats::{ChunkStats, Counters};
use crate::writer::SliceWriter;
use bytes::Bytes;
use futures::stream::{self, StreamExt as _};
use juicefs_base::budget::{Budget, Lease};
use juicefs_object::Store;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

/// How often warm pages, cache limits and ages are looked at.
const HOUSEKEEPING: Duration = Duration::from_secs(10);
/// Rounds without a read after which memory gives back what the disk has too.
const IDLE_ROUNDS: u32 = 6;

/// Slices of one volume as seen by one process. Cheap to share; all methods may be called from any thread.
pub struct ChunkStore {
    pub(crate) me: Weak<Self>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) config: ChunkConfig,
    layout: Layout,
    budget: Budget,
    pages: Arc<PagePool>,
    pub(crate) memory: Arc<MemoryCache>,
    pub(crate) disk: Option<DiskCache>,
    pub(crate) staging: Staging,
    pub(crate) flights: Flights,
    pub(crate) wishes: Wishes,
    pub(crate) uploads: Semaphore,
    pub(crate) downloads: Semaphore,
    deletes: Semaphore,
    /// Blocks being compressed or decompressed: as many as there are cores. Their working memory, about two blocks
    /// each, is not drawn from the budget: it must be there when dirty pages have taken all of it.
    pub(crate) codecs: Semaphore,
    pub(crate) counters: Arc<Counters>,
    runtime: Handle,
}

impl std::fmt::Debug for ChunkStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChunkStore").field("store", &self.store).finish_non_exhaustive()
    }
}

impl ChunkStore {
    /// Opens the caches (a directory that can't be used is left out, see [`Self::notices`]) and begins to look through
    /// them in the background. Must be called inside a tokio runtime, which does all later work.
    pub fn new(store: Arc<dyn Store>, config: ChunkConfig, budget: Budget) -> Result<Arc<Self>> {
        config.check()?;
        let runtime = Handle::try_current()
            .map_err(|_| Error::Config("the data store must be opened inside a tokio runtime".into()))?;
        let layout = Layout { block_bytes: config.block_bytes as u32, hash_prefix: config.hash_prefix };
        let dirty_bytes = match config.dirty_bytes {
            0 => budget.total_bytes() / 4 * 3,
            bytes => bytes,
        };
        let memory = Arc::new(MemoryCache::new(config.memory_cache_bytes.min(budget.total_bytes() / 2)));
        let pages = PagePool::new(dirty_bytes, config.block_bytes, budget.clone(), memory.clone())?;
        let counters = Arc::new(Counters::default());
        let disk = DiskCache::open(&config, layout, counters.clone(), runtime.clone())?;
        let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        let chunks = Arc::new_cyclic(|me| Self {
            me: me.clone(),
            store,
            layout,
            pages,
            memory,
            disk,
            staging: Staging::new(config.writeback.clone()),
            flights: Flights::default(),
            wishes: Wishes::default(),
            uploads: Semaphore::new(config.max_uploads),
            downloads: Semaphore::new(config.max_downloads),
            deletes: Semaphore::new(config.max_deletes),
            codecs: Semaphore::new(cores),
            counters,
            runtime: runtime.clone(),
            config,
            budget,
        });
        runtime.spawn(housekeeping(Arc::downgrade(&chunks)));
        if chunks.disk.is_some() && (chunks.config.stores_staged || chunks.config.writeback.is_some()) {
            runtime.spawn(crate::staging::run(Arc::downgrade(&chunks)));
        }
        Ok(chunks)
    }

    /// What the user should know before using it: cache directories that are left out or full.
    #[must_use]
    pub fn notices(&self) -> Vec<String> {
        let mut notices = self.disk.as_ref().map(|disk| disk.notices().to_vec()).unwrap_or_default();
        if self.config.writeback.is_some() && self.disk.as_ref().is_none_or(|disk| disk.usage().dirs_up == 0)
        {
            notices.push(
                "--writeback has no effect: there is no cache directory, so every block is stored at once"
                    .to_owned(),
            );
        }
        notices
    }

    /// How blocks are named; for tools that compare objects with slices.
    #[must_use]
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// Where dirty pages come from.
    #[must_use]
    pub fn pages(&self) -> &Arc<PagePool> {
        &self.pages
    }

    /// A writer for the new slice `id`, which must never have been written before.
    #[must_use]
    pub fn writer(self: &Arc<Self>, id: u64) -> SliceWriter {
        SliceWriter::new(self.clone(), id)
    }

    /// Removes every object and cached block of a slice. Missing ones are fine; after the first failure the rest is
    /// still tried, then the failure is answered.
    pub async fn remove(&self, id: u64, size: u32) -> Result<()> {
        self.staging.cancel(self.layout.blocks(id, size)).await;
        for block in self.layout.blocks(id, size) {
            self.memory.remove(block);
        }
        if let Some(disk) = &self.disk {
            disk.remove(self.layout.blocks(id, size).collect()).await;
        }
        let results = stream::iter(self.layout.block_keys(id, size))
            .map(|key| async move {
                let _turn = self.deletes.acquire().await.map_err(|_| Error::Stopped)?;
                match self.store.delete(&key).await {
                    Err(cause) if !cause.is_not_found() => Err(Error::from(cause)),
                    _ => Ok(()),
                }
            })
            .buffer_unordered(self.config.max_deletes)
            .collect::<Vec<_>>()
            .await;
        results.into_iter().find(Result::is_err).unwrap_or(Ok(()))
    }

    /// Every gauge and counter.
    #[must_use]
    pub fn stats(&self) -> ChunkStats {
        let counters = &self.counters;
        let (memory_cache_bytes, memory_cache_blocks) = self.memory.used();
        let disk = self.disk.as_ref().map(DiskCache::usage).unwrap_or_default();
        let (staging_blocks, staging_bytes) = self.staging.used();
        ChunkStats {
            uploads_in_flight: counters.uploads.count(),
            oldest_upload: counters.uploads.oldest(),
            downloads_in_flight: counters.downloads.count(),
            oldest_download: counters.downloads.oldest(),
            waiting_for_pages: self.pages.waiting(),
            dirty_bytes: self.pages.used_bytes(),
            dirty_bytes_most: self.pages.total_bytes(),
            budget_used_bytes: self.budget.used_bytes(),
            budget_bytes: self.budget.total_bytes(),
            memory_cache_bytes,
            memory_cache_blocks,
            disk_cache_bytes: disk.bytes,
            disk_cache_blocks: disk.blocks,
            staging_blocks,
            staging_bytes,
            cache_dirs_up: disk.dirs_up,
            cache_dirs_down: disk.dirs_down,
            cache_hits: counters.hits.events(),
            cache_hit_bytes: counters.hits.bytes(),
            cache_misses: counters.misses.events(),
            cache_miss_bytes: counters.misses.bytes(),
            cache_writes: counters.cache_writes.events(),
            cache_write_bytes: counters.cache_writes.bytes(),
            cache_drops: counters.drops.events(),
            cache_evictions: counters.evictions.events(),
            cache_evict_bytes: counters.evictions.bytes(),
            cache_damaged: counters.damaged.events(),
        }
    }

    pub(crate) fn budget_bytes(&self) -> usize {
        self.budget.total_bytes()
    }

    pub(crate) fn runtime(&self) -> &Handle {
        &self.runtime
    }

    pub(crate) fn has_cache(&self) -> bool {
        self.memory.is_on() || self.disk.is_some()
    }

    /// Whether the block is cached or on its way.
    pub(crate) fn is_cached(&self, block: BlockId) -> bool {
        self.memory.contains(block)
            || self.flights.peek(block).is_some()
            || self.disk.as_ref().is_some_and(|disk| disk.contains(block))
    }

    /// Memory for a fetch. While it is short the caches give theirs back.
    pub(crate) async fn lease(&self, bytes: usize) -> Result<Lease> {
        let reclaim = || {
            if !self.memory.give_back(bytes) {
                self.pages.cool();
            }
        };
        let wait = crate::reclaim::acquire(&self.budget, bytes, reclaim);
        let most = self.config.memory_wait;
        let late = Error::NoMemory { bytes, waited_s: most.as_secs() };
        tokio::time::timeout(most, wait).await.map_err(|_| late)
    }

    /// Memory if it is free now.
    pub(crate) fn try_lease(&self, bytes: usize) -> Option<Lease> {
        self.budget.try_acquire(bytes)
    }

    /// Keeps a copy of a block just written, if memory for it is free now.
    pub(crate) fn keep_in_memory(&self, block: BlockId, data: &Bytes) {
        if self.memory.is_on()
            && let Some(lease) = self.budget.try_acquire(data.len())
        {
            self.memory.insert(block, leased(data.to_vec(), lease));
        }
    }

    /// Caches a block on disk in the background; dropped if the disk is behind.
    pub(crate) fn keep_on_disk(&self, block: BlockId, data: Bytes) {
        if let Some(disk) = &self.disk {
            disk.write_in_background(block, data);
        }
    }
}

async fn housekeeping(chunks: Weak<ChunkStore>) {
    let (mut last_use, mut idle_rounds) = (0, 0);
    let mut tick = tokio::time::interval(HOUSEKEEPING);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let Some(chunks) = chunks.upgrade() else { return };
        chunks.pages.cool_if_idle();
        let uses = chunks.counters.hits.events() + chunks.counters.misses.events();
        idle_rounds = if uses == last_use { idle_rounds + 1 } else { 0 };
        last_use = uses;
        if idle_rounds == IDLE_ROUNDS && chunks.disk.is_some() {
            chunks.memory.give_back(usize::MAX);
        }
        if let Some(disk) = &chunks.disk {
            disk.look_after();
        }
    }
}
