//! What can go wrong below the name space, and what to do about it.

use juicefs_base::Errno;

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of the metadata room.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The answer for the file system's caller; never retried.
    #[error("{0}")]
    Errno(Errno),
    /// Somebody else changed a held row; nothing was written; retry.
    #[error("transaction conflict")]
    Conflict,
    /// The commit was sent and its reply was lost; it may have happened.
    #[error("the reply to a commit was lost, its outcome is unknown: {0}")]
    InDoubt(String),
    /// The database can't be reached or is not ready; nothing was written; retry until the deadline.
    #[error("metadata engine unavailable: {0}")]
    Unavailable(String),
    /// The database only reads (a replica, or a master that was demoted); nothing was written. Retried like
    /// `Unavailable`: after a failover it may write again.
    #[error("metadata engine is read-only: {0}")]
    Replica(String),
    /// The database refused the client or the statement; retrying can't help.
    #[error("metadata engine: {0}")]
    Engine(String),
    /// The database does not let this user in, or not with this password.
    #[error("metadata engine: {0}: check the user, META_PASSWORD and the address")]
    Denied(String),
    /// A record that can't be decoded.
    #[error("corrupt record {record}: {cause}; restore it from a backup of the database")]
    Corrupt { record: String, cause: String },
    /// The volume asks for what this client does not do; the sentence names it.
    #[error("{0}")]
    Unsupported(String),
    /// The database holds no volume.
    #[error("{0}")]
    NotFormatted(String),
    /// The database is full or out of memory.
    #[error("metadata engine is full: {0}")]
    Full(String),
}

/// A record that can't be decoded, where the records beside it are of use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("corrupt record {record}: {cause}; restore it from a backup of the database")]
pub struct Damage {
    pub record: String,
    pub cause: String,
}

impl From<Damage> for Error {
    fn from(Damage { record, cause }: Damage) -> Self {
        Self::Corrupt { record, cause }
    }
}

/// Sets a record that can't be decoded apart from an engine that does not answer.
pub(crate) fn or_damage<T>(decoded: Result<T>) -> Result<Result<T, Damage>> {
    match decoded {
        Ok(value) => Ok(Ok(value)),
        Err(Error::Corrupt { record, cause }) => Ok(Err(Damage { record, cause })),
        Err(error) => Err(error),
    }
}

impl Error {
    /// What an engine without a change log answers, asked for it.
    #[must_use]
    pub fn no_change_log(engine: &str) -> Self {
        Self::Unsupported(format!(
            "metadata on {engine} has no change log: no client writes one there; keep the volume on Redis or an SQL \
             database if it is to be followed"
        ))
    }

    /// The error number for a file system's caller; the one place where it is decided (decisions 24).
    #[must_use]
    pub fn errno(&self) -> Errno {
        match self {
            Self::Errno(errno) => *errno,
            Self::Full(_) => Errno::ENOSPC,
            Self::Unsupported(_) | Self::Replica(_) => Errno::EROFS,
            Self::Conflict
            | Self::InDoubt(_)
            | Self::Unavailable(_)
            | Self::Engine(_)
            | Self::Denied(_)
            | Self::Corrupt { .. }
            | Self::NotFormatted(_) => Errno::EIO,
        }
    }

    /// Whether the same operation may succeed when tried again.
    #[must_use]
    pub fn may_retry(&self) -> bool {
        matches!(self, Self::Conflict | Self::Unavailable(_) | Self::Replica(_))
    }
}

impl From<Errno> for Error {
    fn from(errno: Errno) -> Self {
        Self::Errno(errno)
    }
}
