//! Two clients of one SQLite file: what they do to each other's sessions and leftovers.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt;
use juicefs_base::sync::Mutex;
use tempfile::TempDir;

use super::Pulse;
use crate::engines::sql::sqlite::SqliteEngine;
use crate::port::{Change, Engine, Get, Got, Item, NewVolume, Scan};
use crate::request::{MetaOptions, NewNode, OpenFlags};
use crate::types::{Attr, Caller, DirStat, Ino, Kind, Name, Slice, SliceId, Time};
use crate::{Format, Meta};

const BEAT: Duration = Duration::from_millis(20);

/// A volume without trash, so that what is removed goes at once.
struct Volume {
    dir: TempDir,
    format: Format,
}

impl Volume {
    async fn new() -> Self {
        let volume = Self {
            dir: tempfile::tempdir().expect("a directory"),
            format: Format { trash_days: 0, ..Format::new("vol") },
        };
        let root =
            Attr { parent: Ino::ROOT, ..Attr::new(Kind::Directory, 0o777, 0, 0, Ino::ROOT, Time::now()) };
        let new = NewVolume { setting: volume.format.to_text(), root, trash: None };
        volume.engine().await.create_volume(&new).await.expect("made");
        volume
    }

    async fn engine(&self) -> Arc<SqliteEngine> {
        Arc::new(SqliteEngine::open(&self.dir.path().join("meta.db"), &[]).await.expect("opens"))
    }

    async fn client(&self, options: MetaOptions) -> Arc<Meta> {
        Meta::open(self.engine().await, options).await.expect("opens")
    }

    /// A stock client's statement behind our back.
    fn execute(&self, statement: &str) {
        let db = rusqlite::Connection::open(self.dir.path().join("meta.db")).expect("opens");
        db.busy_timeout(Duration::from_secs(5)).expect("set");
        db.execute_batch(statement).expect(statement);
    }
}

fn pulse() -> Pulse {
    Pulse { heartbeat: BEAT, expiry: Duration::from_secs(60), quiet: Duration::ZERO }
}

/// As after a kill: a row that has expired and nobody who refreshes it.
fn dead() -> Pulse {
    Pulse { heartbeat: Duration::ZERO, expiry: Duration::ZERO, quiet: Duration::ZERO }
}

fn name(text: &str) -> Name {
    Name::new(Bytes::copy_from_slice(text.as_bytes())).expect("a name")
}

