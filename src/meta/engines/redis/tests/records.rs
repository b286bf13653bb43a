//! What is written is what format 3 says, in as few flushes as promised.

use futures::TryStreamExt;
use redis::AsyncCommands;

use super::server::{Relay, Server};
use super::*;
use crate::error::Error;
use crate::port::{Item, Job, Scan, Sequence};
use crate::types::{DirStat, Usage};

#[tokio::test]
async fn a_new_volume_is_three_records_and_no_counters() {
    let server = Server::start();
    let engine = server.engine().await;
    assert_eq!(engine.setting().await.unwrap(), None);
    engine.create_volume(&volume()).await.unwrap();
    let mut raw = server.raw().await;
    let mut keys: Vec<String> = raw.keys("*").await.unwrap();
    keys.sort();
    keys.retain(|key| !key.starts_with("Xop."));
    assert_eq!(keys, ["i1", "i9223372032828243968", "setting"]);
    assert_eq!(engine.setting().await.unwrap().as_deref(), Some(SETTING));
    let other = NewVolume { setting: "{}".to_owned(), ..volume() };
    let refused = engine.create_volume(&other).await.unwrap_err();
    assert!(refused.to_string().contains("holds a volume already"), "{refused}");
    let trash: Vec<u8> = raw.get("i9223372032828243968").await.unwrap();
    assert_eq!((trash.len(), trash[1]), (72, 0x21));
    engine.update_setting("{\"Name\":\"x\"}", None, false).await.unwrap();
    assert_eq!(engine.setting().await.unwrap().as_deref(), Some("{\"Name\":\"x\"}"));
}

#[tokio::test]
async fn counters_hold_the_last_number_handed_out() {
    let server = Server::start();
    let engine = server.engine().await;
    assert_eq!(engine.allocate(Sequence::Inode, 1024, None).await.unwrap(), 2..1025);
    assert_eq!(engine.allocate(Sequence::Inode, 1024, None).await.unwrap(), 1025..2049);
    assert_eq!(engine.allocate(Sequence::Slice, 4096, None).await.unwrap(), 1..4097);
    assert_eq!(engine.allocate(Sequence::Slice, 4096, None).await.unwrap(), 4097..8193);
    assert_eq!(engine.allocate(Sequence::Session, 1, None).await.unwrap(), 1..2);
    assert_eq!(engine.allocate(Sequence::TrashDir, 1, None).await.unwrap(), 1..2);
    let mut raw = server.raw().await;
    let counters: Vec<i64> = raw.mget(&["nextinode", "nextchunk", "nextsession", "nextTrash"]).await.unwrap();
    assert_eq!(counters, [2048, 8192, 1, 1]);
    let fresh = Server::start();
    let engine = fresh.engine().await;
    assert_eq!(engine.allocate(Sequence::Inode, 1, None).await.unwrap(), 2..3, "the root is skipped");
}

#[tokio::test]
async fn a_job_is_claimed_by_one_client_in_its_gap() {
    let server = Server::start();
    let engine = server.engine().await;
    assert!(engine.claim(Job::CleanFiles, 10_000, 3240, None).await.unwrap());
    assert!(!engine.claim(Job::CleanFiles, 10_000 + 3239, 3240, None).await.unwrap());
    assert!(engine.claim(Job::CleanFiles, 10_000 + 3240, 3240, None).await.unwrap());
    let mut raw = server.raw().await;
    assert_eq!(raw.get::<_, i64>("lastCleanupFiles").await.unwrap(), 13240);
}

#[tokio::test]
async fn operations_take_the_flushes_they_promise() {
    let server = Server::start();
    let relay = Relay::before(&server).await;
    let engine = relay.engine().await;
    engine.create_volume(&volume()).await.unwrap();
    create(&engine, Ino::ROOT, &name("warm"), Ino(2)).await.unwrap();
    engine.lookup(Ino::ROOT, &name("warm")).await.unwrap();

    let before = relay.flushes();
    create(&engine, Ino::ROOT, &name("a"), Ino(3)).await.unwrap();
    assert_eq!(relay.flushes() - before, 2, "create");
    let before = relay.flushes();
    append(&engine, Ino(3), 7).await.unwrap();
    assert_eq!(relay.flushes() - before, 2, "write");
    let before = relay.flushes();
    engine.lookup(Ino::ROOT, &name("a")).await.unwrap().unwrap();
    assert_eq!(relay.flushes() - before, 1, "lookup");
    let before = relay.flushes();
    let blind = [Change::PutSession { sid: 1, expires_at: 5, info: "{}".into() }];
    engine.begin(0).await.unwrap().commit(&blind).await.unwrap();
    assert_eq!(relay.flushes() - before, 2, "a commit without reads watches its marker first");
    // An attempt that ends without a commit leaves its UNWATCH to the next one's flush.
    let before = relay.flushes();
    let mut attempt = engine.begin(0).await.unwrap();
    attempt.read(&[Get::Node { ino: Ino(3), hold: Hold::Update }]).await.unwrap();
    drop(attempt);
    append(&engine, Ino(3), 8).await.unwrap();
    assert_eq!(relay.flushes() - before, 3, "an abandoned attempt and a write");
}

