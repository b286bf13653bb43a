//! File locks: who gets one, who waits, who is refused.
//!
//! A lock is a row of its holder; a call reads all rows of the file and writes its own. Waiting is looking again: at
//! once when somebody of this process gives up a lock on the file, from time to time for what others do.

use std::time::Duration;

use juicefs_base::Errno;

use crate::change_log::Entry;
use crate::error::{Error, Result};
use crate::lock::{Holder, LockKind, Patience, RangeLock, RangeRequest};
use crate::locks::{Held, LockLostSink};
use crate::meta::Meta;
use crate::port::Change;
use crate::rules::ranges;
use crate::txn::{FlocksOf, Operation, RangeLocksOf, Txn};
use crate::types::Ino;

/// Between two looks at a lock that another client holds; it grows from the first to the last.
const LOOK_FIRST: Duration = Duration::from_millis(1);
const LOOK_LAST: Duration = Duration::from_millis(25);
/// The same for a lock of this process, whose end wakes the waiting.
const LOOK_OWN: Duration = Duration::from_secs(1);
/// A wait that takes longer is said in the log, once.
const LONG: Duration = Duration::from_secs(60);
/// What is asked for.
#[derive(Clone, Copy, Debug)]
enum Asked {
    Flock(Option<LockKind>),
    Range(RangeRequest),
}

impl Asked {
    fn gives_up(self) -> bool {
        match self {
            Self::Flock(kind) => kind.is_none(),
            Self::Range(asked) => asked.kind.is_none(),
        }
    }

    /// Whether `owner` has anything of the kind.
    fn is_held(self, held: &Held, owner: u64) -> bool {
        match self {
            Self::Flock(_) => held.flocks.contains_key(&owner),
            Self::Range(_) => held.ranges.contains_key(&owner),
        }
    }
}

/// BSD locks of a file, and its POSIX locks by holder.
pub type FileLocks = (Vec<(Holder, LockKind)>, Vec<(Holder, Vec<RangeLock>)>);

impl Meta {
    /// Takes, changes or gives up the BSD lock of `owner` on a file.
    ///
    /// # Errors
    /// EAGAIN, or EINTR when waiting was interrupted; ENOLCK without a session, EROFS.
    pub async fn flock(
        &self,
        ino: Ino,
        owner: u64,
        kind: Option<LockKind>,
        patience: Patience,
    ) -> Result<()> {
        self.lock(self.stored(ino), owner, Asked::Flock(kind), patience).await
    }

    /// Takes, changes or gives up POSIX locks of `owner` on a range.
    ///
    /// # Errors
    /// As [`Self::flock`]; EDEADLK when waiting would be in vain, EINVAL.
    pub async fn lock_range(
        &self,
        ino: Ino,
        owner: u64,
        asked: RangeRequest,
        patience: Patience,
    ) -> Result<()> {
        self.lock(self.stored(ino), owner, Asked::Range(asked.checked()?), patience).await
    }

    /// All locks of a file, of every client: BSD locks, then those of each holder of POSIX locks.
    ///
    /// # Errors
    /// As the engine's.
    pub async fn locks_of(&self, ino: Ino) -> Result<FileLocks> {
        let ino = self.stored(ino);
        self.peek((FlocksOf(ino), RangeLocksOf(ino))).await
    }

    /// The first lock that would keep `owner` from getting `asked`. Its process is 0 when it runs elsewhere.
    ///
    /// # Errors
    /// As the engine's; EINVAL.
    pub async fn range_lock_in_the_way(
        &self,
        ino: Ino,
        owner: u64,
        asked: RangeRequest,
    ) -> Result<Option<RangeLock>> {
        let (asked, sid) = (asked.checked()?, self.session_id());
        let (rows,) = self.peek((RangeLocksOf(self.stored(ino)),)).await?;
        let in_the_way = ranges::in_the_way(&rows, Holder { sid, owner }, &asked);
        let first = in_the_way.min_by_key(|(_, lock)| lock.start);
        Ok(first
            .map(|(holder, lock)| RangeLock { pid: if holder.sid == sid { lock.pid } else { 0 }, ..lock }))
    }

