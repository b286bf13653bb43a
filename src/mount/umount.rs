//! Ending a mount from outside.

use crate::error::{Error, Result};
use crate::mountinfo::{self, Mountinfo};
use nix::errno::Errno;
use nix::mount::{MntFlags, umount2};
use nix::sys::signal::kill;
use nix::unistd::Pid;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How long `umount` waits for the mount process to write its last word and end.
const PROCESS_DEADLINE: Duration = Duration::from_secs(30);

/// How often staged blocks are counted, and how often a waiting user is told.
const STAGED_LOOKED_EVERY: Duration = Duration::from_millis(100);
const STAGED_SAID_EVERY: Duration = Duration::from_secs(5);

/// What `umount` was asked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct UmountOptions {
    /// Detach even when busy: what is open keeps working until it is closed, nothing new can be opened.
    pub force: bool,
    /// Wait until everything that was acknowledged is in the object store.
    pub flush: bool,
}

/// Unmounts what is on `path` and waits for its process to end.
///
/// # Errors
/// [`Error::NotMounted`], [`Error::Busy`], or what the kernel or `fusermount3` said.
pub fn umount(path: &Path, options: UmountOptions) -> Result<()> {
    let path = mountinfo::resolve(path)
        .map_err(|error| Error::Unmount { path: path.to_owned(), cause: error.to_string() })?;
    let table = Mountinfo::read().map_err(Error::io("/proc/self/mountinfo"))?;
    let Some(entry) = table.at(&path) else { return Err(Error::NotMounted(path)) };
    if !entry.fs_type.starts_with("fuse") {
        let cause = format!("it is a mount of type {}, not of a volume", entry.fs_type);
        return Err(Error::Unmount { path, cause });
    }
    if options.flush {
        wait_for_staged(&path)?;
    }
    let process = if options.force { None } else { process_of(&path) };
    detach(&path, options.force)?;
    if let Some(process) = process {
        wait_for_end(process);
    }
    Ok(())
}

/// Waits, and says how many are left, as long as blocks are staged: a store that is away is worth the wait, and who asked
/// may end it.
fn wait_for_staged(path: &Path) -> Result<()> {
    let mut said = None;
    loop {
        let left = staged_blocks(path).ok_or_else(|| Error::Unmount {
            path: path.to_owned(),
            cause: "its .stats do not tell what is staged: umount without --flush, the next mount stores it"
                .to_owned(),
        })?;
        if left == 0 {
            return Ok(());
        }
        if said.is_none_or(|at: Instant| at.elapsed() > STAGED_SAID_EVERY) {
            tracing::info!("{left} staged blocks of {} are not stored yet, waiting", path.display());
            said = Some(Instant::now());
        }
        std::thread::sleep(STAGED_LOOKED_EVERY);
    }
}

/// What the mount itself says, either client's.
fn staged_blocks(path: &Path) -> Option<u64> {
    let stats =
        [".stats", ".jfs.stats"].iter().find_map(|name| std::fs::read_to_string(path.join(name)).ok())?;
    let line = stats.lines().find_map(|line| line.strip_prefix("juicefs_staging_blocks"))?;
    let value = line.split_whitespace().last()?.parse::<f64>().ok()?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
    Some(value as u64)
}

/// Takes the mount off its path; lazily when `force`.
pub(crate) fn detach(path: &Path, force: bool) -> Result<()> {
    let flags = if force { MntFlags::MNT_DETACH } else { MntFlags::empty() };
    match umount2(path, flags) {
        Ok(()) => Ok(()),
        Err(Errno::EBUSY) => Err(Error::Busy(path.to_owned())),
        Err(Errno::EPERM) => by_helper(path, force),
        Err(errno) => Err(Error::Unmount { path: path.to_owned(), cause: errno.desc().to_lowercase() }),
    }
}

fn by_helper(path: &Path, force: bool) -> Result<()> {
    let failed = |cause: String| Error::Unmount { path: path.to_owned(), cause };
    let output = Command::new("fusermount3")
        .args(if force { &["-u", "-z"][..] } else { &["-u"][..] })
        .arg("--")
        .arg(path)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| failed(format!("fusermount3: {error}")))?;
    if output.status.success() {
        return Ok(());
    }
    let complaint = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    if complaint.to_lowercase().contains("busy") {
        return Err(Error::Busy(path.to_owned()));
    }
    Err(failed(complaint))
}

/// The process that serves `path`, as its `.config` says; missing when the file is hidden or not ours to read.
fn process_of(path: &Path) -> Option<Pid> {
    let text = [".config", ".jfs.config"].iter().find_map(|name| std::fs::read(path.join(name)).ok())?;
    let config: serde_json::Value = serde_json::from_slice(&text).ok()?;
    let pid = i32::try_from(config.get("Pid")?.as_i64()?).ok().filter(|&pid| pid > 1)?;
    // In another pid name space the number may mean somebody else.
    let cmdline = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let ours = i32::try_from(std::process::id()).ok() != Some(pid);
    (ours && cmdline.split(|&byte| byte == 0).any(|word| word == b"mount")).then(|| Pid::from_raw(pid))
}

fn wait_for_end(process: Pid) {
    let start = Instant::now();
    while kill(process, None).is_ok() && !is_zombie(process) {
        if start.elapsed() > PROCESS_DEADLINE {
            tracing::warn!(%process, "the mount process is still at work after {PROCESS_DEADLINE:?}");
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Ended, but its parent has not looked yet.
fn is_zombie(process: Pid) -> bool {
    std::fs::read_to_string(format!("/proc/{process}/stat"))
        .is_ok_and(|stat| stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('Z')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_directory_is_not_mounted_and_another_mount_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let error = umount(directory.path(), UmountOptions::default()).unwrap_err();
        assert!(matches!(error, Error::NotMounted(_)), "{error}");
        let error = umount(Path::new("/proc"), UmountOptions::default()).unwrap_err();
        assert!(error.to_string().contains("type proc"), "{error}");
    }

    #[test]
    fn a_busy_mount_says_so_in_the_words_users_search_for() {
        let text = Error::Busy("/mnt/x".into()).to_string();
        assert!(text.contains("device or resource busy") && text.contains("/mnt/x"));
    }
}