#[tokio::test]
async fn a_change_of_a_held_row_is_a_conflict_and_a_peeked_one_is_not() {
    let server = Server::start();
    let engine = server.engine().await;
    engine.create_volume(&volume()).await.unwrap();
    create(&engine, Ino::ROOT, &name("a"), Ino(2)).await.unwrap();
    let mut raw = server.raw().await;
    for (hold, is_conflict) in
        [(Hold::Guard, true), (Hold::Touch, true), (Hold::Update, true), (Hold::Peek, false)]
    {
        let mut attempt = engine.begin(0).await.unwrap();
        attempt.read(&[Get::Edge { parent: Ino::ROOT, name: name("a"), hold }]).await.unwrap();
        let _: () = raw.hset("d1", "other", [1_u8; 9].as_slice()).await.unwrap();
        let done = attempt.commit(&[Change::AddUsage { space: 1, inodes: 0 }]).await;
        assert_eq!(matches!(done, Err(Error::Conflict)), is_conflict, "{hold:?}: {done:?}");
    }
    // What an abandoned attempt watched disturbs nobody.
    let mut attempt = engine.begin(0).await.unwrap();
    attempt.read(&[Get::Node { ino: Ino(2), hold: Hold::Update }]).await.unwrap();
    drop(attempt);
    let mut attempt = engine.begin(0).await.unwrap();
    attempt.read(&[Get::Node { ino: Ino::ROOT, hold: Hold::Guard }]).await.unwrap();
    let _: () = raw.set("i2", "changed").await.unwrap();
    attempt.commit(&[Change::AddUsage { space: 1, inodes: 0 }]).await.unwrap();
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one record a change, in one volume")]
async fn every_change_leaves_the_record_of_the_format() {
    let server = Server::start();
    let engine = server.engine().await;
    let mut raw = server.raw().await;
    let commit = |changes: Vec<Change>| {
        let engine = &engine;
        async move { engine.begin(0).await.unwrap().commit(&changes).await.unwrap() }
    };
    let file = attr(Kind::File, Ino::ROOT);
    let edge = Edge { ino: Ino(5), kind: Kind::File };
    let receipt = commit(vec![
        Change::InsertNode { ino: Ino(5), attr: file },
        Change::InsertEdge { parent: Ino::ROOT, name: name("f"), edge },
        Change::AddParentRef { ino: Ino(5), parent: Ino::ROOT, delta: 1 },
        Change::AddParentRef { ino: Ino(5), parent: Ino(9), delta: 0 },
        Change::InsertSymlink { ino: Ino(6), target: "to".into() },
        Change::AppendSlice { ino: Ino(5), indx: 0, slice: slice(1, 10), only_existing: false },
        Change::AppendSlice { ino: Ino(5), indx: 0, slice: slice(0, 10), only_existing: true },
        Change::AppendSlice { ino: Ino(5), indx: 1, slice: slice(0, 10), only_existing: true },
        Change::TrackSlice { id: 1, size: 10 },
        Change::InsertDirStat { ino: Ino::ROOT },
        Change::AddDirStat { ino: Ino::ROOT, delta: DirStat { length: 3, space: 4096, inodes: 1 } },
        Change::AddDirStat { ino: Ino(77), delta: DirStat { length: 3, space: 4096, inodes: 1 } },
        Change::InsertSustained { sid: 3, ino: Ino(5) },
        Change::InsertDeletedFile { ino: Ino(8), length: 100, deleted_at: 1_795_000_000 },
        Change::PutSession { sid: 3, expires_at: 60, info: "{\"a\":1}".into() },
        Change::PutSession { sid: 3, expires_at: 72, info: "other".into() },
    ])
    .await;
    assert_eq!(receipt.slices_after_append, [1, 2, 0]);
    let entry: Vec<u8> = raw.hget("d1", "f").await.unwrap();
    assert_eq!(entry, [1, 0, 0, 0, 0, 0, 0, 0, 5]);
    assert_eq!(raw.hget::<_, _, String>("p5", "1").await.unwrap(), "1");
    assert_eq!(raw.get::<_, String>("s6").await.unwrap(), "to");
    assert_eq!(raw.llen::<_, u32>("c5_0").await.unwrap(), 2);
    assert!(!raw.exists::<_, bool>("c5_1").await.unwrap());
    assert!(!raw.exists::<_, bool>("sliceRef").await.unwrap());
    assert_eq!(raw.zscore::<_, _, i64>("delfiles", "8:100").await.unwrap(), 1_795_000_000);
    assert_eq!(raw.hget::<_, _, String>("sessionInfos", 3).await.unwrap(), "{\"a\":1}");
    assert_eq!(raw.zscore::<_, _, i64>("allSessions", 3).await.unwrap(), 72);

    let gets = [
        Get::Parents { ino: Ino(5) },
        Get::Symlink { ino: Ino(6) },
        Get::Chunk { ino: Ino(5), indx: 0, hold: Hold::Guard },
        Get::HasChildren { ino: Ino::ROOT },
        Get::DirStat { ino: Ino::ROOT },
        Get::DirStat { ino: Ino(77) },
        Get::Session { sid: 3 },
        Get::DeletedFile { ino: Ino(8), length: 100 },
        Get::DeletedFile { ino: Ino(8), length: 101 },
        Get::Sustained { sid: 3, ino: Ino(5) },
        Get::Node { ino: Ino(99), hold: Hold::Peek },
        Get::Node { ino: Ino(5), hold: Hold::Peek },
        Get::Chunks { ino: Ino(5), first: 3, last: 5 },
    ];
    let got = engine.read(&gets).await.unwrap();
    assert_eq!(got[0], Got::Parents(vec![(Ino::ROOT, 1)]));
    assert_eq!(got[1], Got::Bytes(Some("to".into())));
    assert_eq!(got[2], Got::Slices(vec![slice(1, 10), slice(0, 10)]));
    assert_eq!(got[3], Got::Flag(true));
    assert_eq!(got[4], Got::DirStat(Some(DirStat { length: 3, space: 4096, inodes: 1 })));
    assert_eq!(got[5], Got::DirStat(None));
    assert!(matches!(&got[6], Got::Session(Some(row)) if row.expires_at == 72));
    assert_eq!([&got[7], &got[8], &got[9]], [&Got::Flag(true), &Got::Flag(false), &Got::Flag(true)]);
    assert_eq!([&got[10], &got[11]], [&Got::Node(None), &Got::Node(Some(file))]);
    assert_eq!(got[12], Got::Indexes(vec![3, 4, 5]));

    let _: () = raw.hset_multiple("acl", &[("1", "q")]).await.unwrap();
    assert_eq!(engine.foreign_records().await.unwrap(), ["ACL"]);
    let _: () = raw.del("acl").await.unwrap();
    let _: () = raw.hset("sliceRef", "k9_10", 1).await.unwrap();
    let _: () = raw.sadd("locked3", &["lockf5", "lockp5"]).await.unwrap();
    let _: () = raw
        .hset_multiple("lockf5", &[("3_00000000000000AA", "W"), ("33_00000000000000AA", "R")])
        .await
        .unwrap();
    let receipt = commit(vec![
        Change::ReleaseSlice { id: 9, size: 10 },
        Change::ReleaseSlice { id: 1, size: 10 },
        Change::DeleteLocks { sid: 3 },
        Change::DeleteSustained { sid: 3, ino: Ino(5) },
        Change::DeleteSession { sid: 3 },
        Change::DeleteDeletedFile { ino: Ino(8), length: 100 },
        Change::DeleteChunk { ino: Ino(5), indx: 0 },
        Change::DeleteDirRecords { ino: Ino::ROOT },
        Change::DeleteEdge { parent: Ino::ROOT, name: name("f"), was: edge },
        Change::DeleteNode { ino: Ino(5) },
        Change::DeleteXattrs { ino: Ino(5) },
        Change::DeleteSymlink { ino: Ino(6) },
        Change::DeleteParentRefs { ino: Ino(5) },
    ])
    .await;
    assert_eq!(receipt.slices_freed, [(1, 10)]);
    let freed: Vec<Item> = engine.scan(Scan::FreedSlices).try_collect().await.unwrap();
    assert_eq!(freed, [Item::FreedSlice { id: 1, size: 10 }]);
    commit(vec![Change::ForgetSlice { id: 1, size: 10 }, Change::DeleteDirQuota { ino: Ino::ROOT }]).await;
    let mut keys: Vec<String> = raw.keys("*").await.unwrap();
    keys.retain(|key| !key.starts_with("Xop."));
    keys.sort();
    assert_eq!(keys, ["lockf5", "sliceRef"], "the other session's lock and the other slice's reference stay");
    assert_eq!(raw.hlen::<_, u32>("lockf5").await.unwrap(), 1);
}

#[tokio::test]
async fn scans_tell_each_record_once() {
    let server = Server::start();
    let engine = server.engine().await;
    engine.create_volume(&volume()).await.unwrap();
    let mut raw = server.raw().await;
    let mut pipeline = redis::pipe();
    for n in 0..25_000_u64 {
        let record = crate::engines::packed::encode_edge(Edge { ino: Ino(n + 2), kind: Kind::File });
        pipeline.cmd("HSET").arg("d1").arg(format!("file-{n}")).arg(&record[..]).ignore();
    }
    for n in 2..30_u64 {
        pipeline
            .cmd("RPUSH")
            .arg(format!("c{n}_1"))
            .arg(&crate::engines::packed::encode_slice(slice(n, 9))[..])
            .ignore();
        pipeline.cmd("SADD").arg(format!("session{n}")).arg(n).ignore();
    }
    pipeline
        .cmd("HSET")
        .arg("delSlices")
        .arg("16_1795301406")
        .arg(crate::engines::packed::encode_slice_pairs(&[(9, 4096)]))
        .ignore();
    let _: () = pipeline.query_async(&mut raw).await.unwrap();
    let entries: Vec<Item> = engine.scan(Scan::Entries { parent: Ino::ROOT }).try_collect().await.unwrap();
    let distinct: std::collections::HashSet<String> =
        entries.iter().map(|item| format!("{item:?}")).collect();
    assert_eq!((entries.len(), distinct.len()), (25_000, 25_000));
    let chunks: Vec<Item> = engine.scan(Scan::Chunks { ino: None }).try_collect().await.unwrap();
    assert_eq!(chunks.len(), 28);
    let own: Vec<Item> = engine.scan(Scan::Chunks { ino: Some(Ino(7)) }).try_collect().await.unwrap();
    assert_eq!(own, [Item::Chunk { ino: Ino(7), indx: 1, slices: vec![slice(7, 9)] }]);
    let sustained: Vec<Item> = engine.scan(Scan::Sustained { sid: None }).try_collect().await.unwrap();
    assert_eq!(sustained.len(), 28);
    let own: Vec<Item> = engine.scan(Scan::Sustained { sid: Some(4) }).try_collect().await.unwrap();
    assert_eq!(own, [Item::Sustained { sid: 4, ino: Ino(4) }]);
    let delayed: Vec<Item> = engine.scan(Scan::DelayedSlices).try_collect().await.unwrap();
    assert_eq!(delayed, [Item::DelayedSlices { id: 16, deleted_at: 1_795_301_406, slices: vec![(9, 4096)] }]);
    let nodes: Vec<Item> = engine.scan(Scan::Nodes).try_collect().await.unwrap();
    assert_eq!(nodes.len(), 2, "root and trash");
    let inos: Vec<Ino> = (0..9000).map(Ino).collect();
    let attrs = engine.nodes(&inos).await.unwrap();
    assert_eq!((attrs.len(), attrs.iter().flatten().flatten().count()), (9000, 1));
    // A sparse file's span is asked about, not enumerated.
    let long = Get::Chunks { ino: Ino(7), first: 0, last: u32::MAX / 2 };
    assert_eq!(engine.read(&[long]).await.unwrap(), [Got::Indexes(vec![1])]);
    let middling = Get::Chunks { ino: Ino(7), first: 0, last: 10_050 };
    assert_eq!(engine.read(&[middling]).await.unwrap(), [Got::Indexes(vec![1])]);
}

#[tokio::test]
async fn a_lookup_is_the_same_with_and_without_scripts() {
    let server = Server::start();
    let engine = server.engine().await;
    engine.create_volume(&volume()).await.unwrap();
    create(&engine, Ino::ROOT, &name("a"), Ino(2)).await.unwrap();
    let hour = Ino(Ino::TRASH.0 + 1);
    let edge = Edge { ino: hour, kind: Kind::Directory };
    let changes = [
        Change::InsertNode { ino: hour, attr: attr(Kind::Directory, Ino::TRASH) },
        Change::InsertEdge { parent: Ino::TRASH, name: name("2026-11-23-20"), edge },
        Change::InsertEdge {
            parent: Ino::ROOT,
            name: name("lost"),
            edge: Edge { ino: Ino(50), kind: Kind::File },
        },
    ];
    engine.begin(0).await.unwrap().commit(&changes).await.unwrap();
    let mut raw = server.raw().await;
    let _: () = redis::cmd("SCRIPT").arg("FLUSH").query_async(&mut raw).await.unwrap();
    for round in ["with scripts", "without"] {
        let (found, node) = engine.lookup(Ino::ROOT, &name("a")).await.unwrap().expect(round);
        assert_eq!((found.ino, node.unwrap().parent), (Ino(2), Ino::ROOT), "{round}");
        let (found, node) = engine.lookup(Ino::TRASH, &name("2026-11-23-20")).await.unwrap().expect(round);
        assert_eq!((found.ino, node.unwrap().parent), (hour, Ino::TRASH), "{round}: beyond Lua's numbers");
        let (found, node) = engine.lookup(Ino::ROOT, &name("lost")).await.unwrap().expect(round);
        assert_eq!((found.ino, node), (Ino(50), None), "{round}: a node without record");
        assert_eq!(engine.lookup(Ino::ROOT, &name("absent")).await.unwrap(), None, "{round}");
        let () = redis::cmd("ACL")
            .arg(&["SETUSER", "default", "-eval", "-evalsha"])
            .query_async(&mut raw)
            .await
            .unwrap();
    }
    assert_eq!(engine.usage().await.unwrap(), Usage { space: 4096, inodes: 1 });
    // Directory statistics work without scripts, too.
    let stat = DirStat { length: 1, space: 2, inodes: 3 };
    let changes =
        [Change::AddDirStat { ino: Ino::ROOT, delta: stat }, Change::InsertDirStat { ino: Ino(60) }];
    engine.begin(0).await.unwrap().commit(&changes).await.unwrap();
    let changes = [Change::AddDirStat { ino: Ino(60), delta: stat }];
    engine.begin(0).await.unwrap().commit(&changes).await.unwrap();
    let got = engine.read(&[Get::DirStat { ino: Ino::ROOT }, Get::DirStat { ino: Ino(60) }]).await.unwrap();
    assert_eq!(got, [Got::DirStat(None), Got::DirStat(Some(stat))]);
}

#[tokio::test]
async fn damaged_records_are_named_and_nothing_panics() {
    let server = Server::start();
    let engine = server.engine().await;
    let mut raw = server.raw().await;
    let _: () = raw.set("i5", "short").await.unwrap();
    let _: () = raw.hset("d1", "x", "short").await.unwrap();
    let _: () = raw.rpush("c5_0", "short").await.unwrap();
    let _: () = raw.set("d7", "a string").await.unwrap();
    let node = engine.read(&[Get::Node { ino: Ino(5), hold: Hold::Peek }]).await.unwrap_err();
    assert!(matches!(&node, Error::Corrupt { record, .. } if record == "i5"), "{node}");
    let entry = engine.lookup(Ino::ROOT, &name("x")).await.unwrap_err();
    assert!(matches!(&entry, Error::Corrupt { record, .. } if record.contains("d1")), "{entry}");
    let chunk = engine.read(&[Get::Chunk { ino: Ino(5), indx: 0, hold: Hold::Peek }]).await.unwrap_err();
    assert!(matches!(&chunk, Error::Corrupt { record, .. } if record == "c5_0"), "{chunk}");
    assert!(engine.read(&[Get::HasChildren { ino: Ino(7) }]).await.is_err());
    // What is damaged does not hide what is beside it.
    let _: () = raw.hset("d1", "whole", &b"\x01\0\0\0\0\0\0\0\x09"[..]).await.unwrap();
    let _: () = raw.rpush("c9_0", &[0_u8; 24][..]).await.unwrap();
    let nodes = engine.nodes(&[Ino(5), Ino(9)]).await.unwrap();
    assert!(matches!(&nodes[..], [Err(damage), Ok(None)] if damage.record == "i5"), "{nodes:?}");
    let of = async |scan| engine.scan(scan).try_collect::<Vec<Item>>().await.unwrap();
    let listed = of(Scan::Entries { parent: Ino::ROOT }).await;
    let is_named = |item: &Item| matches!(item, Item::DamagedEntry { name, damage } if *name == super::name("x") && damage.record == "d1 x");
    assert!(listed.len() == 2 && listed.iter().any(is_named), "{listed:?}");
    for (scan, wanted) in [(Scan::Nodes, "i5"), (Scan::Chunks { ino: None }, "c5_0")] {
        let items = of(scan).await;
        let is_named = |item: &Item| matches!(item, Item::Damaged(damage) if damage.record == wanted);
        assert!(items.iter().filter(|item| is_named(item)).count() == 1, "{items:?}");
    }
    assert_eq!(of(Scan::Chunks { ino: None }).await.len(), 2);
}

#[test]
fn requests_may_be_polled_outside_of_a_runtime() {
    let server = Server::start();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let engine = runtime.block_on(server.engine());
    // As a thread without a runtime does it, and as the heartbeat with its own sleeping runtime.
    futures::executor::block_on(async {
        engine.create_volume(&volume()).await.unwrap();
        create(&engine, Ino::ROOT, &name("a"), Ino(2)).await.unwrap();
        let entries: Vec<Item> =
            engine.scan(Scan::Entries { parent: Ino::ROOT }).try_collect().await.unwrap();
        assert_eq!(entries.len(), 1);
    });
    let heartbeat = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for n in 3..6_u64 {
        heartbeat.block_on(create(&engine, Ino::ROOT, &name(&format!("h{n}")), Ino(n))).unwrap();
        runtime.block_on(create(&engine, Ino::ROOT, &name(&format!("r{n}")), Ino(n + 10))).unwrap();
    }
    drop(heartbeat);
    runtime.block_on(create(&engine, Ino::ROOT, &name("after"), Ino(30))).unwrap();
    futures::executor::block_on(async { engine.lookup(Ino::ROOT, &name("h3")).await.unwrap().unwrap() });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_transactions_than_connections_wait_their_turn() {
    let server = Server::start();
    let engine = std::sync::Arc::new(server.engine().await);
    let held: Vec<_> = futures::future::try_join_all((0..64).map(|_| engine.begin(0))).await.unwrap();
    let waiting: Vec<_> = (0..200_u64)
        .map(|n| {
            let engine = engine.clone();
            tokio::spawn(async move {
                let mut attempt = engine.begin(0).await?;
                attempt.read(&[Get::Node { ino: Ino(n), hold: Hold::Update }]).await?;
                attempt.commit(&[Change::AddUsage { space: 0, inodes: 1 }]).await
            })
        })
        .collect();
    tokio::task::yield_now().await;
    drop(held);
    for task in waiting {
        task.await.unwrap().unwrap();
    }
    assert_eq!(engine.usage().await.unwrap().inodes, 200);
    let clients: String =
        redis::cmd("CLIENT").arg("LIST").query_async(&mut server.raw().await).await.unwrap();
    assert!(clients.lines().count() <= 64 + 3, "{clients}");
}

#[tokio::test]
async fn an_attempt_whose_read_failed_commits_nothing() {
    let mut server = Server::start();
    let engine = server.engine().await;
    engine.create_volume(&volume()).await.unwrap();
    let mut attempt = engine.begin(0).await.unwrap();
    attempt.read(&[Get::Node { ino: Ino::ROOT, hold: Hold::Update }]).await.unwrap();
    server.kill();
    assert!(attempt.read(&[Get::Node { ino: Ino(2), hold: Hold::Update }]).await.is_err());
    server.restart();
    let done = attempt.commit(&[Change::AddUsage { space: 1, inodes: 1 }]).await;
    assert!(matches!(done, Err(Error::Conflict)), "{done:?}");
    assert_eq!(engine.usage().await.unwrap(), Usage::default());
}