    /// Since when a process of this mount has been waiting for a lock.
    #[must_use]
    pub fn waiting_for_lock_since(&self) -> Option<std::time::Instant> {
        self.locks.waits.since()
    }

    /// Who is told of locks that were lost.
    pub fn set_lock_lost_sink(&self, sink: LockLostSink) {
        self.locks.set_lost_sink(sink);
    }

    async fn lock(&self, ino: Ino, owner: u64, asked: Asked, mut patience: Patience) -> Result<()> {
        let mut waiter = None;
        let mut pause = LOOK_FIRST;
        let mut is_said = false;
        loop {
            let blockers = self.try_lock(ino, owner, asked).await?;
            if blockers.is_empty() {
                if !asked.gives_up() {
                    // Who holds a lock reads what is there.
                    self.open_cache.forget(ino);
                }
                return Ok(());
            }
            let Patience::Until(interrupted) = &mut patience else { return Err(Errno::EAGAIN.into()) };
            let Some(waiter) = &waiter else {
                // Two that share a lock and both want it alone would wait for ever: as flock(2) has it, who has to
                // wait gives up what it has.
                if let Asked::Flock(Some(_)) = asked {
                    self.try_lock(ino, owner, Asked::Flock(None)).await?;
                }
                waiter = Some(self.locks.waits.begin(ino, owner));
                continue;
            };
            let (sid, waited) = (self.session_id(), waiter.since.elapsed());
            let is_foreign = blockers.iter().any(|holder| holder.sid != sid);
            if let Asked::Range(_) = asked {
                let ours = blockers.iter().filter(|holder| holder.sid == sid).map(|holder| holder.owner);
                let is_hopeless =
                    is_foreign && waited > self.locks.waits.suspicion() && self.locks.has_any_range(owner);
                if waiter.closes_a_circle(ours.collect()) || is_hopeless {
                    return Err(Errno::EDEADLK.into());
                }
            }
            if waited > LONG && !std::mem::replace(&mut is_said, true) {
                let sessions: Vec<u64> = blockers.iter().map(|holder| holder.sid).collect();
                tracing::info!(%ino, ?sessions, "a process has been waiting for a lock for {} s", waited.as_secs());
            }
            tokio::select! {
                () = interrupted => return Err(Errno::EINTR.into()),
                () = waiter.wake.notified() => {}
                () = self.sleep(if is_foreign { pause } else { LOOK_OWN }) => {}
            }
            pause = (pause * 2).min(LOOK_LAST);
        }
    }

    /// One look: empty when it is done, else who has what excludes it.
    async fn try_lock(&self, ino: Ino, owner: u64, asked: Asked) -> Result<Vec<Holder>> {
        if asked.gives_up() && !asked.is_held(&self.locks.of(ino), owner) {
            return Ok(Vec::new());
        }
        let _turn = self.locks.turns.lock(ino).await;
        let held = self.locks.of(ino);
        let holder = Holder { sid: self.session_id(), owner };
        if asked.gives_up() {
            if !asked.is_held(&held, owner) {
                return Ok(Vec::new());
            }
        } else {
            self.check_writable()?;
            if holder.sid == 0 {
                return Err(Errno::ENOLCK.into());
            }
        }
        let outcome = match asked {
            Asked::Flock(kind) => self.transact(&SetFlock { ino, holder, kind }).await.inspect(|blockers| {
                if blockers.is_empty() {
                    self.locks.set_flock(ino, owner, kind);
                }
            }),
            Asked::Range(range) => {
                self.transact(&SetRange { ino, holder, range }).await.map(|outcome| match outcome {
                    Ok(locks) => {
                        self.locks.set_ranges(ino, owner, locks);
                        Vec::new()
                    }
                    Err(blockers) => blockers,
                })
            }
        };
        match &outcome {
            Ok(blockers) if blockers.is_empty() => self.locks.waits.wake(ino),
            Err(error) if asked.gives_up() || matches!(error, Error::InDoubt(_)) => {
                self.give_up_later(ino, owner, asked, &held.ranges);
            }
            _ => {}
        }
        outcome
    }

