//! POSIX locks of one holder on one file: what a call makes of them, and who stands in its way.

use crate::lock::{Holder, RangeLock, RangeRequest};

/// The locks that `own` becomes: the asked range replaces what lies under it, a rest on either side stays, and
/// neighbours of one kind and process are joined.
pub(crate) fn after(own: &[RangeLock], asked: &RangeRequest) -> Vec<RangeLock> {
    let mut locks = Vec::with_capacity(own.len() + 2);
    for &lock in own {
        if lock.end < asked.start || lock.start > asked.end {
            locks.push(lock);
            continue;
        }
        if lock.start < asked.start {
            locks.push(RangeLock { end: asked.start - 1, ..lock });
        }
        if lock.end > asked.end {
            locks.push(RangeLock { start: asked.end + 1, ..lock });
        }
    }
    if let Some(kind) = asked.kind {
        locks.push(RangeLock { kind, pid: asked.pid, start: asked.start, end: asked.end });
    }
    locks.sort_unstable_by_key(|lock| lock.start);
    locks.dedup_by(|next, lock| {
        let joins =
            lock.end.checked_add(1) == Some(next.start) && (lock.kind, lock.pid) == (next.kind, next.pid);
        if joins {
            lock.end = next.end;
        }
        joins
    });
    locks
}

/// Locks of others that exclude what `holder` asks for.
pub(crate) fn in_the_way<'l>(
    all: &'l [(Holder, Vec<RangeLock>)],
    holder: Holder,
    asked: &'l RangeRequest,
) -> impl Iterator<Item = (Holder, RangeLock)> + 'l {
    let others = all.iter().filter(move |(other, _)| *other != holder);
    others.flat_map(|(other, locks)| locks.iter().map(|lock| (*other, *lock))).filter(|(_, lock)| {
        let overlaps = lock.start <= asked.end && asked.start <= lock.end;
        overlaps && asked.kind.is_some_and(|kind| kind.excludes(lock.kind))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lock::{LOCK_END_MAX, LockKind};
    use proptest::prelude::*;

    const R: Option<LockKind> = Some(LockKind::Shared);
    const W: Option<LockKind> = Some(LockKind::Exclusive);

    fn asked(kind: Option<LockKind>, start: u64, end: u64) -> RangeRequest {
        RangeRequest { kind, pid: 1, start, end }
    }

    fn said(own: &[RangeLock]) -> String {
        let lock = |lock: &RangeLock| {
            let kind = if lock.kind == LockKind::Shared { 'R' } else { 'W' };
            format!("{kind}{}-{}", lock.start, lock.end)
        };
        own.iter().map(lock).collect::<Vec<_>>().join(" ")
    }

    fn all(calls: &[RangeRequest]) -> String {
        said(&calls.iter().fold(Vec::new(), |own, call| after(&own, call)))
    }

    #[test]
    fn ranges_split_and_join() {
        assert_eq!(all(&[asked(W, 0, 99), asked(R, 10, 19)]), "W0-9 R10-19 W20-99");
        assert_eq!(all(&[asked(W, 0, 99), asked(R, 10, 19), asked(None, 0, 99)]), "");
        assert_eq!(all(&[asked(W, 5, 14), asked(R, 50, 59)]), "W5-14 R50-59");
        assert_eq!(all(&[asked(W, 0, 9), asked(W, 10, 19), asked(W, 30, 39)]), "W0-19 W30-39");
        assert_eq!(all(&[asked(W, 0, 9), asked(W, 20, 29), asked(R, 5, 24)]), "W0-4 R5-24 W25-29");
        assert_eq!(all(&[asked(R, 0, LOCK_END_MAX), asked(None, 100, LOCK_END_MAX)]), "R0-99");
        assert_eq!(all(&[asked(R, 10, LOCK_END_MAX), asked(R, 0, 9)]), format!("R0-{LOCK_END_MAX}"));
        let other = RangeRequest { pid: 2, ..asked(W, 10, 19) };
        assert_eq!(all(&[asked(W, 0, 9), other]), "W0-9 W10-19", "other processes are not joined");
    }

    #[test]
    fn only_others_that_exclude_are_in_the_way() {
        let holder = |owner| Holder { sid: 1, owner };
        let locks = [(holder(7), after(&[], &asked(R, 0, 9))), (holder(8), after(&[], &asked(W, 20, 29)))];
        let found = |owner, call: RangeRequest| {
            in_the_way(&locks, holder(owner), &call).map(|(holder, _)| holder.owner).collect::<Vec<_>>()
        };
        assert_eq!(found(1, asked(R, 0, 19)), [0; 0]);
        assert_eq!(found(1, asked(W, 9, 20)), [7, 8]);
        assert_eq!(found(1, asked(R, 9, 20)), [8]);
        assert_eq!(found(7, asked(W, 0, 19)), [0; 0]);
        assert_eq!(found(1, asked(None, 0, 100)), [0; 0]);
        let other_session = Holder { sid: 2, owner: 7 };
        assert_eq!(in_the_way(&locks, other_session, &asked(W, 0, 0)).count(), 1);
    }

    proptest! {
        /// Byte by byte, the last call that named a byte decides.
        #[test]
        fn each_byte_has_what_was_asked_for_last(
            calls in prop::collection::vec((0..3u8, 0..40u64, 0..40u64, 1..3u32), 1..12)
        ) {
            let mut bytes = [None; 80];
            let mut own = Vec::new();
            for (kind, start, len, pid) in calls {
                let kind = [None, R, W][usize::from(kind)];
                let call = RangeRequest { kind, pid, start, end: start + len };
                own = after(&own, &call);
                for byte in &mut bytes[start as usize..=(start + len) as usize] {
                    *byte = kind.map(|kind| (kind, pid));
                }
            }
            for pair in own.windows(2) {
                prop_assert!(pair[0].end < pair[1].start);
                let touch = pair[0].end + 1 == pair[1].start;
                prop_assert!(!touch || (pair[0].kind, pair[0].pid) != (pair[1].kind, pair[1].pid));
            }
            for (at, expected) in (0u64..).zip(bytes) {
                let held = own.iter().find(|lock| lock.start <= at && at <= lock.end);
                prop_assert_eq!(held.map(|lock| (lock.kind, lock.pid)), expected);
            }
        }
    }
}
