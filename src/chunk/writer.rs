//! One immutable slice being made.
//!
//! State: blocks below `uploaded` were handed to the store and can't change any more; the blocks above are page buffers
//! that only this writer changes. Every write ends where the slice ends or lies in the buffered tail.

use crate::error::{Error, Result};
use crate::layout::BlockId;
use crate::pages::{BlockBuf, Reservation};
use crate::store::ChunkStore;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::task::JoinSet;

/// A slice being written; made by [`ChunkStore::writer`]. Dropping it without [`SliceWriter::finish`] is an
/// [`SliceWriter::abort`] in the background.
#[derive(Debug)]
pub struct SliceWriter {
    chunks: Arc<ChunkStore>,
    id: u64,
    length: u32,
    uploaded: u32,
    /// The blocks from `uploaded` on.
    tail: VecDeque<BlockBuf>,
    /// Uploads in flight; each answers with its block.
    uploads: JoinSet<(BlockId, Result<()>)>,
    fate: Arc<Fate>,
}

/// What writer and uploads tell one another.
#[derive(Debug, Default)]
pub(crate) struct Fate {
    /// Uploads that have not begun need not begin.
    pub(crate) cancelled: AtomicBool,
    /// The first failure.
    pub(crate) failure: OnceLock<Error>,
}

impl SliceWriter {
    pub(crate) fn new(chunks: Arc<ChunkStore>, id: u64) -> Self {
        let (tail, uploads, fate) = Default::default();
        Self { chunks, id, length: 0, uploaded: 0, tail, uploads, fate }
    }

    /// The slice's id.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Bytes from the start that were handed to the store: a multiple of the block size, not writable any more.
    #[must_use]
    pub fn uploaded_bytes(&self) -> u32 {
        self.uploaded
    }

    /// Bytes written so far.
    #[must_use]
    pub fn length(&self) -> u32 {
        self.length
    }

    /// The first failure of an upload so far; [`Self::finish`] will answer with it.
    #[must_use]
    pub fn failure(&self) -> Option<Error> {
        self.fate.failure.get().cloned()
    }

    /// Copies `data` to `off`, which lies in `uploaded_bytes()..=length()`; the end is at most a chunk's 64 MiB.
    /// `pages` is what [`crate::PagePool::acquire`] gave for this many bytes. Never waits. On an error nothing that was
    /// written before is lost, and bytes of `data` may or may not have been written.
    pub fn write_at(&mut self, off: u32, data: &[u8], pages: &mut Reservation) -> Result<()> {
        let end = u64::from(off) + data.len() as u64;
        let range = |what| Error::Range { id: self.id, off: u64::from(off), end, what };
        if off < self.uploaded {
            return Err(range("written: they are uploaded"));
        }
        if off > self.length {
            return Err(range("written: they would leave a gap"));
        }
        if end > u64::from(crate::layout::CHUNK_BYTES) {
            return Err(range("written: they pass the chunk's end"));
        }
        if let Some(failure) = self.failure() {
            return Err(failure);
        }
        let block_bytes = self.chunks.layout().block_bytes as usize;
        let (mut at, mut data) = ((off - self.uploaded) as usize, data);
        while !data.is_empty() {
            let (indx, start) = (at / block_bytes, at % block_bytes);
            let (now, rest) = data.split_at(data.len().min(block_bytes - start));
            if indx == self.tail.len() {
                self.tail.push_back(self.chunks.pages().block());
            }
            if !self.tail[indx].write(start, now, pages) {
                if self.tail[indx].len() == 0 {
                    self.tail.pop_back();
                }
                return Err(Error::NoPages { id: self.id, bytes: data.len() });
            }
            (at, data) = (at + now.len(), rest);
            self.length = self.length.max(self.uploaded + at as u32);
        }
        Ok(())
    }

    /// Starts the uploads of all complete blocks. Never waits: at most `max_uploads` requests run at once in the
    /// mount, the others keep their pages until it is their turn.
    pub fn flush_full_blocks(&mut self) {
        let block_bytes = self.chunks.layout().block_bytes;
        while self.length - self.uploaded >= block_bytes {
            let Some(block) = self.tail.pop_front() else { break };
            self.start_upload(block, block_bytes);
        }
    }

    /// Stores the first `length` bytes, all that were written unless the caller says less (not less than
    /// `uploaded_bytes()`), and waits until every block is durable. After a failure nothing of the slice is left.
    pub async fn finish(mut self, length: u32) -> Result<()> {
        if length > self.length || length < self.uploaded {
            let (off, end) = (u64::from(length), u64::from(self.length));
            let wrong = Error::Range { id: self.id, off, end, what: "the slice's end" };
            self.abort().await;
            return Err(wrong);
        }
        self.length = length;
        self.flush_full_blocks();
        let rest = self.length - self.uploaded;
        if rest > 0
            && let Some(mut block) = self.tail.pop_front()
        {
            block.truncate(rest as usize);
            self.start_upload(block, rest);
        }
        self.tail.clear();
        while let Some(ended) = self.uploads.join_next().await {
            let failure = match ended {
                Ok((_, Ok(()))) => continue,
                Ok((_, Err(failure))) => failure,
                Err(_) => Error::Stopped,
            };
            let failure = self.fate.failure.get_or_init(|| failure).clone();
            self.abort().await;
            return Err(failure);
        }
        self.length = 0;
        self.uploaded = 0;
        Ok(())
    }

    /// Gives the slice up: uploads that have not begun are dropped, what was stored is removed.
    pub async fn abort(mut self) {
        if let Some(ending) = self.end() {
            ending.await;
        }
    }

    fn start_upload(&mut self, block: BlockBuf, bytes: u32) {
        let indx = self.uploaded / self.chunks.layout().block_bytes;
        let id = BlockId { id: self.id, indx, size: bytes };
        self.uploaded += bytes;
        let (chunks, fate) = (self.chunks.clone(), self.fate.clone());
        let upload = async move {
            let stored = chunks.upload(id, block, &fate).await;
            if let Err(failure) = &stored {
                let _ = fate.failure.set(failure.clone());
                fate.cancelled.store(true, Ordering::Release);
            }
            (id, stored)
        };
        self.uploads.spawn_on(upload, &self.chunks.runtime().clone());
    }

    /// What remains to be done after giving up, if anything was uploaded.
    fn end(&mut self) -> Option<impl Future<Output = ()> + Send + 'static + use<>> {
        self.tail.clear();
        self.fate.cancelled.store(true, Ordering::Release);
        let (uploads, uploaded, chunks, id) = (
            std::mem::take(&mut self.uploads),
            std::mem::take(&mut self.uploaded),
            self.chunks.clone(),
            self.id,
        );
        if uploaded == 0 {
            return None;
        }
        Some(async move {
            let mut uploads = uploads;
            // A request under way may still land: it is waited for before its object is removed.
            while uploads.join_next().await.is_some() {}
            if let Err(cause) = chunks.remove(id, uploaded).await {
                tracing::warn!("blocks of the abandoned slice {id} stay until gc: {cause}");
            }
        })
    }
}

impl Drop for SliceWriter {
    fn drop(&mut self) {
        if let Some(ending) = self.end() {
            self.chunks.runtime().spawn(ending);
        }
    }
}
