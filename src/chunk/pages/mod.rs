//! Dirty pages: the only memory in which bytes wait that were acknowledged to an application and are not stored yet.
//!
//! The arena is cut into extents of one block, so that a full block is one contiguous buffer and goes to the store
//! without a copy. Memory is counted in pages of 64 KiB: a [`Reservation`] is taken first (that may wait), then a
//! [`BlockBuf`] takes pages from it as bytes arrive. A page is counted twice: against this pool's own limit and against
//! the mount's budget. Freed extents are hole-punched, but a few stay *warm* (memory and credit kept) while writes go
//! on, because faulting fresh pages costs as much as filling them; anybody who finds the budget empty cools them.

#![expect(unsafe_code, reason = "calls the arena, whose contract is exclusive ownership of extents")]

mod arena;

use crate::cache::MemoryCache;
use crate::error::{Error, Result};
use arena::Arena;
use bytes::Bytes;
use juicefs_base::budget::{Budget, Lease};
use juicefs_base::sync::Mutex;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use tokio::sync::Notify;

/// Memory is counted and faulted in units of this.
pub const PAGE_BYTES: usize = 64 << 10;

/// Freed extents that keep their memory while writes go on.
const WARM_BYTES: usize = 16 << 20;

/// The arena of dirty pages of one mount.
#[derive(Debug)]
pub struct PagePool {
    arena: Arena,
    block_bytes: usize,
    /// Pages that may be dirty at once.
    limit: Budget,
    /// Everything that the mount may hold in memory.
    budget: Budget,
    cache: Arc<MemoryCache>,
    extents: Mutex<Extents>,
    waiting: AtomicUsize,
    pressure: Notify,
    /// Whether an extent was freed since the last look of [`PagePool::cool_if_idle`].
    busy: AtomicBool,
}

#[derive(Debug, Default)]
struct Extents {
    /// Indices that were used before; the last freed is taken first.
    free: Vec<u32>,
    /// The lowest index never used.
    unused: u32,
    warm: Vec<Warm>,
}

/// A freed extent whose first `touched` bytes still have memory.
#[derive(Debug)]
struct Warm {
    extent: u32,
    touched: usize,
    credit: Credit,
}

/// Pages counted in both budgets.
#[derive(Debug)]
pub(crate) struct Credit {
    limit: Lease,
    budget: Lease,
}

impl Credit {
    fn split(&mut self, bytes: usize) -> Option<Self> {
        let limit = self.limit.split(bytes)?;
        match self.budget.split(bytes) {
            Some(budget) => Some(Self { limit, budget }),
            None => {
                self.limit.merge(limit);
                None
            }
        }
    }

    fn merge(&mut self, other: Self) {
        self.limit.merge(other.limit);
        self.budget.merge(other.budget);
    }
}

/// Pages set aside for a write that follows at once; what it does not use goes back on drop.
#[derive(Debug)]
pub struct Reservation {
    credit: Credit,
}

impl PagePool {
    /// A pool for blocks of `block_bytes` with at most `dirty_bytes` (rounded up to two blocks, down to the budget) in
    /// use, drawn from `budget`.
    /// What `cache` holds of it is asked back when it is short.
    pub(crate) fn new(
        dirty_bytes: usize,
        block_bytes: usize,
        budget: Budget,
        cache: Arc<MemoryCache>,
    ) -> Result<Arc<Self>> {
        let dirty_bytes = dirty_bytes
            .max(2 * (block_bytes + 2 * PAGE_BYTES))
            .min(budget.total_bytes())
            .next_multiple_of(PAGE_BYTES);
        // A block in use holds at least one page, so there are never more blocks than pages.
        let extents = dirty_bytes / PAGE_BYTES;
        let bytes = extents.saturating_mul(block_bytes);
        let failed = |cause: String| Error::Arena { bytes: bytes as u64, cause };
        let size = NonZeroUsize::new(bytes).ok_or_else(|| failed("empty".into()))?;
        let arena = Arena::new(size).map_err(|errno| failed(errno.desc().into()))?;
        Ok(Arc::new(Self {
            arena,
            block_bytes,
            limit: Budget::new(dirty_bytes),
            budget,
            cache,
            extents: Mutex::default(),
            waiting: AtomicUsize::new(0),
            pressure: Notify::new(),
            busy: AtomicBool::new(false),
        }))
    }

    /// Waits for the pages that a write of `len` bytes (at most one block) at any offset can need. While it waits, the
    /// holders of dirty slices must flush: see [`Self::pressure`].
    pub async fn acquire(&self, len: usize) -> Reservation {
        if let Some(reservation) = self.try_acquire(len) {
            return reservation;
        }
        let bytes = Self::most_pages(len) * PAGE_BYTES;
        let _waiting = Waiting::new(self);
        // Again: an extent may have gone warm before it was seen that somebody waits.
        self.cool();
        let limit = self.limit.acquire(bytes).await;
        let reclaim = || {
            self.cool();
            self.cache.give_back(bytes);
        };
        let budget = crate::reclaim::acquire(&self.budget, bytes, reclaim).await;
        Reservation { credit: Credit { limit, budget } }
    }

    /// As [`Self::acquire`], if the pages are free now.
    pub fn try_acquire(&self, len: usize) -> Option<Reservation> {
        let bytes = Self::most_pages(len) * PAGE_BYTES;
        let take = |from: &Budget| {
            from.try_acquire(bytes).or_else(|| if self.cool() { from.try_acquire(bytes) } else { None })
        };
        let limit = take(&self.limit)?;
        let budget = take(&self.budget).or_else(|| {
            self.cache.give_back(bytes);
            self.budget.try_acquire(bytes)
        })?;
        Some(Reservation { credit: Credit { limit, budget } })
    }

