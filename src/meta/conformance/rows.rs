//! Each kind of row alone.

use bytes::Bytes;

use super::{Home, at, commit, directory, edge, edge_of, file, get, name, node, node_of, put, scan};
use crate::port::{Change, Get, Got, Hold, Item, QuotaKind, QuotaRow, Scan, SessionRow};
use crate::types::{Attr, DirStat, Edge, Ino, Kind, Name, Usage, flags};

pub(super) async fn a_node_comes_back_with_every_field(home: &Home) {
    let engine = &**home.volume().await;
    let full = Attr {
        flags: flags::IMMUTABLE | flags::SKIP_TRASH,
        kind: Kind::CharDevice,
        mode: 0o7654,
        uid: u32::MAX,
        gid: 1 << 31,
        atime: at(-2_208_988_800, 1),
        mtime: at(0, 999_999_999),
        ctime: at(4_102_444_800, 1000),
        nlink: 17,
        length: 1 << 57,
        rdev: 0x501,
        parent: Ino(0),
        access_acl: 3,
        default_acl: 4,
        tier: 2,
    };
    let kinds = [Kind::File, Kind::Directory, Kind::Symlink, Kind::Fifo, Kind::BlockDevice, Kind::Socket];
    let mut changes = vec![Change::InsertNode { ino: Ino(100), attr: full }];
    for (number, kind) in (101..).zip(kinds) {
        changes.push(Change::InsertNode { ino: Ino(number), attr: Attr { kind, ..file(Ino(7)) } });
    }
    put(engine, &changes).await;
    assert_eq!(node(&*home.other, Ino(100)).await, Some(full));
    for (number, kind) in (101..).zip(kinds) {
        assert_eq!(node(&*home.other, Ino(number)).await, Some(Attr { kind, ..file(Ino(7)) }));
    }
    assert_eq!(node(engine, Ino(99)).await, None);
}

pub(super) async fn a_changed_node_keeps_what_did_not_change(home: &Home) {
    let engine = &**home.volume().await;
    let was = directory(Ino::ROOT);
    put(engine, &[Change::InsertNode { ino: Ino(5), attr: was }]).await;
    let now = Attr { mode: 0o700, nlink: 3, mtime: at(5, 6), parent: Ino(9), uid: 0, ..was };
    let held = [node_of(Ino(5), Hold::Update)];
    commit(engine, &held, &[Change::UpdateNode { ino: Ino(5), was, now }]).await.expect("commits");
    assert_eq!(node(engine, Ino(5)).await, Some(now));
    commit(engine, &held, &[Change::UpdateNode { ino: Ino(5), was: now, now }]).await.expect("commits");
    assert_eq!(node(engine, Ino(5)).await, Some(now));
}

pub(super) async fn a_deleted_node_is_gone(home: &Home) {
    let engine = &**home.volume().await;
    put(engine, &[Change::InsertNode { ino: Ino(5), attr: file(Ino::ROOT) }]).await;
    let changes = [Change::DeleteNode { ino: Ino(5) }, Change::DeleteXattrs { ino: Ino(5) }];
    commit(engine, &[node_of(Ino(5), Hold::Update)], &changes).await.expect("commits");
    assert_eq!(node(engine, Ino(5)).await, None);
}

pub(super) async fn names_are_raw_bytes(home: &Home) {
    let engine = &**home.volume().await;
    let mut odd = vec![0xff, 0xfe, b' ', b'%', b'_', b'\'', b'\n'];
    odd.resize(Name::BYTES_MAX, 0x80);
    for (number, bytes) in [(5, odd), (6, "ä".into()), (7, "Ä".into()), (8, "a".into()), (9, "A".into())] {
        let name = Name::new(bytes).expect("a name");
        let new = Edge { ino: Ino(number), kind: Kind::File };
        put(engine, &[Change::InsertEdge { parent: Ino::ROOT, name: name.clone(), edge: new }]).await;
        assert_eq!(edge(&*home.other, Ino::ROOT, &name).await, Some(new));
    }
    assert_eq!(scan(engine, Scan::Entries { parent: Ino::ROOT }).await.len(), 5);
}

