//! What must hold between all rows of a volume, whatever was done to it.

use std::collections::{BTreeMap, HashMap};

use futures::TryStreamExt;

use crate::meta::Meta;
use crate::port::{Engine, Get, Got, Item, Scan};
use crate::types::{Attr, DirStat, Ino, Kind, Usage};
use crate::usage::share_of;

/// Flushes what the mounts have added up and checks links, parents, usage and statistics.
pub(super) async fn audit(engine: &dyn Engine, mounts: &[&Meta]) {
    for meta in mounts {
        meta.flush_statistics().await.unwrap();
    }
    let nodes: BTreeMap<Ino, Attr> = all(engine, Scan::Nodes)
        .await
        .into_iter()
        .map(|item| match item {
            Item::Node { ino, attr } => (ino, attr),
            other => panic!("{other:?}"),
        })
        .collect();
    let sustained: Vec<Ino> = all(engine, Scan::Sustained { sid: None })
        .await
        .into_iter()
        .map(|item| match item {
            Item::Sustained { ino, .. } => ino,
            other => panic!("{other:?}"),
        })
        .collect();
    let mut places: HashMap<Ino, BTreeMap<Ino, i64>> = HashMap::new();
    for (ino, attr) in &nodes {
        if attr.kind == Kind::Directory {
            audit_directory(engine, &nodes, *ino, attr, &mut places).await;
        }
    }
    let mut usage = Usage::default();
    for (ino, attr) in &nodes {
        if *ino == Ino::ROOT || *ino == Ino::TRASH {
            continue;
        }
        usage.space += i64::try_from(attr.space()).unwrap();
        usage.inodes += 1;
        let places = places.remove(ino).unwrap_or_default();
        audit_places(engine, *ino, attr, &places, &sustained).await;
    }
    assert!(places.is_empty(), "entries without a node: {places:?}");
    assert_eq!(engine.usage().await.unwrap(), usage);
}

async fn audit_directory(
    engine: &dyn Engine,
    nodes: &BTreeMap<Ino, Attr>,
    ino: Ino,
    attr: &Attr,
    places: &mut HashMap<Ino, BTreeMap<Ino, i64>>,
) {
    let mut subdirs = 0;
    let mut stat = DirStat::default();
    for item in all(engine, Scan::Entries { parent: ino }).await {
        let Item::Entry { name, edge } = item else { panic!() };
        *places.entry(edge.ino).or_default().entry(ino).or_default() += 1;
        subdirs += u32::from(edge.kind == Kind::Directory);
        let node = nodes.get(&edge.ino).unwrap_or_else(|| panic!("{name} in {ino} names nothing"));
        assert_eq!(node.kind, edge.kind, "{name} in {ino}");
        let share = share_of(node);
        stat.length += share.length;
        stat.space += share.space;
        stat.inodes += share.inodes;
    }
    let links = if ino.is_trash() { 2 } else { 2 + subdirs };
    assert_eq!(attr.nlink, links, "links of directory {ino}");
    assert_eq!(attr.length, 4096);
    let got = engine.read(&[Get::DirStat { ino }]).await.unwrap();
    // Statistics of what lies in the trash are nobody's.
    if let ([Got::DirStat(Some(kept))], false) = (&got[..], attr.parent > Ino::TRASH) {
        assert_eq!(*kept, stat, "statistics of directory {ino}");
    }
}

async fn audit_places(
    engine: &dyn Engine,
    ino: Ino,
    attr: &Attr,
    places: &BTreeMap<Ino, i64>,
    sustained: &[Ino],
) {
    let count: i64 = places.values().sum();
    if ino.0 > Ino::TRASH.0 {
        assert_eq!(places.keys().collect::<Vec<_>>(), [&Ino::TRASH]);
        return;
    }
    if attr.kind == Kind::Directory {
        assert_eq!(places.keys().collect::<Vec<_>>(), [&attr.parent], "places of directory {ino}");
        return;
    }
    assert_eq!(i64::from(attr.nlink), count, "links of {ino}");
    if count == 0 {
        assert!(sustained.contains(&ino), "{ino} is nobody's");
        return;
    }
    if attr.parent.0 > 0 {
        assert_eq!(places.iter().collect::<Vec<_>>(), [(&attr.parent, &1)], "the parent of {ino}");
    } else {
        let got = engine.read(&[Get::Parents { ino }]).await.unwrap();
        let [Got::Parents(parents)] = &got[..] else { panic!() };
        assert_eq!(&parents.iter().copied().collect::<BTreeMap<_, _>>(), places, "parents of {ino}");
    }
}

async fn all(engine: &dyn Engine, scan: Scan) -> Vec<Item> {
    engine.scan(scan).try_collect().await.unwrap()
}
