//! What followers of a volume ask of an engine.

use bytes::Bytes;

use super::{Home, at, directory, edge, file, get, name, node, put, slice};
use crate::change_log::Line;
use crate::port::{Change, Get, Got, Hold, LogLine, Mirrored};
use crate::types::{Attr, Edge, Ino, Kind};

/// Each twice: a batch may be put again.
pub(super) async fn rows_of_a_source_are_put_as_they_are_there(home: &Home) {
    let engine = &**home.volume().await;
    let (old, new) = (file(Ino(0)), Attr { mode: 0o600, mtime: at(7, 8), length: 9, ..file(Ino(0)) });
    let (a, chunk) = (name("a"), Get::Chunk { ino: Ino(5), indx: 1, hold: Hold::Peek });
    let there = Edge { ino: Ino(5), kind: Kind::File };
    let lists = [vec![slice(1, 0, 10), slice(2, 5, 10)], vec![slice(3, 0, 7)]];
    let put_all = async |rows: &[Mirrored]| {
        let changes: Vec<_> = rows.iter().cloned().map(Change::Mirror).collect();
        put(engine, &changes).await;
        put(engine, &changes).await;
    };
    for (attr, slices, kind) in [(old, &lists[0], Kind::Directory), (new, &lists[1], Kind::File)] {
        let edge_now = Edge { kind, ..there };
        put_all(&[
            Mirrored::Node { ino: Ino(5), attr: Some(attr) },
            Mirrored::Edge { parent: Ino::ROOT, name: a.clone(), edge: Some(edge_now) },
            Mirrored::Edge { parent: Ino(7), name: a.clone(), edge: Some(there) },
            Mirrored::Slices { ino: Ino(5), indx: 1, slices: slices.clone() },
            Mirrored::Symlink { ino: Ino(6), target: Bytes::from_static(b"t") },
            Mirrored::Parents { ino: Ino(5), parents: vec![(Ino::ROOT, 1), (Ino(7), 1)] },
        ])
        .await;
        assert_eq!(node(&*home.other, Ino(5)).await, Some(attr));
        assert_eq!(edge(&*home.other, Ino::ROOT, &a).await, Some(edge_now));
        assert_eq!(get(engine, chunk.clone()).await, Got::Slices(slices.clone()));
        assert_eq!(
            get(engine, Get::Symlink { ino: Ino(6) }).await,
            Got::Bytes(Some(Bytes::from_static(b"t")))
        );
        let Got::Parents(mut parents) = get(engine, Get::Parents { ino: Ino(5) }).await else {
            panic!("parents")
        };
        parents.sort_unstable();
        assert_eq!(parents, [(Ino::ROOT, 1), (Ino(7), 1)]);
    }
    put_all(&[
        Mirrored::Node { ino: Ino(5), attr: None },
        Mirrored::Node { ino: Ino(6), attr: None },
        Mirrored::Edge { parent: Ino::ROOT, name: a.clone(), edge: None },
        Mirrored::Edge { parent: Ino(7), name: a.clone(), edge: None },
        Mirrored::Slices { ino: Ino(5), indx: 1, slices: Vec::new() },
    ])
    .await;
    assert_eq!(node(engine, Ino(5)).await, None);
    assert_eq!(edge(engine, Ino::ROOT, &a).await, None);
    assert_eq!(get(engine, chunk).await, Got::Slices(Vec::new()));
    assert_eq!(get(engine, Get::Symlink { ino: Ino(6) }).await, Got::Bytes(None));
    assert_eq!(get(engine, Get::Parents { ino: Ino(5) }).await, Got::Parents(Vec::new()));
}

/// A writer puts the number of its line into a node: whoever follows finds there what the last line says.
pub(super) async fn rows_and_lines_are_of_one_moment(home: &Home) {
    let engine = &**home.volume().await;
    put(engine, &[Change::InsertNode { ino: Ino(5), attr: directory(Ino::ROOT) }]).await;
    let (other, ends) = (home.other.clone(), 400_u32);
    let writer = tokio::spawn(async move {
        for number in 1..=ends {
            let row = |ino| {
                let attr = Attr { uid: number, ..directory(Ino::ROOT) };
                Change::Mirror(Mirrored::Node { ino, attr: Some(attr) })
            };
            // Every third line raises a question that none has raised before.
            let fresh = Ino(u64::from(5 + number / 3));
            let line = LogLine {
                head: format!("1.000000000|ACCESS({fresh})"),
                appended: None,
                tail: format!("|(1,{number})"),
            };
            put(&*other, &[row(Ino(5)), row(fresh), Change::Log(line)]).await;
            tokio::task::yield_now().await;
        }
    });
    let questions = |lines: &[(u64, Bytes)]| {
        let inos = lines.iter().filter_map(|(_, line)| Line::parse(line)?.number_at(0).map(Ino));
        let inos: std::collections::BTreeSet<_> = inos.chain([Ino(5)]).collect();
        inos.into_iter().map(|ino| Get::Node { ino, hold: Hold::Peek }).collect()
    };
    let mut cursor = 0;
    while cursor < u64::from(ends) {
        let followed = match engine.follow(cursor, usize::MAX, &questions).await {
            Err(crate::Error::Conflict) => continue,
            followed => followed.expect("follows"),
        };
        let Some((version, line)) = followed.page.lines.last().cloned() else {
            tokio::task::yield_now().await;
            continue;
        };
        let answers = followed.answers.expect("all lines fit");
        let Got::Node(Some(attr)) = &answers[0] else { panic!("{answers:?}") };
        assert_eq!(u64::from(attr.uid), version, "the row is of its line's moment");
        assert_eq!(Line::parse(&line).expect("a line").number, version);
        assert_eq!(answers.len(), questions(&followed.page.lines).len());
        cursor = version;
    }
    writer.await.expect("writes");
    assert_eq!(engine.follow(0, 10, &questions).await.expect("follows").answers, None, "too many lines");
}
