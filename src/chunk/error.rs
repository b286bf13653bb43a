//! What can go wrong between a slice and its objects. Clones are cheap: one failed fetch answers every waiter.

use juicefs_base::Errno;
use std::path::PathBuf;
use std::sync::Arc;

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of the chunk room.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The store's own sentence: it names bucket, key and cause.
    #[error(transparent)]
    Store(#[from] Arc<juicefs_object::Error>),
    #[error("block {key} is damaged: {cause}")]
    Damaged { key: String, cause: String },
    #[error("cache directory {}: {cause}; make it writable, or choose another with --cache-dir", dir.display())]
    CacheDir { dir: PathBuf, cause: String },
    /// A caller's mistake: bytes outside the slice, or before its not yet uploaded tail.
    #[error("slice {id}: bytes {off}..{end} can't be {what}")]
    Range { id: u64, off: u64, end: u64, what: &'static str },
    #[error("slice {id}: no page left for {bytes} bytes; the reservation was too small")]
    NoPages { id: u64, bytes: usize },
    #[error("no memory for {bytes} bytes within {waited_s} s; --buffer-size is too small for this load")]
    NoMemory { bytes: usize, waited_s: u64 },
    #[error("page arena of {bytes} bytes: {cause}")]
    Arena { bytes: u64, cause: String },
    #[error("{0}")]
    Config(String),
    #[error("the data store is shutting down")]
    Stopped,
}

impl From<juicefs_object::Error> for Error {
    fn from(cause: juicefs_object::Error) -> Self {
        Self::Store(Arc::new(cause))
    }
}

impl Error {
    /// Whether an object is not there: the chunk's list may have changed (compaction), read it again.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Store(cause) if cause.is_not_found())
    }

    /// What a system call answers.
    #[must_use]
    pub fn errno(&self) -> Errno {
        match self {
            Self::Store(cause) if matches!(**cause, juicefs_object::Error::Full { .. }) => Errno::ENOSPC,
            Self::Arena { .. } | Self::NoPages { .. } => Errno::ENOMEM,
            Self::Range { .. } | Self::Config(_) => Errno::EINVAL,
            _ => Errno::EIO,
        }
    }
}
