//! What a call on files can fail with; every failure has an errno, decided below.

use juicefs_base::Errno;

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of the vfs room.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A rule of the file system said no.
    #[error("{0}")]
    Errno(Errno),
    #[error(transparent)]
    Meta(#[from] juicefs_meta::Error),
    #[error(transparent)]
    Chunk(#[from] juicefs_chunk::Error),
    /// A lock of the handle went to another client while this one was taken for dead.
    #[error("a lock of this handle was lost to another client")]
    LostLock,
    /// An earlier write could not be stored; said once to each handle.
    #[error("an earlier write failed: {0}")]
    Lost(Errno),
}

impl Error {
    /// What a system call answers.
    #[must_use]
    pub fn errno(&self) -> Errno {
        match self {
            Self::Errno(errno) | Self::Lost(errno) => *errno,
            Self::LostLock => Errno::EIO,
            Self::Meta(error) => error.errno(),
            Self::Chunk(error) => error.errno(),
        }
    }
}

impl From<Errno> for Error {
    fn from(errno: Errno) -> Self {
        Self::Errno(errno)
    }
}

/// An inode that the kernel had looked up is gone: ESTALE makes it walk the path again, ENOENT would end up
/// in an application that replaces files by rename.
pub(crate) fn stale(error: juicefs_meta::Error) -> Error {
    match error.errno() {
        Errno::ENOENT => Error::Errno(Errno::ESTALE),
        _ => Error::Meta(error),
    }
}
