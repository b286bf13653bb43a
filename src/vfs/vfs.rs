//! [`Vfs`]: the files of one mounted volume. Its operations are in `ops`, by what they work on.

use crate::access_log::AccessLog;
use crate::answer::{Attributes, Found};
use crate::background::compaction::{Compacted, Compactions};
use crate::background::deletion::Deletions;
use crate::config::VfsConfig;
use crate::core::Core;
use crate::directory::Directories;
use crate::error::Result;
use crate::files::Files;
use crate::files::Shape;
use crate::flusher;
use crate::guarded::Guarded;
use crate::handles::Handles;
use crate::invalidate::{Invalidate, Invalidations};
use crate::special::{self, Specials};
use crate::stale_paths::StalePaths;
use crate::told::Told;
use juicefs_base::Errno;
use juicefs_base::metrics::{FileOp, Metrics, Samples};
use juicefs_base::sync::Mutex;
use juicefs_chunk::ChunkStore;
use juicefs_meta::types::Usage;
use juicefs_meta::{Attr, Ino, Kind, Meta};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinHandle;

/// How often the numbers that need the metadata are read for the metrics.
const USAGE_PERIOD: Duration = Duration::from_secs(10);

/// How long the end of a mount waits for deletions, and for compactions to give up; the hourly scan and `gc` do the
/// rest.
const DELETIONS_MAX: Duration = Duration::from_secs(20);

/// Commands that fill the cache in the background at the same time.
const CACHINGS_MAX: usize = 8;

/// Files over metadata and slices. Every operation answers at once when memory can answer: its future is ready
/// at its first poll.
pub struct Vfs {
    pub(crate) core: Arc<Core>,
    pub(crate) handles: Arc<Handles>,
    pub(crate) directories: Directories,
    pub(crate) specials: Specials,
    pub(crate) access_log: Arc<AccessLog>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl Vfs {
    /// Must be called inside the runtime that later does the background work.
    #[must_use]
    pub fn new(meta: Arc<Meta>, chunks: Arc<ChunkStore>, mut config: VfsConfig) -> Arc<Self> {
        config.read_only |= meta.read_only_reason().is_some();
        let metrics = Arc::new(Metrics::default());
        let deletions = Deletions::new(&meta, Arc::clone(&chunks), config.max_deletes);
        let specials = Specials::new(&config, &meta);
        let compactions = Compactions::new(&chunks, config.read_only);
        let told = Told::new(config.attr_ttl);
        let core = Arc::new(Core {
            readahead: Arc::new(Semaphore::new(config.readahead_fetches.max(1))),
            meta,
            chunks,
            deletions,
            compactions,
            config,
            files: Files::default(),
            metrics,
            invalidations: Invalidations::default(),
            told,
            stale_paths: StalePaths::default(),
            guarded: Guarded::default(),
            runtime: tokio::runtime::Handle::current(),
            dirty_files: Mutex::default(),
            dirty_came: Notify::new(),
            caching: Arc::new(Semaphore::new(CACHINGS_MAX)),
            waiting_writes: Mutex::default(),
        });
        let handles = Arc::new(Handles::default());
        let weak_handles = Arc::downgrade(&handles);
        core.meta.set_lock_lost_sink(Box::new(move |ino, lost| {
            if let Some(handles) = weak_handles.upgrade() {
                handles.lose_lock(ino, lost);
            }
        }));
        let usage = Arc::new(Mutex::new(None));
        add_sources(&core, &handles, &usage);
        let tasks = vec![
            core.runtime.spawn(flusher::run(Arc::downgrade(&core))),
            core.runtime.spawn(read_usage(Arc::clone(&core.meta), usage)),
        ];
        Arc::new(Self {
            core,
            handles,
            directories: Directories::default(),
            specials,
            access_log: Arc::default(),
            tasks: Mutex::new(tasks),
        })
    }

    /// Who tells the kernel to forget; called from a thread of its own.
    pub fn set_invalidator(&self, kernel: Box<dyn Invalidate>) {
        self.core.invalidations.connect(kernel);
    }

    /// What this mount counts.
    #[must_use]
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.core.metrics
    }

    /// Who wants a line about each operation.
    #[must_use]
    pub fn access_log(&self) -> &Arc<AccessLog> {
        &self.access_log
    }

    #[must_use]
    pub fn config(&self) -> &VfsConfig {
        &self.core.config
    }

    #[must_use]
    pub fn meta(&self) -> &Arc<Meta> {
        &self.core.meta
    }