    /// Resolves when somebody has to wait for pages: flush the oldest slices. One waiter is woken per shortage.
    pub async fn pressure(&self) {
        self.pressure.notified().await;
    }

    /// How many callers wait for pages now.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Bytes of pages in use, warm ones not counted.
    #[must_use]
    pub fn used_bytes(&self) -> usize {
        let warm: usize = self.extents.lock().warm.iter().map(|w| w.credit.limit.bytes()).sum();
        self.limit.used_bytes().saturating_sub(warm)
    }

    /// The most bytes that may be in use.
    #[must_use]
    pub fn total_bytes(&self) -> usize {
        self.limit.total_bytes()
    }

    /// The memfd, for whoever keeps it alive beyond this process.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.arena.as_fd()
    }

    /// Gives the memory of warm extents back; whether there was any.
    pub(crate) fn cool(&self) -> bool {
        let warm = std::mem::take(&mut self.extents.lock().warm);
        let any = !warm.is_empty();
        for Warm { extent, touched, credit } in warm {
            self.arena.punch(self.start(extent), touched);
            self.extents.lock().free.push(extent);
            drop(credit);
        }
        any
    }

    /// Cools if nothing was freed since the last call.
    pub(crate) fn cool_if_idle(&self) {
        if !self.busy.swap(false, Ordering::Relaxed) {
            self.cool();
        }
    }

    /// An empty block.
    pub(crate) fn block(self: &Arc<Self>) -> BlockBuf {
        let mut extents = self.extents.lock();
        let (extent, touched, credit) = match extents.warm.pop() {
            Some(warm) => (warm.extent, warm.touched, Some(warm.credit)),
            None => match extents.free.pop() {
                Some(extent) => (extent, 0, None),
                None => {
                    extents.unused += 1;
                    (extents.unused - 1, 0, None)
                }
            },
        };
        drop(extents);
        BlockBuf { pool: self.clone(), extent, touched, credit, len: 0 }
    }

    fn most_pages(len: usize) -> usize {
        // One more for an unaligned start, and one for a block boundary in between.
        len.div_ceil(PAGE_BYTES) + 2
    }

    fn start(&self, extent: u32) -> usize {
        extent as usize * self.block_bytes
    }
}

/// Counts a waiter, wakes the flusher, and is forgotten when the wait is cancelled.
struct Waiting<'a>(&'a PagePool);

impl<'a> Waiting<'a> {
    fn new(pool: &'a PagePool) -> Self {
        pool.waiting.fetch_add(1, Ordering::Relaxed);
        pool.pressure.notify_one();
        Self(pool)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One block being filled from its start; the sole owner of its extent. Bytes below `len` are written.
#[derive(Debug)]
pub(crate) struct BlockBuf {
    pool: Arc<PagePool>,
    extent: u32,
    /// Bytes from the extent's start that have memory, whole pages.
    touched: usize,
    /// For `touched` bytes, unless it was taken out.
    credit: Option<Credit>,
    len: usize,
}

impl BlockBuf {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Writes `data` at `off`, which may not leave a gap nor pass the block's end; `false` and no change if
    /// `reservation` has too few pages.
    pub(crate) fn write(&mut self, off: usize, data: &[u8], reservation: &mut Reservation) -> bool {
        let end = off + data.len();
        assert!(off <= self.len && end <= self.pool.block_bytes, "a write inside the block, without a gap");
        let needed = end.next_multiple_of(PAGE_BYTES).saturating_sub(self.touched);
        if needed > 0 {
            let Some(more) = reservation.credit.split(needed) else { return false };
            match &mut self.credit {
                Some(credit) => credit.merge(more),
                empty => *empty = Some(more),
            }
            self.touched += needed;
        }
        // SAFETY: the extent is ours, `&mut self` excludes readers, and the end is inside the extent (asserted).
        unsafe { self.pool.arena.write(self.pool.start(self.extent) + off, data) };
        self.len = self.len.max(end);
        true
    }

    /// Forgets the bytes from `len` on.
    pub(crate) fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Takes the count of the pages over, for memory that replaces them at once; the block must be dropped soon.
    pub(crate) fn take_credit(&mut self) -> Option<Credit> {
        self.credit.take()
    }

    /// The block as bytes that give the pages back when the last clone is dropped.
    pub(crate) fn freeze(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for BlockBuf {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: the extent is ours and written only through `&mut self`.
        unsafe { self.pool.arena.bytes(self.pool.start(self.extent), self.len) }
    }
}

impl Drop for BlockBuf {
    fn drop(&mut self) {
        let pool = &self.pool;
        pool.busy.store(true, Ordering::Relaxed);
        let most_warm = (WARM_BYTES.min(pool.limit.total_bytes() / 4)) / pool.block_bytes;
        let mut credit = self.credit.take();
        let mut extents = pool.extents.lock();
        if pool.waiting() == 0
            && extents.warm.len() < most_warm
            && let Some(credit) = credit.take()
        {
            extents.warm.push(Warm { extent: self.extent, touched: self.touched, credit });
            return;
        }
        drop(extents);
        pool.arena.punch(pool.start(self.extent), self.touched);
        drop(credit);
        pool.extents.lock().free.push(self.extent);
    }
}

#[cfg(test)]
mod tests;
