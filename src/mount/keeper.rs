//! The first process of a mount pod: it holds what a mount lives on with, and starts the process that serves it, again
//! and again.
//!
//! The state is the table of mounts, each with its fuse device and its sealed settings. Only the mount process adds to
//! it and takes away. As long as a device is held the kernel waits for answers instead of failing every call; the next
//! mount process gets the whole table before its first offer. Nothing else happens here, so that nothing can go wrong.

use crate::error::{Error, Result};
use crate::messages::{self, FromKeeper, ToKeeper};
use crate::pod_worker::VOLUMES_MAX;
use crate::process;
use juicefs_base::backoff;
use juicefs_base::sync::Mutex;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A mount process that lived at least this long is started again at once.
const LIVED: Duration = Duration::from_secs(1);
/// Pauses before one that keeps dying.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);

type Kept = BTreeMap<String, [OwnedFd; 2]>;

/// Listens on `socket` and has this program, called with `worker`, serve what is offered there until SIGTERM.
///
/// # Errors
/// The socket can't be made, or no process can be started.
pub fn run_mount_pod(socket: &Path, worker: &[OsString]) -> Result<()> {
    process::hide_memory();
    let asked = SigSet::from_iter([Signal::SIGTERM, Signal::SIGINT]);
    asked.thread_block().map_err(|errno| Error::io("signals")(errno.into()))?;
    let listener = listen(socket)?;
    let running = Arc::new(Running::default());
    let told = Arc::clone(&running);
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            while asked.wait().is_ok() {
                told.end();
            }
        })
        .map_err(Error::io("signal thread"))?;
    let mut kept = Kept::new();
    let mut short_lives = 0;
    while !running.is_ending() {
        let begun = Instant::now();
        let status = keep(worker, &listener, &mut kept, &running)?;
        if running.is_ending() {
            break;
        }
        tracing::error!(%status, mounts = kept.len(), "the mount process ended; starting it again");
        if begun.elapsed() >= LIVED {
            short_lives = 0;
            continue;
        }
        std::thread::sleep(backoff::doubling(short_lives, PAUSE_FIRST, PAUSE_MAX));
        short_lives += 1;
    }
    // A stale path would only be refused.
    let _ = std::fs::remove_file(socket);
    Ok(())
}

/// One life of a mount process.
fn keep(
    worker: &[OsString],
    listener: &UnixListener,
    kept: &mut Kept,
    running: &Running,
) -> Result<ExitStatus> {
    let (ours, theirs) = UnixStream::pair().map_err(Error::io("socket pair"))?;
    let program = std::env::current_exe().map_err(Error::io("this program"))?;
    // Its standard input is the way here: nothing else is inherited.
    let mut command = Command::new(program);
    command.args(worker).stdin(OwnedFd::from(theirs));
    let mut child = running.start(&mut command)?;
    // The other end must be the child's alone, so that its death is seen here.
    drop(command);
    let talked = tell(&ours, listener, kept).and_then(|()| listen_to(&ours, kept));
    if let Err(error) = talked {
        tracing::warn!("{error}");
        // Ours alone: not waited for yet.
        let _ = child.kill();
    }
    running.wait(&mut child)
}

fn tell(socket: &UnixStream, listener: &UnixListener, kept: &Kept) -> Result<()> {
    for (id, [device, settings]) in kept {
        let message = FromKeeper::Kept { id: id.clone() };
        messages::send(socket, &message, &[device.as_fd(), settings.as_fd()])?;
    }
    messages::send(socket, &FromKeeper::Listen, &[listener.as_fd()])
}

/// Until the mount process ends.
fn listen_to(socket: &UnixStream, kept: &mut Kept) -> Result<()> {
    while let Some((message, fds)) = messages::receive::<ToKeeper>(socket)? {
        match message {
            ToKeeper::Keep { id } => {
                let fds = <[OwnedFd; 2]>::try_from(fds)
                    .map_err(|_| Error::Protocol("a mount is two descriptors".to_owned()))?;
                if kept.len() >= VOLUMES_MAX && !kept.contains_key(&id) {
                    return Err(Error::Protocol(format!("{VOLUMES_MAX} mounts are held already")));
                }
                kept.insert(id, fds);
            }
            ToKeeper::Drop { id } => drop(kept.remove(&id)),
        }
    }
    Ok(())
}

/// The mount process that runs, for the thread that hears signals.
#[derive(Default)]
struct Running(Mutex<Life>);

#[derive(Default)]
struct Life {
    /// Started and not yet waited for: the number is nobody else's.
    pid: Option<Pid>,
    is_ending: bool,
}

impl Running {
    fn start(&self, command: &mut Command) -> Result<Child> {
        let mut life = self.0.lock();
        let child = command.spawn().map_err(Error::io("start the mount process"))?;
        life.pid = i32::try_from(child.id()).ok().map(Pid::from_raw);
        if life.is_ending {
            life.terminate();
        }
        Ok(child)
    }

    fn wait(&self, child: &mut Child) -> Result<ExitStatus> {
        let waited = |error| Error::io("wait for the mount process")(error);
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap_or_default());
        // Its number stays its own until it is forgotten below, under the lock.
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
        while let Err(errno) = waitid(Id::Pid(pid), flags) {
            if errno != nix::errno::Errno::EINTR {
                return Err(waited(errno.into()));
            }
        }
        let mut life = self.0.lock();
        life.pid = None;
        child.wait().map_err(waited)
    }

    fn end(&self) {
        let mut life = self.0.lock();
        life.is_ending = true;
        life.terminate();
    }

    fn is_ending(&self) -> bool {
        self.0.lock().is_ending
    }
}

impl Life {
    fn terminate(&self) {
        if let Some(pid) = self.pid {
            let _ = kill(pid, Signal::SIGTERM);
        }
    }
}

/// A socket that listens, and to the broker alone, from the moment it has its name.
fn listen(path: &Path) -> Result<UnixListener> {
    let unnamed = path.with_extension("new");
    match std::fs::remove_file(&unnamed) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(Error::io(format!("stale socket {}", unnamed.display()))(error)),
    }
    let failed = |what: &'static str| Error::io(format!("{what} {}", path.display()));
    let listener = UnixListener::bind(&unnamed).map_err(failed("listen on"))?;
    std::fs::set_permissions(&unnamed, std::fs::Permissions::from_mode(0o600)).map_err(failed("mode of"))?;
    std::fs::rename(&unnamed, path).map_err(failed("name"))?;
    Ok(listener)
}