async fn eventually(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while !is_so().await {
        assert!(std::time::Instant::now() < deadline, "{what} did not come about");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn file_with_data(meta: &Meta, text: &str) -> (Ino, SliceId) {
    let caller = Caller::internal();
    let flags = OpenFlags(libc::O_RDWR);
    let (ino, ..) = meta.create(&caller, Ino::ROOT, &name(text), 0o644, 0, flags).await.expect("created");
    let id = meta.new_slice_id().await.expect("a slice");
    for indx in [0, 2] {
        let slice = Slice { pos: 0, id: id + u64::from(indx), size: 100, off: 0, len: 100 };
        if indx == 2 {
            meta.new_slice_id().await.expect("a slice");
            meta.new_slice_id().await.expect("a slice");
        }
        meta.write_slice(ino, indx, slice, Time::now()).await.expect("written");
    }
    (ino, id)
}

async fn scan(meta: &Meta, scan: Scan) -> Vec<Item> {
    meta.engine().scan(scan).try_collect().await.expect("scans")
}

fn collect_freed(meta: &Meta) -> Arc<Mutex<Vec<(SliceId, u32)>>> {
    let freed = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&freed);
    meta.set_freed_slice_sink(Box::new(move |slices| sink.lock().extend(slices)));
    freed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_is_refreshed_until_it_is_closed() {
    let volume = Volume::new().await;
    let meta =
        volume.client(MetaOptions { mount_point: "/mnt/x".to_owned(), ..MetaOptions::default() }).await;
    assert_eq!(meta.start_session_with(pulse()).await.expect("starts"), 1);
    let first = meta.sessions().await.expect("listed");
    let info = super::SessionInfo::parse(&first[0].info).expect("a document");
    assert_eq!((info.mount_point.as_str(), info.version.as_str()), ("/mnt/x", "1.4.2+rs.0.1.0"));
    eventually("a later expiry", async || {
        meta.sessions().await.expect("listed")[0].expires_at > first[0].expires_at
    })
    .await;
    assert_eq!(meta.sessions().await.expect("listed")[0].info, first[0].info);
    meta.close_session().await.expect("closes");
    assert_eq!((meta.sessions().await.expect("listed"), meta.session_id()), (vec![], 0));
    assert_eq!(meta.start_session_with(pulse()).await.expect("starts again"), 2);
    meta.close_session().await.expect("closes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_has_no_session() {
    let volume = Volume::new().await;
    let meta = volume.client(MetaOptions { read_only: true, ..MetaOptions::default() }).await;
    assert_eq!(meta.start_session_with(pulse()).await.expect("starts"), 0);
    assert_eq!(meta.sessions().await.expect("listed"), []);
    volume.execute("DELETE FROM jfs_setting");
    eventually("the end of the volume", async || meta.gone_reason().is_some()).await;
    meta.close_session().await.expect("closes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unlinked_files_chunks_go_and_its_slices_are_handed_over() {
    let volume = Volume::new().await;
    let meta = volume.client(MetaOptions::default()).await;
    let freed = collect_freed(&meta);
    meta.start_session_with(pulse()).await.expect("starts");
    let (ino, id) = file_with_data(&meta, "f").await;
    meta.unlink(&Caller::internal(), Ino::ROOT, &name("f")).await.expect("unlinked");
    assert_eq!(scan(&meta, Scan::Sustained { sid: None }).await, [Item::Sustained { sid: 1, ino }]);
    assert_eq!(scan(&meta, Scan::Chunks { ino: None }).await.len(), 2, "open files keep their data");
    meta.close_file(ino).await.expect("closed");
    eventually("the end of the file", async || scan(&meta, Scan::DeletedFiles).await.is_empty()).await;
    assert_eq!(scan(&meta, Scan::Chunks { ino: None }).await, []);
    let mut slices = freed.lock().clone();
    slices.sort_unstable();
    // The hourly look may find them too.
    slices.dedup();
    assert_eq!(slices, [(id, 100), (id + 2, 100)]);
    for (id, size) in slices {
        meta.forget_slice(id, size).await.expect("forgotten");
    }
    assert_eq!(scan(&meta, Scan::FreedSlices).await, []);
    assert_eq!(meta.usage().await.expect("counted"), crate::Usage::default());
    meta.close_session().await.expect("closes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_clients_open_files_go_with_its_session() {
    let volume = Volume::new().await;
    let dying = volume.client(MetaOptions::default()).await;
    dying.start_session_with(dead()).await.expect("starts");
    let (ino, _) = file_with_data(&dying, "f").await;
    dying.unlink(&Caller::internal(), Ino::ROOT, &name("f")).await.expect("unlinked");
    volume.execute("INSERT INTO jfs_flock (inode, sid, owner, ltype) VALUES (2, 1, 7, 87)");
    volume.execute("UPDATE jfs_session2 SET expire = expire - 10");
    let meta = volume.client(MetaOptions::default()).await;
    assert!(meta.getattr(ino).await.is_ok());
    meta.start_session_with(pulse()).await.expect("starts");
    eventually("the end of the dead session", async || meta.sessions().await.expect("listed").len() == 1)
        .await;
    eventually("the end of its file", async || scan(&meta, Scan::Chunks { ino: None }).await.is_empty())
        .await;
    assert!(meta.getattr(ino).await.is_err());
    assert_eq!(scan(&meta, Scan::Sustained { sid: None }).await, []);
    let db = rusqlite::Connection::open(volume.dir.path().join("meta.db")).expect("opens");
    let locks: i64 = db.query_row("SELECT count(*) FROM jfs_flock", [], |row| row.get(0)).expect("counts");
    assert_eq!(locks, 0);
    meta.close_session().await.expect("closes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_cleaned_before_the_quiet_is_over() {
    let volume = Volume::new().await;
    let dying = volume.client(MetaOptions::default()).await;
    dying.start_session_with(dead()).await.expect("starts");
    volume.execute("UPDATE jfs_session2 SET expire = expire - 10");
    let meta = volume.client(MetaOptions::default()).await;
    meta.start_session_with(Pulse { quiet: Duration::from_secs(60), ..pulse() }).await.expect("starts");
    let first = meta.session_row(2).await.expect("read").expect("there").expires_at;
    eventually("many beats", async || {
        meta.session_row(2).await.expect("read").expect("there").expires_at > first
    })
    .await;
    assert_eq!(meta.sessions().await.expect("listed").len(), 2);
    meta.close_session().await.expect("closes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_whose_expiry_moved_is_left_alone() {
    let volume = Volume::new().await;
    let late = volume.client(MetaOptions::default()).await;
    let sid = late.start_session_with(dead()).await.expect("starts");
    file_with_data(&late, "f").await;
    late.unlink(&Caller::internal(), Ino::ROOT, &name("f")).await.expect("unlinked");
    let seen = late.sessions().await.expect("listed")[0].expires_at;
    volume.execute("UPDATE jfs_session2 SET expire = expire + 60");
    let meta = volume.client(MetaOptions::default()).await;
    assert!(!meta.clean_session(sid, Some(seen)).await.expect("looks"));
    assert_eq!(scan(&meta, Scan::Sustained { sid: None }).await.len(), 1);
    assert!(meta.clean_session(sid, Some(seen + 60)).await.expect("looks"));
    assert_eq!(scan(&meta, Scan::Sustained { sid: None }).await, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_lost_its_row_registers_again() {
    let volume = Volume::new().await;
    let meta = volume.client(MetaOptions::default()).await;
    let sid = meta.start_session_with(pulse()).await.expect("starts");
    let (ino, _) = file_with_data(&meta, "f").await;
    meta.unlink(&Caller::internal(), Ino::ROOT, &name("f")).await.expect("unlinked");
    volume.execute("BEGIN; DELETE FROM jfs_session2; DELETE FROM jfs_sustained; COMMIT");
    eventually("the row and what it sustains", async || {
        scan(&meta, Scan::Sustained { sid: Some(sid) }).await == [Item::Sustained { sid, ino }]
            && meta.session_row(sid).await.expect("read").is_some()
    })
    .await;
    meta.close_session().await.expect("closes");
    assert!(meta.getattr(ino).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_crash_left_goes_with_the_first_client() {
    let volume = Volume::new().await;
    let crashed = volume.client(MetaOptions::default()).await;
    let (ino, _) = file_with_data(&crashed, "f").await;
    // Unlinked, and killed before any data went.
    volume.execute(&format!(
        "BEGIN; DELETE FROM jfs_edge; DELETE FROM jfs_node WHERE inode = {ino};
         INSERT INTO jfs_delfile VALUES ({ino}, 134217828, {}); COMMIT",
        Time::now().sec
    ));
    let meta = volume.client(MetaOptions::default()).await;
    let freed = collect_freed(&meta);
    meta.start_session_with(pulse()).await.expect("starts");
    eventually("the end of the file", async || scan(&meta, Scan::DeletedFiles).await.is_empty()).await;
    assert_eq!(scan(&meta, Scan::Chunks { ino: None }).await, []);
    let handed_over = std::collections::HashSet::<_>::from_iter(freed.lock().clone());
    assert_eq!(handed_over.len(), 2);
    // Handed over again as long as nobody says that their objects are gone.
    assert_eq!(meta.find_freed_slices().await.expect("scans"), 2);
    meta.close_session().await.expect("closes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_acl_made_by_somebody_else_stops_changes_until_it_is_gone() {
    let volume = Volume::new().await;
    let meta = volume.client(MetaOptions::default()).await;
    meta.start_session_with(pulse()).await.expect("starts");
    let caller = Caller::internal();
    let counted = crate::Usage { space: 4096, inodes: 1 };
    let new = NewNode { kind: Kind::Directory, mode: 0o755, umask: 0, rdev: 0, target: None };
    meta.mknod(&caller, Ino::ROOT, &name("before"), &new).await.expect("made");
    volume.execute("INSERT INTO jfs_acl (id) VALUES (1)");
    eventually("a reason", async || meta.read_only_reason().is_some()).await;
    // What was done until then is counted all the same.
    eventually("the sums", async || volume.engine().await.usage().await.expect("answers") == counted).await;
    assert!(meta.read_only_reason().is_some_and(|reason| reason.contains("ACL")));
    let refused = meta.mknod(&caller, Ino::ROOT, &name("d"), &new).await.expect_err("refused");
    assert_eq!(refused.errno(), juicefs_base::Errno::EROFS);
    volume.execute("DELETE FROM jfs_acl");
    eventually("no reason", async || meta.read_only_reason().is_none()).await;
    meta.mknod(&caller, Ino::ROOT, &name("d"), &new).await.expect("made");
    meta.close_session().await.expect("closes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_volume_that_is_another_one_by_now_ends_the_mount() {
    for (change, word) in [
        (Format { uuid: "another".to_owned(), ..Format::new("vol") }, "UUID"),
        (Format { meta_version: 2, ..Format::new("vol") }, "version 2"),
    ] {
        let volume = Volume::new().await;
        let meta = volume.client(MetaOptions::default()).await;
        let told = Arc::new(Mutex::new(String::new()));
        let sink = Arc::clone(&told);
        meta.set_volume_gone_sink(Box::new(move |reason| sink.lock().push_str(reason)));
        let sid = meta.start_session_with(pulse()).await.expect("starts");
        let (ino, _) = file_with_data(&meta, "f").await;
        meta.unlink(&Caller::internal(), Ino::ROOT, &name("f")).await.expect("unlinked");
        let uuid = if word == "UUID" { change.uuid.clone() } else { volume.format.uuid.clone() };
        let text = Format { uuid, ..change }.to_text();
        meta.engine().update_setting(&text, None, false).await.expect("updates");
        eventually("the end of the volume", async || told.lock().contains(word)).await;
        assert!(meta.read_only_reason().is_some());
        // The same numbers are a session and a file of somebody else there.
        let sustained = [Item::Sustained { sid, ino }];
        assert_eq!(scan(&meta, Scan::Sustained { sid: None }).await, sustained);
        meta.close_session().await.expect("closes");
        let reader = volume.engine().await;
        assert_eq!(
            reader.scan(Scan::Sustained { sid: None }).try_collect::<Vec<_>>().await.expect("scans"),
            sustained
        );
        assert_eq!(reader.scan(Scan::Sessions).try_collect::<Vec<_>>().await.expect("scans").len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_setting_takes_effect_while_mounted() {
    let volume = Volume::new().await;
    let meta = volume.client(MetaOptions::default()).await;
    meta.start_session_with(pulse()).await.expect("starts");
    let changed = Format { trash_days: 7, ..volume.format.clone() };
    meta.engine().update_setting(&changed.to_text(), None, false).await.expect("updates");
    eventually("the new setting", async || meta.format().trash_days == 7).await;
    let mut attempt = meta.engine().begin(0).await.expect("begins");
    attempt.read(&[]).await.expect("reads nothing");
    attempt.commit(&[Change::AddUsage { space: 1, inodes: 0 }]).await.expect("commits");
    eventually("flushed usage", async || volume.engine().await.usage().await.expect("answers").space == 1)
        .await;
    meta.close_session().await.expect("closes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_trash_is_emptied_of_what_is_past_its_days() {
    let volume = Volume::new().await;
    let engine = volume.engine().await;
    let with_trash = Format { trash_days: 1, ..volume.format.clone() };
    let trash = Attr { parent: Ino::ROOT, ..Attr::new(Kind::Directory, 0o555, 0, 0, Ino::ROOT, Time::now()) };
    engine.update_setting(&with_trash.to_text(), Some(trash), false).await.expect("updates");
    let meta = volume.client(MetaOptions::default()).await;
    let freed = collect_freed(&meta);
    let caller = Caller::internal();
    let new = NewNode { kind: Kind::Directory, mode: 0o755, umask: 0, rdev: 0, target: None };
    meta.mknod(&caller, Ino::ROOT, &name("d"), &new).await.expect("made");
    let (ino, _) = file_with_data(&meta, "f").await;
    meta.close_file(ino).await.expect("closed");
    meta.unlink(&caller, Ino::ROOT, &name("f")).await.expect("unlinked");
    meta.rmdir(&caller, Ino::ROOT, &name("d")).await.expect("removed");
    assert_eq!(meta.empty_trash(meta.trash_edge(Time::now().sec)).await.expect("looks"), 0);
    assert!(meta.getattr(ino).await.is_ok());
    // Two days pass.
    assert_eq!(meta.empty_trash(meta.trash_edge(Time::now().sec + 2 * 86_400)).await.expect("empties"), 2);
    assert!(meta.getattr(ino).await.is_err());
    assert_eq!(scan(&meta, Scan::Entries { parent: Ino::TRASH }).await, []);
    eventually("the end of its data", async || scan(&meta, Scan::DeletedFiles).await.is_empty()).await;
    assert_eq!(freed.lock().len(), 2);
    meta.flush_statistics().await.expect("flushes");
    assert_eq!(meta.usage().await.expect("counted"), crate::Usage::default());
}

/// Decisions 23: the heartbeat has a thread and connections of its own. Whether `meta`, opened on a runtime of one
/// thread that then does nothing else, goes on refreshing what `other` sees.
fn lives_on_a_starved_runtime(open: impl AsyncFn() -> Arc<dyn Engine>) {
    let busy =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("runtime");
    let meta =
        busy.block_on(async { Meta::open(open().await, MetaOptions::default()).await.expect("opens") });
    busy.block_on(meta.start_session_with(pulse())).expect("starts");
    let (started, has_started) = std::sync::mpsc::channel();
    let (release, released) = std::sync::mpsc::channel::<()>();
    busy.spawn(async move {
        started.send(()).expect("heard");
        // The only worker is gone until the test lets it go.
        let _ = released.recv();
    });
    has_started.recv().expect("the worker is taken");
    let observer = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    observer.block_on(async {
        let engine = open().await;
        let mut seen = Vec::new();
        eventually("two more refreshes", async || {
            let rows: Vec<Item> = engine.scan(Scan::Sessions).try_collect().await.expect("scans");
            let [Item::Session(row)] = &rows[..] else { panic!("{rows:?}") };
            if !seen.contains(&row.expires_at) {
                seen.push(row.expires_at);
            }
            seen.len() > 2
        })
        .await;
    });
    drop(release);
    busy.block_on(meta.close_session()).expect("closes");
}

#[test]
fn a_busy_client_keeps_its_session_on_sqlite() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    let volume = runtime.block_on(Volume::new());
    lives_on_a_starved_runtime(async || {
        let engine: Arc<dyn Engine> = volume.engine().await;
        engine
    });
}

#[test]
fn a_busy_client_keeps_its_session_on_redis() {
    let server = crate::engines::redis::server::Server::start();
    let root = Attr { parent: Ino::ROOT, ..Attr::new(Kind::Directory, 0o777, 0, 0, Ino::ROOT, Time::now()) };
    let new = NewVolume { setting: Format::new("vol").to_text(), root, trash: None };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    runtime.block_on(async { server.engine().await.create_volume(&new).await.expect("made") });
    lives_on_a_starved_runtime(async || {
        let engine: Arc<dyn Engine> = Arc::new(server.engine().await);
        engine
    });
}

#[tokio::test]
async fn entries_of_the_root_are_counted_once_by_the_first_clients_of_a_volume() {
    let volume = Volume::new().await;
    let (a, b) = (volume.client(MetaOptions::default()).await, volume.client(MetaOptions::default()).await);
    for client in [&a, &b] {
        client.start_session_with(dead()).await.unwrap();
    }
    let root = Caller::internal();
    for (client, file) in [(&a, "a"), (&b, "b")] {
        client.mknod(&root, Ino::ROOT, &name(file), &NewNode::file(0o644, 0)).await.unwrap();
    }
    for client in [&a, &b] {
        client.flush_statistics().await.unwrap();
    }
    let got = volume.engine().await.read(&[Get::DirStat { ino: Ino::ROOT }]).await.unwrap();
    assert_eq!(got, [Got::DirStat(Some(DirStat { length: 0, space: 8192, inodes: 2 }))]);
}

/// Unlinked by one client while another has it open.
async fn unlinked_elsewhere(volume: &Volume, of_unlinker: Pulse) -> (Arc<Meta>, Arc<Meta>, Ino) {
    let a = volume.client(MetaOptions::default()).await;
    let b = volume.client(MetaOptions::default()).await;
    a.start_session_with(of_unlinker).await.expect("starts");
    b.start_session_with(pulse()).await.expect("starts");
    let (ino, _) = file_with_data(&b, "f").await;
    a.unlink(&Caller::internal(), Ino::ROOT, &name("f")).await.expect("unlinked");
    (a, b, ino)
}

async fn holders(meta: &Meta) -> Vec<u64> {
    let held = scan(meta, Scan::Sustained { sid: None }).await;
    let mut sids: Vec<_> =
        held.into_iter().map(|item| if let Item::Sustained { sid, .. } = item { sid } else { 0 }).collect();
    sids.sort_unstable();
    sids
}

async fn is_open_until_closed(b: &Meta, ino: Ino) {
    assert_eq!(b.getattr(ino).await.expect("is kept").nlink, 0);
    assert_eq!(scan(b, Scan::Chunks { ino: None }).await.len(), 2);
    b.close_file(ino).await.expect("closes");
    assert!(b.getattr(ino).await.is_err());
    assert!(holders(b).await.is_empty());
    assert_eq!(b.usage().await.expect("counted"), crate::Usage::default());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_client_unlinks_goes_over_to_who_has_it_open() {
    let volume = Volume::new().await;
    let (a, b, ino) = unlinked_elsewhere(&volume, pulse()).await;
    eventually("b holds it alone", async || holders(&b).await == [b.session_id()]).await;
    a.close_session().await.expect("closes");
    assert_eq!(b.sessions().await.expect("listed").len(), 1, "nothing is left to keep");
    is_open_until_closed(&b, ino).await;
    b.close_session().await.expect("closes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unlinker_that_ends_keeps_files_until_it_expires() {
    let volume = Volume::new().await;
    let (a, b, ino) = unlinked_elsewhere(&volume, pulse()).await;
    let sid = a.session_id();
    a.close_session().await.expect("closes");
    assert_eq!(b.sessions().await.expect("listed").len(), 2, "its row stays");
    eventually("b has adopted it", async || holders(&b).await == [sid, b.session_id()]).await;
    volume.execute(&format!("UPDATE jfs_session2 SET expire = 1 WHERE sid = {sid}"));
    eventually("the session's end", async || b.sessions().await.expect("listed").len() == 1).await;
    is_open_until_closed(&b, ino).await;
    b.close_session().await.expect("closes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_unlinkers_files_stay_where_they_are_open() {
    let volume = Volume::new().await;
    let (a, b, ino) = unlinked_elsewhere(&volume, dead()).await;
    let sid = a.session_id();
    volume.execute(&format!("UPDATE jfs_session2 SET expire = 1 WHERE sid = {sid}"));
    eventually("the session's end", async || b.sessions().await.expect("listed").len() == 1).await;
    assert_eq!(holders(&b).await, [b.session_id()]);
    is_open_until_closed(&b, ino).await;
    b.close_session().await.expect("closes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_has_open_is_kept_for_a_while_only() {
    let volume = Volume::new().await;
    let (a, b, ino) = unlinked_elsewhere(&volume, pulse()).await;
    b.close_file(ino).await.expect("closes");
    eventually("the end of the file", async || a.getattr(ino).await.is_err()).await;
    assert!(holders(&a).await.is_empty());
    a.close_session().await.expect("closes");
    b.close_session().await.expect("closes");
    assert_eq!(b.sessions().await.expect("listed"), []);
}
