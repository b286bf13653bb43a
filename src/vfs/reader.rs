//! Bytes on their way back.
//!
//! A read first waits for dirty slices under it, then needs the lists of its chunks, then the pieces they name.
//! What memory has is answered without a wait. A piece whose objects are gone was compacted away by another
//! client: the list is dropped and read again.

use crate::background::compaction::{COMPACTED_FROM, Cause};
use crate::core::Core;
use crate::error::{Result, stale};
use crate::files::File;
use crate::handles::FileHandle;
use crate::lists::{ChunkList, Piece};
use bytes::{Bytes, BytesMut};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use juicefs_base::{Errno, backoff};
use juicefs_meta::types::CHUNK_BYTES;
use juicefs_meta::{Attr, Time};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// Pieces of one read that are fetched at once.
const PIECES_AT_ONCE: usize = 16;
const RETRY_FIRST: Duration = Duration::from_millis(20);
const RETRY_MOST: Duration = Duration::from_secs(2);
/// So often fresh metadata says the same and the store says that there is none: nobody compacts, it is lost. Together
/// with the pauses less than a second.
const SURELY_MISSING: u32 = 4;

/// A piece and where in the answer its bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Placed {
    start: usize,
    piece: Piece,
}

impl Core {
    /// Up to `size` bytes from `off`; fewer only at the end of the file.
    ///
    /// # Errors
    /// EIO when bytes can't be had.
    pub(crate) async fn read(self: &Arc<Self>, handle: &FileHandle, off: u64, size: usize) -> Result<Bytes> {
        let file = &handle.file;
        let dirty = file.state().dirty.youngest_in(off, size as u64);
        if let Some(seq) = dirty {
            self.flush_before(file, |_| Some(seq)).await?;
        }
        let mut attempt = 0;
        // What was missing last time, and how often since it has been the same.
        let (mut last, mut same) = (Vec::new(), 0);
        loop {
            let length = file.state().length();
            let len = (size as u64).min(length.saturating_sub(off)) as usize;
            if len == 0 {
                return Ok(Bytes::new());
            }
            let pieces = self.pieces(file, off, len).await?;
            match self.fetch(&pieces, len).await {
                Ok(bytes) => {
                    self.read_ahead(handle, off, len as u64, length);
                    self.has_read(file);
                    return Ok(bytes);
                }
                Err(error)
                    if error.is_missing() && attempt < self.config.io_retries && same < SURELY_MISSING =>
                {
                    tracing::debug!(ino = %file.ino, off, attempt, %error, "reading the slice list again");
                    self.forget_lists(file, off, len as u64);
                    tokio::time::sleep(backoff::doubling(attempt, RETRY_FIRST, RETRY_MOST)).await;
                    attempt += 1;
                    same = if last == pieces { same + 1 } else { 0 };
                    last = pieces;
                }
                Err(error) => {
                    tracing::error!(ino = %file.ino, off, len, %error, "read failed");
                    return match error.errno() {
                        Errno::EINVAL => Err(Errno::EIO.into()),
                        _ => Err(error.into()),
                    };
                }
            }
        }
    }

    /// The atime of a file moves behind the back of who reads it.
    fn has_read(self: &Arc<Self>, file: &File) {
        let known = {
            let mut state = file.state();
            let Some(attr) = state.attr.filter(|attr| self.meta.moves_atime(attr)) else { return };
            // Whoever reads next finds it moved.
            state.attr = Some(Attr { atime: Time::now(), ..attr });
            attr
        };
        let (core, ino) = (Arc::clone(self), file.ino);
        self.runtime.spawn(async move { core.meta.touch_atime(ino, &known).await });
    }

    /// The pieces of `[off, off + len)`, from the remembered lists or fresh ones.
    async fn pieces(self: &Arc<Self>, file: &File, off: u64, len: usize) -> Result<Vec<Placed>> {
        let mut placed = Vec::new();
        let (mut at, end) = (off, off + len as u64);
        while at < end {
            let (indx, pos) = ((at / CHUNK_BYTES) as u32, (at % CHUNK_BYTES) as u32);
            let part = (end - at).min(CHUNK_BYTES - u64::from(pos)) as u32;
            let start = (at - off) as usize;
            let mut place = |list: &ChunkList| {
                for (found, piece) in list.range(pos, pos + part) {
                    placed.push(Placed { start: start + (found - pos) as usize, piece });
                }
            };
            let is_known = {
                let state = file.state();
                let list = state.list(indx);
                list.map(&mut place).is_some()
            };
            if !is_known {
                let epoch = file.state().epoch();
                self.meta.forget_chunk(file.ino, indx);
                let list = ChunkList::new(&self.meta.read_chunk(file.ino, indx).await?);
                if list.records() == 0 {
                    // A hole, or another client deleted the file: then it is not zeros.
                    self.meta.getattr(file.ino).await.map_err(stale)?;
                }
                place(&list);
                if list.records() >= COMPACTED_FROM {
                    self.compact_soon(file.ino, indx, Cause::Read);
                }
                file.state().keep_list(indx, list, epoch);
            }
            at += u64::from(part);
        }
        Ok(placed)
    }

