//! Where blocks stay near: [`MemoryCache`], and [`DiskCache`] over any number of directories. A cached block is always
//! uncompressed and whole. Blocks are immutable, so a cache can only lack one, never have an old one.

mod disk;
mod evict;
mod file;
mod lru;
mod memory;
mod scan;
mod stage;
mod stage_dir;
mod verify;

pub(crate) use memory::{MemoryCache, leased};
pub(crate) use stage_dir::{StageDir, StagedRead};

use crate::config::ChunkConfig;
use crate::error::Error;
use crate::layout::{BlockId, Layout};
use crate::stats::Counters;
use bytes::Bytes;
use disk::CacheDir;
use juicefs_base::budget::Budget;
use juicefs_base::sync::Mutex;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

/// Jobs that wait for disks at once.
const DISK_READS: usize = 16;
const DISK_WRITES: usize = 4;
/// What may wait to be written: this many bytes, or this many blocks if that is more. Further blocks are not cached.
const PENDING_BYTES: usize = 16 << 20;
const PENDING_BLOCKS: usize = 8;

/// The disk cache of one volume.
#[derive(Debug)]
pub(crate) struct DiskCache {
    dirs: Vec<Arc<CacheDir>>,
    unusable: usize,
    notices: Vec<String>,
    reads: Arc<Semaphore>,
    writes: Arc<Semaphore>,
    pending: Budget,
    scan_interval: Duration,
    last_scan: Mutex<Instant>,
    looking: Arc<AtomicBool>,
    counters: Arc<Counters>,
    runtime: Handle,
}

/// Gauges over all directories.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    pub(crate) bytes: u64,
    pub(crate) blocks: u64,
    pub(crate) dirs_up: usize,
    pub(crate) dirs_down: usize,
}

impl DiskCache {
    /// Opens all directories; `None` if none is named or the size is 0. One of several that can't be used is left out.
    ///
    /// # Errors
    /// [`Error::CacheDir`] when none can be used: who names a directory is told that it is wrong.
    pub(crate) fn open(
        config: &ChunkConfig,
        layout: Layout,
        counters: Arc<Counters>,
        runtime: Handle,
    ) -> Result<Option<Self>, Error> {
        if config.cache_dirs.is_empty() || config.cache_bytes == 0 {
            return Ok(None);
        }
        let share = config.cache_dirs.len() as u64;
        let (mut dirs, mut notices) = (Vec::new(), Vec::new());
        let mut failed = None;
        for root in &config.cache_dirs {
            match CacheDir::open(root, share, config, layout, counters.clone()) {
                Ok(dir) => {
                    notices.extend(dir.space_notice());
                    dirs.push(Arc::new(dir));
                }
                Err(cause) => {
                    let failure = Error::CacheDir { dir: root.clone(), cause: cause.to_string() };
                    notices.push(format!("{failure}; going on without it"));
                    failed = Some(failure);
                }
            }
        }
        if let Some(failure) = failed.filter(|_| dirs.is_empty()) {
            return Err(failure);
        }
        for notice in &notices {
            tracing::warn!("{notice}");
        }
        let unusable = config.cache_dirs.len() - dirs.len();
        for dir in &dirs {
            let dir = Arc::downgrade(dir);
            runtime.spawn_blocking(move || scan::scan(&dir));
        }
        Ok(Some(Self {
            dirs,
            unusable,
            notices,
            reads: Arc::new(Semaphore::new(DISK_READS)),
            writes: Arc::new(Semaphore::new(DISK_WRITES)),
            pending: Budget::new(PENDING_BYTES.max(PENDING_BLOCKS * config.block_bytes)),
            scan_interval: config.cache_scan_interval,
            last_scan: Mutex::new(Instant::now()),
            looking: Arc::default(),
            counters,
            runtime,
        }))
    }

    /// What the user should know of the directories at the start.
    pub(crate) fn notices(&self) -> &[String] {
        &self.notices
    }

    /// The directory that a block belongs to: the one in which it scores highest, so that one more or less moves only
    /// its own share.
    fn dir(&self, block: BlockId) -> Option<&Arc<CacheDir>> {
        if let [only] = &self.dirs[..] {
            return only.is_up().then_some(only);
        }
        self.dirs.iter().filter(|dir| dir.is_up()).max_by_key(|dir| lru::hash(block, dir.seed))
    }

    pub(crate) fn contains(&self, block: BlockId) -> bool {
        self.dir(block).is_some_and(|dir| dir.has(block))
    }

    /// As [`Self::contains`], and also while the first scan goes on.
    pub(crate) fn may_have(&self, block: BlockId) -> bool {
        self.dir(block).is_some_and(|dir| dir.may_have(block))
    }

    /// Bytes of a cached block without waiting for the disk.
    pub(crate) fn try_read(&self, block: BlockId, off: u32, len: u32) -> Option<Bytes> {
        self.dir(block)?.try_read(block, off, len)
    }

