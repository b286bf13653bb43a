//! A volume out of one database and into another: every kind of row.

use bytes::Bytes;

use super::init::new_volume;
use super::{Home, at, directory, file, name, put, scan, slice};
use crate::engines::packed::AclRecord;
use crate::port::{Change, Counters, Engine, Item, QuotaKind, QuotaRow, Scan, Sequence};
use crate::types::{Attr, DirStat, Edge, Ino, Kind, Usage};

fn counters() -> Counters {
    Counters {
        usage: Usage { space: 8192, inodes: 2 },
        next_inode: 100,
        next_slice: 50,
        last_session: 7,
        last_trash: 3,
    }
}

/// Rows of every kind that a load takes, each under the scan that yields it.
#[expect(clippy::too_many_lines, reason = "a row of each kind")]
fn rows() -> Vec<(Scan, Vec<Item>)> {
    let linked = Attr { parent: Ino(0), nlink: 3, access_acl: 1, ..file(Ino::ROOT) };
    let rule = AclRecord {
        owner: 7,
        group: 5,
        mask: 0xFFFF,
        other: 0,
        named_users: vec![(1001, 7)],
        named_groups: vec![(5, 1), (6, 2)],
    };
    let edge = |parent: u64, text: &str, ino: u64, kind| Item::Edge {
        parent: Ino(parent),
        name: name(text),
        edge: Edge { ino: Ino(ino), kind },
    };
    let quota = |kind, key| {
        let used = Usage { space: 4096, inodes: 1 };
        Item::Quota(QuotaRow { kind, key, space_max: 1 << 30, inodes_max: -1, used })
    };
    vec![
        (
            Scan::Nodes,
            vec![
                Item::Node { ino: Ino::ROOT, attr: directory(Ino::ROOT) },
                Item::Node { ino: Ino(5), attr: linked },
                Item::Node {
                    ino: Ino(6),
                    attr: Attr { kind: Kind::Symlink, mtime: at(-1, 5), ..file(Ino::ROOT) },
                },
            ],
        ),
        (
            Scan::Edges,
            vec![
                edge(1, "a", 5, Kind::File),
                edge(1, "b", 5, Kind::File),
                edge(1, "s", 6, Kind::Symlink),
                edge(9, "c", 5, Kind::File),
            ],
        ),
        (
            Scan::Parents,
            vec![
                Item::Parent { ino: Ino(5), parent: Ino(1), count: 2 },
                Item::Parent { ino: Ino(5), parent: Ino(9), count: 1 },
            ],
        ),
        (
            Scan::Chunks { ino: None },
            vec![Item::Chunk { ino: Ino(5), indx: 3, slices: vec![slice(8, 0, 10), slice(9, 4, 2)] }],
        ),
        (
            Scan::SliceRefs,
            vec![Item::SliceRefs { id: 8, size: 10, refs: 4 }, Item::SliceRefs { id: 9, size: 2, refs: 0 }],
        ),
        (Scan::Symlinks, vec![Item::Symlink { ino: Ino(6), target: Bytes::from_static(b"\xfft") }]),
        (
            Scan::Xattrs,
            vec![Item::Xattr {
                ino: Ino(5),
                name: Bytes::from_static(b"user.a"),
                value: Bytes::from_static(b"\0\xff"),
            }],
        ),
        (Scan::Acls, vec![Item::Acl { id: 1, rule }]),
        (
            Scan::DirStats,
            vec![Item::DirStat { ino: Ino(1), stat: DirStat { length: 10, space: 8192, inodes: 2 } }],
        ),
        (Scan::Quotas { kind: QuotaKind::Directory }, vec![quota(QuotaKind::Directory, 9)]),
        (Scan::Quotas { kind: QuotaKind::User }, vec![quota(QuotaKind::User, 0)]),
        (Scan::Quotas { kind: QuotaKind::Group }, vec![quota(QuotaKind::Group, 77)]),
        (Scan::Sustained { sid: None }, vec![Item::Sustained { sid: 7, ino: Ino(5) }]),
        (
            Scan::DeletedFiles,
            vec![Item::DeletedFile { ino: Ino(40), length: 1 << 40, deleted_at: 1_700_000_000 }],
        ),
        (
            Scan::DelayedSlices,
            vec![Item::DelayedSlices { id: 11, deleted_at: 1_700_000_000, slices: vec![(8, 10), (8, 10)] }],
        ),
    ]
}

async fn sorted(engine: &dyn Engine, kind: Scan) -> Vec<String> {
    let mut found: Vec<_> = scan(engine, kind).await.iter().map(|item| format!("{item:?}")).collect();
    found.sort();
    found
}

pub(super) async fn what_is_loaded_is_what_scans_yield(home: &Home) {
    let engine = &*home.engine;
    engine.start_load().await.expect("an empty database");
    for (_, rows) in rows() {
        engine.load(&rows).await.expect("loads");
    }
    let setting = new_volume().setting;
    engine.finish_load(&setting, counters(), 1).await.expect("ends");
    for client in [engine, &*home.other] {
        assert_eq!(client.setting().await.expect("answers"), Some(setting.clone()));
        assert_eq!(client.counters().await.expect("answers"), counters());
        assert_eq!(client.usage().await.expect("answers"), counters().usage);
        for (kind, rows) in rows() {
            let wanted: Vec<_> = rows.iter().map(|row| format!("{row:?}")).collect();
            let mut found = sorted(client, kind.clone()).await;
            // Parents that the loaded rows did not name come from the edges where edges are the parents.
            if kind == Scan::Parents {
                found.retain(|row| !row.contains("count: 0"));
            }
            assert_eq!(found, wanted, "{kind:?}");
        }
    }
}

pub(super) async fn a_database_that_is_not_empty_is_not_loaded(home: &Home) {
    let engine = &**home.volume().await;
    let refusal = home.other.start_load().await.expect_err("a volume is there").to_string();
    assert!(refusal.contains("volume already") || refusal.contains("not empty"), "{refusal}");
    assert_eq!(engine.setting().await.expect("answers"), Some(new_volume().setting));
}

pub(super) async fn numbers_go_on_after_a_load(home: &Home) {
    let engine = &*home.engine;
    engine.start_load().await.expect("an empty database");
    let root = Item::Node { ino: Ino::ROOT, attr: directory(Ino::ROOT) };
    engine.load(&[root]).await.expect("loads");
    engine.finish_load(&new_volume().setting, counters(), 0).await.expect("ends");
    for (sequence, first) in
        [(Sequence::Inode, 100), (Sequence::Slice, 50), (Sequence::Session, 8), (Sequence::TrashDir, 4)]
    {
        let range = home.other.allocate(sequence, 1, None).await.expect("numbers");
        assert_eq!(range.start, first, "{sequence:?}");
    }
    put(engine, &[Change::AddUsage { space: 4096, inodes: 1 }]).await;
    engine.flush().await.expect("flushes");
    assert_eq!(home.other.usage().await.expect("answers"), Usage { space: 12_288, inodes: 3 });
}

pub(super) async fn a_load_that_did_not_end_is_no_volume(home: &Home) {
    let engine = &*home.engine;
    engine.start_load().await.expect("an empty database");
    let root = Item::Node { ino: Ino::ROOT, attr: directory(Ino::ROOT) };
    engine.load(&[root]).await.expect("loads");
    assert_eq!(home.other.setting().await.expect("answers"), None);
    let refusal = home.other.start_load().await.expect_err("rows are there").to_string();
    assert!(refusal.contains("not empty"), "{refusal}");
}
