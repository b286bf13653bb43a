//! A mount process that is killed: the pod's first process starts it again, and the mount goes on.

use crate::support::{Unmount, Volume, eventually, trial};
use juicefs_mount::Broker;
use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(20);

/// The two processes of a pod.
struct Pod {
    keeper: Child,
    socket: PathBuf,
}

impl Pod {
    fn start(volume: &Volume) -> Self {
        let socket = volume.path("pod.sock");
        let keeper = Command::new(trial()).arg("pod").arg(&socket).env("TRIAL_LOG", "info").spawn().unwrap();
        eventually("the pod listens", || socket.exists());
        Self { keeper, socket }
    }

    fn connect(&self) -> Broker {
        Broker::connect(&self.socket, nix::unistd::getuid().as_raw(), DEADLINE).unwrap()
    }

    /// The process that serves.
    fn worker(&self) -> Option<Pid> {
        let id = self.keeper.id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
        children.split_whitespace().next().map(|pid| Pid::from_raw(pid.parse().unwrap()))
    }

    fn kill_worker(&self) {
        let worker = self.worker().unwrap();
        kill(worker, Signal::SIGKILL).unwrap();
        eventually("another process serves", || self.worker().is_some_and(|now| now != worker));
    }

    fn end(mut self) {
        kill(Pid::from_raw(i32::try_from(self.keeper.id()).unwrap()), Signal::SIGTERM).unwrap();
        assert!(self.keeper.wait().unwrap().success());
        assert!(!self.socket.exists());
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        // A test that failed; the mount process ends with it.
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
    }
}

fn offered(pod: &Pod, volume: &Volume) -> Unmount {
    let guard = Unmount(volume.path("mnt"));
    pod.connect().offer("v", &volume.settings(), DEADLINE).unwrap();
    guard
}

#[test]
fn a_mount_outlives_the_process_that_serves_it() {
    let volume = Volume::new("kept");
    let pod = Pod::start(&volume);
    let _guard = offered(&pod, &volume);
    let path = |name: &str| volume.path("mnt").join(name);
    fs::write(path("stored"), vec![7; 300_000]).unwrap();
    for number in 0..500 {
        fs::create_dir(path(&format!("d{number}"))).unwrap();
    }
    let mut reader = File::open(path("stored")).unwrap();
    let mut begun = vec![0; 1000];
    reader.read_exact(&mut begun).unwrap();
    let mut listing = fs::read_dir(volume.path("mnt")).unwrap();
    let mut seen = vec![listing.next().unwrap().unwrap().file_name()];
    let mut lost = File::create(path("lost")).unwrap();
    lost.write_all(b"neither synced nor closed").unwrap();
    pod.kill_worker();
    // New calls, and reading through what was open.
    fs::write(path("after"), "the process is another one").unwrap();
    assert_eq!(fs::read(path("after")).unwrap(), b"the process is another one");
    let mut rest = Vec::new();
    reader.read_to_end(&mut rest).unwrap();
    assert_eq!((rest.len(), rest.iter().all(|byte| *byte == 7)), (299_000, true));
    seen.extend(listing.map(|entry| entry.unwrap().file_name()));
    seen.sort();
    seen.dedup();
    assert!(seen.len() >= 502, "{} names", seen.len());
    // What was lost is told.
    assert_eq!(lost.sync_all().unwrap_err().raw_os_error(), Some(nix::libc::EIO));
    assert_eq!(lost.write_all(b"x").unwrap_err().raw_os_error(), Some(nix::libc::EIO));
    drop(lost);
    assert_eq!(pod.connect().list(DEADLINE).unwrap(), ["v"]);
    // Again and again.
    for _ in 0..3 {
        pod.kill_worker();
        assert_eq!(fs::read(path("stored")).unwrap().len(), 300_000);
    }
    drop(reader);
    umount2(&volume.path("mnt"), MntFlags::empty()).unwrap();
    pod.connect().close("v", DEADLINE).unwrap();
    assert!(pod.connect().list(DEADLINE).unwrap().is_empty());
    // Nothing of it comes again with the next process.
    pod.kill_worker();
    assert!(pod.connect().list(DEADLINE).unwrap().is_empty());
    pod.end();
}

#[test]
fn what_was_under_way_goes_on_where_it_only_asks_and_fails_where_it_changes() {
    let volume = Volume::new("under-way");
    let pod = Pod::start(&volume);
    let _guard = offered(&pod, &volume);
    let path = |name: &str| volume.path("mnt").join(name);
    fs::write(path("f"), "bytes").unwrap();
    // A block that never comes, and a writer that never ends.
    let store = volume.path("store/under-way/chunks");
    let block = walk(&store).into_iter().next().unwrap();
    let aside = volume.path("aside");
    fs::rename(&block, &aside).unwrap();
    nix::unistd::mkfifo(&block, nix::sys::stat::Mode::S_IRWXU).unwrap();
    fs::remove_dir_all(volume.path("cache")).unwrap();
    pod.kill_worker();
    assert!(path("f").exists(), "the new process serves");
    let file = path("f");
    let read = std::thread::spawn(move || fs::read(file));
    let database = rusqlite::Connection::open(volume.path("meta.db")).unwrap();
    database.execute_batch("BEGIN IMMEDIATE").unwrap();
    // The kernel keeps new names of a directory waiting while it makes one in it: this one is known before.
    assert!(path(".stats").exists());
    let directory = path("d");
    let made = std::thread::spawn(move || fs::create_dir(directory));
    let waits = || {
        let stats = fs::read_to_string(path(".stats")).unwrap();
        let waited = stats.lines().find_map(|line| line.strip_prefix("juicefs_waiting_meta ")).unwrap();
        waited.parse::<f64>().unwrap() > 0.0
    };
    eventually("both wait", waits);
    assert!(!read.is_finished() && !made.is_finished());
    let worker = pod.worker().unwrap();
    kill(worker, Signal::SIGKILL).unwrap();
    fs::remove_file(&block).unwrap();
    fs::rename(&aside, &block).unwrap();
    database.execute_batch("ROLLBACK").unwrap();
    assert_eq!(read.join().unwrap().unwrap(), b"bytes");
    assert_eq!(made.join().unwrap().unwrap_err().raw_os_error(), Some(nix::libc::EIO));
    fs::create_dir_all(path("d")).unwrap();
    umount2(&volume.path("mnt"), MntFlags::empty()).unwrap();
    pod.end();
}

fn walk(top: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(top).unwrap().flatten() {
        if entry.file_type().unwrap().is_dir() {
            found.extend(walk(&entry.path()));
        } else {
            found.push(entry.path());
        }
    }
    found
}
