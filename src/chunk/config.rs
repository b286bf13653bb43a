//! What a mount decides about blocks, buffers and caches.

use crate::compress::Compression;
use crate::error::{Error, Result};
use crate::staging::Writeback;
use std::path::PathBuf;
use std::time::Duration;

/// What of a cached block is verified when it is read (`--verify-cache-checksum`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ChecksumLevel {
    /// Nothing; blocks are stored without checksums.
    None,
    /// Only reads of whole blocks.
    Full,
    /// The 32 KiB windows that lie inside the read.
    Shrink,
    /// Every 32 KiB window that the read touches.
    #[default]
    Extend,
}

/// Which cached block leaves when a directory is full (`--cache-eviction`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Eviction {
    /// None leaves; new blocks are not cached.
    None,
    /// The older of two picked at random.
    #[default]
    TwoRandom,
    Lru,
}

/// Settings of a [`crate::ChunkStore`]. The default is that of the peer's `mount` with no cache directory.
#[derive(Clone, Debug)]
pub struct ChunkConfig {
    /// The volume's block size, a power of two from 64 KiB to 16 MiB.
    pub block_bytes: usize,
    pub compression: Compression,
    pub hash_prefix: bool,
    /// Already including the volume's UUID. Empty: blocks are cached in memory only.
    pub cache_dirs: Vec<PathBuf>,
    /// Over all directories together (`--cache-size`); 0 means no disk cache.
    pub cache_bytes: u64,
    /// Over all directories together (`--cache-items`); 0 means no limit.
    pub cache_items: u64,
    /// Share of each cache file system that stays free.
    pub free_space_ratio: f64,
    /// Mode of cached files; directories get the matching x bits.
    pub cache_mode: u32,
    pub verify: ChecksumLevel,
    pub cache_eviction: Eviction,
    /// How often a directory is scanned again for files of other processes; zero: only at start.
    pub cache_scan_interval: Duration,
    /// Cached blocks not used for this long are removed; zero: never.
    pub cache_expire: Duration,
    /// Blocks kept in memory, on top of the directories; drawn from the budget and given back when it is short.
    pub memory_cache_bytes: usize,
    /// Whether reads keep blocks of full size too (not `--cache-partial-only`).
    pub cache_full_blocks: bool,
    /// Whether writes keep blocks of full size too (`--cache-large-write`).
    pub cache_large_write: bool,
    /// Blocks are acknowledged from a cache directory and stored later.
    pub writeback: Option<Writeback>,
    /// Whether what is staged, by this process or an earlier one, is stored; not by a mount that only reads.
    pub stores_staged: bool,
    pub max_uploads: usize,
    pub max_downloads: usize,
    pub max_deletes: usize,
    /// Workers that fetch whole blocks after small random reads; 0 turns that off.
    pub prefetch: usize,
    /// How long a fetch waits for memory: a store that is away keeps what others have for as long as it is asked.
    pub memory_wait: Duration,
    /// Most bytes in dirty pages; 0 means three quarters of the budget.
    pub dirty_bytes: usize,
}

impl Default for ChunkConfig {
    fn default() -> Self {
        Self {
            block_bytes: 4 << 20,
            compression: Compression::None,
            hash_prefix: false,
            cache_dirs: Vec::new(),
            cache_bytes: 100 << 30,
            cache_items: 0,
            free_space_ratio: 0.1,
            cache_mode: 0o600,
            verify: ChecksumLevel::Extend,
            cache_eviction: Eviction::TwoRandom,
            cache_scan_interval: Duration::from_secs(3600),
            cache_expire: Duration::ZERO,
            memory_cache_bytes: 32 << 20,
            cache_full_blocks: true,
            cache_large_write: false,
            writeback: None,
            stores_staged: false,
            max_uploads: 20,
            max_downloads: 200,
            max_deletes: 10,
            prefetch: 1,
            memory_wait: Duration::from_secs(60),
            dirty_bytes: 0,
        }
    }
}

impl ChunkConfig {
    /// Refuses what can't work.
    pub(crate) fn check(&self) -> Result<()> {
        let refuse = |what: String| Err(Error::Config(what));
        if !self.block_bytes.is_power_of_two() || !(64 << 10..=16 << 20).contains(&self.block_bytes) {
            return refuse(format!(
                "block size {} is not a power of two from 64 KiB to 16 MiB",
                self.block_bytes
            ));
        }
        if self.max_uploads == 0 || self.max_downloads == 0 || self.max_deletes == 0 {
            return refuse("max-uploads, max-downloads and max-deletes must be at least 1".into());
        }
        if !(0.0..1.0).contains(&self.free_space_ratio) {
            return refuse(format!("free-space-ratio {} is not in 0..1", self.free_space_ratio));
        }
        Ok(())
    }
}
