//! What one store still lacks, or still has too much, of what the other has: made by writes and deletions, paid in the
//! background, at once if the far store answers.
//!
//! A key is in `owed` until it is paid. Its body stays in memory while there is room, else it is read again from the
//! other store. Beyond [`OWED_MAX`] nothing is remembered: the full sync finds it.

use bytes::Bytes;
use juicefs_base::backoff;
use juicefs_base::sync::{Mutex, RwLock};
use std::collections::{HashMap, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::journal::Journal;
use super::{Side, Sides};
use crate::error::{Error, Result};

/// Keys that are remembered at most.
const OWED_MAX: usize = 200_000;
/// Bodies that wait in memory.
const BODIES_MAX_BYTES: usize = 32 << 20;
/// Debts that are paid at the same time.
pub const PAYERS: usize = 8;
/// For one request of a payer.
const DEADLINE: Duration = Duration::from_secs(60);
const PAUSE_FIRST: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// What is to be done with an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Into this store, from the other one.
    Copy(Side),
    /// Out of this store.
    Deletion(Side),
}

#[derive(Debug)]
struct Owed {
    due: Due,
    /// Tells a debt from a later one for the same key.
    number: u64,
    body: Option<Bytes>,
    since: Instant,
    is_being_paid: bool,
}

#[derive(Debug, Default)]
struct State {
    owed: HashMap<String, Owed>,
    /// Keys in `owed` that nobody pays at the moment.
    queue: VecDeque<String>,
    bodies_bytes: usize,
    next: u64,
    journal: Option<Journal>,
}

/// How much is owed, and what became of it since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DebtCounts {
    pub pending: u64,
    /// Age of the oldest.
    pub oldest_sec: u64,
    pub copied: u64,
    pub copied_bytes: u64,
    pub deleted: u64,
    pub errors: u64,
    /// Not remembered, for the full sync.
    pub overflowed: u64,
    /// Reads that the far store answered.
    pub fallbacks: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Debts {
    state: Mutex<State>,
    sides: RwLock<Option<Sides>>,
    made: Notify,
    copied: AtomicU64,
    copied_bytes: AtomicU64,
    deleted: AtomicU64,
    errors: AtomicU64,
    overflowed: AtomicU64,
    fallbacks: AtomicU64,
}

impl Debts {
    /// Debts that a journal in `dir` keeps over a kill, with those that were left there.
    #[must_use]
    pub fn open(dir: Option<&Path>) -> Arc<Self> {
        let debts = Self::default();
        match dir.map(Journal::open).transpose() {
            Ok(None) => {}
            Ok(Some((journal, left))) => {
                let mut state = debts.state.lock();
                state.journal = Some(journal);
                for (key, due) in left {
                    debts.add(&mut state, &key, due, None);
                }
            }
            Err(cause) => tracing::warn!(
                "no journal of copies to the second bucket ({cause}): those of a killed process wait for a full sync"
            ),
        }
        Arc::new(debts)
    }

    /// The stores to pay from and to; `None` cancels what is owed.
    pub fn set_sides(&self, sides: Option<Sides>) {
        if sides.is_none() {
            let mut state = self.state.lock();
            let keys: Vec<String> = state.owed.keys().cloned().collect();
            keys.iter().for_each(|key| self.settle(&mut state, key));
            state.queue.clear();
        }
        *self.sides.write() = sides;
        self.made.notify_waiters();
    }

    pub(super) fn owe_copy(&self, key: &str, to: Side, body: Option<Bytes>) {
        self.owe(key, Due::Copy(to), body);
    }

    pub(super) fn owe_deletion(&self, key: &str, from: Side) {
        self.owe(key, Due::Deletion(from), None);
    }

    fn owe(&self, key: &str, due: Due, body: Option<Bytes>) {
        let mut state = self.state.lock();
        if state.owed.len() >= OWED_MAX && !state.owed.contains_key(key) {
            self.overflowed.fetch_add(1, Ordering::Relaxed);
            return;
        }
        if let Some(journal) = &mut state.journal
            && let Err(cause) = journal.owe(key, due)
        {
            tracing::warn!("the journal of copies to the second bucket can't be written: {cause}");
        }
        self.add(&mut state, key, due, body);
        drop(state);
        self.made.notify_one();
    }

    fn add(&self, state: &mut State, key: &str, due: Due, body: Option<Bytes>) {
        let body = body.filter(|body| state.bodies_bytes + body.len() <= BODIES_MAX_BYTES);
        state.bodies_bytes += body.as_ref().map_or(0, Bytes::len);
        state.next += 1;
        let owed = Owed { due, number: state.next, body, since: Instant::now(), is_being_paid: false };
        match state.owed.get_mut(key) {
            Some(before) => {
                state.bodies_bytes -= before.body.as_ref().map_or(0, Bytes::len);
                // Whoever pays the former one finds the other number and puts the key into the queue again.
                *before = Owed { is_being_paid: before.is_being_paid, ..owed };
            }
            None => {
                state.owed.insert(key.to_owned(), owed);
                state.queue.push_back(key.to_owned());
            }
        }
    }

