//! A volume in a temporary directory, and mounts that never outlive their test.

use juicefs_base::SecretString;
use juicefs_fuse::Session;
use juicefs_meta::port::NewVolume;
use juicefs_meta::{Attr, Format, Ino, Kind, MetaUrl, Time};
use juicefs_mount::{MountSettings, Mountinfo, OpenVolume, mountinfo};
use nix::mount::{MntFlags, umount2};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// A formatted volume: `meta.db`, `store/`, `cache/`, `mnt/`.
pub(crate) struct Volume {
    pub(crate) directory: TempDir,
}

impl Volume {
    pub(crate) fn new(name: &str) -> Self {
        let volume = Self { directory: TempDir::new().unwrap() };
        let mut format = Format::new(name);
        format.bucket = format!("{}/", volume.path("store").display());
        format.trash_days = 0;
        std::fs::create_dir(volume.path("store")).unwrap();
        let now = Time { sec: 1_700_000_000, nsec: 0 };
        let root = Attr::new(Kind::Directory, 0o777, 0, 0, Ino::ROOT, now);
        let new = NewVolume { setting: format.to_text(), root, trash: None };
        runtime().block_on(async {
            let engine = juicefs_meta::engines::open(&MetaUrl::parse(&volume.url()).unwrap()).await.unwrap();
            engine.create_volume(&new).await.unwrap();
        });
        volume
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().canonicalize().unwrap().join(name)
    }

    pub(crate) fn url(&self) -> String {
        format!("sqlite3://{}", self.path("meta.db").display())
    }

    pub(crate) fn settings(&self) -> MountSettings {
        let mut settings = MountSettings::new(SecretString::from(self.url()), self.path("mnt"));
        settings.options.cache_dirs = vec![self.path("cache")];
        settings
    }

    /// Mounts and serves in this process.
    pub(crate) fn mount(&self) -> Mounted {
        self.mount_with(&self.settings())
    }

    pub(crate) fn mount_with(&self, settings: &MountSettings) -> Mounted {
        let path = settings.options.mountpoint.clone();
        std::fs::create_dir_all(&path).unwrap();
        let guard = Unmount(path.clone());
        let runtime = runtime();
        let volume = Arc::new(runtime.block_on(OpenVolume::open(settings)).unwrap());
        let options = settings.options.fuse(&volume.name()).unwrap();
        let device = juicefs_fuse::mount(&path, &options).unwrap();
        let session = volume.serve(device, runtime.handle().clone()).unwrap();
        Mounted { path, volume, session, guard, runtime }
    }
}

/// A mount served by this process.
pub(crate) struct Mounted {
    pub(crate) path: PathBuf,
    volume: Arc<OpenVolume>,
    session: Session,
    guard: Unmount,
    runtime: Runtime,
}

impl Mounted {
    /// A clean end: unmounted, flushed, session closed.
    pub(crate) fn end(self) {
        umount2(&self.path, MntFlags::empty()).unwrap();
        self.runtime.block_on(async {
            tokio::time::timeout(Duration::from_secs(10), self.session.ended()).await.unwrap().unwrap();
            self.volume.close().await.unwrap();
        });
        drop(self.guard);
    }
}

/// Takes whatever is mounted on a path away when a test ends, however it ends.
pub(crate) struct Unmount(pub(crate) PathBuf);

impl Drop for Unmount {
    fn drop(&mut self) {
        let minor = Mountinfo::read().ok().and_then(|table| Some(table.at(&self.0)?.minor));
        if let Some(minor) = minor {
            let _ = umount2(&self.0, MntFlags::MNT_DETACH);
            let _ = mountinfo::abort_connection(minor);
        }
    }
}

pub(crate) fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

/// Polls `condition` until it holds.
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(20), "never happened: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The program `examples/trial.rs`, built by `cargo test` beside this one.
pub(crate) fn trial() -> PathBuf {
    let here = std::env::current_exe().unwrap();
    let path = here.parent().and_then(Path::parent).unwrap().join("examples/trial");
    assert!(path.exists(), "{} is missing: run all of `cargo test -p juicefs-mount`", path.display());
    path
}
