//! A full block to its object: compress, put, keep in the cache.

use crate::cache::{StageDir, leased};
use crate::compress::Compression;
use crate::error::{Error, Result};
use crate::layout::BlockId;
use crate::pages::{BlockBuf, Credit};
use crate::store::ChunkStore;
use crate::writer::Fate;
use bytes::Bytes;
use std::sync::atomic::Ordering;

impl ChunkStore {
    /// Stores one block when it is its turn, or stages it; durable when it returns, as far as the stage is. `data` holds the block's pages until then, or
    /// until its compressed form takes their place.
    pub(crate) async fn upload(&self, block: BlockId, data: BlockBuf, fate: &Fate) -> Result<()> {
        if self.staging.takes(block.size)
            && let Some(dir) = self.disk.as_ref().and_then(|disk| disk.stage_dir(block))
        {
            return self.stage(dir, block, data.freeze(), fate).await;
        }
        let _turn = self.uploads.acquire().await.map_err(|_| Error::Stopped)?;
        if fate.cancelled.load(Ordering::Acquire) {
            return Err(fate.failure.get().cloned().unwrap_or(Error::Stopped));
        }
        let _wait = self.counters.uploads.begin();
        let key = self.layout().key(block);
        let keeps = self.has_cache() && self.keeps_written(block);
        let (object, plain) = if self.config.compression == Compression::None {
            let data = data.freeze();
            (data.clone(), keeps.then_some(data))
        } else {
            self.compress(&key, data, keeps).await?
        };
        self.store.put(&key, object).await?;
        if let Some(plain) = plain {
            self.keep_in_memory(block, &plain);
            self.keep_on_disk(block, plain);
        }
        Ok(())
    }

    /// Leaves a block to the uploader; stores it here and now where there is no room for that.
    async fn stage(&self, dir: StageDir, block: BlockId, data: Bytes, fate: &Fate) -> Result<()> {
        if fate.cancelled.load(Ordering::Acquire) {
            return Err(fate.failure.get().cloned().unwrap_or(Error::Stopped));
        }
        let is_staged = self.staging.stage(dir, block, data.clone()).await;
        if !is_staged {
            self.put_block(block, data.clone()).await?;
        }
        if self.has_cache() && self.keeps_written(block) {
            self.keep_in_memory(block, &data);
            if !is_staged {
                self.keep_on_disk(block, data);
            }
        }
        Ok(())
    }

    /// The object of a block that is in memory anyway.
    pub(crate) async fn encode(&self, key: &str, plain: Bytes) -> Result<Bytes> {
        let compression = self.config.compression;
        if compression == Compression::None {
            return Ok(plain);
        }
        let _turn = self.codecs.acquire().await.map_err(|_| Error::Stopped)?;
        let encoded = self.runtime().spawn_blocking(move || compression.encode(plain)).await;
        encoded.map_err(|_| Error::Stopped)?.map_err(|cause| Error::Damaged { key: key.to_owned(), cause })
    }

    /// The object, which takes over the pages' place in the budget, and the block itself if it shall be kept and there
    /// is memory for both.
    async fn compress(&self, key: &str, mut data: BlockBuf, keeps: bool) -> Result<(Bytes, Option<Bytes>)> {
        let compression = self.config.compression;
        let _turn = self.codecs.acquire().await.map_err(|_| Error::Stopped)?;
        let credit = data.take_credit();
        let plain = data.freeze();
        let kept =
            if keeps { self.try_lease(plain.len()).map(|lease| leased(plain.clone(), lease)) } else { None };
        let encoded = self.runtime().spawn_blocking(move || compression.encode(plain)).await;
        let object = encoded
            .map_err(|_| Error::Stopped)?
            .map_err(|cause| Error::Damaged { key: key.to_owned(), cause })?;
        Ok((Bytes::from_owner(Counted { object, _credit: credit }), kept))
    }

    /// As the peer: what is smaller than a block stays in the cache, full blocks only if asked for.
    fn keeps_written(&self, block: BlockId) -> bool {
        block.size < self.layout().block_bytes || self.config.cache_large_write
    }
}

/// An object in the place of pages.
struct Counted {
    object: Bytes,
    _credit: Option<Credit>,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.object
    }
}