    /// A change that went without an answer: the rows follow at a heartbeat.
    fn give_up_later(
        &self,
        ino: Ino,
        owner: u64,
        asked: Asked,
        held: &std::collections::BTreeMap<u64, Vec<RangeLock>>,
    ) {
        match asked {
            Asked::Flock(None) => self.locks.set_flock(ino, owner, None),
            Asked::Range(asked) if asked.kind.is_none() => {
                let own = held.get(&owner).map_or(&[][..], Vec::as_slice);
                self.locks.set_ranges(ino, owner, ranges::after(own, &asked));
            }
            Asked::Flock(Some(_)) | Asked::Range(_) => {}
        }
        self.locks.doubt(ino);
    }
}

/// As the change log has it.
fn letter(kind: Option<LockKind>) -> char {
    match kind {
        None => 'U',
        Some(LockKind::Shared) => 'R',
        Some(LockKind::Exclusive) => 'W',
    }
}

struct SetFlock {
    ino: Ino,
    holder: Holder,
    kind: Option<LockKind>,
}

impl Operation for SetFlock {
    type Output = Vec<Holder>;
    const NAME: &'static str = "flock";
    const FLUSHES: u32 = 2;

    fn contends_on(&self) -> [Option<Ino>; 2] {
        [Some(self.ino), None]
    }

    async fn run(&self, txn: &mut Txn<'_>) -> Result<Vec<Holder>> {
        let Self { ino, holder, kind } = *self;
        let (rows,) = txn.read((FlocksOf(ino),)).await?;
        let own = rows.iter().find(|(other, _)| *other == holder).map(|(_, kind)| *kind);
        let others = || rows.iter().filter(|(other, _)| *other != holder);
        match kind {
            Some(kind) => {
                let blockers: Vec<_> =
                    others().filter(|(_, other)| kind.excludes(*other)).map(|(other, _)| *other).collect();
                if blockers.is_empty() && own != Some(kind) {
                    txn.log(&Entry::Flock { ino, owner: holder.owner, what: letter(Some(kind)) });
                    txn.change(Change::SetFlock { ino, holder, kind });
                }
                Ok(blockers)
            }
            None => {
                if own.is_some() {
                    let is_last = !others().any(|(other, _)| other.sid == holder.sid);
                    txn.log(&Entry::Flock { ino, owner: holder.owner, what: letter(None) });
                    txn.change(Change::DeleteFlock { ino, holder, is_last });
                }
                Ok(Vec::new())
            }
        }
    }
}

struct SetRange {
    ino: Ino,
    holder: Holder,
    range: RangeRequest,
}

impl Operation for SetRange {
    /// What the holder has now, or who is in its way.
    type Output = Result<Vec<RangeLock>, Vec<Holder>>;
    const NAME: &'static str = "setlk";
    const FLUSHES: u32 = 2;

    fn contends_on(&self) -> [Option<Ino>; 2] {
        [Some(self.ino), None]
    }

    async fn run(&self, txn: &mut Txn<'_>) -> Result<Self::Output> {
        let Self { ino, holder, range } = *self;
        let (rows,) = txn.read((RangeLocksOf(ino),)).await?;
        let blockers: Vec<_> = ranges::in_the_way(&rows, holder, &range).map(|(other, _)| other).collect();
        if !blockers.is_empty() {
            return Ok(Err(blockers));
        }
        let own = rows.iter().find(|(other, _)| *other == holder).map(|(_, locks)| &locks[..]);
        let locks = ranges::after(own.unwrap_or_default(), &range);
        if own.unwrap_or_default() != locks {
            let RangeRequest { kind, start, end, pid } = range;
            txn.log(&Entry::SetLock { ino, owner: holder.owner, what: letter(kind), start, end, pid });
        }
        if locks.is_empty() && own.is_some() {
            let is_last = !rows.iter().any(|(other, _)| *other != holder && other.sid == holder.sid);
            txn.change(Change::DeleteRangeLocks { ino, holder, is_last });
        } else if own.unwrap_or_default() != locks {
            txn.change(Change::SetRangeLocks { ino, holder, locks: locks.clone() });
        }
        Ok(Ok(locks))
    }
}
