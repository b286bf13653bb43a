//! Volumes of the peer, as it wrote them (`golden/`), broken by hand once per check in the database itself: each break
//! is named. `/dir/file` (3), `/dir/link` (4), `/hard` and `/dir/hard` (5), a file in the trash (6), `/held` (7).

use std::collections::BTreeSet;
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::checks;
use super::snapshot::Snapshot;

/// Held against the findings of one broken volume.
#[track_caller]
fn names(expected: &str, snapshot: &Snapshot, damage: &str) {
    let findings = checks::all(snapshot);
    let is_named = findings.iter().any(|finding| finding.split(':').next() == Some(expected));
    assert!(is_named, "{damage}: {expected} is not among {findings:?}");
}

/// Every check is broken in some way, but for `elsewhere`.
#[track_caller]
fn covers_all_checks<'a>(broken: impl Iterator<Item = &'a str>, elsewhere: &[&'a str]) {
    let broken: BTreeSet<&str> = broken.chain(elsewhere.iter().copied()).collect();
    assert_eq!(broken, checks::NAMES.iter().copied().collect());
}

const SQL: &[(&str, &str)] = &[
    ("undecodable", "UPDATE jfs_chunk SET slices = substr(slices, 1, 23) WHERE inode = 3"),
    ("undecodable", "INSERT INTO jfs_delslices VALUES (1, 1, X'0000')"),
    ("dangling-entry", "DELETE FROM jfs_node WHERE inode = 3"),
    ("dangling-parent", "DELETE FROM jfs_node WHERE inode = 2"),
    ("dangling-parent", "UPDATE jfs_edge SET parent = 3 WHERE inode = 4"),
    ("entry-type", "UPDATE jfs_edge SET type = 3 WHERE inode = 3"),
    ("orphan", "DELETE FROM jfs_edge WHERE inode = 7"),
    ("cycle", "UPDATE jfs_edge SET parent = 2 WHERE inode = 2"),
    ("island", "DELETE FROM jfs_edge WHERE inode = 2"),
    ("island", "UPDATE jfs_edge SET parent = 99 WHERE inode = 2"),
    ("island", "DELETE FROM jfs_edge WHERE parent = 9223372032828243968"),
    ("nlink", "UPDATE jfs_node SET nlink = 2 WHERE inode = 1"),
    ("nlink", "UPDATE jfs_node SET nlink = 1 WHERE inode = 5"),
    ("parent", "UPDATE jfs_node SET parent = 1 WHERE inode = 3"),
    ("parent", "UPDATE jfs_node SET parent = 0 WHERE inode = 2"),
    ("parent", "INSERT INTO jfs_edge VALUES (99, 1, X'61', 2, 2)"),
    ("symlink", "DELETE FROM jfs_symlink"),
    ("symlink", "UPDATE jfs_symlink SET target = X'6c6f6e676572'"),
    ("symlink", "INSERT INTO jfs_symlink VALUES (99, X'6c656674')"),
    ("xattr", "INSERT INTO jfs_xattr VALUES (99, 99, 'user.left', X'61')"),
    ("used-space", "UPDATE jfs_counter SET value = value + 4096 WHERE name = 'usedSpace'"),
    ("used-inodes", "UPDATE jfs_counter SET value = value - 1 WHERE name = 'totalInodes'"),
    ("dir-stat", "UPDATE jfs_dir_stats SET data_length = data_length + 1 WHERE inode = 2"),
    ("dir-stat", "UPDATE jfs_dir_stats SET used_space = used_space - 4096 WHERE inode = 1"),
    ("dir-stat", "UPDATE jfs_dir_stats SET used_inodes = 9 WHERE inode = 9223372032828243969"),
    ("dir-stat", "INSERT INTO jfs_dir_stats VALUES (99, 0, 0, 1)"),
    ("quota", "INSERT INTO jfs_dir_quota VALUES (1, -1, -1, 0, 77)"),
    // Position 2^26, offset 1.
    (
        "slice-bounds",
        "UPDATE jfs_chunk SET slices = X'040000000000000000000001000013880000000000001388' WHERE inode = 3",
    ),
    (
        "slice-bounds",
        "UPDATE jfs_chunk SET slices = X'000000000000000000000001000013880000000100001388' WHERE inode = 3",
    ),
    (
        "slice-size",
        "UPDATE jfs_chunk SET slices = X'000000000000000000000001000000090000000000000009' WHERE inode = 5",
    ),
    ("slice-refs", "UPDATE jfs_chunk_ref SET refs = 2 WHERE chunkid = 1"),
    ("slice-refs", "DELETE FROM jfs_chunk_ref WHERE chunkid = 2"),
    ("slice-refs", "INSERT INTO jfs_chunk_ref VALUES (99, 5, 1)"),
    ("slice-refs", "INSERT INTO jfs_delslices VALUES (9, 1, X'000000000000000100001388')"),
    ("chunk-owner", "INSERT INTO jfs_chunk VALUES (98, 99, 0, X'')"),
    ("chunk-owner", "INSERT INTO jfs_chunk VALUES (98, 2, 0, X'')"),
    ("deleted-file", "INSERT INTO jfs_delfile VALUES (3, 5000, 1)"),
    ("next-inode", "UPDATE jfs_counter SET value = 7 WHERE name = 'nextInode'"),
    ("next-slice", "UPDATE jfs_counter SET value = 4 WHERE name = 'nextChunk'"),
];