    /// Bytes of a cached block; `None` if it is not cached or not readable.
    pub(crate) async fn read(&self, block: BlockId, off: u32, len: u32) -> Option<Bytes> {
        let dir = self.dir(block)?;
        if !dir.may_have(block) {
            return None;
        }
        let (dir, turn) = (dir.clone(), self.reads.clone().acquire_owned().await.ok()?);
        let read = self.runtime.spawn_blocking(move || {
            let _turn = turn;
            dir.read(block, off, len)
        });
        read.await.ok().flatten()
    }

    /// Caches a block and waits until it is; not at all if too many wait already.
    pub(crate) async fn write(&self, block: BlockId, data: Bytes) {
        if let Some(write) = self.start_write(block, data) {
            write.await;
        }
    }

    /// As [`Self::write`], not waited for.
    pub(crate) fn write_in_background(&self, block: BlockId, data: Bytes) {
        if let Some(write) = self.start_write(block, data) {
            self.runtime.spawn(write);
        }
    }

    /// Caches a block when a turn comes, however many wait: for who holds its memory and has no more of it meanwhile.
    pub(crate) async fn write_in_turn(&self, block: BlockId, data: Bytes) {
        let Some(dir) = self.dir(block).cloned() else { return };
        let Ok(turn) = self.writes.clone().acquire_owned().await else { return };
        let written = self.runtime.spawn_blocking(move || {
            let _turn = turn;
            dir.write(block, &data);
        });
        let _ = written.await;
    }

    /// The directory that a block belongs to.
    pub(crate) fn root_of(&self, block: BlockId) -> Option<PathBuf> {
        self.dir(block).map(|dir| dir.root.clone())
    }

    fn start_write(
        &self,
        block: BlockId,
        data: Bytes,
    ) -> Option<impl Future<Output = ()> + Send + 'static + use<>> {
        let dir = self.dir(block)?.clone();
        let Some(pending) = self.pending.try_acquire(data.len()) else {
            self.counters.drops.add(data.len());
            return None;
        };
        let (writes, runtime) = (self.writes.clone(), self.runtime.clone());
        Some(async move {
            let Ok(turn) = writes.acquire_owned().await else { return };
            let written = runtime.spawn_blocking(move || {
                let _held = (turn, pending);
                dir.write(block, &data);
            });
            // A panic there is logged by the runtime; the block is simply not cached.
            let _ = written.await;
        })
    }

    /// Forgets blocks and removes their files.
    pub(crate) async fn remove(&self, blocks: Vec<BlockId>) {
        let found: Vec<_> = blocks
            .into_iter()
            .filter_map(|block| {
                self.dir(block).filter(|dir| dir.may_have(block)).map(|dir| (dir.clone(), block))
            })
            .collect();
        if found.is_empty() {
            return;
        }
        let Ok(turn) = self.writes.clone().acquire_owned().await else { return };
        let removed = self.runtime.spawn_blocking(move || {
            let _turn = turn;
            for (dir, block) in found {
                dir.remove(block);
            }
        });
        let _ = removed.await;
    }

    /// Keeps limits, ages and the index true; one round at a time, in the background.
    pub(crate) fn look_after(&self) {
        if self.looking.swap(true, Ordering::AcqRel) {
            return;
        }
        let mut last_scan = self.last_scan.lock();
        let rescan = !self.scan_interval.is_zero() && last_scan.elapsed() >= self.scan_interval;
        if rescan {
            *last_scan = Instant::now();
        }
        drop(last_scan);
        let dirs: Vec<_> = self.dirs.iter().map(Arc::downgrade).collect();
        let looking = self.looking.clone();
        self.runtime.spawn_blocking(move || {
            for weak in dirs {
                if let Some(dir) = weak.upgrade().filter(|dir| dir.is_up()) {
                    dir.check();
                    dir.make_room(0);
                    dir.expire_old();
                }
                if rescan {
                    scan::scan(&weak);
                }
            }
            looking.store(false, Ordering::Release);
        });
    }

    /// The directory in which a block is staged.
    pub(crate) fn stage_dir(&self, block: BlockId) -> Option<StageDir> {
        self.dir(block).map(|dir| StageDir::new(dir.clone(), self.runtime.clone()))
    }

    /// Every directory that may hold staged blocks.
    pub(crate) fn stage_dirs(&self) -> Vec<StageDir> {
        self.dirs.iter().map(|dir| StageDir::new(dir.clone(), self.runtime.clone())).collect()
    }

    /// Whether a disk has less free than is to stay so.
    pub(crate) fn is_short_of_room(&self) -> bool {
        self.dirs.iter().any(|dir| dir.is_up() && dir.is_short_of_room())
    }

    pub(crate) fn usage(&self) -> Usage {
        let mut usage = Usage { dirs_down: self.unusable, ..Usage::default() };
        for dir in &self.dirs {
            let index = dir.index.lock();
            usage.bytes += index.bytes;
            usage.blocks += index.blocks.len() as u64;
            if dir.is_up() {
                usage.dirs_up += 1;
            } else {
                usage.dirs_down += 1;
            }
        }
        usage
    }
}
