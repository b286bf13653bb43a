//! The privileged side of a mount pod: makes the kernel mount and hands its descriptor, with the sealed
//! settings, to an unprivileged process.
//!
//! All calls block and keep to a deadline; asynchronous callers put them on a blocking thread. One socket
//! serves one call at a time.

use crate::error::{Error, Result};
use crate::messages::{self, FromWorker, ToWorker, VERSION};
use crate::mountinfo::{self, Mountinfo};
use crate::mountpoint;
use crate::settings::MountSettings;
use crate::umount::detach;
use nix::fcntl::{OFlag, open};
use nix::sys::socket::{getsockopt, sockopt};
use nix::sys::stat::{Mode, SFlag, fstat};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// A connection to a mount process.
#[derive(Debug)]
pub struct Broker {
    socket: UnixStream,
    /// What the mount process runs.
    pub worker_version: String,
}

/// A mount that a worker serves.
#[derive(Debug)]
pub struct Brokered {
    /// A duplicate for whoever keeps the mount alive when the worker dies.
    pub device: OwnedFd,
    /// The worker's session in the metadata, 0 when read-only.
    pub session: u64,
    pub major: u32,
    /// Also the fuse connection's number.
    pub minor: u32,
}

impl Broker {
    /// Connects to the socket a mount pod listens on. The directory belongs to the pod: a symlink is refused,
    /// and so is a listener that does not run as `worker_uid`.
    ///
    /// # Errors
    /// No socket there, the wrong user behind it, or no greeting before the deadline.
    pub fn connect(path: &Path, worker_uid: u32, deadline: Duration) -> Result<Self> {
        let refused =
            |errno: nix::Error| Error::io(format!("mount pod socket {}", path.display()))(errno.into());
        let place = open(path, OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty())
            .map_err(refused)?;
        let kind = SFlag::from_bits_truncate(fstat(&place).map_err(refused)?.st_mode) & SFlag::S_IFMT;
        if kind != SFlag::S_IFSOCK {
            return Err(Error::Protocol(format!("{} is no socket", path.display())));
        }
        // By its descriptor: the path may be longer than socket addresses, and may not change under us.
        let socket = UnixStream::connect(format!("/proc/self/fd/{}", place.as_raw_fd()))
            .map_err(Error::io(format!("mount pod socket {}", path.display())))?;
        Self::over(socket, worker_uid, deadline)
    }

    /// The same over a connected socket.
    ///
    /// # Errors
    /// As [`Broker::connect`].
    pub fn over(socket: UnixStream, worker_uid: u32, deadline: Duration) -> Result<Self> {
        check_peer(&socket, &[worker_uid])?;
        let broker = Self { socket, worker_version: String::new() };
        match broker.answer(deadline)? {
            FromWorker::Hello { v, .. } if v > VERSION => Err(Error::Protocol(format!(
                "the mount pod speaks version {v}, this node plugin {VERSION}: upgrade the node plugin first"
            ))),
            FromWorker::Hello { version, .. } => Ok(Self { worker_version: version, ..broker }),
            other => Err(unexpected(&other)),
        }
    }

    /// Mounts `settings.options.mountpoint` and has the worker serve it as `id`. Returns when the mount
    /// answers; on any error nothing stays mounted.
    ///
    /// # Errors
    /// The worker's own sentence, or what was in the way.
    pub fn offer(&self, id: &str, settings: &MountSettings, deadline: Duration) -> Result<Brokered> {
        let start = Instant::now();
        let path = mountpoint::prepare(&settings.options.mountpoint, settings.options.force)?;
        let memfd = settings.seal()?;
        let options = settings.options.fuse(&settings.options.volume_name)?;
        let device = juicefs_fuse::mount(&path, &options)?;
        let mut undo = Undo { path: &path, minor: None, armed: true };
        let entry = Mountinfo::read()
            .map_err(Error::io("/proc/self/mountinfo"))?
            .at(&path)
            .filter(|entry| entry.fs_type == mountinfo::FUSE_TYPE)
            .cloned()
            .ok_or_else(|| Error::NotMounted(path.clone()))?;
        undo.minor = Some(entry.minor);
        let offer = ToWorker::Offer { v: VERSION, id: id.to_owned() };
        messages::send(&self.socket, &offer, &[device.as_fd(), memfd.as_fd()])?;
        let session = match self.answer(left(start, deadline))? {
            FromWorker::Ready { id: served, session } if served == id => session,
            FromWorker::Failed { id: failed, error } if failed == id => return Err(Error::Process(error)),
            other => return Err(unexpected(&other)),
        };
        mountpoint::wait_until_answering(&path, left(start, deadline))?;
        undo.armed = false;
        Ok(Brokered { device, session, major: entry.major, minor: entry.minor })
    }

    /// Has the worker flush `id` and end its session. Unmount before: the worker waits for that.
    ///
    /// # Errors
    /// The worker's own sentence.
    pub fn close(&self, id: &str, deadline: Duration) -> Result<()> {
        messages::send(&self.socket, &ToWorker::Close { v: VERSION, id: id.to_owned() }, &[])?;
        match self.answer(deadline)? {
            FromWorker::Closed { id: closed } if closed == id => Ok(()),
            FromWorker::Failed { error, .. } => Err(Error::Process(error)),
            other => Err(unexpected(&other)),
        }
    }

    /// Ids of the volumes the worker serves now, sorted.
    ///
    /// # Errors
    /// No answer before the deadline.
    pub fn list(&self, deadline: Duration) -> Result<Vec<String>> {
        messages::send(&self.socket, &ToWorker::List { v: VERSION }, &[])?;
        match self.answer(deadline)? {
            FromWorker::Volumes { ids } => Ok(ids),
            other => Err(unexpected(&other)),
        }
    }

    fn answer(&self, deadline: Duration) -> Result<FromWorker> {
        // A zero timeout would mean none at all.
        let timeout = deadline.max(Duration::from_millis(1));
        self.socket.set_read_timeout(Some(timeout)).map_err(Error::io("mount pod socket"))?;
        match messages::receive(&self.socket)? {
            Some((message, _)) => Ok(message),
            None => Err(Error::Process("the mount process closed the connection".to_owned())),
        }
    }
}

/// Refuses a socket whose other end does not run as one of `uids`.
pub(crate) fn check_peer(socket: &UnixStream, uids: &[u32]) -> Result<()> {
    let peer = getsockopt(socket, sockopt::PeerCredentials)
        .map_err(|errno| Error::io("mount pod socket")(errno.into()))?;
    if uids.contains(&peer.uid()) {
        return Ok(());
    }
    Err(Error::Protocol(format!("the other side runs as uid {}, expected {uids:?}", peer.uid())))
}

fn left(start: Instant, deadline: Duration) -> Duration {
    deadline.saturating_sub(start.elapsed())
}

fn unexpected(message: &FromWorker) -> Error {
    Error::Protocol(format!("unexpected answer {message:?}"))
}

/// Takes a mount away again unless it is disarmed: nobody would ever answer on it.
struct Undo<'a> {
    path: &'a Path,
    minor: Option<u32>,
    armed: bool,
}

impl Drop for Undo<'_> {
    fn drop(&mut self) {
        if !self.armed {
            return;
        }
        if let Err(error) = detach(self.path, true) {
            tracing::warn!("{error}");
        }
        if let Some(minor) = self.minor {
            // Gone with the last descriptor already, as a rule.
            let _ = mountinfo::abort_connection(minor);
        }
    }
}
