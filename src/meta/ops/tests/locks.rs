//! File locks within a mount and between two.

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::lock::{Holder, Interrupted, LockKind, Patience, RangeLock, RangeRequest};
use crate::locks::LostLock;
use crate::port::{Change, Get, Got};
use juicefs_base::sync::Mutex;

const R: Option<LockKind> = Some(LockKind::Shared);
const W: Option<LockKind> = Some(LockKind::Exclusive);

fn range(kind: Option<LockKind>, start: u64, end: u64) -> RangeRequest {
    RangeRequest { kind, pid: 4711, start, end }
}

fn for_ever() -> Patience {
    Patience::Until(Box::pin(std::future::pending()))
}

/// One volume, a file, and two mounts of it.
struct Two {
    volume: Volume,
    other: Arc<Meta>,
    ino: Ino,
}

impl Two {
    async fn new() -> Self {
        let volume = Volume::new().await;
        let other = mount(volume.engine.clone(), 2).await;
        let ino = volume.touch(Ino::ROOT, "f").await;
        Self { volume, other, ino }
    }

    async fn flock(&self, owner: u64, kind: Option<LockKind>) -> Result<()> {
        self.volume.meta.flock(self.ino, owner, kind, Patience::None).await
    }

    async fn lock(&self, owner: u64, asked: RangeRequest) -> Result<()> {
        self.volume.meta.lock_range(self.ino, owner, asked, Patience::None).await
    }

    /// Waits in the background until the lock is there.
    fn waiting(
        &self,
        meta: &Arc<Meta>,
        owner: u64,
        asked: RangeRequest,
    ) -> tokio::task::JoinHandle<Result<()>> {
        let (meta, ino) = (Arc::clone(meta), self.ino);
        tokio::spawn(async move { meta.lock_range(ino, owner, asked, for_ever()).await })
    }

    async fn rows(&self) -> (usize, usize) {
        let gets = [Get::Flocks { ino: self.ino }, Get::RangeLocks { ino: self.ino }];
        match &self.volume.engine.read(&gets).await.unwrap()[..] {
            [Got::Flocks(flocks), Got::RangeLocks(ranges)] => (flocks.len(), ranges.len()),
            other => panic!("{other:?}"),
        }
    }
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let seen = async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), seen)
        .await
        .unwrap_or_else(|_| panic!("never happened: {what}"));
}

#[tokio::test]
async fn a_lock_excludes_others_of_this_mount_and_of_another() {
    let two = Two::new().await;
    two.flock(7, R).await.unwrap();
    two.flock(8, R).await.unwrap();
    two.other.flock(two.ino, 7, R, Patience::None).await.unwrap();
    refused(two.flock(9, W).await, Errno::EAGAIN);
    refused(two.flock(7, W).await, Errno::EAGAIN);
    two.flock(8, None).await.unwrap();
    two.other.flock(two.ino, 7, None, Patience::None).await.unwrap();
    two.flock(7, W).await.unwrap();
    refused(two.other.flock(two.ino, 7, R, Patience::None).await, Errno::EAGAIN);
    two.flock(7, None).await.unwrap();
    // Ranges that do not meet, or are both for reading.
    two.lock(7, range(W, 0, 9)).await.unwrap();
    two.other.lock_range(two.ino, 7, range(W, 10, 19), Patience::None).await.unwrap();
    refused(two.lock(7, range(R, 5, 15)).await, Errno::EAGAIN);
    refused(two.lock(8, range(R, 0, 0)).await, Errno::EAGAIN);
    two.lock(7, range(R, 0, 9)).await.unwrap();
    two.lock(8, range(R, 0, 0)).await.unwrap();
    refused(two.lock(7, range(W, 9, 8)).await, Errno::EINVAL);
    assert_eq!(two.rows().await, (0, 3));
    // Who gives up the middle keeps both ends.
    two.lock(7, range(None, 3, 5)).await.unwrap();
    two.lock(9, range(W, 3, 5)).await.unwrap();
    refused(two.lock(9, range(W, 6, 6)).await, Errno::EAGAIN);
}

