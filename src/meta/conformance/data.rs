//! Chunks, slices and what they count for.

use super::{Home, commit, get, put, scan, slice};
use crate::port::{Change, Engine, Get, Got, Hold, Item, Scan};
use crate::types::{Ino, Slice, Usage};

fn append(indx: u32, slice: Slice, only_existing: bool) -> Change {
    Change::AppendSlice { ino: Ino(5), indx, slice, only_existing }
}

fn target(indx: u32) -> Get {
    Get::AppendTarget { ino: Ino(5), indx }
}

async fn chunk(engine: &dyn Engine, indx: u32) -> Vec<Slice> {
    match get(engine, Get::Chunk { ino: Ino(5), indx, hold: Hold::Peek }).await {
        Got::Slices(slices) => slices,
        other => panic!("{other:?}"),
    }
}

pub(super) async fn a_chunk_keeps_the_order_of_its_slices(home: &Home) {
    let engine = &**home.volume().await;
    assert_eq!(chunk(engine, 0).await, []);
    let slices = [
        Slice { pos: 1 << 25, id: u64::MAX >> 1, size: 1 << 26, off: 7, len: 9 },
        Slice { pos: 0, len: 1 << 26, ..Slice::default() },
        slice(3, 0, 10),
    ];
    for (count, slice) in (1..).zip(slices) {
        let (got, receipt) = commit(engine, &[target(0)], &[append(0, slice, false)]).await.expect("commits");
        assert_eq!((got, receipt.slices_after_append), (vec![Got::Ready], vec![count]));
    }
    assert_eq!(chunk(&*home.other, 0).await, slices);
    // Two appends to one chunk and one to another in a single commit.
    let changes =
        [append(0, slice(4, 5, 5), false), append(9, slice(5, 0, 5), false), append(0, slice(6, 5, 5), true)];
    let (_, receipt) = commit(engine, &[target(0), target(9)], &changes).await.expect("commits");
    assert_eq!(receipt.slices_after_append, [4, 1, 5]);
    assert_eq!(chunk(engine, 0).await.len(), 5);
    assert_eq!(chunk(engine, 9).await, [slice(5, 0, 5)]);
}

pub(super) async fn a_chunk_without_a_list_stays_without(home: &Home) {
    let engine = &**home.volume().await;
    let (_, receipt) =
        commit(engine, &[target(3)], &[append(3, slice(1, 0, 1), true)]).await.expect("commits");
    assert_eq!(receipt.slices_after_append, [0]);
    assert_eq!(chunk(engine, 3).await, []);
    assert_eq!(scan(engine, Scan::Chunks { ino: Some(Ino(5)) }).await, []);
}

pub(super) async fn existing_chunks_of_a_range_are_named(home: &Home) {
    let engine = &**home.volume().await;
    let targets: Vec<_> = [1, 4, 8].map(target).into();
    let changes: Vec<_> = [1, 4, 8].map(|indx| append(indx, slice(1, 0, 1), false)).into();
    commit(engine, &targets, &changes).await.expect("commits");
    let Got::Indexes(named) = get(engine, Get::Chunks { ino: Ino(5), first: 2, last: 8 }).await else {
        panic!()
    };
    assert!(named.contains(&4) && named.contains(&8) && named.iter().all(|indx| (2..=8).contains(indx)));
}

pub(super) async fn a_deleted_chunk_frees_its_slices(home: &Home) {
    let engine = &**home.volume().await;
    let changes = [
        append(0, slice(3, 0, 10), false),
        append(0, Slice { len: 5, ..Slice::default() }, false),
        Change::TrackSlice { id: 3, size: 10 },
    ];
    commit(engine, &[target(0)], &changes).await.expect("commits");
    let held = [Get::Chunk { ino: Ino(5), indx: 0, hold: Hold::Guard }];
    let delete = [Change::DeleteChunk { ino: Ino(5), indx: 0 }, Change::ReleaseSlice { id: 3, size: 10 }];
    let (_, receipt) = commit(engine, &held, &delete).await.expect("commits");
    assert_eq!(receipt.slices_freed, [(3, 10)]);
    assert_eq!(chunk(engine, 0).await, []);
}

pub(super) async fn a_forgotten_slice_is_not_scanned_again(home: &Home) {
    let engine = &**home.volume().await;
    put(engine, &[Change::TrackSlice { id: 3, size: 10 }, Change::TrackSlice { id: 4, size: 20 }]).await;
    assert_eq!(scan(engine, Scan::FreedSlices).await, []);
    let receipt = put(engine, &[Change::ReleaseSlice { id: 3, size: 10 }]).await;
    assert_eq!(receipt.slices_freed, [(3, 10)]);
    assert_eq!(scan(engine, Scan::FreedSlices).await, [Item::FreedSlice { id: 3, size: 10 }]);
    put(engine, &[Change::ForgetSlice { id: 3, size: 10 }]).await;
    assert_eq!(scan(engine, Scan::FreedSlices).await, []);
}