    /// Where the bytes of `[off, off + len)` lie in the file, in order.
    pub(crate) async fn runs(self: &Arc<Self>, file: &File, off: u64, len: usize) -> Result<Vec<Range<u64>>> {
        let placed = self.pieces(file, off, len).await?;
        let run = |Placed { start, piece }: &Placed| {
            let begin = off + *start as u64;
            begin..begin + u64::from(piece.len)
        };
        Ok(placed.iter().map(run).collect())
    }

    async fn fetch(&self, pieces: &[Placed], len: usize) -> juicefs_chunk::Result<Bytes> {
        if let [Placed { start: 0, piece }] = pieces
            && piece.len as usize == len
        {
            let Piece { id, size, off, len } = *piece;
            if let Some(bytes) = self.chunks.try_read_cached(id, size, off, len) {
                return Ok(bytes);
            }
            return self.chunks.read(id, size, off, len).await;
        }
        let mut whole = BytesMut::zeroed(len);
        let mut missing = Vec::new();
        for placed in pieces {
            let Piece { id, size, off, len } = placed.piece;
            match self.chunks.try_read_cached(id, size, off, len) {
                Some(bytes) => whole[placed.start..placed.start + bytes.len()].copy_from_slice(&bytes),
                None => missing.push(*placed),
            }
        }
        if !missing.is_empty() {
            let read = |placed: Placed| async move {
                let Piece { id, size, off, len } = placed.piece;
                Ok::<_, juicefs_chunk::Error>((placed.start, self.chunks.read(id, size, off, len).await?))
            };
            let mut parts = stream::iter(missing).map(read).buffer_unordered(PIECES_AT_ONCE).boxed();
            while let Some((start, bytes)) = parts.try_next().await? {
                whole[start..start + bytes.len()].copy_from_slice(&bytes);
            }
        }
        Ok(whole.freeze())
    }

    fn forget_lists(&self, file: &File, off: u64, len: u64) {
        let mut state = file.state();
        for indx in off / CHUNK_BYTES..=(off + len - 1) / CHUNK_BYTES {
            state.forget_list(indx as u32);
        }
    }

    /// Has the blocks that this handle will probably read next fetched into the cache.
    fn read_ahead(self: &Arc<Self>, handle: &FileHandle, off: u64, len: u64, length: u64) {
        let most = self.config.readahead_bytes;
        if most == 0 {
            return;
        }
        let block = u64::from(self.chunks.layout().block_bytes);
        let Some(range) = handle.streams.lock().read(off, len, length, block, most) else { return };
        let (core, file) = (Arc::clone(self), Arc::clone(&handle.file));
        self.runtime.spawn(async move {
            if let Err(error) = core.warm(&file, range).await {
                tracing::debug!(ino = %file.ino, %error, "readahead");
            }
        });
    }

    async fn warm(self: &Arc<Self>, file: &File, range: Range<u64>) -> Result<()> {
        let len = usize::try_from(range.end - range.start).unwrap_or(0);
        let block = self.chunks.layout().block_bytes;
        for Placed { piece, .. } in self.pieces(file, range.start, len).await? {
            let mut at = piece.off;
            let end = piece.off.saturating_add(piece.len).min(piece.size);
            while at < end {
                // The whole block: a part of it would be read as a range and not be kept.
                let (first, next) =
                    (at / block * block, (at / block + 1).saturating_mul(block).min(piece.size));
                at = next;
                if self.chunks.try_read_cached(piece.id, piece.size, first, 1).is_some() {
                    continue;
                }
                let Ok(permit) = Arc::clone(&self.readahead).acquire_owned().await else { return Ok(()) };
                let chunks = Arc::clone(&self.chunks);
                self.runtime.spawn(async move {
                    if let Err(error) = chunks.read(piece.id, piece.size, first, next - first).await {
                        tracing::debug!(slice = piece.id, %error, "readahead");
                    }
                    drop(permit);
                });
            }
        }
        Ok(())
    }
}
