//! Long reads.

use std::collections::HashSet;

use super::{Home, commit, directory, file, put, scan, slice};
use crate::port::{Change, Get, Item, Scan};
use crate::types::{Edge, Ino, Kind};

pub(super) async fn a_large_directory_is_listed_once(home: &Home) {
    let engine = &**home.volume().await;
    let changes: Vec<_> = (0..2500)
        .map(|number| Change::InsertEdge {
            parent: Ino(5),
            name: super::name(&format!("file-{number}")),
            edge: Edge { ino: Ino(100 + number), kind: Kind::File },
        })
        .collect();
    for part in changes.chunks(500) {
        put(engine, part).await;
    }
    let other = Change::InsertEdge {
        parent: Ino(6),
        name: super::name("x"),
        edge: Edge { ino: Ino(7), kind: Kind::Fifo },
    };
    put(engine, &[other]).await;
    let mut seen = HashSet::new();
    for item in scan(&*home.other, Scan::Entries { parent: Ino(5) }).await {
        let Item::Entry { name, edge } = item else { panic!("{item:?}") };
        assert_eq!(name.as_bytes(), format!("file-{}", edge.ino.0 - 100).as_bytes());
        assert!(seen.insert(edge.ino), "{name} twice");
    }
    assert_eq!(seen.len(), 2500);
    assert_eq!(scan(engine, Scan::Entries { parent: Ino(99) }).await, []);
}

pub(super) async fn chunks_are_listed_by_inode_and_all_together(home: &Home) {
    let engine = &**home.volume().await;
    for (ino, indx) in [(5, 0), (5, 7), (6, 0)] {
        let append =
            Change::AppendSlice { ino: Ino(ino), indx, slice: slice(ino, indx, 10), only_existing: false };
        commit(engine, &[Get::AppendTarget { ino: Ino(ino), indx }], &[append]).await.expect("commits");
    }
    let mut of_one = scan(engine, Scan::Chunks { ino: Some(Ino(5)) }).await;
    of_one.sort_by_key(|item| match item {
        Item::Chunk { indx, .. } => *indx,
        other => panic!("{other:?}"),
    });
    let chunk = |indx| Item::Chunk { ino: Ino(5), indx, slices: vec![slice(5, indx, 10)] };
    assert_eq!(of_one, [chunk(0), chunk(7)]);
    assert_eq!(scan(engine, Scan::Chunks { ino: None }).await.len(), 3);
    assert_eq!(scan(engine, Scan::DelayedSlices).await, []);
}

pub(super) async fn every_node_is_listed(home: &Home) {
    let engine = &**home.volume().await;
    let changes: Vec<_> = (10..30)
        .map(|number| {
            let attr = if number % 2 == 0 { file(Ino::ROOT) } else { directory(Ino::ROOT) };
            Change::InsertNode { ino: Ino(number), attr }
        })
        .collect();
    put(engine, &changes).await;
    let listed = scan(engine, Scan::Nodes).await;
    let inos: HashSet<_> = listed
        .iter()
        .map(|item| match item {
            Item::Node { ino, .. } => *ino,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!((listed.len(), inos.len()), (22, 22), "twenty, the root and the trash");
    assert!(inos.contains(&Ino::ROOT) && inos.contains(&Ino::TRASH));
}

pub(super) async fn a_new_volume_holds_nothing_foreign(home: &Home) {
    let engine = &**home.volume().await;
    assert_eq!(engine.foreign_records().await.expect("answers"), Vec::<&str>::new());
    assert!(engine.limits().changes_max >= 500);
}
