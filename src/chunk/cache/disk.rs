//! One directory of the disk cache, in the peer's layout: `<root>/.lock` and `<root>/raw/chunks/../<id>_<indx>_<size>`.
//!
//! The index says what is there; only this module changes it, together with the files. It may lag behind other
//! processes that share the directory: a file that is gone is forgotten when it is met, a new one is found by the next
//! scan. A directory that fails is *down* until the process ends: it holds nothing and takes nothing.
//! All methods but [`CacheDir::try_read`] may wait for the disk.

use super::file::{CachedFile, Problem, Wait};
use super::lru::Lru;
use super::verify;
use crate::config::{ChecksumLevel, ChunkConfig, Eviction};
use crate::layout::{BlockId, Layout};
use crate::stats::Counters;
use bytes::Bytes;
use juicefs_base::sync::Mutex;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

/// So many failures in a row take a directory down.
const MOST_FAILURES: u32 = 3;
/// Open files kept a directory.
const OPEN_FILES: usize = 128;

#[derive(Debug)]
pub(super) struct CacheDir {
    pub(super) root: PathBuf,
    /// From the directory's own UUID; decides which blocks are its own.
    pub(super) seed: u64,
    pub(super) layout: Layout,
    mode: u32,
    pub(super) level: ChecksumLevel,
    pub(super) eviction: Eviction,
    pub(super) most_bytes: u64,
    pub(super) most_items: u64,
    pub(super) free_ratio: f64,
    pub(super) expire: Duration,
    pub(super) index: Mutex<Index>,
    files: Mutex<Lru<Arc<CachedFile>>>,
    /// Whether the first scan is over: then what the index lacks is not there.
    pub(super) scanned: AtomicBool,
    down: AtomicBool,
    failures: AtomicU32,
    temporary: AtomicU64,
    /// The last look at the disk: `None` inside means too full for anything.
    pub(super) last_space: Mutex<Option<(Instant, Option<super::evict::Space>)>>,
    /// Whether it was said that the disk is too full.
    pub(super) is_full: AtomicBool,
    pub(super) counters: Arc<Counters>,
}

/// Blocks with the second of their last use.
#[derive(Debug, Default)]
pub(super) struct Index {
    pub(super) blocks: Lru<u32>,
    pub(super) bytes: u64,
}

/// What a cached block costs: its file rounded up to file system blocks, and as much again for the inode.
pub(super) fn cost(block: BlockId) -> u64 {
    let trailer = (block.size as usize).div_ceil(verify::WINDOW) * verify::SUM;
    (u64::from(block.size) + trailer as u64).next_multiple_of(4096) + 4096
}

pub(super) fn now_s() -> u32 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u32::try_from(since.as_secs()).unwrap_or(u32::MAX)
}

impl Index {
    pub(super) fn insert(&mut self, block: BlockId, used_s: u32) {
        if self.blocks.insert(block, used_s).is_none() {
            self.bytes += cost(block);
        }
    }

    pub(super) fn remove(&mut self, block: BlockId) -> bool {
        let there = self.blocks.remove(block).is_some();
        self.bytes -= if there { cost(block) } else { 0 };
        there
    }
}

