//! Slices whose last reference went: first their objects are deleted, then their record.
//!
//! The queue is bounded and lives in memory only. What does not fit, fails or is lost with the process is found
//! again by the hourly scan for freed slices (format 7.3), of this client or of any other.

use juicefs_base::sync::Mutex;
use juicefs_chunk::ChunkStore;
use juicefs_meta::{Meta, SliceId};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use tokio::sync::Notify;

const QUEUE_MAX: usize = 100_000;

#[derive(Default)]
struct State {
    queue: VecDeque<(SliceId, u32)>,
    workers: usize,
    is_closed: bool,
}

/// The queue of freed slices and its workers, which exist only while it is not empty.
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
            let room = QUEUE_MAX - state.queue.len().min(QUEUE_MAX);
            if slices.len() > room {
                tracing::info!(slices = slices.len() - room, "freed slices left to the hourly scan");
            }
            state.queue.extend(slices.into_iter().take(room));
            let starts = state.queue.len().min(self.workers_max).saturating_sub(state.workers);
            state.workers += starts;
            starts
        };
        for _ in 0..starts {
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
            let (Some((id, size)), Some(meta)) = (next, meta) else { break };
            match self.chunks.remove(id, size).await {
                Ok(()) => match meta.forget_slice(id, size).await {
                    Ok(()) => drop(self.deleted.fetch_add(1, Ordering::Relaxed)),
                    Err(error) => {
                        tracing::debug!(slice = id, %error, "its record is left to the hourly scan")
                    }
                },
                Err(error) => tracing::warn!(slice = id, %error, "its objects are left to the hourly scan"),
            }
        }
        self.ended.notify_waiters();
    }

    /// Takes no more, drops what is queued, waits for deletions under way.
    pub(crate) async fn close(&self) {
        {
            let mut state = self.state.lock();
            state.is_closed = true;
            state.queue.clear();
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