#[test]
fn every_break_in_sqlite_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("meta.db");
    let audit = |damage: &str| {
        let _ = std::fs::remove_file(&path);
        let database = rusqlite::Connection::open(&path).expect("opens");
        database.execute_batch("PRAGMA synchronous = OFF; PRAGMA journal_mode = MEMORY; BEGIN").expect("set");
        database.execute_batch(include_str!("golden/peer-1.4.2.sql")).expect("the golden volume");
        if !damage.is_empty() {
            assert!(database.execute(damage, []).expect(damage) > 0, "{damage} hits nothing");
        }
        database.execute_batch("COMMIT").expect("written");
        drop(database);
        super::sql::read_sqlite(path.to_str().expect("text")).expect("readable")
    };
    assert_eq!(checks::all(&audit("")), Vec::<String>::new());
    for (name, damage) in SQL {
        names(name, &audit(damage), damage);
    }
    // Parents of hard links are the entries themselves.
    covers_all_checks(SQL.iter().map(|(name, _)| *name), &["parent-refs"]);
}

/// Commands with `\\xNN` for bytes.
const REDIS: &[(&str, &str)] = &[
    ("undecodable", "SET i3 short"),
    ("undecodable", "HSET d1 bad \\x01\\x02"),
    ("undecodable", "RPUSH c3_0 short"),
    ("undecodable", "HSET sliceRef nonsense 1"),
    ("dangling-entry", "DEL i3"),
    ("dangling-parent", "DEL i2"),
    ("dangling-parent", "HSET d3 in \\x03\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x04"),
    ("entry-type", "HSET d2 file \\x03\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x03"),
    ("orphan", "HDEL d1 held"),
    ("cycle", "RENAME d1 d2"),
    ("island", "HDEL d1 dir"),
    ("island", "RENAME d1 d99"),
    ("island", "DEL d9223372032828243968"),
    ("nlink", "SETRANGE i1 50 \\x02"),
    ("nlink", "SETRANGE i5 50 \\x01"),
    ("parent", "SETRANGE i3 70 \\x01"),
    ("parent", "SETRANGE i2 70 \\x00"),
    ("parent", "HSET d1 twice \\x02\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x02"),
    ("parent-refs", "DEL p5"),
    ("parent-refs", "HINCRBY p5 1 1"),
    ("symlink", "DEL s4"),
    ("symlink", "SET s4 longer"),
    ("symlink", "SET s99 left"),
    ("xattr", "HSET x99 user.left a"),
    ("used-space", "INCRBY usedSpace 4096"),
    ("used-inodes", "DECR totalInodes"),
    ("quota", "HSET dirQuota 1 limits"),
    ("dir-stat", "HINCRBY dirDataLength 2 1"),
    ("dir-stat", "HINCRBY dirUsedSpace 1 -4096"),
    ("dir-stat", "HSET dirUsedInodes 9223372032828243969 9"),
    ("dir-stat", "HSET dirUsedSpace 99 4096"),
    (
        "slice-bounds",
        "LSET c3_0 0 \\x04\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x01\\x00\\x00\\x13\\x88\\x00\\x00\\x00\\x00\\x00\\x00\\x13\\x88",
    ),
    (
        "slice-bounds",
        "LSET c3_0 0 \\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x01\\x00\\x00\\x13\\x88\\x00\\x00\\x00\\x01\\x00\\x00\\x13\\x88",
    ),
    (
        "slice-size",
        "LSET c5_0 0 \\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x01\\x00\\x00\\x00\\x09\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x09",
    ),
    ("slice-refs", "HSET sliceRef k1_5000 1"),
    ("slice-refs", "HSET sliceRef k3_10 -1"),
    ("slice-refs", "HSET sliceRef k99_5 1"),
    ("slice-refs", "HSET delSlices 9_1 \\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x01\\x00\\x00\\x13\\x88"),
    (
        "chunk-owner",
        "RPUSH c99_0 \\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x01",
    ),
    (
        "chunk-owner",
        "RPUSH c2_0 \\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x01",
    ),
    ("deleted-file", "ZADD delfiles 1 3:5000"),
    ("next-inode", "SET nextinode 6"),
    ("next-slice", "SET nextchunk 4"),
];

