//! Bringing the rows of this session's locks together with what it holds (decisions 25): somebody may have taken the
//! session for dead and its locks away, and a change may have gone without an answer.

use std::collections::BTreeMap;

use super::{Held, LostLock};
use crate::error::Result;
use crate::lock::{Holder, LockKind, RangeLock, RangeRequest};
use crate::meta::Meta;
use crate::port::{Change, Get, Got};
use crate::rules::ranges;
use crate::txn::{FlocksOf, Operation, RangeLocksOf, Txn};
use crate::types::Ino;

/// Files asked about together.
const AT_ONCE: usize = 128;

type Flocks = Vec<(Holder, LockKind)>;
type RangeLocks = Vec<(Holder, Vec<RangeLock>)>;

impl Meta {
    /// Has the database say again which locks this session holds; what somebody else has by now is lost and told to
    /// the sink. `is_reborn`: the session's row was gone, so that no record about it is to be trusted.
    ///
    /// # Errors
    /// As the engine's; the next heartbeat tries again.
    pub(crate) async fn keep_locks(&self, sid: u64, is_reborn: bool) -> Result<()> {
        for inos in self.locks.inodes().chunks(AT_ONCE) {
            let gets: Vec<_> =
                inos.iter().flat_map(|&ino| [Get::Flocks { ino }, Get::RangeLocks { ino }]).collect();
            let mut got = self.ask(|engine| engine.read(&gets)).await?.into_iter();
            for &ino in inos {
                let (Some(Got::Flocks(flocks)), Some(Got::RangeLocks(ranges))) = (got.next(), got.next())
                else {
                    continue;
                };
                let held = self.locks.of(ino);
                let is_right = own(&flocks, sid) == held.flocks && own(&ranges, sid) == held.ranges;
                if is_reborn || held.is_unsettled || !is_right {
                    self.settle_locks(sid, ino, is_reborn).await?;
                }
            }
        }
        Ok(())
    }

    async fn settle_locks(&self, sid: u64, ino: Ino, is_reborn: bool) -> Result<()> {
        // Nobody of this process changes them meanwhile.
        let _turn = self.locks.turns.lock(ino).await;
        let lost = self.transact(&KeepLocks { sid, ino, held: self.locks.of(ino), is_reborn }).await?;
        self.locks.settle(ino);
        for lost in lost {
            match lost {
                LostLock::Flock(owner) => self.locks.set_flock(ino, owner, None),
                LostLock::Ranges(owner) => self.locks.set_ranges(ino, owner, Vec::new()),
            }
            tracing::error!(%ino, ?lost, "a lock was lost to another client; its handles fail from now on");
            self.locks.tell_lost(ino, lost);
        }
        self.locks.waits.wake(ino);
        Ok(())
    }
}

/// What the rows say of one session, by owner.
fn own<T: Clone>(rows: &[(Holder, T)], sid: u64) -> BTreeMap<u64, T> {
    rows.iter()
        .filter(|(holder, _)| holder.sid == sid)
        .map(|(holder, lock)| (holder.owner, lock.clone()))
        .collect()
}

struct KeepLocks {
    sid: u64,
    ino: Ino,
    held: Held,
    is_reborn: bool,
}

impl KeepLocks {
    fn flocks(&self, txn: &mut Txn<'_>, rows: &Flocks, lost: &mut Vec<LostLock>) {
        let (ino, sid) = (self.ino, self.sid);
        let others: Vec<_> =
            rows.iter().filter(|(holder, _)| holder.sid != sid).map(|(_, kind)| *kind).collect();
        let mut kept = self.held.flocks.clone();
        kept.retain(|owner, kind| {
            let is_lost = others.iter().any(|other| other.excludes(*kind));
            lost.extend(is_lost.then_some(LostLock::Flock(*owner)));
            !is_lost
        });
        let rows = own(rows, sid);
        for owner in rows.keys().filter(|owner| !kept.contains_key(owner)) {
            let holder = Holder { sid, owner: *owner };
            txn.change(Change::DeleteFlock { ino, holder, is_last: kept.is_empty() });
        }
        for (owner, kind) in kept {
            if self.is_reborn || rows.get(&owner) != Some(&kind) {
                txn.change(Change::SetFlock { ino, holder: Holder { sid, owner }, kind });
            }
        }
    }

    fn ranges(&self, txn: &mut Txn<'_>, rows: &RangeLocks, lost: &mut Vec<LostLock>) {
        let (ino, sid) = (self.ino, self.sid);
        let others: RangeLocks = rows.iter().filter(|(holder, _)| holder.sid != sid).cloned().collect();
        let mut kept = self.held.ranges.clone();
        kept.retain(|owner, locks| {
            let is_lost = locks.iter().any(|lock| {
                let RangeLock { kind, pid, start, end } = *lock;
                let asked = RangeRequest { kind: Some(kind), pid, start, end };
                ranges::in_the_way(&others, Holder { sid, owner: *owner }, &asked).next().is_some()
            });
            lost.extend(is_lost.then_some(LostLock::Ranges(*owner)));
            !is_lost
        });
        let rows = own(rows, sid);
        for owner in rows.keys().filter(|owner| !kept.contains_key(owner)) {
            let holder = Holder { sid, owner: *owner };
            txn.change(Change::DeleteRangeLocks { ino, holder, is_last: kept.is_empty() });
        }
        for (owner, locks) in kept {
            if self.is_reborn || rows.get(&owner) != Some(&locks) {
                txn.change(Change::SetRangeLocks { ino, holder: Holder { sid, owner }, locks });
            }
        }
    }
}

impl Operation for KeepLocks {
    type Output = Vec<LostLock>;
    const NAME: &'static str = "keep_locks";
    const FLUSHES: u32 = 2;

    fn contends_on(&self) -> [Option<Ino>; 2] {
        [Some(self.ino), None]
    }

    async fn run(&self, txn: &mut Txn<'_>) -> Result<Vec<LostLock>> {
        let (flocks, ranges) = txn.read((FlocksOf(self.ino), RangeLocksOf(self.ino))).await?;
        let mut lost = Vec::new();
        self.flocks(txn, &flocks, &mut lost);
        self.ranges(txn, &ranges, &mut lost);
        Ok(lost)
    }
}
