//! Telling the kernel that what it remembers is wrong.
//!
//! The kernel takes locks to forget that a request in work may hold, so it is told from threads of their own and
//! never from a request's. Forgetting pages may wait for reads under way; forgetting attributes waits for
//! nothing and has its own thread, so that an open may wait for it. The queues are bounded and hold an inode
//! once. What does not fit is dropped: the kernel's own time-outs then do the work.

use juicefs_base::sync::{Condvar, Mutex};
use juicefs_meta::Ino;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::oneshot;

const QUEUE_MAX: usize = 10_000;
/// A lock does not wait longer than this for pages: one whose read is under way is locked until it ends.
const DROPPING_MAX: Duration = Duration::from_secs(60);
/// An open does not wait longer than this for the kernel to forget.
const FORGETTING_MAX: Duration = Duration::from_secs(2);

/// The kernel's side of forgetting; called from several threads.
pub trait Invalidate: Send + Sync {
    /// Attributes of `ino`, and its pages from `off` on (`len` 0 = all of them); negative `off`: attributes only.
    fn inode(&self, ino: Ino, off: i64, len: i64);
    /// The name `name` in `parent`.
    fn entry(&self, parent: Ino, name: &[u8]);
}

#[derive(Default)]
struct Queue {
    order: VecDeque<Ino>,
    /// Who waits for each.
    waiters: HashMap<Ino, Vec<oneshot::Sender<()>>>,
    /// Nobody listens before the kernel is connected.
    is_open: bool,
    is_closed: bool,
}

/// A queue and its thread.
#[derive(Default)]
struct Lane {
    queue: Mutex<Queue>,
    wake: Condvar,
}

impl Lane {
    fn start(self: &Arc<Self>, name: &str, tell: impl Fn(Ino) + Send + 'static) {
        if std::mem::replace(&mut self.queue.lock().is_open, true) {
            return;
        }
        let me = Arc::clone(self);
        if let Err(error) = std::thread::Builder::new().name(name.to_owned()).spawn(move || me.run(tell)) {
            tracing::warn!(%error, "no thread for invalidations; the kernel's time-outs do their work");
            self.close();
        }
    }

    fn add(&self, ino: Ino, waiter: Option<oneshot::Sender<()>>) {
        let mut queue = self.queue.lock();
        if !queue.is_open || queue.is_closed {
            return;
        }
        if !queue.waiters.contains_key(&ino) {
            if queue.order.len() >= QUEUE_MAX {
                return;
            }
            queue.order.push_back(ino);
        }
        queue.waiters.entry(ino).or_default().extend(waiter);
        drop(queue);
        self.wake.notify_one();
    }

    fn run(&self, tell: impl Fn(Ino)) {
        loop {
            let mut queue = self.queue.lock();
            while queue.order.is_empty() && !queue.is_closed {
                self.wake.wait(&mut queue);
            }
            if queue.is_closed {
                return;
            }
            let Some(ino) = queue.order.pop_front() else { continue };
            let waiters = queue.waiters.remove(&ino).unwrap_or_default();
            drop(queue);
            tell(ino);
            for waiter in waiters {
                let _ = waiter.send(());
            }
        }
    }

    fn close(&self) {
        let mut queue = self.queue.lock();
        queue.is_closed = true;
        queue.waiters.clear();
        drop(queue);
        self.wake.notify_all();
    }
}

/// What the kernel is to forget.
#[derive(Default)]
pub(crate) struct Invalidations {
    pages: Arc<Lane>,
    attributes: Arc<Lane>,
    kernel: OnceLock<Arc<dyn Invalidate>>,
}

impl Invalidations {
    /// Starts the threads that talk to `kernel`; a second call is ignored.
    pub(crate) fn connect(&self, kernel: Box<dyn Invalidate>) {
        let kernel: Arc<dyn Invalidate> = kernel.into();
        let _ = self.kernel.set(Arc::clone(&kernel));
        let other = Arc::clone(&kernel);
        self.pages.start("jfs-inval-pages", move |ino| kernel.inode(ino, 0, 0));
        self.attributes.start("jfs-inval-attrs", move |ino| other.inode(ino, -1, 0));
    }

