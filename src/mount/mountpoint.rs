//! The directory a volume is mounted on: made, checked, asked whether it answers.

use crate::error::{Error, Result};
use crate::mountinfo::{self, Mountinfo};
use nix::errno::Errno;
use nix::mount::{MntFlags, umount2};
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

/// The inode number every root of ours has.
const ROOT_INODE: u64 = 1;

/// Makes `path` if it is missing, clears a dead mount of ours away, and refuses what can't be mounted on.
/// Returns the path without symlinks.
///
/// # Errors
/// A sentence naming the path and what is in the way.
pub fn prepare(path: &Path, mount_over: bool) -> Result<PathBuf> {
    let bad = |path: &Path, cause: &str| {
        let next = if cause.starts_with("Permission denied") {
            "; name a directory of your own, or let root make this one and give it to you"
        } else {
            ""
        };
        Error::MountPoint { path: path.to_owned(), cause: format!("{cause}{next}") }
    };
    if let Some(parent) = std::path::absolute(path).map_err(Error::io("working directory"))?.parent() {
        make_directories(parent).map_err(|error| bad(parent, &error.to_string()))?;
    }
    let path = mountinfo::resolve(path).map_err(|error| bad(path, &error.to_string()))?;
    let table = Mountinfo::read().map_err(Error::io("/proc/self/mountinfo"))?;
    if let Some(entry) = table.at(&path).filter(|entry| entry.is_juicefs()) {
        // The kernel answers for the attributes of a dead mount as long as it keeps them, for its room never.
        match asked_within(&path, Duration::from_secs(5), |path| nix::sys::statvfs::statvfs(path).map(drop)) {
            Err(error) if is_dead(&error) => {
                tracing::warn!(path = %path.display(), "unmounting what a dead mount process left here");
                umount2(&path, MntFlags::MNT_DETACH).map_err(|errno| {
                    bad(&path, &format!("a dead mount can't be removed: {}", errno.desc()))
                })?;
            }
            _ if mount_over => {}
            _ => return Err(Error::AlreadyMounted { path, source_name: entry.source.clone() }),
        }
    }
    make_directories(&path).map_err(|error| bad(&path, &error.to_string()))?;
    let metadata = std::fs::metadata(&path).map_err(|error| bad(&path, &error.to_string()))?;
    if !metadata.is_dir() {
        return Err(bad(&path, "not a directory; name one, or a path where one can be made"));
    }
    Ok(path)
}

/// The directories of `path` that [`prepare`] will have to make, the innermost first.
pub(crate) fn missing_directories(path: &Path) -> Vec<PathBuf> {
    let Ok(path) = std::path::absolute(path) else { return Vec::new() };
    // A dead mount is there, although it can't be asked.
    let is_missing = |at: &&Path| {
        std::fs::symlink_metadata(at).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    };
    path.ancestors().take_while(is_missing).map(Path::to_owned).collect()
}

/// Takes them away again when nothing was put into them.
pub(crate) fn remove_directories(made: &[PathBuf]) {
    for directory in made {
        if std::fs::remove_dir(directory).is_err() {
            return;
        }
    }
}

fn make_directories(path: &Path) -> io::Result<()> {
    match DirBuilder::new().recursive(true).mode(0o777).create(path) {
        // Something else than a directory: said by the caller, who knows the path.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

/// True when the process behind a mount is gone.
fn is_dead(error: &io::Error) -> bool {
    matches!(error.raw_os_error().map(Errno::from_raw), Some(Errno::ENOTCONN | Errno::ECONNABORTED))
}

/// Waits until the mount on `path` answers as the root of a volume.
///
/// # Errors
/// It answers as something else, not within `deadline`, or not at all.
pub fn wait_until_answering(path: &Path, deadline: Duration) -> Result<()> {
    let bad = |cause: String| Error::MountPoint { path: path.to_owned(), cause };
    match stat_within(path, deadline) {
        Ok(ROOT_INODE) => Ok(()),
        Ok(other) => Err(bad(format!("answers as inode {other}, not as the root of a volume"))),
        Err(error) if error.kind() == io::ErrorKind::TimedOut => {
            Err(Error::Deadline { what: format!("waiting for {} to answer", path.display()), deadline })
        }
        Err(error) => Err(bad(format!("does not answer: {error}"))),
    }
}

/// The inode number of `path`.
fn stat_within(path: &Path, deadline: Duration) -> io::Result<u64> {
    asked_within(path, deadline, |path| std::fs::metadata(path).map(|metadata| metadata.ino()))
}

/// What a thread of its own is told: a mount may never answer.
fn asked_within<T: Send + 'static, E: Into<io::Error>>(
    path: &Path,
    deadline: Duration,
    question: impl FnOnce(&Path) -> std::result::Result<T, E> + Send + 'static,
) -> io::Result<T> {
    let (sent, received) = mpsc::sync_channel(1);
    let path = path.to_owned();
    // The allocator's first steps on a thread take more than 64 KiB of it.
    std::thread::Builder::new().name("ask-mount".to_owned()).stack_size(256 << 10).spawn(move || {
        let answer = question(&path).map_err(Into::into);
        // The asker may have given up.
        let _ = sent.send(answer);
    })?;
    received.recv_timeout(deadline).unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_mount_point_is_made_and_a_file_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let base = directory.path().canonicalize().unwrap();
        assert_eq!(prepare(&base.join("a/b"), false).unwrap(), base.join("a/b"));
        std::fs::write(base.join("file"), "").unwrap();
        let error = prepare(&base.join("file"), false).unwrap_err().to_string();
        assert!(error.contains("not a directory") && error.contains("file"), "{error}");
        let error = prepare(&base.join("file/x"), false).unwrap_err().to_string();
        assert!(error.contains("file"), "{error}");
    }

    #[test]
    fn what_was_made_for_a_mount_that_failed_goes() {
        let directory = tempfile::tempdir().unwrap();
        let base = directory.path().canonicalize().unwrap();
        let missing = missing_directories(&base.join("a/b"));
        assert_eq!(missing, [base.join("a/b"), base.join("a")]);
        prepare(&base.join("a/b"), false).unwrap();
        std::fs::write(base.join("a/somebody"), "").unwrap();
        remove_directories(&missing);
        assert!(!base.join("a/b").exists() && base.join("a/somebody").exists());
    }

    #[test]
    fn a_symlink_to_the_mount_point_is_followed() {
        let directory = tempfile::tempdir().unwrap();
        let base = directory.path().canonicalize().unwrap();
        std::fs::create_dir(base.join("real")).unwrap();
        std::os::unix::fs::symlink("real", base.join("link")).unwrap();
        assert_eq!(prepare(&base.join("link"), false).unwrap(), base.join("real"));
    }

    #[test]
    fn a_plain_directory_does_not_answer_as_a_volume() {
        let directory = tempfile::tempdir().unwrap();
        let error = wait_until_answering(directory.path(), Duration::from_secs(5)).unwrap_err();
        assert!(error.to_string().contains("not as the root"), "{error}");
    }
}
