//! Bytes of a slice, from the nearest place that has them: memory, a fetch under way, the disk cache, the store.

use crate::cache::{StagedRead, leased};
use crate::compress::Compression;
use crate::error::{Error, Result};
use crate::flight::Lead;
use crate::layout::BlockId;
use crate::store::ChunkStore;
use bytes::{Bytes, BytesMut};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use juicefs_base::budget::Lease;
use std::sync::Arc;

/// Blocks of one read that are looked for at once.
const BLOCKS_AT_ONCE: usize = 4;

/// Reads up to this size are not counted: their number is that of requests in flight.
const SMALL: u32 = 128 << 10;

/// A piece of a read that lies in one block.
#[derive(Clone, Copy, Debug)]
struct Piece {
    block: BlockId,
    off: u32,
    len: u32,
}

impl ChunkStore {
    /// Fills `buf` with the bytes from `off` of slice `id`, whose whole size is `size`.
    pub async fn read_into(&self, id: u64, size: u32, off: u32, buf: &mut [u8]) -> Result<()> {
        let len = u32::try_from(buf.len()).map_err(|_| outside(id, off, u64::MAX))?;
        let mut done = 0;
        let mut parts = self.parts(self.pieces(id, size, off, len)?);
        while let Some(part) = parts.try_next().await? {
            buf[done..done + part.len()].copy_from_slice(&part);
            done += part.len();
        }
        Ok(())
    }

    /// Bytes `off..off + len` of slice `id`, whose whole size is `size`. Not copied if they lie in one block. They pin
    /// the whole block's memory: a holder of many must copy.
    pub async fn read(&self, id: u64, size: u32, off: u32, len: u32) -> Result<Bytes> {
        let pieces = self.pieces(id, size, off, len)?;
        if let [piece] = pieces[..] {
            return self.part(piece).await;
        }
        let mut whole = BytesMut::with_capacity(len as usize);
        let mut parts = self.parts(pieces);
        while let Some(part) = parts.try_next().await? {
            whole.extend_from_slice(&part);
        }
        Ok(whole.freeze())
    }

    /// As [`Self::read`] if memory or the disk cache's pages in memory have all of it. Never waits, not even for a
    /// disk (where the cache's file system can tell).
    #[must_use]
    pub fn try_read_cached(&self, id: u64, size: u32, off: u32, len: u32) -> Option<Bytes> {
        let pieces = self.pieces(id, size, off, len).ok()?;
        let found = if let [piece] = pieces[..] {
            self.part_at_hand(piece)?
        } else {
            let mut whole = BytesMut::with_capacity(len as usize);
            for piece in pieces {
                whole.extend_from_slice(&self.part_at_hand(piece)?);
            }
            whole.freeze()
        };
        self.counters.hits.add(found.len());
        Some(found)
    }

    fn pieces(&self, id: u64, size: u32, off: u32, len: u32) -> Result<smallvec::SmallVec<[Piece; 2]>> {
        let end = u64::from(off) + u64::from(len);
        if end > u64::from(size) {
            return Err(outside(id, off, end));
        }
        let layout = self.layout();
        let (mut pieces, mut at, end) = (smallvec::SmallVec::new(), off, end as u32);
        while at < end {
            let block = layout.block(id, size, at / layout.block_bytes);
            let start = at % layout.block_bytes;
            let len = (block.size - start).min(end - at);
            pieces.push(Piece { block, off: start, len });
            at += len;
        }
        Ok(pieces)
    }

    fn parts(
        &self,
        pieces: smallvec::SmallVec<[Piece; 2]>,
    ) -> impl futures::Stream<Item = Result<Bytes>> + Unpin {
        stream::iter(pieces).map(|piece| self.part(piece)).buffered(BLOCKS_AT_ONCE).boxed()
    }

    fn part_at_hand(&self, piece: Piece) -> Option<Bytes> {
        let Piece { block, off, len } = piece;
        let cut = |whole: Bytes| whole.slice(off as usize..(off + len) as usize);
        if let Some(whole) = self.memory.get(block) {
            return Some(cut(whole));
        }
        if let Some(flight) = self.flights.peek(block) {
            return flight.map(cut);
        }
        self.disk.as_ref()?.try_read(block, off, len)
    }

    async fn part(&self, piece: Piece) -> Result<Bytes> {
        let Piece { block, off, len } = piece;
        if let Some(part) = self.part_at_hand(piece) {
            self.counters.hits.add(part.len());
            return Ok(part);
        }
        if let Some(part) = self.part_on_disk(piece).await? {
            self.counters.hits.add(part.len());
            return Ok(part);
        }
        if let Some(part) = self.part_staged(piece).await? {
            self.counters.hits.add(part.len());
            return Ok(part);
        }
        self.counters.misses.add(len as usize);
        if self.wants_range(piece) {
            let part = self.fetch_range(piece).await?;
            self.wish(block);
            return Ok(part);
        }
        let whole = self.fetch(block, false).await?;
        Ok(whole.slice(off as usize..(off + len) as usize))
    }

    /// Waits for the disk cache, if it may have the block.
    async fn part_on_disk(&self, piece: Piece) -> Result<Option<Bytes>> {
        let Piece { block, off, len } = piece;
        let Some(disk) = self.disk.as_ref().filter(|disk| disk.may_have(block)) else { return Ok(None) };
        let lease = self.lease_large(len).await?;
        let part = disk.read(block, off, len).await;
        Ok(part.map(|part| count(part, lease)))
    }