#[test]
fn every_break_in_redis_is_named() {
    let server = Server::start();
    let mut database = redis::Client::open(server.url()).expect("a URL").get_connection().expect("connects");
    let mut audit = |damage: &str| {
        load(&mut database, include_str!("golden/peer-1.4.2.redis"));
        if !damage.is_empty() {
            let words = damage.split(' ').map(bytes);
            let mut command = redis::Cmd::new();
            for word in words {
                command.arg(word);
            }
            command.query::<redis::Value>(&mut database).expect(damage);
        }
        super::redis::read(&server.url()).expect("readable")
    };
    assert_eq!(checks::all(&audit("")), Vec::<String>::new());
    for (name, damage) in REDIS {
        names(name, &audit(damage), damage);
    }
    covers_all_checks(REDIS.iter().map(|(name, _)| *name), &[]);
}

/// `key kind part...`, parts in hex; members of a sorted set come after their scores.
fn load(database: &mut redis::Connection, golden: &str) {
    let mut all = redis::pipe();
    all.cmd("FLUSHDB").ignore();
    for line in golden.lines() {
        let mut words = line.split(' ');
        let (key, kind) = (words.next().expect("a key"), words.next().expect("a kind"));
        let verb = match kind {
            "string" => "SET",
            "hash" => "HSET",
            "list" => "RPUSH",
            "set" => "SADD",
            "zset" => "ZADD",
            other => panic!("{other}"),
        };
        let command = all.cmd(verb).arg(key);
        for part in words {
            command.arg(unhex(part));
        }
        command.ignore();
    }
    all.query::<()>(database).expect("the golden volume");
}

fn unhex(text: &str) -> Vec<u8> {
    text.as_bytes()
        .chunks(2)
        .map(|two| u8::from_str_radix(std::str::from_utf8(two).expect("ASCII"), 16).expect("hex"))
        .collect()
}

fn bytes(word: &str) -> Vec<u8> {
    let mut parts = word.split("\\x");
    let mut out = parts.next().unwrap_or_default().as_bytes().to_vec();
    out.extend(parts.flat_map(unhex));
    out
}

/// A redis-server of the test's own.
struct Server {
    child: Child,
    port: u16,
}

impl Server {
    fn start() -> Self {
        let port = TcpListener::bind("127.0.0.1:0").and_then(|on| on.local_addr()).expect("a port").port();
        let child = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""])
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is installed");
        let server = Self { child, port };
        let deadline = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < deadline, "redis-server does not answer");
            std::thread::yield_now();
        }
        server
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/1", self.port)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