    /// For how long the kernel may remember that a name does not exist in a directory.
    #[must_use]
    pub fn negative_ttl(&self, directory: Ino) -> Duration {
        if self.core.guarded.contains(directory) { Duration::ZERO } else { self.core.config.negative_ttl }
    }

    /// Stores and commits everything that was written, ends the background work. The session stays the caller's.
    pub async fn shutdown(&self) {
        self.sync().await;
        if let Err(error) = self.core.meta.engine().sync().await {
            tracing::error!(%error, "what was committed last may not survive a power cut");
        }
        for task in self.tasks.lock().drain(..) {
            task.abort();
        }
        self.core.invalidations.close();
        let _ = tokio::time::timeout(DELETIONS_MAX, self.core.compactions.close()).await;
        // What was deleted just before the end would stay for an hour.
        let _ = tokio::time::timeout(DELETIONS_MAX, self.core.deletions.idle()).await;
        self.core.deletions.close().await;
        self.core.metrics.clear_sources();
    }

    /// Stores and commits everything that was written so far; what is lost is said to the handles.
    pub async fn sync(&self) {
        let dirty: Vec<_> = self.core.dirty_files.lock().values().cloned().collect();
        let flushes = dirty.iter().map(|file| self.core.flush(file));
        futures::future::join_all(flushes).await;
    }

    /// Makes a chunk's list as short as it gets, waiting for whoever is at it already.
    ///
    /// # Errors
    /// EROFS on a mount that changes nothing; bytes that can't be read or stored: the chunk is then as it was.
    pub async fn compact_chunk(&self, ino: Ino, indx: u32) -> Result<Compacted> {
        self.check_writable()?;
        self.core.compact_all(ino, indx).await
    }

    /// Slices whose objects this mount has deleted so far.
    #[must_use]
    pub fn deleted_slices(&self) -> u64 {
        self.core.deletions.deleted()
    }

    /// Waits until no compaction is under way.
    pub async fn wait_for_compactions(&self) {
        self.core.compactions.idle().await;
    }

    /// Waits until the slices that were freed so far are deleted.
    pub async fn wait_for_deletions(&self) {
        self.core.deletions.idle().await;
    }

    /// Runs one operation and counts it.
    pub(crate) async fn count<T>(
        &self,
        operation: FileOp,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let begin = Instant::now();
        let result = work.await;
        let failure = result.as_ref().err().map(crate::Error::errno);
        self.core.metrics.count(operation, begin.elapsed(), failure);
        result
    }

    pub(crate) fn found(&self, ino: Ino, attr: Attr) -> Found {
        self.tells(ino, &attr);
        let config = &self.core.config;
        if self.is_guarded(&attr) {
            return Found { ino, attr, attr_ttl: Duration::ZERO, entry_ttl: Duration::ZERO };
        }
        let entry_ttl = if attr.kind == Kind::Directory { config.dir_entry_ttl } else { config.entry_ttl };
        Found { ino, attr, attr_ttl: config.attr_ttl, entry_ttl }
    }

    pub(crate) fn attributes(&self, ino: Ino, attr: Attr) -> Attributes {
        self.tells(ino, &attr);
        let attr_ttl = if self.is_guarded(&attr) { Duration::ZERO } else { self.core.config.attr_ttl };
        Attributes { ino, attr, attr_ttl }
    }

    /// Whether it lies beside a file that is locked here.
    fn is_guarded(&self, attr: &Attr) -> bool {
        attr.kind != Kind::Directory && self.core.guarded.contains(attr.parent)
    }

    /// These attributes go to the kernel.
    fn tells(&self, ino: Ino, attr: &Attr) {
        if attr.kind == Kind::File {
            self.core.told.note(ino, Shape::of(attr));
        }
    }

    pub(crate) fn special_attr(&self, ino: Ino) -> Option<Attr> {
        let config_bytes = if ino == special::CONFIG { self.special_text(ino).len() as u64 } else { 0 };
        self.specials.attr(ino, config_bytes)
    }

    /// What an internal file holds now.
    pub(crate) fn special_text(&self, ino: Ino) -> String {
        match ino {
            special::STATS => self.core.metrics.stats_text(),
            special::CONFIG => special::config_text(&self.core.meta, &self.core.config),
            _ => String::new(),
        }
    }

    /// # Errors
    /// EROFS on a mount that changes nothing.
    pub(crate) fn check_writable(&self) -> Result<()> {
        if self.core.config.read_only { Err(Errno::EROFS.into()) } else { Ok(()) }
    }
}

