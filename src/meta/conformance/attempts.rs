//! Attempts that meet: what was held must still be true at the commit.

use std::sync::Arc;
use std::time::Duration;

use super::{
    Home, commit, directory, edge, edge_of, file, get, is_conflict, name, node, node_of, put, slice,
};
use crate::port::{Change, Engine, Get, Got, Hold};
use crate::types::{Attr, Edge, Ino, Kind};

const DIR: Ino = Ino(5);

async fn with_directory(home: &Home) -> &Arc<dyn Engine> {
    let engine = home.volume().await;
    let edge = Edge { ino: DIR, kind: Kind::Directory };
    let changes = [
        Change::InsertNode { ino: DIR, attr: directory(Ino::ROOT) },
        Change::InsertEdge { parent: Ino::ROOT, name: name("dir"), edge },
    ];
    put(&**engine, &changes).await;
    engine
}

fn create(ino: u64, text: &str) -> Vec<Change> {
    vec![
        Change::InsertNode { ino: Ino(ino), attr: file(DIR) },
        Change::InsertEdge { parent: DIR, name: name(text), edge: Edge { ino: Ino(ino), kind: Kind::File } },
    ]
}

fn create_gets(text: &str) -> [Get; 2] {
    [node_of(DIR, Hold::Touch), edge_of(DIR, &name(text), Hold::Guard)]
}

fn rmdir() -> Vec<Change> {
    let was = Edge { ino: DIR, kind: Kind::Directory };
    vec![Change::DeleteEdge { parent: Ino::ROOT, name: name("dir"), was }, Change::DeleteNode { ino: DIR }]
}

fn rmdir_gets() -> [Get; 4] {
    [
        node_of(Ino::ROOT, Hold::Touch),
        edge_of(Ino::ROOT, &name("dir"), Hold::Guard),
        node_of(DIR, Hold::Update),
        Get::HasChildren { ino: DIR },
    ]
}

pub(super) async fn a_dropped_attempt_leaves_no_trace(home: &Home) {
    let engine = with_directory(home).await;
    let mut attempt = engine.begin(0).await.expect("begins");
    attempt.read(&rmdir_gets()).await.expect("reads");
    drop(attempt);
    for client in [engine, &home.other] {
        let mut attempt = client.begin(1).await.expect("begins");
        attempt.read(&rmdir_gets()).await.expect("reads");
        drop(attempt);
    }
    commit(&**engine, &create_gets("a"), &create(6, "a")).await.expect("nothing is held any more");
}

pub(super) async fn a_conflict_writes_nothing(home: &Home) {
    let engine = with_directory(home).await;
    let mut late = engine.begin(0).await.expect("begins");
    late.read(&create_gets("a")).await.expect("reads");
    commit(&*home.other, &create_gets("a"), &create(6, "a")).await.expect("commits");
    let mut changes = vec![Change::AddUsage { space: 4096, inodes: 1 }];
    changes.extend(create(7, "a"));
    assert!(is_conflict(&late.commit(&changes).await));
    assert_eq!(node(&**engine, Ino(7)).await, None);
    assert_eq!(engine.usage().await.expect("answers").inodes, 0);
}

pub(super) async fn a_create_racing_a_rmdir_conflicts(home: &Home) {
    let engine = with_directory(home).await;
    let mut creator = engine.begin(0).await.expect("begins");
    creator.read(&create_gets("a")).await.expect("reads");
    commit(&*home.other, &rmdir_gets(), &rmdir()).await.expect("commits");
    assert!(is_conflict(&creator.commit(&create(6, "a")).await));
    assert_eq!(node(&**engine, Ino(6)).await, None, "no orphan");
}

pub(super) async fn a_rmdir_racing_a_create_conflicts(home: &Home) {
    let engine = with_directory(home).await;
    let mut remover = engine.begin(0).await.expect("begins");
    let got = remover.read(&rmdir_gets()).await.expect("reads");
    assert_eq!(got[3], Got::Flag(false));
    commit(&*home.other, &create_gets("a"), &create(6, "a")).await.expect("commits");
    assert!(is_conflict(&remover.commit(&rmdir()).await));
    assert!(node(&**engine, DIR).await.is_some());
}

