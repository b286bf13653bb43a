//! Lock records.

use super::{Home, commit, get, is_conflict, put};
use crate::lock::{Holder, LOCK_END_MAX, LockKind, RangeLock};
use crate::port::{Change, Engine, Get, Got};
use crate::types::Ino;

const FILE: Ino = Ino(5);

fn holder(sid: u64, owner: u64) -> Holder {
    Holder { sid, owner }
}

fn range(kind: LockKind, start: u64, end: u64) -> RangeLock {
    RangeLock { kind, pid: 0x5d99, start, end }
}

async fn flocks(engine: &dyn Engine, ino: Ino) -> Vec<(Holder, LockKind)> {
    match get(engine, Get::Flocks { ino }).await {
        Got::Flocks(locks) => locks,
        other => panic!("{other:?}"),
    }
}

async fn ranges(engine: &dyn Engine, ino: Ino) -> Vec<(Holder, Vec<RangeLock>)> {
    match get(engine, Get::RangeLocks { ino }).await {
        Got::RangeLocks(locks) => locks,
        other => panic!("{other:?}"),
    }
}

fn set(holder: Holder, kind: LockKind) -> Change {
    Change::SetFlock { ino: FILE, holder, kind }
}

pub(super) async fn bsd_locks_are_listed_by_holder(home: &Home) {
    let engine = &**home.volume().await;
    assert_eq!(flocks(engine, FILE).await, []);
    // A session that another one's number begins with, and the largest owner.
    let (low, high, other) = (holder(1, 7), holder(1, u64::MAX), holder(11, 7));
    put(engine, &[other, high, low].map(|holder| set(holder, LockKind::Shared))).await;
    put(engine, &[set(other, LockKind::Exclusive)]).await;
    let all = [(low, LockKind::Shared), (high, LockKind::Shared), (other, LockKind::Exclusive)];
    assert_eq!(flocks(&*home.other, FILE).await, all);
    assert_eq!(flocks(engine, Ino(6)).await, []);
    put(engine, &[Change::DeleteFlock { ino: FILE, holder: low, is_last: false }]).await;
    put(engine, &[Change::DeleteFlock { ino: FILE, holder: other, is_last: true }]).await;
    assert_eq!(flocks(&*home.other, FILE).await, all[1..2]);
}

pub(super) async fn posix_locks_are_a_list_of_their_holder(home: &Home) {
    let engine = &**home.volume().await;
    let (one, two) = (holder(1, u64::MAX - 1), holder(2, 7));
    let locks = vec![range(LockKind::Exclusive, 5, 14), range(LockKind::Shared, 50, LOCK_END_MAX)];
    put(engine, &[Change::SetRangeLocks { ino: FILE, holder: one, locks: vec![locks[1]] }]).await;
    put(engine, &[Change::SetRangeLocks { ino: FILE, holder: one, locks: locks.clone() }]).await;
    put(engine, &[Change::SetRangeLocks { ino: FILE, holder: two, locks: locks.clone() }]).await;
    assert_eq!(ranges(&*home.other, FILE).await, [(one, locks.clone()), (two, locks.clone())]);
    assert_eq!(flocks(engine, FILE).await, [], "the two kinds know nothing of one another");
    put(engine, &[Change::DeleteRangeLocks { ino: FILE, holder: one, is_last: true }]).await;
    assert_eq!(ranges(engine, FILE).await, [(two, locks)]);
}

pub(super) async fn all_locks_of_a_session_go_together(home: &Home) {
    let engine = &**home.volume().await;
    let locks = vec![range(LockKind::Shared, 0, 0)];
    for ino in [Ino(5), Ino(6)] {
        for holder in [holder(1, 7), holder(1, 8), holder(11, 7)] {
            let locks = locks.clone();
            put(engine, &[Change::SetFlock { ino, holder, kind: LockKind::Shared }]).await;
            put(engine, &[Change::SetRangeLocks { ino, holder, locks }]).await;
        }
    }
    put(engine, &[Change::DeleteLocks { sid: 1 }]).await;
    for ino in [Ino(5), Ino(6)] {
        assert_eq!(flocks(&*home.other, ino).await, [(holder(11, 7), LockKind::Shared)]);
        assert_eq!(ranges(&*home.other, ino).await, [(holder(11, 7), locks.clone())]);
    }
}

/// Nobody has a lock yet: still only one of two gets it.
pub(super) async fn the_first_locks_of_a_file_conflict(home: &Home) {
    let engine = &**home.volume().await;
    for get in [Get::Flocks { ino: FILE }, Get::RangeLocks { ino: FILE }] {
        let mut slow = engine.begin(0).await.expect("begins");
        slow.read(std::slice::from_ref(&get)).await.expect("reads");
        let change = |holder| match get {
            Get::Flocks { .. } => set(holder, LockKind::Exclusive),
            _ => Change::SetRangeLocks { ino: FILE, holder, locks: vec![range(LockKind::Exclusive, 0, 9)] },
        };
        commit(&*home.other, std::slice::from_ref(&get), &[change(holder(2, 7))]).await.expect("commits");
        assert!(is_conflict(&slow.commit(&[change(holder(1, 7))]).await));
    }
    assert_eq!(flocks(engine, FILE).await, [(holder(2, 7), LockKind::Exclusive)]);
    assert_eq!(ranges(engine, FILE).await.len(), 1);
}