    /// All pages and attributes of `ino`, some time soon.
    pub(crate) fn inode(&self, ino: Ino) {
        self.pages.add(ino, None);
    }

    /// The attributes of `ino`; ready when the kernel has forgotten them, or can't be told.
    pub(crate) async fn attributes(&self, ino: Ino) {
        let (done, is_done) = oneshot::channel();
        self.attributes.add(ino, Some(done));
        if tokio::time::timeout(FORGETTING_MAX, is_done).await.is_err() {
            tracing::warn!(%ino, "the kernel did not forget attributes in time");
        }
    }

    /// The name `name` in `parent`, and what it knows below; ready when the kernel has forgotten it, or can't be told.
    /// For tools, which do it seldom: each call has a thread of the runtime's that may block.
    pub(crate) async fn entry(&self, parent: Ino, name: &[u8]) {
        let Some(kernel) = self.kernel.get().cloned() else { return };
        let name = name.to_vec();
        let telling = tokio::task::spawn_blocking(move || kernel.entry(parent, &name));
        if tokio::time::timeout(FORGETTING_MAX, telling).await.is_err() {
            tracing::warn!(%parent, "the kernel did not forget a name in time");
        }
    }

    /// All pages and attributes of `ino`; true when the kernel has forgotten them, or there is none. In a thread of its
    /// own: a page of another file that is being read holds up nobody here.
    pub(crate) async fn pages(&self, ino: Ino) -> bool {
        let Some(kernel) = self.kernel.get().map(Arc::clone) else { return true };
        let forgetting = tokio::task::spawn_blocking(move || kernel.inode(ino, 0, 0));
        let is_done = tokio::time::timeout(DROPPING_MAX, forgetting).await.is_ok_and(|told| told.is_ok());
        if !is_done {
            tracing::warn!(%ino, "the kernel did not drop pages in time");
        }
        is_done
    }

    /// Ends the threads; what is queued is dropped.
    pub(crate) fn close(&self) {
        self.pages.close();
        self.attributes.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    struct Told(Mutex<mpsc::Sender<(Ino, i64, std::thread::ThreadId)>>);

    impl Invalidate for Told {
        fn inode(&self, ino: Ino, off: i64, _len: i64) {
            let _ = self.0.lock().send((ino, off, std::thread::current().id()));
        }

        fn entry(&self, _parent: Ino, _name: &[u8]) {}
    }

    #[tokio::test]
    async fn the_kernel_is_told_from_another_thread() {
        let invalidations = Invalidations::default();
        invalidations.inode(Ino(1));
        invalidations.attributes(Ino(2)).await;
        assert!(invalidations.pages(Ino(3)).await);
        let (sender, receiver) = mpsc::channel();
        invalidations.connect(Box::new(Told(Mutex::new(sender))));
        invalidations.inode(Ino(7));
        let (ino, off, thread) = receiver.recv_timeout(Duration::from_secs(5)).unwrap();
        assert_eq!((ino, off), (Ino(7), 0), "what was queued before anybody listened is dropped");
        assert_ne!(thread, std::thread::current().id());
        invalidations.attributes(Ino(8)).await;
        let (ino, off, _) = receiver.try_recv().expect("told before the wait ended");
        assert_eq!((ino, off), (Ino(8), -1));
        assert!(invalidations.pages(Ino(10)).await);
        let (ino, off, other) = receiver.try_recv().expect("told before the wait ended");
        assert_eq!((ino, off), (Ino(10), 0));
        assert_ne!(other, std::thread::current().id());
        invalidations.close();
        invalidations.attributes(Ino(9)).await;
    }
}