impl Drop for Vfs {
    fn drop(&mut self) {
        for task in self.tasks.lock().drain(..) {
            task.abort();
        }
        self.core.invalidations.close();
        self.core.metrics.clear_sources();
    }
}

impl std::fmt::Debug for Vfs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Vfs").field("meta", &self.core.meta).finish_non_exhaustive()
    }
}

/// Volume numbers as last read: usage, room.
type LastUsage = Arc<Mutex<Option<(Usage, u64, u64)>>>;

async fn read_usage(meta: Arc<Meta>, last: LastUsage) {
    loop {
        let usage = meta.usage().await;
        let room = meta.statfs(&juicefs_meta::Caller::internal(), Ino::ROOT).await;
        if let (Ok(usage), Ok(room)) = (usage, room) {
            *last.lock() =
                Some((usage, room.total_bytes, room.used_inodes.saturating_add(room.avail_inodes)));
        }
        tokio::time::sleep(USAGE_PERIOD).await;
    }
}

fn add_sources(core: &Arc<Core>, handles: &Arc<Handles>, usage: &LastUsage) {
    let (core, handles) = (Arc::downgrade(core), Arc::downgrade(handles));
    let usage = Arc::clone(usage);
    let metrics = match core.upgrade() {
        Some(core) => Arc::clone(&core.metrics),
        None => return,
    };
    metrics.add_source(Box::new(move |samples| {
        if let Some((usage, total_space, total_inodes)) = *usage.lock() {
            samples.put("used_space", usage.space as f64);
            samples.put("used_inodes", usage.inodes as f64);
            samples.put("total_space", total_space as f64);
            samples.put("total_inodes", total_inodes as f64);
        }
        if let Some(handles) = handles.upgrade() {
            samples.put("fuse_open_handlers", handles.count() as f64);
        }
        if let Some(core) = core.upgrade() {
            samples.put("slices_deleted", core.deletions.deleted() as f64);
            let (compactions, bytes) = core.compactions.done();
            samples.put_sum("compact_size_histogram_bytes", "", compactions, bytes as f64);
            put_store(samples, &core);
        }
    }));
}

fn put_store(samples: &mut Samples, core: &Core) {
    let stats = core.chunks.stats();
    for (name, value) in [
        ("blockcache_blocks", stats.disk_cache_blocks + stats.memory_cache_blocks),
        ("blockcache_bytes", stats.disk_cache_bytes + stats.memory_cache_bytes),
        ("blockcache_drops", stats.cache_drops),
        ("blockcache_evicts", stats.cache_evictions),
        ("blockcache_hits", stats.cache_hits),
        ("blockcache_hit_bytes", stats.cache_hit_bytes),
        ("blockcache_miss", stats.cache_misses),
        ("blockcache_miss_bytes", stats.cache_miss_bytes),
        ("blockcache_writes", stats.cache_writes),
        ("blockcache_write_bytes", stats.cache_write_bytes),
        ("object_request_uploading", stats.uploads_in_flight as u64),
        ("staging_blocks", stats.staging_blocks),
        ("staging_block_bytes", stats.staging_bytes),
        ("store_cache_size_bytes", stats.memory_cache_bytes),
        ("transaction_restart", core.meta.restarts()),
        ("used_buffer_size_bytes", stats.budget_used_bytes as u64),
        ("used_read_buffer_size_bytes", stats.reads_bytes() as u64),
    ] {
        samples.put(name, value as f64);
    }
    let (count, seconds) = core.meta.engine_calls();
    samples.put_sum("meta_ops_durations_histogram_seconds", "", count, seconds);
    let (count, seconds) = core.meta.transactions();
    samples.put_sum("transaction_durations_histogram_seconds", "", count, seconds);
    let now = Instant::now();
    let oldest_write =
        core.waiting_writes.lock().values().min().map(|since| now.saturating_duration_since(*since));
    let meta = core.meta.waiting_since().map(|since| now.saturating_duration_since(since));
    let lock = core.meta.waiting_for_lock_since().map(|since| now.saturating_duration_since(since));
    for (on, waited) in [
        ("meta", meta),
        ("lock", lock),
        ("memory", oldest_write),
        ("upload", stats.oldest_upload),
        ("download", stats.oldest_download),
    ] {
        samples.put_labelled("waiting", on, waited.map_or(0.0, |waited| waited.as_secs_f64()));
    }
}
