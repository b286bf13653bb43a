//! Slices that nobody refers to: those whose last reference went, whose objects are deleted first and then their
//! record, and those whose commit was refused, which have no record.
//!
//! The queue is bounded and lives in memory only. What does not fit, fails or is lost with the process is found
//! again by the hourly scan for freed slices (format 7.3), of this client or of any other; what has no record, by
//! `gc`. So these come first, and the end of a mount waits for them.

use juicefs_base::sync::Mutex;
use juicefs_chunk::ChunkStore;
use juicefs_meta::{Meta, SliceId};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use tokio::sync::Notify;

const QUEUE_MAX: usize = 100_000;

struct Gone {
    id: SliceId,
    size: u32,
    /// Whether the metadata still names it.
    is_recorded: bool,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Gone>,
    workers: usize,
    is_closed: bool,
}

impl State {
    fn room(&self) -> usize {
        QUEUE_MAX - self.queue.len().min(QUEUE_MAX)
    }

    /// How many workers to start, which then count as there.
    fn workers_to_start(&mut self, most: usize) -> usize {
        let starts = self.queue.len().min(most).saturating_sub(self.workers);
        self.workers += starts;
        starts
    }
}

/// The queue of slices to delete and its workers, which exist only while it is not empty.
pub(crate) struct Deletions {
    state: Mutex<State>,
    chunks: Arc<ChunkStore>,
    meta: Weak<Meta>,
    runtime: tokio::runtime::Handle,
    workers_max: usize,
    /// Moves when a worker ends.
    ended: Notify,
    deleted: AtomicU64,
}

impl Deletions {
    pub(crate) fn new(meta: &Arc<Meta>, chunks: Arc<ChunkStore>, workers_max: usize) -> Arc<Self> {
        let me = Arc::new(Self {
            state: Mutex::default(),
            chunks,
            meta: Arc::downgrade(meta),
            runtime: tokio::runtime::Handle::current(),
            workers_max: workers_max.max(1),
            ended: Notify::new(),
            deleted: AtomicU64::new(0),
        });
        let sink = Arc::downgrade(&me);
        meta.set_freed_slice_sink(Box::new(move |slices| {
            if let Some(me) = sink.upgrade() {
                me.add(slices);
            }
        }));
        me
    }

    /// Slices deleted so far.
    pub(crate) fn deleted(&self) -> u64 {
        self.deleted.load(Ordering::Relaxed)
    }

    fn add(self: &Arc<Self>, slices: Vec<(SliceId, u32)>) {
        let starts = {
            let mut state = self.state.lock();
            if state.is_closed {
                return;
            }
            let room = state.room();
            if slices.len() > room {
                tracing::info!(slices = slices.len() - room, "freed slices left to the hourly scan");
            }
            let freed = slices.into_iter().take(room);
            state.queue.extend(freed.map(|(id, size)| Gone { id, size, is_recorded: true }));
            state.workers_to_start(self.workers_max)
        };
        self.start(starts);
    }

    /// Deletes the objects of slices whose commit was refused.
    pub(crate) fn add_refused(self: &Arc<Self>, slices: impl Iterator<Item = (SliceId, u32)>) {
        let starts = {
            let mut state = self.state.lock();
            for (id, size) in slices {
                if state.is_closed || state.room() == 0 {
                    tracing::warn!(slice = id, "its blocks stay until gc");
                } else {
                    state.queue.push_front(Gone { id, size, is_recorded: false });
                }
            }
            state.workers_to_start(self.workers_max)
        };
        self.start(starts);
    }

    fn start(self: &Arc<Self>, workers: usize) {
        for _ in 0..workers {
            self.runtime.spawn(Arc::clone(self).work());
        }
    }

    async fn work(self: Arc<Self>) {
        loop {
            let meta = self.meta.upgrade();
            let next = {
                let mut state = self.state.lock();
                let next = if meta.is_some() { state.queue.pop_front() } else { None };
                state.workers -= usize::from(next.is_none());
                next
            };
            let (Some(Gone { id, size, is_recorded }), Some(meta)) = (next, meta) else { break };
            match self.chunks.remove(id, size).await {
                Ok(()) if !is_recorded => {}
                Ok(()) => match meta.forget_slice(id, size).await {
                    Ok(()) => drop(self.deleted.fetch_add(1, Ordering::Relaxed)),
                    Err(error) => {
                        tracing::debug!(slice = id, %error, "its record is left to the hourly scan")
                    }
                },
                Err(error) if is_recorded => {
                    tracing::warn!(slice = id, %error, "its objects are left to the hourly scan");
                }
                Err(error) => tracing::warn!(slice = id, %error, "its blocks stay until gc"),
            }
        }
        self.ended.notify_waiters();
    }

    /// Takes no more, drops what is queued, waits for deletions under way.
    pub(crate) async fn close(&self) {
        {
            let mut state = self.state.lock();
            state.is_closed = true;
            for slice in state.queue.drain(..).filter(|slice| !slice.is_recorded) {
                tracing::warn!(slice = slice.id, "its blocks stay until gc");
            }
        }
        self.idle().await;
    }

    /// Waits until nothing is queued or under way.
    pub(crate) async fn idle(&self) {
        loop {
            let ended = self.ended.notified();
            tokio::pin!(ended);
            ended.as_mut().enable();
            if self.state.lock().workers == 0 {
                return;
            }
            ended.await;
        }
    }
}