pub(super) async fn a_shared_slice_is_freed_with_its_last_reference(home: &Home) {
    let engine = &**home.volume().await;
    put(engine, &[Change::TrackSlice { id: 3, size: 10 }]).await;
    let (share, release) = (Change::ShareSlice { id: 3, size: 10 }, Change::ReleaseSlice { id: 3, size: 10 });
    put(engine, &[share.clone(), share]).await;
    assert_eq!(put(engine, &[release.clone(), release.clone()]).await.slices_freed, []);
    assert_eq!(scan(engine, Scan::FreedSlices).await, []);
    assert_eq!(put(engine, &[release]).await.slices_freed, [(3, 10)]);
}

fn replace(was: &[Slice], now: &[Slice]) -> Change {
    Change::ReplaceSlices { ino: Ino(5), indx: 0, was: was.to_vec(), now: now.to_vec() }
}

pub(super) async fn a_replaced_prefix_keeps_what_was_appended_behind(home: &Home) {
    let engine = &**home.volume().await;
    let list = [slice(1, 0, 5), slice(2, 5, 5), slice(3, 0, 10), slice(4, 9, 1)];
    let appends = list.map(|slice| append(0, slice, false));
    commit(engine, &[target(0)], &appends).await.expect("commits");
    let held = [Get::Chunk { ino: Ino(5), indx: 0, hold: Hold::Update }];
    let kept_and_new = [slice(1, 0, 5), slice(9, 0, 10)];
    commit(engine, &held, &[replace(&list[..3], &kept_and_new)]).await.expect("commits");
    assert_eq!(chunk(&*home.other, 0).await, [slice(1, 0, 5), slice(9, 0, 10), slice(4, 9, 1)]);
    // The whole list, and an append that goes on as before.
    let whole = chunk(engine, 0).await;
    commit(engine, &held, &[replace(&whole, &[slice(10, 0, 10)])]).await.expect("commits");
    let (_, receipt) =
        commit(engine, &[target(0)], &[append(0, slice(11, 3, 3), false)]).await.expect("commits");
    assert_eq!(receipt.slices_after_append, [2]);
    assert_eq!(chunk(&*home.other, 0).await, [slice(10, 0, 10), slice(11, 3, 3)]);
}

pub(super) async fn a_prefix_that_changed_is_a_conflict(home: &Home) {
    let engine = &**home.volume().await;
    let list = [slice(1, 0, 5), slice(2, 5, 5)];
    commit(engine, &[target(0)], &list.map(|slice| append(0, slice, false))).await.expect("commits");
    let held = [Get::Chunk { ino: Ino(5), indx: 0, hold: Hold::Update }];
    // Another compaction comes between the read and the commit.
    let mut attempt = engine.begin(0).await.expect("begins");
    let got = attempt.read(&held).await.expect("read");
    assert_eq!(got, [Got::Slices(list.to_vec())]);
    commit(&*home.other, &held, &[replace(&list, &[slice(3, 0, 10)])]).await.expect("commits");
    let outcome = attempt.commit(&[replace(&list, &[slice(4, 0, 10)])]).await;
    assert!(super::is_conflict(&outcome), "{outcome:?}");
    assert_eq!(chunk(engine, 0).await, [slice(3, 0, 10)]);
}

pub(super) async fn delayed_slices_are_kept_until_they_are_released(home: &Home) {
    let engine = &**home.volume().await;
    let slices = vec![(3, 10), (4, 20), (3, 10)];
    put(
        engine,
        &[
            Change::TrackSlice { id: 3, size: 10 },
            Change::InsertDelayedSlices { id: 9, deleted_at: 1000, slices: slices.clone() },
        ],
    )
    .await;
    let delayed = Get::DelayedSlices { id: 9, deleted_at: 1000 };
    assert_eq!(get(&*home.other, delayed.clone()).await, Got::SlicePairs(Some(slices.clone())));
    assert_eq!(
        scan(&*home.other, Scan::DelayedSlices).await,
        [Item::DelayedSlices { id: 9, deleted_at: 1000, slices }]
    );
    let release =
        [Change::ReleaseSlice { id: 3, size: 10 }, Change::DeleteDelayedSlices { id: 9, deleted_at: 1000 }];
    // Two that release: the second finds nothing.
    let mut late = engine.begin(0).await.expect("begins");
    late.read(std::slice::from_ref(&delayed)).await.expect("read");
    let (_, receipt) = commit(&*home.other, std::slice::from_ref(&delayed), &release).await.expect("commits");
    assert_eq!(receipt.slices_freed, [(3, 10)]);
    let outcome = late.commit(&release).await;
    assert!(super::is_conflict(&outcome), "{outcome:?}");
    assert_eq!(get(engine, delayed).await, Got::SlicePairs(None));
    assert_eq!(scan(engine, Scan::DelayedSlices).await, []);
}

pub(super) async fn usage_counts_before_and_after_the_flush(home: &Home) {
    let engine = &**home.volume().await;
    put(
        engine,
        &[Change::AddUsage { space: 8192, inodes: 2 }, Change::AddUsage { space: -4096, inodes: -1 }],
    )
    .await;
    let sum = Usage { space: 4096, inodes: 1 };
    assert_eq!(engine.usage().await.expect("answers"), sum);
    engine.flush().await.expect("flushes");
    engine.flush().await.expect("flushes");
    assert_eq!(engine.usage().await.expect("answers"), sum);
    assert_eq!(home.other.usage().await.expect("answers"), sum);
    engine.sync().await.expect("syncs");
}
