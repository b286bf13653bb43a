//! Nouns of file locks, of both kinds: BSD locks on whole files (`flock`) and POSIX locks on ranges (`fcntl`).

use juicefs_base::Errno;

/// The last byte that a range may name: "to the end of the file".
pub const LOCK_END_MAX: u64 = i64::MAX as u64;

/// Who holds a lock: an owner as its kernel numbers them, in the session of that mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Holder {
    pub sid: u64,
    pub owner: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockKind {
    /// Together with others that are shared (`LOCK_SH`, `F_RDLCK`).
    Shared,
    /// Alone (`LOCK_EX`, `F_WRLCK`).
    Exclusive,
}

impl LockKind {
    /// Whether two holders may have these at once.
    #[must_use]
    pub fn excludes(self, other: Self) -> bool {
        self == Self::Exclusive || other == Self::Exclusive
    }
}

/// A POSIX lock. A holder's locks on one file are in order of their start and never overlap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RangeLock {
    pub kind: LockKind,
    /// The process that asked, as its own machine numbers it.
    pub pid: u32,
    pub start: u64,
    /// The last byte, itself locked.
    pub end: u64,
}

/// What a call asks for on a range; `kind` `None` gives up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RangeRequest {
    pub kind: Option<LockKind>,
    pub pid: u32,
    pub start: u64,
    pub end: u64,
}

impl RangeRequest {
    /// Gives up everything.
    #[must_use]
    pub fn unlock_all() -> Self {
        Self { kind: None, pid: 0, start: 0, end: LOCK_END_MAX }
    }

    /// # Errors
    /// EINVAL for a range that ends before it begins.
    pub(crate) fn checked(self) -> crate::Result<Self> {
        let end = self.end.min(LOCK_END_MAX);
        if self.start > end { Err(Errno::EINVAL.into()) } else { Ok(Self { end, ..self }) }
    }
}

/// Ready when whoever waits for a lock must wait no longer: a signal came.
pub type Interrupted = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

/// What happens when somebody else has the lock.
pub enum Patience {
    /// EAGAIN at once.
    None,
    /// It is waited for until this is ready, then EINTR.
    Until(Interrupted),
}

impl std::fmt::Debug for Patience {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Until(_) => "Until(..)",
        })
    }
}
