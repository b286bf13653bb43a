//! `-d`: the mount lives in a child, the parent stays until the mount answers or has failed.
//!
//! The fork comes before any thread; parent and child share one pipe. The child says `+` (and what the user should know) when the mount is
//! ready or `-` and a sentence when it is not; a pipe that closes in silence is a death.
#![expect(unsafe_code, reason = "fork")]

use crate::error::{Error, Result};
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{ForkResult, Pid, dup2_stderr, dup2_stdin, dup2_stdout, fork, pipe2, setsid};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long the parent waits; `JFS_MOUNT_TIMEOUT` (seconds) changes it.
const READY_DEADLINE: Duration = Duration::from_secs(90);
/// A sentence longer than this is cut.
const SENTENCE_BYTES_MAX: u64 = 16 << 10;

/// The child's word to its parent.
pub(crate) struct Parent(File);

impl Parent {
    /// The mount answers: the parent may end when it has said so and told the `notices`.
    pub(crate) fn ready(mut self, sentence: &str, notices: &[String]) {
        // A parent that gave up does not hear it; the mount goes on.
        let _ = self.0.write_all(format!("+{sentence}\n{}", notices.join("\n")).as_bytes());
    }

    fn failed(mut self, error: &Error) {
        let _ = self.0.write_all(format!("-{error}").as_bytes());
    }
}

/// Runs `work` in a child that has left terminal, directory and standard streams, its output going to `log`.
/// Returns in the parent only, once the child has called [`Parent::ready`].
///
/// # Errors
/// The child's own sentence, or how it died.
pub(crate) fn run(log: &Path, work: impl FnOnce(&mut Option<Parent>) -> Result<()>) -> Result<()> {
    refuse_threads()?;
    let log_file = open_log(log)?;
    let refused = |what: &'static str| move |errno: nix::Error| Error::io(what)(errno.into());
    let (reader, writer) = pipe2(OFlag::O_CLOEXEC).map_err(refused("pipe"))?;
    // SAFETY: this process has one thread (checked above), so the child starts with a whole heap and no lock
    // held by a thread that is not there.
    match unsafe { fork() }.map_err(refused("fork"))? {
        ForkResult::Parent { child } => {
            drop(writer);
            wait_for(child, File::from(reader), log)
        }
        ForkResult::Child => {
            drop(reader);
            let mut parent = Some(Parent(File::from(writer)));
            let end = leave(&log_file).and_then(|()| work(&mut parent));
            #[expect(clippy::exit, reason = "the caller's stack belongs to the parent")]
            std::process::exit(finish(end, parent));
        }
    }
}

fn finish(end: Result<()>, parent: Option<Parent>) -> i32 {
    let Err(error) = end else { return 0 };
    match parent {
        Some(parent) => parent.failed(&error),
        None => tracing::error!("{error}"),
    }
    i32::from(error.exit_code())
}

fn refuse_threads() -> Result<()> {
    let threads = std::fs::read_dir("/proc/self/task").map_or(1, Iterator::count);
    if threads == 1 {
        return Ok(());
    }
    Err(Error::Process(format!("going to the background needs a process with one thread, not {threads}")))
}

fn open_log(path: &Path) -> Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o644).open(path).map_err(|cause| {
        let path = path.display();
        Error::Setting(format!("log file {path}: {cause}; name a file that can be written with --log"))
    })
}

fn leave(log: &File) -> Result<()> {
    let refused = |errno: nix::Error| Error::io("going to the background")(errno.into());
    setsid().map_err(refused)?;
    let null = File::open("/dev/null").map_err(Error::io("/dev/null"))?;
    dup2_stdin(null.as_fd()).map_err(refused)?;
    dup2_stdout(log.as_fd()).map_err(refused)?;
    dup2_stderr(log.as_fd()).map_err(refused)?;
    std::env::set_current_dir("/").map_err(Error::io("/"))
}