impl CacheDir {
    /// Makes or adopts the directory `root`; one of `share` directories.
    pub(super) fn open(
        root: &Path,
        share: u64,
        config: &ChunkConfig,
        layout: Layout,
        counters: Arc<Counters>,
    ) -> io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(dir_mode(config.cache_mode)).create(root)?;
        let identity = identity(root, config.cache_mode)?;
        let probe = root.join(format!(".probe-{}.tmp", uuid::Uuid::new_v4()));
        fs::write(&probe, b"")?;
        fs::remove_file(&probe)?;
        let seed = identity.bytes().fold(0, |mixed, byte| {
            let byte = BlockId { id: u64::from(byte), indx: 0, size: 0 };
            super::lru::hash(byte, mixed)
        });
        Ok(Self {
            root: root.to_owned(),
            seed,
            layout,
            mode: config.cache_mode,
            level: config.verify,
            eviction: config.cache_eviction,
            most_bytes: config.cache_bytes / share,
            most_items: config.cache_items.div_ceil(share),
            free_ratio: config.free_space_ratio,
            expire: config.cache_expire,
            index: Mutex::default(),
            files: Mutex::default(),
            scanned: AtomicBool::new(false),
            down: AtomicBool::new(false),
            failures: AtomicU32::new(0),
            temporary: AtomicU64::new(0),
            last_space: Mutex::new(None),
            is_full: AtomicBool::new(false),
            counters,
        })
    }

    pub(super) fn is_up(&self) -> bool {
        !self.down.load(Ordering::Acquire)
    }

    /// Whether it is worth looking for `block` here.
    pub(super) fn may_have(&self, block: BlockId) -> bool {
        self.is_up() && (!self.scanned.load(Ordering::Acquire) || self.index.lock().blocks.contains(block))
    }

    pub(super) fn has(&self, block: BlockId) -> bool {
        self.is_up() && self.index.lock().blocks.contains(block)
    }

    /// Bytes of a cached block; `None` if it is not here, damaged (it is removed then), or would have to be waited for.
    pub(super) fn try_read(&self, block: BlockId, off: u32, len: u32) -> Option<Bytes> {
        self.read_with(block, off, len, Wait::Never)
    }

    pub(super) fn read(&self, block: BlockId, off: u32, len: u32) -> Option<Bytes> {
        self.read_with(block, off, len, Wait::Allowed)
    }

    fn read_with(&self, block: BlockId, off: u32, len: u32, wait: Wait) -> Option<Bytes> {
        if !self.touch(block) {
            return None;
        }
        let opened = match self.files.lock().get(block) {
            Some(file) => Ok(file.clone()),
            None => Err(()),
        };
        let read = match opened {
            Ok(file) => file.read(off, len, self.level, wait),
            Err(()) => self.open_file(block, wait).and_then(|file| file.read(off, len, self.level, wait)),
        };
        match read {
            Ok(bytes) => {
                self.failures.store(0, Ordering::Relaxed);
                Some(bytes)
            }
            Err(Problem::WouldWait) => None,
            Err(Problem::NotThere) => {
                self.index.lock().remove(block);
                None
            }
            Err(Problem::Damaged(cause)) => {
                tracing::warn!("cached block {} removed: {cause}", self.path(block).display());
                self.counters.damaged.add(block.size as usize);
                self.remove(block);
                None
            }
            Err(Problem::Io(cause)) => {
                self.forget(block);
                self.failed(&cause);
                None
            }
        }
    }

    /// Marks a block as used now; whether it may be here.
    fn touch(&self, block: BlockId) -> bool {
        if !self.is_up() {
            return false;
        }
        if let Some(used_s) = self.index.lock().blocks.get(block) {
            *used_s = now_s();
            return true;
        }
        !self.scanned.load(Ordering::Acquire)
    }

    fn open_file(&self, block: BlockId, wait: Wait) -> Result<Arc<CachedFile>, Problem> {
        let path = self.path(block);
        let file = Arc::new(CachedFile::open(&path, block.size as usize, self.level, wait)?);
        self.index.lock().insert(block, now_s());
        let mut files = self.files.lock();
        let replaced = files.insert(block, file.clone());
        let spare = if files.len() > OPEN_FILES { files.oldest().map(|(oldest, _)| oldest) } else { None };
        let closed = spare.and_then(|oldest| files.remove(oldest));
        drop(files);
        drop((replaced, closed));
        Ok(file)
    }

    /// Caches a block; whether it is there now. Failures are logged and counted here.
    pub(super) fn write(&self, block: BlockId, data: &[u8]) -> bool {
        if !self.is_up() {
            return false;
        }
        if self.index.lock().blocks.get(block).is_some() {
            return true;
        }
        if !self.make_room(cost(block)) {
            self.counters.drops.add(data.len());
            return false;
        }
        match self.write_file(&self.path(block), data) {
            Ok(()) => {
                self.failures.store(0, Ordering::Relaxed);
                self.index.lock().insert(block, now_s());
                self.counters.cache_writes.add(data.len());
                true
            }
            Err(cause) => {
                if matches!(cause.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
                    // Somebody else filled the disk; the next look at the free space makes room.
                    *self.last_space.lock() = None;
                    self.counters.drops.add(data.len());
                } else {
                    self.failed(&cause);
                }
                false
            }
        }
    }

    /// Makes the whole file of a block appear at `path`, below the root.
    pub(super) fn write_file(&self, path: &Path, data: &[u8]) -> io::Result<()> {
        // A name of its own, so that processes which share the directory never write into one file; the peer's scan
        // removes what ends in .tmp and is left behind.
        let serial = self.temporary.fetch_add(1, Ordering::Relaxed);
        let mut temporary = path.to_owned().into_os_string();
        temporary.push(format!(".{}-{serial}.tmp", std::process::id()));
        let temporary = PathBuf::from(temporary);
        let create = || OpenOptions::new().write(true).create_new(true).mode(self.mode).open(&temporary);
        let mut file = match create() {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => {
                self.make_parents(path)?;
                create()
            }
            other => other,
        }?;
        let written = (|| {
            if self.mode & 0o077 != 0 {
                file.set_permissions(fs::Permissions::from_mode(self.mode))?;
            }
            file.write_all(data)?;
            if self.level != ChecksumLevel::None {
                file.write_all(&verify::trailer(data))?;
            }
            fs::rename(&temporary, path)
        })();
        if written.is_err() {
            // The first failure is what counts.
            let _ = fs::remove_file(&temporary);
        }
        written
    }

    /// Makes the directories between root and `path`, but never the root: where a disk was unmounted, its mount
    /// point must not be filled.
    pub(super) fn make_parents(&self, path: &Path) -> io::Result<()> {
        self.check_root()?;
        let parent = path.parent().unwrap_or(&self.root);
        fs::DirBuilder::new().recursive(true).mode(dir_mode(self.mode)).create(parent)
    }

    fn check_root(&self) -> io::Result<()> {
        match fs::symlink_metadata(self.root.join(".lock")) {
            Ok(_) => Ok(()),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => {
                self.take_down("it was removed or unmounted");
                Err(cause)
            }
            Err(cause) => Err(cause),
        }
    }

    /// Looks whether the directory is still what was opened.
    pub(super) fn check(&self) {
        if let Err(cause) = self.check_root() {
            self.failed(&cause);
        }
    }

    /// Removes a block's entry and file.
    pub(super) fn remove(&self, block: BlockId) {
        self.forget(block);
        if !self.is_up() {
            return;
        }
        match fs::remove_file(self.path(block)) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => self.failed(&cause),
            _ => {}
        }
    }

    fn forget(&self, block: BlockId) {
        self.index.lock().remove(block);
        let closed = self.files.lock().remove(block);
        drop(closed);
    }

    pub(super) fn path(&self, block: BlockId) -> PathBuf {
        let mut path = self.root.join("raw");
        path.push(self.layout.key(block));
        path
    }

    pub(super) fn failed(&self, cause: &io::Error) {
        let failures = self.failures.fetch_add(1, Ordering::Relaxed) + 1;
        if failures >= MOST_FAILURES || cause.kind() == io::ErrorKind::ReadOnlyFilesystem {
            self.take_down(&cause.to_string());
        } else if self.is_up() {
            tracing::warn!("cache directory {}: {cause}", self.root.display());
        }
    }

    fn take_down(&self, cause: &str) {
        if !self.down.swap(true, Ordering::AcqRel) {
            let root = self.root.display();
            tracing::warn!(
                "cache directory {root} is not used any more: {cause}; mount again when it is repaired"
            );
            let held = (std::mem::take(&mut *self.index.lock()), std::mem::take(&mut *self.files.lock()));
            drop(held);
        }
    }
}

/// The x bits that go with the r bits.
fn dir_mode(mode: u32) -> u32 {
    mode | (mode & 0o444) >> 2
}

/// The UUID in `.lock`, made if there is none.
fn identity(root: &Path, mode: u32) -> io::Result<String> {
    let path = root.join(".lock");
    match OpenOptions::new().write(true).create_new(true).mode(mode).open(&path) {
        Ok(mut file) => {
            let identity = uuid::Uuid::new_v4().to_string();
            file.write_all(identity.as_bytes())?;
            Ok(identity)
        }
        Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => {
            Ok(String::from_utf8_lossy(&fs::read(&path)?).into_owned())
        }
        Err(cause) => Err(cause),
    }
}
