//! Model B: a request's future is polled once on the thread that read the request; only if it has to wait
//! does the runtime get it.
//!
//! The state of a waiting request is a phase and the future. The FUSE thread owns the future while it polls;
//! the first wake-up moves it into the runtime, which owns it from then on. A request that memory can answer
//! never leaves its thread.

use juicefs_base::sync::Mutex;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use tokio::runtime::Handle;

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

enum Phase {
    /// The FUSE thread is polling.
    Polling,
    /// Woken while the FUSE thread was still polling: it hands over itself.
    Woken,
    /// Waiting for its first wake-up.
    Parked(Work),
    /// The runtime has it, or it is done.
    Gone,
}

struct Waiting {
    phase: Mutex<Phase>,
    runtime: Handle,
}

impl Wake for Waiting {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let mut phase = self.phase.lock();
        match std::mem::replace(&mut *phase, Phase::Gone) {
            Phase::Polling | Phase::Woken => *phase = Phase::Woken,
            Phase::Parked(work) => {
                drop(phase);
                self.runtime.spawn(work);
            }
            Phase::Gone => {}
        }
    }
}

/// Polls `work` here once; if it must wait, the runtime finishes it after its first wake-up.
pub(crate) fn run(runtime: &Handle, work: impl Future<Output = ()> + Send + 'static) {
    let _inside = runtime.enter();
    let waiting = Arc::new(Waiting { phase: Mutex::new(Phase::Polling), runtime: runtime.clone() });
    let waker = Waker::from(waiting.clone());
    let mut work: Work = Box::pin(work);
    if let Poll::Ready(()) = work.as_mut().poll(&mut Context::from_waker(&waker)) {
        return;
    }
    let mut phase = waiting.phase.lock();
    if matches!(*phase, Phase::Woken) {
        *phase = Phase::Gone;
        drop(phase);
        runtime.spawn(work);
    } else {
        *phase = Phase::Parked(work);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::time::Duration;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("runtime")
    }

    #[test]
    fn what_is_ready_is_answered_on_the_calling_thread() {
        let runtime = runtime();
        let (sent, received) = mpsc::channel();
        run(runtime.handle(), async move {
            sent.send(std::thread::current().id()).unwrap();
        });
        assert_eq!(received.try_recv().unwrap(), std::thread::current().id());
    }

    #[test]
    fn what_waits_is_finished_by_the_runtime() {
        let runtime = runtime();
        let (sent, received) = mpsc::channel();
        let (open, gate) = tokio::sync::oneshot::channel::<u32>();
        run(runtime.handle(), async move {
            let value = gate.await.unwrap();
            tokio::time::sleep(Duration::from_millis(1)).await;
            sent.send((value, std::thread::current().id())).unwrap();
        });
        assert!(received.try_recv().is_err());
        open.send(7).unwrap();
        let (value, thread) = received.recv_timeout(Duration::from_secs(5)).unwrap();
        assert_eq!(value, 7);
        assert_ne!(thread, std::thread::current().id());
    }

    #[test]
    fn a_wake_up_during_the_first_poll_is_not_lost() {
        let runtime = runtime();
        let (sent, received) = mpsc::channel();
        run(runtime.handle(), async move {
            tokio::task::yield_now().await;
            let mut woken = false;
            std::future::poll_fn(move |context| {
                if std::mem::replace(&mut woken, true) {
                    return Poll::Ready(());
                }
                context.waker().wake_by_ref();
                Poll::Pending
            })
            .await;
            sent.send(()).unwrap();
        });
        received.recv_timeout(Duration::from_secs(5)).unwrap();
    }

    #[test]
    fn many_requests_woken_from_many_threads_all_end() {
        let runtime = runtime();
        let (sent, received) = mpsc::channel();
        let gate = Arc::new(tokio::sync::Notify::new());
        for number in 0..200u32 {
            let (sent, gate) = (sent.clone(), gate.clone());
            run(runtime.handle(), async move {
                if number % 2 == 0 {
                    gate.notified().await;
                }
                sent.send(number).unwrap();
            });
        }
        let opener = std::thread::spawn(move || gate.notify_waiters());
        let mut seen: Vec<_> =
            (0..200).map(|_| received.recv_timeout(Duration::from_secs(5)).unwrap()).collect();
        opener.join().unwrap();
        seen.sort_unstable();
        assert_eq!(seen, (0..200).collect::<Vec<_>>());
    }
}
