//! `/dev/fuse` and the mount that belongs to it: by mount(2) for root, by `fusermount3` for everybody else.

use crate::descriptors;
use crate::error::{Error, Result};
use crate::options::FuseOptions;
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use std::fs::OpenOptions;
use std::io::Read;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};

const DEVICE: &str = "/dev/fuse";
const SUBTYPE: &str = "juicefs";

/// Mounts an unserved file system on `mountpoint` and returns its descriptor; every access to the mount point
/// waits until somebody serves it.
///
/// # Errors
/// A sentence saying what the kernel or `fusermount3` refused.
pub fn mount(mountpoint: &Path, options: &FuseOptions) -> Result<OwnedFd> {
    if nix::unistd::geteuid().is_root() {
        match mount_directly(mountpoint, options) {
            Err(Refused::NotPermitted) => {}
            Err(Refused::For(error)) => return Err(error),
            Ok(device) => return Ok(device),
        }
    }
    mount_by_helper(mountpoint, options)
}

/// Opens the device for the broker and for ourselves.
fn open_device() -> Result<OwnedFd> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(nix::libc::O_CLOEXEC)
        .open(DEVICE)
        .map(OwnedFd::from)
        .map_err(Error::Device)
}

enum Refused {
    /// Not root enough for mount(2): a user namespace or a missing capability.
    NotPermitted,
    For(Error),
}

fn mount_directly(mountpoint: &Path, options: &FuseOptions) -> Result<OwnedFd, Refused> {
    let refused = |cause: String| Refused::For(Error::Mount { mountpoint: mountpoint.to_owned(), cause });
    let metadata = std::fs::symlink_metadata(mountpoint).map_err(|error| refused(error.to_string()))?;
    let device = open_device().map_err(Refused::For)?;
    let mut data = format!(
        "fd={},rootmode={:o},user_id={},group_id={}",
        device.as_raw_fd(),
        metadata.mode(),
        nix::unistd::getuid(),
        nix::unistd::getgid(),
    );
    for option in options.kernel_data() {
        data.push(',');
        data.push_str(&option);
    }
    let kind = format!("fuse.{SUBTYPE}");
    let source = options.source();
    match nix::mount::mount(
        Some(source.as_str()),
        mountpoint,
        Some(kind.as_str()),
        options.mount_flags(),
        Some(data.as_str()),
    ) {
        Ok(()) => Ok(device),
        Err(Errno::EPERM) => Err(Refused::NotPermitted),
        Err(errno) => Err(refused(errno.desc().to_lowercase())),
    }
}

/// The setuid helper mounts and hands the descriptor over a socket that it finds by `_FUSE_COMMFD`.
fn mount_by_helper(mountpoint: &Path, options: &FuseOptions) -> Result<OwnedFd> {
    // No close-on-exec on the helper's end only: it is found by number.
    let (ours, helpers) = socketpair(AddressFamily::Unix, SockType::Stream, None, SockFlag::empty())
        .map_err(std::io::Error::from)?;
    nix::fcntl::fcntl(&ours, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC))
        .map_err(std::io::Error::from)?;
    let mut child = Command::new("fusermount3")
        .arg("-o")
        .arg(options.helper_list(SUBTYPE).join(","))
        .arg("--")
        .arg(mountpoint)
        .env("_FUSE_COMMFD", helpers.as_raw_fd().to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| {
            Error::Fusermount(format!("{error}; mounting without root needs the package fuse3"))
        })?;
    drop(helpers);
    let received = descriptors::receive(&UnixStream::from(ours), &mut [0; 1]);
    let mut complaint = String::new();
    if let Some(mut stderr) = child.stderr.take() {
        // A helper that says nothing readable is reported by its exit status below.
        let _ = stderr.read_to_string(&mut complaint);
    }
    let status = child.wait()?;
    let device = received.ok().and_then(|(_, mut fds)| fds.pop());
    match device {
        Some(device) if status.success() => Ok(device),
        _ => Err(Error::Fusermount(explain(complaint.trim(), &status))),
    }
}

fn explain(complaint: &str, status: &std::process::ExitStatus) -> String {
    let complaint = complaint.trim_start_matches("fusermount3: ");
    if complaint.is_empty() {
        return status.to_string();
    }
    if complaint.contains("user_allow_other") {
        return format!(
            "{complaint} (add the line `user_allow_other` to /etc/fuse.conf, or drop allow_other)"
        );
    }
    if complaint.contains("no write access") {
        return format!(
            "{complaint} (a mount without root needs a directory of your own: `chown` it, or name another)"
        );
    }
    if complaint.contains("Operation not permitted") || complaint.contains("Permission denied") {
        return format!(
            "{complaint} (mounting is not allowed here: run as root; in a container, with CAP_SYS_ADMIN and /dev/fuse)"
        );
    }
    complaint.to_owned()
}