    /// The object is about to be deleted: a copy that is under way is deleted when it has arrived.
    pub(super) fn forget_copy(&self, key: &str) {
        let mut state = self.state.lock();
        let Some(owed) = state.owed.get(key) else { return };
        match owed.due {
            Due::Copy(to) if owed.is_being_paid => {
                drop(state);
                self.owe_deletion(key, to);
            }
            Due::Copy(_) => self.settle(&mut state, key),
            Due::Deletion(_) => {}
        }
    }

    fn settle(&self, state: &mut State, key: &str) {
        if let Some(owed) = state.owed.remove(key) {
            state.bodies_bytes -= owed.body.map_or(0, |body| body.len());
            let nothing_left = state.owed.is_empty();
            if let Some(journal) = &mut state.journal
                && let Err(cause) = journal.paid(key, nothing_left)
            {
                tracing::warn!("the journal of copies to the second bucket can't be written: {cause}");
            }
        }
    }

    pub(super) fn count_fallback(&self) {
        self.fallbacks.fetch_add(1, Ordering::Relaxed);
    }

    #[must_use]
    pub fn counts(&self) -> DebtCounts {
        let state = self.state.lock();
        let oldest = state.owed.values().map(|owed| owed.since).min();
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        DebtCounts {
            pending: state.owed.len() as u64,
            oldest_sec: oldest.map_or(0, |since| since.elapsed().as_secs()),
            copied: of(&self.copied),
            copied_bytes: of(&self.copied_bytes),
            deleted: of(&self.deleted),
            errors: of(&self.errors),
            overflowed: of(&self.overflowed),
            fallbacks: of(&self.fallbacks),
        }
    }

    /// Nobody is paying anything at the moment.
    #[cfg(test)]
    pub(super) fn state_is_idle(&self) -> bool {
        self.state.lock().owed.values().all(|owed| !owed.is_being_paid)
    }

    /// Waits until nothing is owed, at most `patience`; says whether.
    pub async fn drain(&self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        while !self.state.lock().owed.is_empty() {
            if Instant::now() >= deadline {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        if let Some(journal) = &self.state.lock().journal {
            // One that stays is empty of debts, and taken over by the next mount.
            let _ = journal.remove();
        }
        true
    }

    /// One payer; [`PAYERS`] of them run. Ends when it is aborted.
    pub async fn pay(self: Arc<Self>) {
        let mut failures = 0;
        loop {
            let made = self.made.notified();
            let sides = self.sides.read().clone();
            let Some(sides) = sides else {
                made.await;
                continue;
            };
            let Some((key, due, number, body)) = self.take() else {
                made.await;
                continue;
            };
            let outcome = self.pay_one(&sides, &key, due, body).await;
            match &outcome {
                Ok(()) => failures = 0,
                Err(error) => {
                    self.errors.fetch_add(1, Ordering::Relaxed);
                    if failures == 0 {
                        tracing::warn!("the copy of {key} in the other bucket waits: {error}");
                    }
                }
            }
            self.give_back(key, number, outcome.is_ok());
            if outcome.is_err() {
                tokio::time::sleep(backoff::doubling(failures, PAUSE_FIRST, PAUSE_MAX)).await;
                failures += 1;
            }
        }
    }

    fn take(&self) -> Option<(String, Due, u64, Option<Bytes>)> {
        let mut state = self.state.lock();
        while let Some(key) = state.queue.pop_front() {
            // Settled since.
            let Some(owed) = state.owed.get_mut(&key) else { continue };
            owed.is_being_paid = true;
            let taken = (owed.due, owed.number, owed.body.clone());
            if !state.queue.is_empty() {
                self.made.notify_one();
            }
            return Some((key, taken.0, taken.1, taken.2));
        }
        None
    }

    fn give_back(&self, key: String, number: u64, is_paid: bool) {
        let mut state = self.state.lock();
        let Some(owed) = state.owed.get_mut(&key) else { return };
        owed.is_being_paid = false;
        if is_paid && owed.number == number {
            self.settle(&mut state, &key);
        } else {
            state.queue.push_back(key);
            self.made.notify_one();
        }
    }

    async fn pay_one(&self, sides: &Sides, key: &str, due: Due, body: Option<Bytes>) -> Result<()> {
        match due {
            Due::Deletion(from) => {
                within(key, sides.of(from).delete(key)).await?;
                self.deleted.fetch_add(1, Ordering::Relaxed);
            }
            Due::Copy(to) => {
                let body = match body {
                    Some(body) => body,
                    None => match within(key, sides.of(to.other()).get(key, None)).await {
                        Ok(body) => body,
                        // Deleted since, or lost: the full sync knows which, from metadata.
                        Err(error) if error.is_not_found() => return Ok(()),
                        Err(error) => return Err(error),
                    },
                };
                let bytes = body.len() as u64;
                within(key, sides.of(to).put(key, body)).await?;
                self.copied.fetch_add(1, Ordering::Relaxed);
                self.copied_bytes.fetch_add(bytes, Ordering::Relaxed);
            }
        }
        Ok(())
    }
}

async fn within<T>(key: &str, request: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::time::timeout(DEADLINE, request).await.unwrap_or_else(|_| {
        Err(Error::Unreachable {
            store: "the store".to_owned(),
            key: key.to_owned(),
            cause: format!("no answer within {} s", DEADLINE.as_secs()),
        })
    })
}
