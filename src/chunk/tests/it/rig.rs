//! A chunk store over a [`MemoryStore`], and what tests do with both.

use crate::memory_store::MemoryStore;
use juicefs_base::budget::Budget;
use juicefs_chunk::{ChunkConfig, ChunkStore, Result};
use std::sync::Arc;
use std::time::{Duration, Instant};

pub const BLOCK: usize = 64 << 10;

pub struct Rig {
    pub store: Arc<MemoryStore>,
    pub budget: Budget,
    pub chunks: Arc<ChunkStore>,
}

/// Small blocks, no caches, no prefetch.
pub fn bare() -> ChunkConfig {
    ChunkConfig {
        block_bytes: BLOCK,
        memory_cache_bytes: 0,
        prefetch: 0,
        free_space_ratio: 0.0,
        ..Default::default()
    }
}

/// As [`bare`], with one cache directory.
pub fn cached(dir: &std::path::Path) -> ChunkConfig {
    ChunkConfig { cache_dirs: vec![dir.to_owned()], ..bare() }
}

impl Rig {
    pub fn new(config: ChunkConfig) -> Self {
        Self::over(Arc::new(MemoryStore::new()), config)
    }

    pub fn over(store: Arc<MemoryStore>, config: ChunkConfig) -> Self {
        let budget = Budget::new(32 << 20);
        let chunks = ChunkStore::new(store.clone(), config, budget.clone()).expect("opens");
        Self { store, budget, chunks }
    }

    /// Stores a slice whose bytes are [`bytes`].
    pub async fn write(&self, id: u64, size: usize) -> Vec<u8> {
        let data = bytes(id, size);
        store(&self.chunks, id, &data).await.expect("stored");
        data
    }
}

pub async fn store(chunks: &Arc<ChunkStore>, id: u64, data: &[u8]) -> Result<()> {
    let mut writer = chunks.writer(id);
    for (indx, piece) in data.chunks(10_007).enumerate() {
        let mut pages = chunks.pages().acquire(piece.len()).await;
        writer.write_at((indx * 10_007) as u32, piece, &mut pages)?;
        writer.flush_full_blocks();
    }
    writer.finish(data.len() as u32).await
}

/// Bytes that differ by slice and place, and compress a little.
pub fn bytes(id: u64, size: usize) -> Vec<u8> {
    (0..size as u64).map(|i| ((i * 31 + id * 7) ^ (i >> 9)) as u8 & 0x3f).collect()
}

/// Waits until `done`, which somebody else brings about.
pub async fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < Duration::from_secs(20), "{what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