fn deadline() -> Duration {
    std::env::var("JFS_MOUNT_TIMEOUT")
        .ok()
        .and_then(|seconds| seconds.trim_end_matches('s').parse().ok())
        .map_or(READY_DEADLINE, Duration::from_secs)
}

fn wait_for(child: Pid, pipe: File, log: &Path) -> Result<()> {
    let deadline = deadline();
    let word = read_word(pipe, deadline);
    match word.as_deref() {
        Some(notices) if notices.starts_with('+') => {
            let mut lines = notices[1..].lines();
            if let Some(sentence) = lines.next().filter(|sentence| !sentence.is_empty()) {
                tracing::info!("{sentence}");
            }
            for notice in lines {
                tracing::warn!("{notice}");
            }
            Ok(())
        }
        Some("") => Err(Error::Process(format!(
            "the mount process died before the mount was ready; its last words are in {}",
            log.display()
        ))),
        Some(word) => Err(Error::Process(word.strip_prefix('-').unwrap_or(word).to_owned())),
        None => {
            // Ours alone: the number can't have been used again while we have not reaped it.
            let _ = kill(child, Signal::SIGTERM);
            Err(Error::Deadline { what: format!("mounting (see {})", log.display()), deadline })
        }
    }
}

/// What the child said until the end of the pipe; `None` after the deadline.
fn read_word(pipe: File, deadline: Duration) -> Option<String> {
    let start = Instant::now();
    loop {
        let left = deadline.checked_sub(start.elapsed())?;
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(pipe.as_fd(), PollFlags::POLLIN)], timeout) {
            Ok(0) | Err(nix::errno::Errno::EINTR) => {}
            // Readable or closed: the child writes its word and closes at once, so that reading does not hang.
            Ok(_) | Err(_) => break,
        }
    }
    let mut word = Vec::new();
    // What could be read is the word.
    let _ = pipe.take(SENTENCE_BYTES_MAX).read_to_end(&mut word);
    Some(String::from_utf8_lossy(&word).into_owned())
}

/// `/var/log/juicefs.log` for root, `~/.juicefs/juicefs.log` for everybody else.
#[must_use]
pub fn default_log() -> PathBuf {
    match std::env::var_os("HOME") {
        Some(home) if !nix::unistd::geteuid().is_root() => {
            let directory = Path::new(&home).join(".juicefs");
            // A missing directory is reported when the log is opened.
            let _ = std::fs::create_dir_all(&directory);
            directory.join("juicefs.log")
        }
        _ => PathBuf::from("/var/log/juicefs.log"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pipe() -> (File, File) {
        let (reader, writer) = pipe2(OFlag::O_CLOEXEC).unwrap();
        (File::from(reader), File::from(writer))
    }

    #[test]
    fn the_child_s_sentence_reaches_the_parent() {
        let (reader, writer) = pipe();
        Parent(writer).failed(&Error::NotMounted("/x".into()));
        assert_eq!(
            read_word(reader, Duration::from_secs(5)).unwrap(),
            "-/x is not mounted: `findmnt` shows what is"
        );
        let (reader, writer) = pipe();
        Parent(writer).ready("OK", &["one".to_owned(), "two".to_owned()]);
        assert_eq!(read_word(reader, Duration::from_secs(5)).unwrap(), "+OK\none\ntwo");
    }

    #[test]
    fn death_and_silence_are_told_apart() {
        let (reader, writer) = pipe();
        assert_eq!(read_word(reader, Duration::from_millis(20)), None);
        drop(writer);
        let (reader, writer) = pipe();
        drop(writer);
        assert_eq!(read_word(reader, Duration::from_secs(5)).unwrap(), "");
    }

    #[test]
    fn a_process_with_threads_is_not_forked() {
        // The test harness itself has more than one.
        let error = run(Path::new("/dev/null"), |_| Ok(())).unwrap_err();
        assert!(error.to_string().contains("one thread"), "{error}");
    }
}
