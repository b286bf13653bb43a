//! Requests that end early when their caller gets a signal.
//!
//! The state is who listens, by the number of the request. Messages are read by several threads: an INTERRUPT may be
//! worked on before the request that it names, so those that found nobody are remembered for a moment. Numbers are
//! never used twice.

use juicefs_base::sync::Mutex;
use juicefs_vfs::Interrupted;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use tokio::sync::oneshot;

/// Interruptions remembered: far more than can come between a request's arrival and its being listened for.
const EARLY_MAX: usize = 1024;

#[derive(Debug, Default)]
struct Listeners {
    waiting: HashMap<u64, oneshot::Sender<()>>,
    early: VecDeque<u64>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Interrupts(Arc<Mutex<Listeners>>);

/// Ends listening when the request is done.
struct Listening(Interrupts, u64);

impl Drop for Listening {
    fn drop(&mut self) {
        self.0.0.lock().waiting.remove(&self.1);
    }
}

impl Interrupts {
    /// Ready when the caller of request `unique` got a signal.
    pub(super) fn listen(&self, unique: u64) -> Interrupted {
        let (sender, receiver) = oneshot::channel();
        let mut listeners = self.0.lock();
        if let Some(at) = listeners.early.iter().position(|early| *early == unique) {
            listeners.early.remove(at);
            let _ = sender.send(());
        } else {
            listeners.waiting.insert(unique, sender);
        }
        drop(listeners);
        let listening = Listening(self.clone(), unique);
        Box::pin(async move {
            let _listening = listening;
            if receiver.await.is_err() {
                std::future::pending().await
            }
        })
    }

    /// The caller of `unique` got a signal.
    pub(super) fn interrupt(&self, unique: u64) {
        let mut listeners = self.0.lock();
        if let Some(waiting) = listeners.waiting.remove(&unique) {
            // It may have ended this moment.
            let _ = waiting.send(());
            return;
        }
        if listeners.early.len() >= EARLY_MAX {
            listeners.early.pop_front();
        }
        listeners.early.push_back(unique);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::{Context, Poll, Waker};

    fn is_ready(interrupted: &mut Interrupted) -> bool {
        interrupted.as_mut().poll(&mut Context::from_waker(Waker::noop())) == Poll::Ready(())
    }

    #[test]
    fn only_the_named_request_is_interrupted_also_when_the_signal_comes_first() {
        let interrupts = Interrupts::default();
        let [mut one, mut two] = [1, 2].map(|unique| interrupts.listen(unique));
        assert!(!is_ready(&mut one) && !is_ready(&mut two));
        interrupts.interrupt(2);
        interrupts.interrupt(3);
        assert!(!is_ready(&mut one));
        assert!(is_ready(&mut two));
        assert!(is_ready(&mut interrupts.listen(3)), "the interruption was read first");
        assert!(!is_ready(&mut interrupts.listen(3)), "once");
    }

    #[test]
    fn nothing_is_kept_of_what_has_ended_and_little_of_what_never_comes() {
        let interrupts = Interrupts::default();
        drop(interrupts.listen(1));
        for unique in 0..10 * EARLY_MAX as u64 {
            interrupts.interrupt(unique);
        }
        let listeners = interrupts.0.lock();
        assert_eq!((listeners.waiting.len(), listeners.early.len()), (0, EARLY_MAX));
    }
}