pub(super) async fn two_creators_of_one_name_conflict(home: &Home) {
    let engine = with_directory(home).await;
    let mut late = engine.begin(0).await.expect("begins");
    late.read(&create_gets("a")).await.expect("reads");
    commit(&*home.other, &create_gets("a"), &create(6, "a")).await.expect("commits");
    assert!(is_conflict(&late.commit(&create(7, "a")).await));
    assert_eq!(edge(&**engine, DIR, &name("a")).await.map(|edge| edge.ino), Some(Ino(6)));
}

/// One try of a mkdir that counts itself in its parent's links.
async fn mkdir_once(engine: &dyn Engine, ino: u64) -> crate::Result<()> {
    let text = format!("d{ino}");
    let mut attempt = engine.begin(0).await?;
    let got = attempt.read(&create_gets(&text)).await?;
    let Got::Node(Some(was)) = got[0] else { panic!("the directory is there") };
    let now = Attr { nlink: was.nlink + 1, ..was };
    let changes = [
        Change::InsertNode { ino: Ino(ino), attr: directory(DIR) },
        Change::InsertEdge {
            parent: DIR,
            name: name(&text),
            edge: Edge { ino: Ino(ino), kind: Kind::Directory },
        },
        Change::UpdateNode { ino: DIR, was, now },
    ];
    attempt.commit(&changes).await.map(|_| ())
}

async fn until_committed<F: Future<Output = crate::Result<()>>>(mut once: impl FnMut() -> F) {
    for attempt in 0..200 {
        match once().await {
            Ok(()) => return,
            Err(error) if error.may_retry() => {
                tokio::time::sleep(
                    juicefs_base::backoff::quadratic_jitter(attempt).min(Duration::from_millis(50)),
                )
                .await;
            }
            Err(error) => panic!("{error}"),
        }
    }
    panic!("never committed");
}

pub(super) async fn two_creators_in_one_directory_both_count(home: &Home) {
    let engine = with_directory(home).await;
    let mut first = engine.begin(0).await.expect("begins");
    let got = first.read(&create_gets("d10")).await.expect("reads");
    until_committed(|| mkdir_once(&*home.other, 11)).await;
    let Got::Node(Some(was)) = got[0] else { panic!() };
    let changes = [
        Change::InsertNode { ino: Ino(10), attr: directory(DIR) },
        Change::InsertEdge {
            parent: DIR,
            name: name("d10"),
            edge: Edge { ino: Ino(10), kind: Kind::Directory },
        },
        Change::UpdateNode { ino: DIR, was, now: Attr { nlink: was.nlink + 1, ..was } },
    ];
    // An engine may let both through, or say so and let the loser try again; the links add up in either case.
    match first.commit(&changes).await {
        Ok(_) => {}
        outcome if is_conflict(&outcome) => until_committed(|| mkdir_once(&**engine, 10)).await,
        outcome => panic!("{outcome:?}"),
    }
    assert_eq!(node(&**engine, DIR).await.map(|attr| attr.nlink), Some(4));
}

pub(super) async fn an_update_is_not_lost(home: &Home) {
    let engine = with_directory(home).await;
    put(&**engine, &create(6, "a")).await;
    let held = [node_of(Ino(6), Hold::Update)];
    let mut late = engine.begin(0).await.expect("begins");
    late.read(&held).await.expect("reads");
    let was = file(DIR);
    let longer = Attr { length: 10, ..was };
    let update = [Change::UpdateNode { ino: Ino(6), was, now: longer }];
    commit(&*home.other, &held, &update).await.expect("commits");
    let late_update = [Change::UpdateNode { ino: Ino(6), was, now: Attr { length: 20, ..was } }];
    assert!(is_conflict(&late.commit(&late_update).await));
    assert_eq!(node(&**engine, Ino(6)).await, Some(longer));
}

pub(super) async fn a_guarded_node_must_not_change(home: &Home) {
    let engine = with_directory(home).await;
    put(&**engine, &create(6, "a")).await;
    let mut late = engine.begin(0).await.expect("begins");
    late.read(&[node_of(Ino(6), Hold::Guard)]).await.expect("reads");
    let was = file(DIR);
    let update = [Change::UpdateNode { ino: Ino(6), was, now: Attr { mode: 0, ..was } }];
    commit(&*home.other, &[node_of(Ino(6), Hold::Update)], &update).await.expect("commits");
    assert!(is_conflict(&late.commit(&create(7, "b")).await));
}

