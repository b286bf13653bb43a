//! What must hold between all rows of a volume, whatever was done to it.

use std::collections::{BTreeMap, HashMap};

use futures::TryStreamExt;

use crate::meta::Meta;
use crate::port::{Engine, Get, Got, Item, QuotaKind, Scan};
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
    audit_quotas(engine, &nodes, mounts).await;
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

/// What quotas say that is used: below a directory, trash left out, name by name; of an owner node by node.
async fn audit_quotas(engine: &dyn Engine, nodes: &BTreeMap<Ino, Attr>, mounts: &[&Meta]) {
    if mounts.iter().any(|meta| meta.format().user_group_quota) {
        let mut sums: BTreeMap<(QuotaKind, u64), Usage> = BTreeMap::new();
        for (_, attr) in nodes.iter().filter(|(ino, _)| **ino != Ino::ROOT && **ino != Ino::TRASH) {
            for key in [(QuotaKind::User, u64::from(attr.uid)), (QuotaKind::Group, u64::from(attr.gid))] {
                let sum = sums.entry(key).or_default();
                *sum = *sum + Usage::of(attr);
            }
        }
        let mut kept = all(engine, Scan::Quotas { kind: QuotaKind::User }).await;
        kept.extend(all(engine, Scan::Quotas { kind: QuotaKind::Group }).await);
        for item in kept {
            let Item::Quota(row) = item else { panic!() };
            let sum = sums.remove(&(row.kind, row.key)).unwrap_or_default();
            assert_eq!(row.used, sum, "{:?} {}", row.kind, row.key);
        }
        assert!(sums.is_empty(), "owners without a record: {sums:?}");
    }
    for item in all(engine, Scan::Quotas { kind: QuotaKind::Directory }).await {
        let Item::Quota(row) = item else { panic!() };
        let (mut used, mut waiting) = (Usage::default(), vec![Ino(row.key)]);
        while let Some(parent) = waiting.pop() {
            for item in all(engine, Scan::Entries { parent }).await {
                let Item::Entry { edge, .. } = item else { panic!() };
                used = used + Usage::of(&nodes[&edge.ino]);
                waiting.extend((edge.kind == Kind::Directory).then_some(edge.ino));
            }
        }
        assert_eq!(row.used, used, "quota of directory {}", row.key);
    }
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
