//! Who of this process waits for which lock: woken when one of ours is given up, told when waiting is in vain.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use juicefs_base::sync::Mutex;
use tokio::sync::Notify;

use crate::types::Ino;

struct Wait {
    number: u64,
    ino: Ino,
    owner: u64,
    /// Owners of this process that have what is waited for. Only kept for POSIX locks.
    blockers: Vec<u64>,
    since: Instant,
    wake: Arc<Notify>,
}

#[derive(Default)]
struct State {
    waits: Vec<Wait>,
    next: u64,
}

/// A process that has POSIX locks itself waits for another client's no longer than this: the two may be waiting for one
/// another, which nobody can see.
const SUSPICION: Duration = Duration::from_secs(300);

/// All waiting calls of a mount.
pub(crate) struct Waits {
    state: Mutex<State>,
    suspicion_ms: AtomicU64,
}

impl Default for Waits {
    fn default() -> Self {
        Self { state: Mutex::default(), suspicion_ms: AtomicU64::new(SUSPICION.as_secs() * 1000) }
    }
}

/// One waiting call.
pub(crate) struct Waiter<'w> {
    waits: &'w Waits,
    number: u64,
    pub(crate) since: Instant,
    pub(crate) wake: Arc<Notify>,
}

impl Waits {
    pub(crate) fn begin(&self, ino: Ino, owner: u64) -> Waiter<'_> {
        let (since, wake) = (Instant::now(), Arc::new(Notify::new()));
        let mut state = self.state.lock();
        state.next += 1;
        let number = state.next;
        state.waits.push(Wait { number, ino, owner, blockers: Vec::new(), since, wake: Arc::clone(&wake) });
        Waiter { waits: self, number, since, wake }
    }

    /// Locks on `ino` were given up: whoever waits there looks again.
    pub(crate) fn wake(&self, ino: Ino) {
        for wait in self.state.lock().waits.iter().filter(|wait| wait.ino == ino) {
            wait.wake.notify_one();
        }
    }

    /// Since when the call that has waited longest has been waiting.
    pub(crate) fn since(&self) -> Option<Instant> {
        self.state.lock().waits.iter().map(|wait| wait.since).min()
    }

    /// How long a wait for another client's lock may last that could be for ever.
    pub(crate) fn suspicion(&self) -> Duration {
        Duration::from_millis(self.suspicion_ms.load(Ordering::Relaxed))
    }

    #[cfg(test)]
    pub(crate) fn set_suspicion(&self, suspicion: Duration) {
        let suspicion_ms = u64::try_from(suspicion.as_millis()).unwrap_or(u64::MAX);
        self.suspicion_ms.store(suspicion_ms, Ordering::Relaxed);
    }

    /// Calls that have said which of ours they wait for.
    #[cfg(test)]
    pub(crate) fn noted(&self) -> usize {
        self.state.lock().waits.iter().filter(|wait| !wait.blockers.is_empty()).count()
    }

    #[cfg(test)]
    pub(crate) fn count(&self) -> usize {
        self.state.lock().waits.len()
    }
}

impl Waiter<'_> {
    /// Notes whom this call waits for; true when one of them waits for it in turn, over however many others.
    pub(crate) fn closes_a_circle(&self, blockers: Vec<u64>) -> bool {
        let mut state = self.waits.state.lock();
        let Some(at) = state.waits.iter().position(|wait| wait.number == self.number) else { return false };
        let owner = state.waits[at].owner;
        state.waits[at].blockers = blockers;
        let mut ahead = state.waits[at].blockers.clone();
        let mut seen = Vec::new();
        while let Some(blocker) = ahead.pop() {
            if blocker == owner {
                return true;
            }
            if seen.contains(&blocker) {
                continue;
            }
            seen.push(blocker);
            let of_blocker = state.waits.iter().filter(|wait| wait.owner == blocker);
            ahead.extend(of_blocker.flat_map(|wait| wait.blockers.iter().copied()));
        }
        false
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.waits.state.lock().waits.retain(|wait| wait.number != self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_circle_is_found_over_any_number_of_others() {
        let waits = Waits::default();
        let [a, b, c] = [1, 2, 3].map(|owner| waits.begin(Ino(owner), owner));
        assert!(!a.closes_a_circle(vec![2]));
        assert!(!b.closes_a_circle(vec![3, 9]));
        assert!(c.closes_a_circle(vec![1]));
        drop(b);
        assert!(!c.closes_a_circle(vec![1]), "the one between has given up");
        assert!(a.closes_a_circle(vec![3]));
        drop((a, c));
        assert_eq!((waits.count(), waits.since()), (0, None));
    }
}
