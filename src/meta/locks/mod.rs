//! Which file locks this process holds, and who of it waits for one.
//!
//! The truth is in the database. What is held here says what the database should say of this session: the heartbeat
//! brings the two together after an outage ([`keep`]), and a close without locks need not ask. An entry changes only
//! under the file's turn, together with the rows.

mod keep;
mod waits;

use std::collections::{BTreeMap, HashMap};

use juicefs_base::sync::{Mutex, RwLock};

use crate::lock::{LockKind, RangeLock};
use crate::txn::Stripes;
use crate::types::Ino;
pub(crate) use waits::Waits;

/// Told of a lock that is lost: another client took this session for dead and somebody else has the lock by now.
pub type LockLostSink = Box<dyn Fn(Ino, LostLock) + Send + Sync>;

/// What was lost, by its owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LostLock {
    Flock(u64),
    Ranges(u64),
}

/// Locks of this session on one file, by owner.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) flocks: BTreeMap<u64, LockKind>,
    pub(crate) ranges: BTreeMap<u64, Vec<RangeLock>>,
    /// A change went without an answer: the rows may say something else.
    pub(crate) is_unsettled: bool,
}

impl Held {
    fn is_empty(&self) -> bool {
        self.flocks.is_empty() && self.ranges.is_empty() && !self.is_unsettled
    }
}

/// The locks of one mount.
#[derive(Default)]
pub(crate) struct Locks {
    held: Mutex<HashMap<Ino, Held>>,
    /// One call on the locks of a file at a time, from its rows to its entry here. Taken before the transaction's.
    pub(crate) turns: Stripes,
    pub(crate) waits: Waits,
    lost_sink: RwLock<Option<LockLostSink>>,
}

impl Locks {
    pub(crate) fn set_lost_sink(&self, sink: LockLostSink) {
        *self.lost_sink.write() = Some(sink);
    }

    fn change(&self, ino: Ino, change: impl FnOnce(&mut Held)) {
        let mut all = self.held.lock();
        let held = all.entry(ino).or_default();
        change(held);
        if held.is_empty() {
            all.remove(&ino);
        }
    }

    pub(crate) fn set_flock(&self, ino: Ino, owner: u64, kind: Option<LockKind>) {
        self.change(ino, |held| {
            match kind {
                Some(kind) => held.flocks.insert(owner, kind),
                None => held.flocks.remove(&owner),
            };
        });
    }

    pub(crate) fn set_ranges(&self, ino: Ino, owner: u64, locks: Vec<RangeLock>) {
        self.change(ino, |held| {
            if locks.is_empty() {
                held.ranges.remove(&owner);
            } else {
                held.ranges.insert(owner, locks);
            }
        });
    }

    /// The rows of `ino` may not be what stands here; the heartbeat sees to it.
    pub(crate) fn doubt(&self, ino: Ino) {
        self.change(ino, |held| held.is_unsettled = true);
    }

    fn settle(&self, ino: Ino) {
        self.change(ino, |held| held.is_unsettled = false);
    }

    pub(crate) fn of(&self, ino: Ino) -> Held {
        self.held.lock().get(&ino).cloned().unwrap_or_default()
    }

    /// Whether this owner has POSIX locks on any file.
    pub(crate) fn has_any_range(&self, owner: u64) -> bool {
        self.held.lock().values().any(|held| held.ranges.contains_key(&owner))
    }

    fn inodes(&self) -> Vec<Ino> {
        self.held.lock().keys().copied().collect()
    }

    fn tell_lost(&self, ino: Ino, lost: LostLock) {
        if let Some(sink) = &*self.lost_sink.read() {
            sink(ino, lost);
        }
    }
}
