//! A volume opened for work on its data by a command: no session, no cache, a budget of memory of its own.

use juicefs_base::budget::Budget;
use juicefs_chunk::{ChunkConfig, ChunkStore, Compression};
use juicefs_meta::url::MetaUrl;
use juicefs_meta::{Meta, MetaOptions, engines};
use juicefs_vfs::{Vfs, VfsConfig};
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::storage::{StorageAccess, open_whole_store};

/// What the buffers of a command may hold.
const BUDGET_BYTES: usize = 256 << 20;

pub(crate) struct Opened {
    pub meta: Arc<Meta>,
    pub vfs: Arc<Vfs>,
}

impl Opened {
    /// # Errors
    /// An engine or store that can't be opened; a volume that this client must not change.
    pub async fn new(url: &MetaUrl, access: &StorageAccess, threads: usize) -> Result<Self> {
        let meta = open_meta(url).await?;
        let format = meta.format();
        let store = open_whole_store(meta.engine().as_ref(), &format, access).await?;
        let config = ChunkConfig {
            block_bytes: format.block_bytes(),
            compression: Compression::parse(&format.compression).map_err(Error::BadRequest)?,
            hash_prefix: format.hash_prefix,
            memory_cache_bytes: 0,
            max_deletes: threads.max(1),
            prefetch: 0,
            ..ChunkConfig::default()
        };
        let chunks = ChunkStore::new(store, config, Budget::new(BUDGET_BYTES))?;
        let vfs_config = VfsConfig { max_deletes: threads.max(1), ..VfsConfig::default() };
        let vfs = Vfs::new(Arc::clone(&meta), chunks, vfs_config);
        Ok(Self { meta, vfs })
    }

    /// Waits for what goes on behind the calls and writes the sums of it.
    ///
    /// # Errors
    /// As the engine's.
    pub async fn close(self) -> Result<()> {
        self.meta.wait_for_deleted_files().await;
        self.vfs.wait_for_deletions().await;
        self.vfs.shutdown().await;
        Ok(self.meta.flush_statistics().await?)
    }
}

/// The name space alone, for commands that leave data to mounts and jobs.
///
/// # Errors
/// As [`Opened::new`].
pub(crate) async fn open_meta(url: &MetaUrl) -> Result<Arc<Meta>> {
    let meta = Meta::open(engines::open(url).await?, MetaOptions::default()).await?;
    match meta.read_only_reason() {
        None => Ok(meta),
        Some(reason) => Err(Error::BadRequest(reason)),
    }
}
