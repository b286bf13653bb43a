//! The one descriptor of `/dev/fuse`: messages come from it, answers and notifications go to it. Each is one
//! system call that the kernel takes whole, so any thread may use it.

use super::wire::{Body, OUT_HEADER_BYTES};
use juicefs_base::Errno;
use std::io::IoSlice;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// What the kernel is told without having asked (`fuse_notify_code`).
#[derive(Clone, Copy, Debug)]
pub(super) enum Notice {
    InvalidInode = 2,
    InvalidEntry = 3,
    /// Requests that a former process has read and not answered are to come again.
    Resend = 7,
}

#[derive(Clone, Debug)]
pub(super) struct Channel {
    device: Arc<OwnedFd>,
    /// Handles may be of a former process.
    pub(super) is_inherited: bool,
}

impl Channel {
    pub(super) fn new(device: OwnedFd, is_inherited: bool) -> Self {
        Self { device: Arc::new(device), is_inherited }
    }

    /// The next message; `None` when the kernel has let go of the mount.
    pub(super) fn receive<'b>(&self, buffer: &'b mut [u8]) -> std::io::Result<Option<&'b [u8]>> {
        loop {
            match nix::unistd::read(&*self.device, buffer) {
                Ok(len) => return Ok(Some(&buffer[..len])),
                // ENOENT: the caller was killed before we saw its request.
                Err(Errno::ENOENT | Errno::EINTR | Errno::EAGAIN) => {}
                Err(Errno::ENODEV) => return Ok(None),
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// Answers the request `unique`. The kernel may have stopped waiting (an aborted connection), which is nobody's
    /// mistake.
    pub(super) fn answer(&self, unique: u64, result: Result<&[u8], Errno>) {
        let (errno, payload) = match result {
            Ok(payload) => (0, payload),
            // The caller's descriptor is good; what is lost with the former process is what was behind it.
            Err(Errno::EBADF) if self.is_inherited => (-(Errno::EIO as i32), &[][..]),
            Err(errno) => (-(errno as i32), &[][..]),
        };
        match self.send(errno, unique, payload) {
            Ok(()) | Err(Errno::ENOENT | Errno::ENODEV) => {}
            Err(errno) => {
                tracing::error!(unique, bytes = payload.len(), %errno, "the kernel did not take an answer")
            }
        }
    }

    /// Sends a notification; what the kernel does not know needs no forgetting.
    pub(super) fn notify(&self, notice: Notice, payload: &Body) -> Result<(), Errno> {
        match self.send(notice as i32, 0, payload.as_slice()) {
            Err(Errno::ENOENT) => Ok(()),
            other => other,
        }
    }

    fn send(&self, code: i32, unique: u64, payload: &[u8]) -> Result<(), Errno> {
        let mut header = Body::with_capacity(OUT_HEADER_BYTES);
        let len = u32::try_from(OUT_HEADER_BYTES + payload.len()).map_err(|_| Errno::EMSGSIZE)?;
        header.u32(len).raw(&code.to_ne_bytes()).u64(unique);
        let parts = [IoSlice::new(header.as_slice()), IoSlice::new(payload)];
        let parts = if payload.is_empty() { &parts[..1] } else { &parts[..] };
        nix::sys::uio::writev(&*self.device, parts).map(drop)
    }
}