#[tokio::test]
async fn the_lock_in_the_way_is_told_with_its_process_where_that_is_ours() {
    let two = Two::new().await;
    two.lock(7, range(W, 10, 19)).await.unwrap();
    let ask =
        async |meta: &Meta, owner, asked| meta.range_lock_in_the_way(two.ino, owner, asked).await.unwrap();
    let lock = RangeLock { kind: LockKind::Exclusive, pid: 4711, start: 10, end: 19 };
    assert_eq!(ask(&two.volume.meta, 8, range(R, 0, 10)).await, Some(lock));
    assert_eq!(ask(&two.volume.meta, 8, range(R, 0, 9)).await, None);
    assert_eq!(ask(&two.volume.meta, 7, range(W, 0, 99)).await, None);
    assert_eq!(ask(&two.other, 7, range(R, 0, 10)).await, Some(RangeLock { pid: 0, ..lock }));
}

#[tokio::test]
async fn who_waits_gets_the_lock_when_it_is_given_up_here_or_elsewhere() {
    let two = Two::new().await;
    for (holder, waiter) in [(&two.volume.meta, &two.volume.meta), (&two.volume.meta, &two.other)] {
        holder.lock_range(two.ino, 7, range(W, 0, 9), Patience::None).await.unwrap();
        let waiting = two.waiting(waiter, 8, range(W, 5, 5));
        until("somebody waits", || waiter.locks.waits.count() == 1).await;
        assert!(waiter.waiting_for_lock_since().is_some());
        holder.lock_range(two.ino, 7, RangeRequest::unlock_all(), Patience::None).await.unwrap();
        waiting.await.unwrap().unwrap();
        assert_eq!(waiter.waiting_for_lock_since(), None);
        waiter.lock_range(two.ino, 8, RangeRequest::unlock_all(), Patience::None).await.unwrap();
    }
    assert_eq!(two.rows().await, (0, 0));
}

#[tokio::test]
async fn an_interrupted_wait_ends_and_leaves_nothing() {
    let two = Two::new().await;
    two.lock(7, range(W, 0, 9)).await.unwrap();
    two.flock(7, W).await.unwrap();
    let (signal, came) = tokio::sync::oneshot::channel::<()>();
    let interrupted: Interrupted = Box::pin(async move { drop(came.await) });
    let (meta, ino) = (two.volume.meta.clone(), two.ino);
    let waiting =
        tokio::spawn(
            async move { meta.lock_range(ino, 8, range(R, 0, 0), Patience::Until(interrupted)).await },
        );
    until("somebody waits", || two.volume.meta.locks.waits.count() == 1).await;
    signal.send(()).unwrap();
    refused(waiting.await.unwrap(), Errno::EINTR);
    let at_once: Interrupted = Box::pin(std::future::ready(()));
    refused(two.other.flock(two.ino, 1, R, Patience::Until(at_once)).await, Errno::EINTR);
    assert_eq!((two.volume.meta.locks.waits.count(), two.rows().await), (0, (1, 1)));
}