pub(super) async fn an_edge_can_be_replaced_and_deleted(home: &Home) {
    let engine = &**home.volume().await;
    let name = name("x");
    let was = Edge { ino: Ino(5), kind: Kind::File };
    let now = Edge { ino: Ino(6), kind: Kind::Directory };
    let held = [edge_of(Ino::ROOT, &name, Hold::Update)];
    put(engine, &[Change::InsertEdge { parent: Ino::ROOT, name: name.clone(), edge: was }]).await;
    let update = Change::UpdateEdge { parent: Ino::ROOT, name: name.clone(), was, now };
    commit(engine, &held, &[update]).await.expect("commits");
    assert_eq!(edge(engine, Ino::ROOT, &name).await, Some(now));
    let delete = Change::DeleteEdge { parent: Ino::ROOT, name: name.clone(), was: now };
    commit(engine, &held, &[delete]).await.expect("commits");
    assert_eq!(edge(engine, Ino::ROOT, &name).await, None);
    assert_eq!(scan(engine, Scan::Entries { parent: Ino::ROOT }).await, []);
}

pub(super) async fn a_directory_knows_whether_it_has_children(home: &Home) {
    let engine = &**home.volume().await;
    assert_eq!(get(engine, Get::HasChildren { ino: Ino(5) }).await, Got::Flag(false));
    let child = Edge { ino: Ino(6), kind: Kind::File };
    put(engine, &[Change::InsertEdge { parent: Ino(5), name: name("c"), edge: child }]).await;
    assert_eq!(get(engine, Get::HasChildren { ino: Ino(5) }).await, Got::Flag(true));
}

pub(super) async fn a_symlink_keeps_its_target(home: &Home) {
    let engine = &**home.volume().await;
    let target = Bytes::from(vec![b'/'; 4095]);
    put(engine, &[Change::InsertSymlink { ino: Ino(5), target: target.clone() }]).await;
    assert_eq!(get(engine, Get::Symlink { ino: Ino(5) }).await, Got::Bytes(Some(target)));
    put(engine, &[Change::DeleteSymlink { ino: Ino(5) }]).await;
    assert_eq!(get(engine, Get::Symlink { ino: Ino(5) }).await, Got::Bytes(None));
}

pub(super) async fn an_xattr_keeps_its_bytes(home: &Home) {
    let engine = &**home.volume().await;
    let ino = Ino(5);
    let value = |name: &'static [u8]| {
        get(engine, Get::Xattr { ino, name: Bytes::from_static(name), hold: Hold::Peek })
    };
    let set = |name: &'static [u8], value: &[u8]| Change::SetXattr {
        ino,
        name: Bytes::from_static(name),
        value: Bytes::copy_from_slice(value),
    };
    assert_eq!(value(b"user.a").await, Got::Bytes(None));
    assert_eq!(get(engine, Get::XattrNames { ino }).await, Got::Names(Vec::new()));
    let (mut big, raw): (Vec<u8>, &[u8]) = (vec![0xff; 65_536], b"user.\xff\xfe'%");
    // A column of MySQL holds a byte less.
    if let Err(error) = commit(engine, &[], &[set(b"user.b", &big)]).await {
        assert_eq!(error.errno(), juicefs_base::Errno::ENOSPC, "{error}");
        big.pop();
        put(engine, &[set(b"user.b", &big)]).await;
    }
    put(engine, &[set(b"user.a", b"")]).await;
    // Where names are text in the database, one that is none is refused, and nothing else happens.
    let keeps_any = match commit(engine, &[], &[set(raw, b"\0x\0")]).await {
        Ok(_) => true,
        Err(error) => {
            assert_eq!(error.errno(), juicefs_base::Errno::EINVAL, "{error}");
            false
        }
    };
    assert_eq!(value(b"user.b").await, Got::Bytes(Some(big.into())));
    assert_eq!(value(b"user.a").await, Got::Bytes(Some(Bytes::new())));
    if keeps_any {
        assert_eq!(value(raw).await, Got::Bytes(Some(Bytes::from_static(b"\0x\0"))));
    }
    assert_eq!(value(b"user.A").await, Got::Bytes(None), "names are bytes, not letters");
    let mut names: Vec<Bytes> = [b"user.a", b"user.b", raw].map(Bytes::copy_from_slice).into();
    names.truncate(if keeps_any { 3 } else { 2 });
    assert_eq!(get(&*home.other, Get::XattrNames { ino }).await, Got::Names(names));
    put(engine, &[set(b"user.a", b"2"), Change::DeleteXattr { ino, name: Bytes::from_static(b"user.b") }])
        .await;
    assert_eq!(value(b"user.a").await, Got::Bytes(Some(Bytes::from_static(b"2"))));
    assert_eq!(value(b"user.b").await, Got::Bytes(None));
    put(engine, &[Change::DeleteXattrs { ino }]).await;
    assert_eq!(get(engine, Get::XattrNames { ino }).await, Got::Names(Vec::new()));
}

