//! A served mount: threads that read its descriptor, and its end.
//!
//! The state is whether the threads still run. They end by themselves when the kernel lets go of the mount;
//! nothing here stops them otherwise.

use crate::adapter::Adapter;
use crate::device;
use crate::error::Result;
use crate::invalidate::KernelCaches;
use crate::options::FuseOptions;
use crate::transport::{End, Transport};
use juicefs_vfs::Vfs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::runtime::Handle;
use tokio::sync::watch;

/// A mount that is being served.
#[derive(Debug)]
pub struct Session {
    /// The end of the threads; `None` while they run.
    ended: watch::Receiver<End>,
    refusing: Arc<AtomicBool>,
}

/// Mounts `vfs` on `mountpoint` and serves it.
///
/// # Errors
/// A sentence on why the kernel or `fusermount3` refused.
pub fn serve(vfs: Arc<Vfs>, mountpoint: &Path, options: FuseOptions, runtime: Handle) -> Result<Session> {
    let device = device::mount(mountpoint, &options)?;
    serve_fd(device, vfs, options, runtime)
}

/// Serves a descriptor of `/dev/fuse` that somebody has mounted and nobody has served.
///
/// # Errors
/// A handshake that fails, or threads that can't be started.
pub fn serve_fd(device: OwnedFd, vfs: Arc<Vfs>, options: FuseOptions, runtime: Handle) -> Result<Session> {
    start(vfs, options, runtime, |adapter| Transport::open(device, adapter))
}

/// Serves a descriptor whose former process has died. Reading goes on, through handles of then too; what was written
/// and not stored is lost, and its handles fail with EIO, as do the changes that were under way.
///
/// # Errors
/// A kernel before Linux 6.9, which does not send again what the dead process had read.
pub fn inherit_fd(device: OwnedFd, vfs: Arc<Vfs>, options: FuseOptions, runtime: Handle) -> Result<Session> {
    start(vfs, options, runtime, |adapter| Transport::inherit(device, adapter))
}

fn start(
    vfs: Arc<Vfs>,
    options: FuseOptions,
    runtime: Handle,
    open: impl FnOnce(Adapter) -> io::Result<Transport>,
) -> Result<Session> {
    let refusing = Arc::new(AtomicBool::new(false));
    let adapter = Adapter::new(vfs.clone(), options, runtime, refusing.clone());
    let transport = open(adapter)?;
    vfs.set_invalidator(Box::new(KernelCaches::new(transport.notifier())));
    let ended = transport.start()?;
    Ok(Session { ended, refusing })
}

impl Session {
    /// Waits until the kernel has let go of the mount and every request was read.
    ///
    /// # Errors
    /// What the threads ended with, if not an unmount.
    pub async fn ended(&self) -> Result<()> {
        let mut ended = self.ended.clone();
        let end = ended.wait_for(Option::is_some).await.ok().and_then(|end| end.clone());
        match end {
            Some(Ok(())) => Ok(()),
            Some(Err(cause)) => Err(io::Error::other(cause).into()),
            None => Err(io::Error::other("the session's thread died").into()),
        }
    }

    /// From now on every request fails with ENOTCONN, as if the process were gone: for a volume that is closed
    /// while its mount is still there.
    pub fn refuse(&self) {
        self.refusing.store(true, Ordering::Release);
    }

    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.ended.borrow().is_some() || self.ended.has_changed().is_err()
    }
}
