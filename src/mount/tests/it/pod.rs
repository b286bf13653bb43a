use crate::support::{Unmount, Volume, eventually, runtime};
use juicefs_base::SecretString;
use juicefs_meta::{Format, MetaUrl};
use juicefs_mount::{Broker, Error, Mountinfo, PodWorker};
use nix::mount::{MntFlags, umount2};
use std::fs;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Runtime;

const DEADLINE: Duration = Duration::from_secs(20);

fn uid() -> u32 {
    nix::unistd::getuid().as_raw()
}

/// A worker in this process, and the broker's end of one connection to it.
struct Pod {
    worker: Arc<PodWorker>,
    runtime: Runtime,
}

impl Pod {
    fn new() -> Self {
        let runtime = runtime();
        Self { worker: Arc::new(PodWorker::new("test", runtime.handle().clone())), runtime }
    }

    fn connect(&self) -> Broker {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let worker = self.worker.clone();
        std::thread::spawn(move || worker.serve_connection(&theirs, uid()));
        Broker::over(ours, uid(), DEADLINE).unwrap()
    }
}

fn is_mounted(path: &Path) -> bool {
    Mountinfo::read().unwrap().at(path).is_some()
}

#[test]
fn an_offered_mount_is_served_survives_a_new_connection_and_closes() {
    let (first, second) = (Volume::new("pod-a"), Volume::new("pod-b"));
    let pod = Pod::new();
    let broker = pod.connect();
    assert_eq!(broker.worker_version, "test");
    let (a, b) = (first.path("mnt"), second.path("mnt"));
    let _guards = (Unmount(a.clone()), Unmount(b.clone()));
    let mut settings = first.settings();
    settings.options.volume_name = "pod-a".to_owned();
    settings.options.fuse_options = vec!["nosuid,nodev".to_owned()];
    let brokered = broker.offer("vol-a", &settings, DEADLINE).unwrap();
    assert!(brokered.session > 0);
    let entry = Mountinfo::read().unwrap().at(&a).cloned().unwrap();
    assert_eq!((entry.source.as_str(), entry.fs_type.as_str()), ("JuiceFS:pod-a", "fuse.juicefs"));
    assert!(entry.options.contains("nosuid") && entry.options.contains("nodev"));
    assert_eq!((entry.major, entry.minor), (brokered.major, brokered.minor));
    broker.offer("vol-b", &second.settings(), DEADLINE).unwrap();
    fs::write(a.join("f"), "through the pod").unwrap();
    assert!(
        fs::read_dir(&b).unwrap().flatten().all(|entry| entry.file_name() != "f"),
        "two volumes, two trees"
    );
    drop(broker);
    let broker = pod.connect();
    assert_eq!(broker.list(DEADLINE).unwrap(), ["vol-a", "vol-b"]);
    assert_eq!(fs::read(a.join("f")).unwrap(), b"through the pod");
    umount2(&a, MntFlags::empty()).unwrap();
    drop(brokered);
    broker.close("vol-a", DEADLINE).unwrap();
    eventually("only vol-b is left", || broker.list(DEADLINE).unwrap() == ["vol-b"]);
    // SIGTERM's part: everything is flushed and every session ended.
    pod.runtime.block_on(pod.worker.close_all(DEADLINE));
    assert!(broker.list(DEADLINE).unwrap().is_empty());
}

#[test]
fn an_offer_that_fails_leaves_no_mount_and_tells_why_without_secrets() {
    let volume = Volume::new("pod-bad");
    let pod = Pod::new();
    let broker = pod.connect();
    let mountpoint = volume.path("mnt");
    let _guard = Unmount(mountpoint.clone());
    let mut settings = volume.settings();
    settings.secrets.meta_url = SecretString::from("postgres://user:canary-9d@host/db".to_owned());
    let error = broker.offer("bad", &settings, DEADLINE).unwrap_err();
    assert!(matches!(error, Error::Process(_)), "{error}");
    assert!(!error.to_string().contains("canary-9d"), "{error}");
    assert!(!is_mounted(&mountpoint));
    assert!(broker.list(DEADLINE).unwrap().is_empty());
    // The connection and the worker are as good as before.
    let brokered = broker.offer("good", &volume.settings(), DEADLINE).unwrap();
    let twice = broker.offer("good", &volume.settings(), DEADLINE).unwrap_err();
    assert!(twice.to_string().contains("already a mount"), "{twice}");
    drop(brokered);
}

#[test]
fn a_mount_that_is_unmounted_ends_its_session_by_itself() {
    let volume = Volume::new("pod-end");
    let pod = Pod::new();
    let broker = pod.connect();
    let mountpoint = volume.path("mnt");
    let _guard = Unmount(mountpoint.clone());
    let brokered = broker.offer("v", &volume.settings(), DEADLINE).unwrap();
    fs::write(mountpoint.join("f"), "x").unwrap();
    umount2(&mountpoint, MntFlags::empty()).unwrap();
    drop(brokered);
    eventually("the volume is no longer served", || broker.list(DEADLINE).unwrap().is_empty());
    broker.close("v", DEADLINE).unwrap();
}

#[test]
fn a_volume_that_was_made_anew_is_no_longer_served() {
    let volume = Volume::new("pod-gone");
    let pod = Pod::new();
    let broker = pod.connect();
    let mountpoint = volume.path("mnt");
    let _guard = Unmount(mountpoint.clone());
    let mut settings = volume.settings();
    settings.options.heartbeat = Duration::from_millis(200);
    let brokered = broker.offer("v", &settings, DEADLINE).unwrap();
    fs::write(mountpoint.join("f"), "x").unwrap();
    let held = fs::File::open(mountpoint.join("f")).unwrap();
    pod.runtime.block_on(async {
        let engine = juicefs_meta::engines::open(&MetaUrl::parse(&volume.url()).unwrap()).await.unwrap();
        let mut format = Format::parse(&engine.setting().await.unwrap().unwrap()).unwrap();
        format.uuid = Format::new("other").uuid;
        engine.update_setting(&format.to_text(), None, false).await.unwrap();
    });
    eventually("the volume is no longer served", || broker.list(DEADLINE).unwrap().is_empty());
    let error = fs::File::create(mountpoint.join("new")).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(nix::libc::ENOTCONN), "{error}");
    drop((held, brokered));
}

#[test]
fn strangers_are_not_talked_to() {
    let pod = Pod::new();
    let (ours, theirs) = UnixStream::pair().unwrap();
    let error = pod.worker.serve_connection(&theirs, uid() + 1).unwrap_err();
    assert!(error.to_string().contains("uid"), "{error}");
    let error = Broker::over(ours, uid() + 1, DEADLINE).unwrap_err();
    assert!(error.to_string().contains("uid"), "{error}");
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("plain"), "").unwrap();
    let error = Broker::connect(&directory.path().join("plain"), uid(), DEADLINE).unwrap_err();
    assert!(error.to_string().contains("no socket"), "{error}");
}