/// Edges and counts travel together, so that engines which keep only one of them agree.
pub(super) async fn parents_of_a_hard_link_are_counted(home: &Home) {
    let engine = &**home.volume().await;
    let linked = Edge { ino: Ino(9), kind: Kind::File };
    let link = |parent: u64, text: &str| {
        [
            Change::InsertEdge { parent: Ino(parent), name: name(text), edge: linked },
            Change::AddParentRef { ino: Ino(9), parent: Ino(parent), delta: 1 },
        ]
    };
    put(engine, &[link(1, "a"), link(5, "b"), link(5, "c")].concat()).await;
    let parents = async || match get(engine, Get::Parents { ino: Ino(9) }).await {
        Got::Parents(mut parents) => {
            parents.sort_unstable();
            parents
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(parents().await, [(Ino(1), 1), (Ino(5), 2)]);
    let unlink = [
        Change::DeleteEdge { parent: Ino(1), name: name("a"), was: linked },
        Change::AddParentRef { ino: Ino(9), parent: Ino(1), delta: -1 },
    ];
    put(engine, &unlink).await;
    assert_eq!(parents().await, [(Ino(5), 2)]);
    let last = [
        Change::DeleteEdge { parent: Ino(5), name: name("b"), was: linked },
        Change::DeleteEdge { parent: Ino(5), name: name("c"), was: linked },
        Change::DeleteParentRefs { ino: Ino(9) },
    ];
    put(engine, &last).await;
    assert_eq!(parents().await, []);
}

pub(super) async fn directory_statistics_move_only_where_they_exist(home: &Home) {
    let engine = &**home.volume().await;
    let delta = DirStat { length: 100, space: 4096, inodes: 1 };
    let stat = async || get(engine, Get::DirStat { ino: Ino(5) }).await;
    put(engine, &[Change::AddDirStat { ino: Ino(5), delta }]).await;
    assert_eq!(stat().await, Got::DirStat(None));
    put(engine, &[Change::InsertDirStat { ino: Ino(5) }]).await;
    assert_eq!(stat().await, Got::DirStat(Some(DirStat::default())));
    put(engine, &[Change::AddDirStat { ino: Ino(5), delta }, Change::AddDirStat { ino: Ino(5), delta }])
        .await;
    assert_eq!(stat().await, Got::DirStat(Some(DirStat { length: 200, space: 8192, inodes: 2 })));
    let back = DirStat { length: -300, space: -8192, inodes: -1 };
    put(engine, &[Change::AddDirStat { ino: Ino(5), delta: back }]).await;
    assert_eq!(stat().await, Got::DirStat(Some(DirStat { length: -100, space: 0, inodes: 1 })));
    put(engine, &[Change::SetDirStat { ino: Ino(5), stat: delta }]).await;
    assert_eq!(stat().await, Got::DirStat(Some(delta)));
    put(engine, &[Change::DeleteDirQuota { ino: Ino(5) }]).await;
    assert_eq!(stat().await, Got::DirStat(Some(delta)));
    put(engine, &[Change::DeleteDirRecords { ino: Ino(5) }]).await;
    assert_eq!(stat().await, Got::DirStat(None));
}

pub(super) async fn a_sustained_inode_belongs_to_a_session(home: &Home) {
    let engine = &**home.volume().await;
    let changes: Vec<_> =
        [(1, 10), (1, 11), (2, 10)].map(|(sid, ino)| Change::InsertSustained { sid, ino: Ino(ino) }).into();
    put(engine, &changes).await;
    assert_eq!(get(engine, Get::Sustained { sid: 1, ino: Ino(11) }).await, Got::Flag(true));
    assert_eq!(get(engine, Get::Sustained { sid: 2, ino: Ino(11) }).await, Got::Flag(false));
    assert_eq!(scan(engine, Scan::Sustained { sid: Some(1) }).await.len(), 2);
    assert_eq!(scan(engine, Scan::Sustained { sid: Some(3) }).await, []);
    put(engine, &[Change::DeleteSustained { sid: 1, ino: Ino(10) }]).await;
    let one = [Item::Sustained { sid: 1, ino: Ino(11) }];
    assert_eq!(scan(engine, Scan::Sustained { sid: Some(1) }).await, one);
    put(engine, &[Change::PutSession { sid: 1, expires_at: 1, info: Bytes::new() }]).await;
    put(engine, &[Change::PutSession { sid: 2, expires_at: 1, info: Bytes::new() }]).await;
    let mut all = scan(engine, Scan::Sustained { sid: None }).await;
    all.sort_unstable_by_key(|item| match item {
        Item::Sustained { sid, ino } => (*sid, *ino),
        other => panic!("{other:?}"),
    });
    assert_eq!(all, [Item::Sustained { sid: 1, ino: Ino(11) }, Item::Sustained { sid: 2, ino: Ino(10) }]);
}

pub(super) async fn a_deleted_file_is_known_by_inode_and_length(home: &Home) {
    let engine = &**home.volume().await;
    put(engine, &[Change::InsertDeletedFile { ino: Ino(5), length: 1 << 40, deleted_at: 1_700_000_000 }])
        .await;
    assert_eq!(get(engine, Get::DeletedFile { ino: Ino(5), length: 1 << 40 }).await, Got::Flag(true));
    assert_eq!(get(engine, Get::DeletedFile { ino: Ino(5), length: 1 }).await, Got::Flag(false));
    let listed = [Item::DeletedFile { ino: Ino(5), length: 1 << 40, deleted_at: 1_700_000_000 }];
    assert_eq!(scan(engine, Scan::DeletedFiles).await, listed);
    put(engine, &[Change::DeleteDeletedFile { ino: Ino(5), length: 1 << 40 }]).await;
    assert_eq!(scan(engine, Scan::DeletedFiles).await, []);
}

pub(super) async fn a_session_keeps_its_first_info(home: &Home) {
    let engine = &**home.volume().await;
    let put_session = |expires_at: i64, info: &'static str| Change::PutSession {
        sid: 7,
        expires_at,
        info: Bytes::from_static(info.as_bytes()),
    };
    assert_eq!(get(engine, Get::Session { sid: 7 }).await, Got::Session(None));
    put(engine, &[put_session(100, "first")]).await;
    put(engine, &[put_session(160, "second")]).await;
    let row = SessionRow { sid: 7, expires_at: 160, info: Bytes::from_static(b"first") };
    assert_eq!(get(engine, Get::Session { sid: 7 }).await, Got::Session(Some(row.clone())));
    assert_eq!(scan(&*home.other, Scan::Sessions).await, [Item::Session(row)]);
    for (sid, at, lives) in [(7, 100, false), (8, 160, true), (8, 161, false)] {
        assert_eq!(get(engine, Get::OtherSession { sid, at }).await, Got::Flag(lives), "{sid} at {at}");
    }
    put(engine, &[Change::PutSession { sid: 70, expires_at: 170, info: Bytes::new() }]).await;
    assert_eq!(get(engine, Get::OtherSession { sid: 7, at: 100 }).await, Got::Flag(true));
    put(engine, &[Change::DeleteSession { sid: 70 }]).await;
    put(engine, &[Change::DeleteLocks { sid: 7 }, Change::DeleteSession { sid: 7 }]).await;
    assert_eq!(scan(engine, Scan::Sessions).await, []);
}

pub(super) async fn lookup_gives_the_entry_and_its_node(home: &Home) {
    let engine = &**home.volume().await;
    let (there, lost) = (Edge { ino: Ino(5), kind: Kind::File }, Edge { ino: Ino(6), kind: Kind::File });
    let changes = [
        Change::InsertNode { ino: Ino(5), attr: file(Ino::ROOT) },
        Change::InsertEdge { parent: Ino::ROOT, name: name("there"), edge: there },
        Change::InsertEdge { parent: Ino::ROOT, name: name("lost"), edge: lost },
    ];
    put(engine, &changes).await;
    let found = engine.lookup(Ino::ROOT, &name("there")).await.expect("answers");
    assert_eq!(found, Some((there, Some(file(Ino::ROOT)))));
    assert_eq!(engine.lookup(Ino::ROOT, &name("lost")).await.expect("answers"), Some((lost, None)));
    assert_eq!(engine.lookup(Ino::ROOT, &name("none")).await.expect("answers"), None);
    assert_eq!(engine.lookup(Ino(5), &name("there")).await.expect("answers"), None);
}

pub(super) async fn nodes_come_in_the_order_asked(home: &Home) {
    let engine = &**home.volume().await;
    let attr = |number: u64| Attr { length: number, ..file(Ino::ROOT) };
    let changes: Vec<_> =
        (10..20).map(|number| Change::InsertNode { ino: Ino(number), attr: attr(number) }).collect();
    put(engine, &changes).await;
    let asked = [Ino(15), Ino(99), Ino(10), Ino(15)];
    let found = engine.nodes(&asked).await.expect("answers");
    assert_eq!(found, [Some(attr(15)), None, Some(attr(10)), Some(attr(15))].map(Ok));
    assert_eq!(engine.nodes(&[]).await.expect("answers"), []);
}

pub(super) async fn quotas_keep_limits_and_usage_apart(home: &Home) {
    let engine = &**home.volume().await;
    let used = |space, inodes| Usage { space, inodes };
    for (kind, key) in [(QuotaKind::Directory, 1), (QuotaKind::User, 5), (QuotaKind::Group, 5)] {
        let quota = async || match get(engine, Get::Quota { kind, key }).await {
            Got::Quota(row) => row.map(|row| (row.kind, row.key, row.space_max, row.inodes_max, row.used)),
            other => panic!("{other:?}"),
        };
        assert_eq!(quota().await, None);
        put(engine, &[Change::PutQuota { kind, key, space_max: 1 << 30, inodes_max: -1 }]).await;
        assert_eq!(quota().await, Some((kind, key, 1 << 30, -1, used(0, 0))));
        put(engine, &[Change::SetQuotaUsage { kind, key, used: used(8192, 2) }]).await;
        let delta = used(-4096, 1);
        let add = Change::AddQuotaUsage { kind, key, delta };
        put(engine, &[add.clone(), add]).await;
        put(engine, &[Change::PutQuota { kind, key, space_max: -1, inodes_max: 7 }]).await;
        assert_eq!(quota().await, Some((kind, key, -1, 7, used(0, 4))));
    }
    // An owner's record is made by the first movement.
    let key = 77;
    put(engine, &[Change::AddQuotaUsage { kind: QuotaKind::User, key, delta: used(4096, 1) }]).await;
    let row = QuotaRow { kind: QuotaKind::User, key, space_max: -1, inodes_max: -1, used: used(4096, 1) };
    assert_eq!(get(engine, Get::Quota { kind: QuotaKind::User, key }).await, Got::Quota(Some(row)));
    put(engine, &[Change::DeleteDirRecords { ino: Ino(1) }]).await;
    assert_eq!(get(engine, Get::Quota { kind: QuotaKind::Directory, key: 1 }).await, Got::Quota(None));
}

pub(super) async fn a_quota_whose_limits_changed_is_a_conflict(home: &Home) {
    let engine = &**home.volume().await;
    let (kind, key) = (QuotaKind::User, 5);
    put(engine, &[Change::PutQuota { kind, key, space_max: 1, inodes_max: -1 }]).await;
    let delta = Usage { space: 4096, inodes: 1 };
    for (meanwhile, holds) in [
        (Change::AddQuotaUsage { kind, key, delta }, true),
        (Change::PutQuota { kind, key, space_max: 2, inodes_max: -1 }, false),
    ] {
        let mut attempt = engine.begin(0).await.unwrap();
        attempt.read(&[Get::Quota { kind, key }]).await.unwrap();
        put(engine, &[meanwhile]).await;
        let outcome = attempt.commit(&[Change::AddQuotaUsage { kind, key, delta }]).await;
        assert_eq!(outcome.is_ok(), holds, "{outcome:?}");
    }
}
