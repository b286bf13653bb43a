//! What can go wrong between a mount point and its first request.

use std::io;
use std::path::PathBuf;

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of the fuse room: one sentence for whoever asked for the mount.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("mount option {option:?}: {cause}")]
    Option { option: String, cause: String },
    #[error("open /dev/fuse: {0}; is the fuse module loaded and the device visible to this process?")]
    Device(#[source] io::Error),
    #[error("mount on {mountpoint}: {cause}", mountpoint = mountpoint.display())]
    Mount { mountpoint: PathBuf, cause: String },
    #[error("fusermount3: {0}")]
    Fusermount(String),
    #[error("fuse session: {0}")]
    Session(#[from] io::Error),
}
