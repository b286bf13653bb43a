//! Why a mount did not come up, or did not end well: each is a sentence for the user.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of the mount room.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("mount point {path}: {cause}", path = path.display())]
    MountPoint { path: PathBuf, cause: String },
    #[error("{path} is already a mount of {source_name}; umount it first, or mount over it with --force", path = path.display())]
    AlreadyMounted { path: PathBuf, source_name: String },
    #[error("{path} is not mounted: `findmnt` shows what is", path = .0.display())]
    NotMounted(PathBuf),
    #[error("umount {path}: device or resource busy; close what is open there (`fuser -vm {path}` names it), or umount --force", path = .0.display())]
    Busy(PathBuf),
    #[error("umount {path}: {cause}", path = path.display())]
    Unmount { path: PathBuf, cause: String },
    #[error(transparent)]
    Meta(#[from] juicefs_meta::Error),
    #[error(transparent)]
    Object(#[from] juicefs_object::Error),
    #[error(transparent)]
    Volume(#[from] juicefs_volume::Error),
    #[error("{0}")]
    Setting(String),
    #[error(transparent)]
    Fuse(#[from] juicefs_fuse::Error),
    #[error("{what}: {source}")]
    Io { what: String, source: io::Error },
    /// The volume is no longer the one that was mounted.
    #[error("{0}")]
    VolumeGone(String),
    #[error("{what} took longer than {deadline:?}")]
    Deadline { what: String, deadline: Duration },
    /// What the other process said, or that it said nothing.
    #[error("{0}")]
    Process(String),
    /// The other side of the socket broke the protocol.
    #[error("mount pod protocol: {0}")]
    Protocol(String),
}

impl Error {
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }

    /// The exit status of the command that met this error.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            // As the peer's, for whoever restarts mounts.
            Self::VolumeGone(_) => 11,
            _ => 1,
        }
    }
}