    /// A block that is not stored yet and has left the cache is still in the stage.
    async fn part_staged(&self, piece: Piece) -> Result<Option<Bytes>> {
        let Piece { block, off, len } = piece;
        let Some(dir) = self.staging.find(block) else { return Ok(None) };
        let lease = self.lease_large(len).await?;
        match dir.read(block, off, len).await {
            StagedRead::Data(part) => Ok(Some(count(part, lease))),
            // Stored meanwhile, or the store's answer tells more.
            StagedRead::Gone | StagedRead::Damaged(_) | StagedRead::Failed(_) => Ok(None),
        }
    }

    /// Memory for bytes that belong to no block in memory; small ones come and go with their request.
    async fn lease_large(&self, len: u32) -> Result<Option<Lease>> {
        if len <= SMALL {
            return Ok(None);
        }
        self.lease(len as usize).await.map(Some)
    }

    /// As the peer: a small read that does not begin the block, or any part of a block that nothing would keep, is a
    /// request for just these bytes, unless the block is on its way anyway.
    fn wants_range(&self, piece: Piece) -> bool {
        let Piece { block, off, len } = piece;
        let small = off > 0 && len <= self.layout().block_bytes / 4;
        self.config.compression == Compression::None
            && self.store.limits().reads_ranges
            && len < block.size
            && (small || !self.has_cache())
            && self.flights.peek(block).is_none()
    }

    async fn fetch_range(&self, piece: Piece) -> Result<Bytes> {
        let Piece { block, off, len } = piece;
        let lease = self.lease_large(len).await?;
        let _turn = self.downloads.acquire().await.map_err(|_| Error::Stopped)?;
        let _wait = self.counters.downloads.begin();
        let key = self.layout().key(block);
        let range = u64::from(off)..u64::from(off) + u64::from(len);
        let part = self.store.get(&key, Some(range)).await?;
        if part.len() != len as usize {
            let cause = format!("{} bytes at {off} instead of {len}", part.len());
            return Err(Error::Damaged { key, cause });
        }
        Ok(count(part, lease))
    }

    /// The whole block, fetched once for all who ask meanwhile. `always_keep` as the peer's prefetch: the block is
    /// kept even where reads of full blocks are not.
    pub(crate) async fn fetch(&self, block: BlockId, always_keep: bool) -> Result<Bytes> {
        let (passenger, lead) = self.flights.join(block);
        if let Some(lead) = lead {
            let me = self.me.upgrade().ok_or(Error::Stopped)?;
            self.runtime().spawn(me.fly(lead, always_keep));
        }
        passenger.wait().await
    }

    /// A flight's whole life, independent of who waits for it.
    async fn fly(self: Arc<Self>, lead: Lead, always_keep: bool) {
        let block = lead.block();
        // However this ends, the next reader may start anew.
        let _forget = Forget { chunks: &self, block };
        let data = match self.load(block).await {
            Ok(data) => data,
            Err(cause) => {
                self.flights.forget(block);
                lead.land(Err(cause));
                return;
            }
        };
        let keeps = always_keep || self.config.cache_full_blocks || block.size < self.layout().block_bytes;
        if keeps {
            self.memory.insert(block, data.clone());
        }
        lead.land(Ok(data.clone()));
        if keeps && let Some(disk) = &self.disk {
            disk.write(block, data).await;
        }
    }

    /// One request, its memory leased before it is sent.
    pub(crate) async fn load(&self, block: BlockId) -> Result<Bytes> {
        if let Some(dir) = self.staging.find(block) {
            let lease = self.lease(block.size as usize).await?;
            if let StagedRead::Data(data) = dir.read(block, 0, block.size).await {
                return Ok(leased(data, lease));
            }
        }
        let compression = self.config.compression;
        let size = block.size as usize;
        let object_bytes = if compression == Compression::None { 0 } else { compression.bound(size) };
        let mut lease = self.lease(size + object_bytes).await?;
        let _turn = self.downloads.acquire().await.map_err(|_| Error::Stopped)?;
        let _wait = self.counters.downloads.begin();
        let key = self.layout().key(block);
        let object = self.store.get(&key, None).await?;
        let decoded = if compression == Compression::None {
            compression.decode(object, size)
        } else {
            let _turn = self.codecs.acquire().await.map_err(|_| Error::Stopped)?;
            let decode = move || compression.decode(object, size);
            self.runtime().spawn_blocking(decode).await.map_err(|_| Error::Stopped)?
        };
        let data = decoded.map_err(|cause| Error::Damaged { key, cause })?;
        // What the compressed bytes took is free again.
        let kept = lease.split(size);
        Ok(leased(data, kept.unwrap_or(lease)))
    }
}

fn count(part: Bytes, lease: Option<Lease>) -> Bytes {
    match lease {
        Some(lease) => leased(part, lease),
        None => part,
    }
}

struct Forget<'a> {
    chunks: &'a ChunkStore,
    block: BlockId,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.chunks.flights.forget(self.block);
    }
}

fn outside(id: u64, off: u32, end: u64) -> Error {
    Error::Range { id, off: u64::from(off), end, what: "read: they are outside the slice" }
}