#[tokio::test]
async fn a_circle_within_a_mount_is_edeadlk() {
    let two = Two::new().await;
    for owner in [1, 2, 3] {
        two.lock(owner, range(W, owner, owner)).await.unwrap();
    }
    let one = two.waiting(&two.volume.meta, 1, range(W, 2, 2));
    let second = two.waiting(&two.volume.meta, 2, range(W, 3, 3));
    until("two wait", || two.volume.meta.locks.waits.noted() == 2).await;
    let closing = two.volume.meta.lock_range(two.ino, 3, range(R, 1, 1), for_ever());
    refused(tokio::time::timeout(Duration::from_secs(20), closing).await.unwrap(), Errno::EDEADLK);
    two.lock(3, RangeRequest::unlock_all()).await.unwrap();
    second.await.unwrap().unwrap();
    two.lock(2, RangeRequest::unlock_all()).await.unwrap();
    one.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_circle_over_two_mounts_ends_by_suspicion() {
    let two = Two::new().await;
    two.volume.meta.locks.waits.set_suspicion(Duration::from_millis(100));
    two.lock(1, range(W, 1, 1)).await.unwrap();
    two.other.lock_range(two.ino, 2, range(W, 2, 2), Patience::None).await.unwrap();
    let theirs = two.waiting(&two.other, 2, range(W, 1, 1));
    let ours = two.waiting(&two.volume.meta, 1, range(W, 2, 2));
    // Whoever has nothing that others wait for is no part of a circle.
    let patient = two.waiting(&two.volume.meta, 9, range(W, 2, 2));
    refused(ours.await.unwrap(), Errno::EDEADLK);
    two.lock(1, RangeRequest::unlock_all()).await.unwrap();
    theirs.await.unwrap().unwrap();
    assert!(!patient.is_finished());
    two.other.lock_range(two.ino, 2, RangeRequest::unlock_all(), Patience::None).await.unwrap();
    patient.await.unwrap().unwrap();
}

#[tokio::test]
async fn two_who_share_a_lock_and_both_want_it_alone_get_it_in_turn() {
    let two = Two::new().await;
    two.flock(1, R).await.unwrap();
    two.other.flock(two.ino, 2, R, Patience::None).await.unwrap();
    let upgrade = |meta: &Arc<Meta>, owner| {
        let (meta, ino) = (Arc::clone(meta), two.ino);
        tokio::spawn(async move {
            meta.flock(ino, owner, W, for_ever()).await.unwrap();
            meta.flock(ino, owner, None, Patience::None).await.unwrap();
        })
    };
    let both = futures::future::join(upgrade(&two.volume.meta, 1), upgrade(&two.other, 2));
    let (one, other) = tokio::time::timeout(Duration::from_secs(20), both).await.unwrap();
    one.unwrap();
    other.unwrap();
    assert_eq!(two.rows().await, (0, 0));
}

#[tokio::test]
async fn giving_up_what_nobody_has_asks_nobody() {
    let two = Two::new().await;
    two.volume.counting.take_flushes();
    two.lock(7, RangeRequest::unlock_all()).await.unwrap();
    two.flock(7, None).await.unwrap();
    assert_eq!(two.volume.counting.take_flushes(), 0);
    let meta = mount(two.volume.engine.clone(), 0).await;
    refused(meta.flock(two.ino, 7, R, Patience::None).await, Errno::ENOLCK);
}

#[tokio::test]
async fn a_session_that_was_taken_for_dead_takes_its_locks_again_or_says_that_they_are_lost() {
    let two = Two::new().await;
    let lost = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&lost);
    two.volume.meta.set_lock_lost_sink(Box::new(move |ino, lock| heard.lock().push((ino, lock))));
    two.flock(1, W).await.unwrap();
    two.lock(2, range(W, 0, 9)).await.unwrap();
    two.lock(3, range(R, 20, 29)).await.unwrap();
    two.volume.meta.keep_locks(1, false).await.unwrap();
    let attempt = two.volume.engine.begin(0).await.unwrap();
    attempt.commit(&[Change::DeleteLocks { sid: 1 }]).await.unwrap();
    assert_eq!(two.rows().await, (0, 0));
    two.other.lock_range(two.ino, 7, range(R, 5, 5), Patience::None).await.unwrap();
    two.volume.meta.keep_locks(1, true).await.unwrap();
    assert_eq!(*lost.lock(), [(two.ino, LostLock::Ranges(2))]);
    refused(two.other.flock(two.ino, 7, R, Patience::None).await, Errno::EAGAIN);
    refused(two.other.lock_range(two.ino, 7, range(W, 25, 25), Patience::None).await, Errno::EAGAIN);
    two.other.lock_range(two.ino, 7, range(W, 0, 9), Patience::None).await.unwrap();
    two.volume.meta.keep_locks(1, false).await.unwrap();
    assert_eq!(lost.lock().len(), 1, "once");
}

#[tokio::test]
async fn rows_that_nobody_here_knows_of_are_given_up_by_the_heartbeat() {
    let two = Two::new().await;
    two.flock(1, W).await.unwrap();
    let holder = Holder { sid: 1, owner: 9 };
    let attempt = two.volume.engine.begin(0).await.unwrap();
    let locks = vec![RangeLock { kind: LockKind::Shared, pid: 1, start: 0, end: 0 }];
    attempt.commit(&[Change::SetRangeLocks { ino: two.ino, holder, locks }]).await.unwrap();
    // A commit whose answer never came.
    two.volume.meta.locks.doubt(two.ino);
    two.volume.meta.keep_locks(1, false).await.unwrap();
    assert_eq!(two.rows().await, (1, 0));
    two.flock(1, None).await.unwrap();
    assert_eq!(two.volume.meta.locks.of(two.ino), crate::locks::Held::default());
}