pub(super) async fn two_makers_of_one_xattr_conflict(home: &Home) {
    let engine = with_directory(home).await;
    let xattr = bytes::Bytes::from_static(b"user.a");
    let held = [Get::Xattr { ino: DIR, name: xattr.clone(), hold: Hold::Update }];
    let set = [Change::SetXattr { ino: DIR, name: xattr.clone(), value: xattr }];
    let mut late = engine.begin(0).await.expect("begins");
    assert_eq!(late.read(&held).await.expect("reads"), [Got::Bytes(None)]);
    commit(&*home.other, &held, &set).await.expect("commits");
    assert!(is_conflict(&late.commit(&set).await));
}

pub(super) async fn a_peeked_node_may_change(home: &Home) {
    let engine = with_directory(home).await;
    put(&**engine, &create(6, "a")).await;
    let mut late = engine.begin(0).await.expect("begins");
    late.read(&[node_of(Ino(6), Hold::Peek)]).await.expect("reads");
    let was = file(DIR);
    let update = [Change::UpdateNode { ino: Ino(6), was, now: Attr { mode: 0, ..was } }];
    commit(&*home.other, &[node_of(Ino(6), Hold::Update)], &update).await.expect("commits");
    late.commit(&create(7, "b")).await.expect("a hint holds nothing");
    assert!(node(&**engine, Ino(7)).await.is_some());
}

pub(super) async fn a_guarded_chunk_must_not_grow(home: &Home) {
    let engine = with_directory(home).await;
    let target = [Get::AppendTarget { ino: Ino(6), indx: 0 }];
    let append = |id: u64| {
        [Change::AppendSlice { ino: Ino(6), indx: 0, slice: slice(id, 0, 10), only_existing: false }]
    };
    commit(&**engine, &target, &append(1)).await.expect("commits");
    let chunk = Get::Chunk { ino: Ino(6), indx: 0, hold: Hold::Guard };
    let mut late = engine.begin(0).await.expect("begins");
    late.read(std::slice::from_ref(&chunk)).await.expect("reads");
    commit(&*home.other, &target, &append(2)).await.expect("commits");
    assert!(is_conflict(&late.commit(&[Change::DeleteChunk { ino: Ino(6), indx: 0 }]).await));
    assert_eq!(get(&**engine, chunk).await, Got::Slices(vec![slice(1, 0, 10), slice(2, 0, 10)]));
}

pub(super) async fn a_commit_is_seen_by_every_later_read(home: &Home) {
    let engine = with_directory(home).await;
    for number in 100..130 {
        let text = format!("f{number}");
        commit(&**engine, &create_gets(&text), &create(number, &text)).await.expect("commits");
        for client in [engine, &home.other, engine, &home.other] {
            assert!(node(&**client, Ino(number)).await.is_some());
            assert!(client.lookup(DIR, &name(&text)).await.expect("answers").is_some());
        }
    }
}

/// One try to add one to a file's length.
async fn grow_once(engine: &dyn Engine) -> crate::Result<()> {
    let mut attempt = engine.begin(0).await?;
    let got = attempt.read(&[node_of(Ino(6), Hold::Update)]).await?;
    let Got::Node(Some(was)) = got[0] else { panic!("the file is there") };
    let now = Attr { length: was.length + 1, ..was };
    attempt.commit(&[Change::UpdateNode { ino: Ino(6), was, now }]).await.map(|_| ())
}

pub(super) async fn updates_from_many_tasks_add_up(home: &Home) {
    let engine = with_directory(home).await;
    put(&**engine, &create(6, "a")).await;
    let tasks = (0..4).map(|number| {
        let client = Arc::clone(if number % 2 == 0 { engine } else { &home.other });
        tokio::spawn(async move {
            for _ in 0..10 {
                until_committed(|| grow_once(&*client)).await;
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.expect("ran");
    }
    assert_eq!(node(&**engine, Ino(6)).await.map(|attr| attr.length), Some(40));
}

pub(super) async fn many_creators_in_one_directory_all_count(home: &Home) {
    let engine = with_directory(home).await;
    let tasks = (0..4_u64).map(|number| {
        let client = Arc::clone(if number % 2 == 0 { engine } else { &home.other });
        tokio::spawn(async move {
            for step in 0..8 {
                until_committed(|| mkdir_once(&*client, 100 + number * 10 + step)).await;
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.expect("ran");
    }
    assert_eq!(node(&**engine, DIR).await.map(|attr| attr.nlink), Some(34));
    let entries = super::scan(&**engine, crate::port::Scan::Entries { parent: DIR }).await;
    assert_eq!(entries.len(), 32);
}
