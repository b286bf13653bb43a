use crate::support::{Unmount, Volume, eventually, trial};
use juicefs_mount::Mountinfo;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

fn run(arguments: &[&str]) -> Output {
    Command::new(trial()).args(arguments).output().unwrap()
}

fn mount_in_background(volume: &Volume) -> Output {
    let path = |name: &str| volume.path(name).to_str().unwrap().to_owned();
    run(&["mount", "-d", &path("log"), &volume.url(), &path("mnt"), &path("cache")])
}

fn is_mounted(path: &Path) -> bool {
    Mountinfo::read().unwrap().at(path).is_some_and(|entry| entry.is_juicefs())
}

/// The process whose arguments name `mountpoint`.
fn server_of(mountpoint: &Path) -> Option<Pid> {
    fs::read_dir("/proc").unwrap().flatten().find_map(|entry| {
        let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
        let cmdline = fs::read(entry.path().join("cmdline")).ok()?;
        let mut words = cmdline.split(|&byte| byte == 0);
        let wanted = mountpoint.as_os_str().as_encoded_bytes();
        (words.any(|word| word == wanted) && fs::metadata(entry.path().join("exe")).is_ok())
            .then(|| Pid::from_raw(pid))
    })
}

fn lives(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    kill(pid, None).is_ok() && !stat.contains(") Z")
}

#[test]
fn a_daemon_is_ready_when_its_parent_ends_and_gone_when_umount_ends() {
    let volume = Volume::new("daemon");
    let mountpoint = volume.path("mnt");
    let _guard = Unmount(mountpoint.clone());
    let output = mount_in_background(&volume);
    assert!(output.status.success(), "{output:?}");
    assert!(is_mounted(&mountpoint));
    fs::write(mountpoint.join("f"), "hello").unwrap();
    let pid = server_of(&mountpoint).unwrap();
    // Mounting it once more changes nothing and says so.
    let again = mount_in_background(&volume);
    let text = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(again.status.success() && text.contains("is mounted on") && text.contains("already"), "{text}");
    assert_eq!(server_of(&mountpoint).unwrap(), pid);
    // Another volume, and a process that is to serve, find the place taken.
    let other = Volume::new("other");
    let (log, cache) = (other.path("log").display().to_string(), other.path("cache").display().to_string());
    let place = mountpoint.to_str().unwrap();
    for refused in [
        run(&["mount", "-d", &log, &other.url(), place, &cache]),
        run(&["mount", &volume.url(), place, &cache]),
    ] {
        let text = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(1), "{text}");
        assert!(text.contains("is already a mount of JuiceFS:daemon"), "{text}");
    }
    // A busy mount is not unmounted, a forced one is.
    let held = fs::File::open(mountpoint.join("f")).unwrap();
    let busy = run(&["umount", mountpoint.to_str().unwrap()]);
    assert_eq!(busy.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&busy.stderr).contains("device or resource busy"), "{busy:?}");
    drop(held);
    let done = run(&["umount", mountpoint.to_str().unwrap()]);
    assert!(done.status.success(), "{done:?}");
    assert!(!is_mounted(&mountpoint) && !lives(pid), "umount waits for the process");
    let missing = run(&["umount", mountpoint.to_str().unwrap()]);
    assert!(String::from_utf8_lossy(&missing.stderr).contains("is not mounted"));
    // Again, and what was written is there.
    assert!(mount_in_background(&volume).status.success());
    assert_eq!(fs::read(mountpoint.join("f")).unwrap(), b"hello");
    assert!(run(&["umount", mountpoint.to_str().unwrap()]).status.success());
}

#[test]
fn the_child_s_error_is_the_parent_s() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let _guard = Unmount(directory.path().join("mnt"));
    let url = format!("sqlite3://{}", path("empty.db"));
    let output = run(&["mount", "-d", &path("log"), &url, &path("mnt"), &path("cache")]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("juicefs format"), "{text}");
    fs::write(path("file"), "").unwrap();
    let output = run(&["mount", "-d", &path("log"), &url, &path("file"), &path("cache")]);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(1) && text.contains("not a directory"), "{text}");
}

#[test]
fn sigterm_flushes_and_unmounts_even_when_busy() {
    let volume = Volume::new("term");
    let mountpoint = volume.path("mnt");
    let _guard = Unmount(mountpoint.clone());
    assert!(mount_in_background(&volume).status.success());
    let pid = server_of(&mountpoint).unwrap();
    let mut held = fs::File::create(mountpoint.join("held")).unwrap();
    std::io::Write::write_all(&mut held, b"written, neither closed nor synced").unwrap();
    kill(pid, Signal::SIGHUP).unwrap();
    fs::write(mountpoint.join("after-hup"), "still here").unwrap();
    kill(pid, Signal::SIGTERM).unwrap();
    eventually("the process ends", || !lives(pid));
    assert!(!is_mounted(&mountpoint));
    drop(held);
    assert!(mount_in_background(&volume).status.success());
    assert_eq!(fs::read(mountpoint.join("held")).unwrap(), b"written, neither closed nor synced");
    assert!(run(&["umount", mountpoint.to_str().unwrap()]).status.success());
}

#[test]
fn a_mount_that_lost_its_process_is_replaced() {
    let volume = Volume::new("killed");
    let mountpoint = volume.path("mnt");
    let _guard = Unmount(mountpoint.clone());
    assert!(mount_in_background(&volume).status.success());
    fs::write(mountpoint.join("f"), "synced by close").unwrap();
    let pid = server_of(&mountpoint).unwrap();
    // The kernel remembers the root's attributes for a second.
    fs::metadata(&mountpoint).unwrap();
    kill(pid, Signal::SIGKILL).unwrap();
    eventually("the process ends", || !lives(pid));
    assert!(mount_in_background(&volume).status.success());
    assert_eq!(fs::read(mountpoint.join("f")).unwrap(), b"synced by close");
    assert!(run(&["umount", mountpoint.to_str().unwrap()]).status.success());
}

#[test]
fn an_idle_daemon_is_small_and_has_four_fuse_threads() {
    let volume = Volume::new("idle");
    let mountpoint = volume.path("mnt");
    let _guard = Unmount(mountpoint.clone());
    assert!(mount_in_background(&volume).status.success());
    let pid = server_of(&mountpoint).unwrap();
    let threads: Vec<String> = fs::read_dir(format!("/proc/{pid}/task"))
        .unwrap()
        .flatten()
        .filter_map(|task| fs::read_to_string(task.path().join("comm")).ok())
        .collect();
    assert_eq!(threads.iter().filter(|name| name.starts_with("fuse-")).count(), 4, "{threads:?}");
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let rss = |key: &str| -> u64 {
        let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    };
    assert!(rss("RssAnon:") < 16 << 10, "{status}");
    assert!(run(&["umount", mountpoint.to_str().unwrap()]).status.success());
}
