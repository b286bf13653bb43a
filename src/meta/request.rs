//! What callers of [`crate::Meta`] ask with and are answered with, where a bare number would not say enough.

use bytes::Bytes;

use crate::types::{Attr, Kind, Time};

/// How a mount uses the volume.
#[derive(Clone, Debug)]
pub struct MetaOptions {
    /// No session, no change of any record.
    pub read_only: bool,
    /// Between two refreshes of the session; it expires after five of them.
    pub heartbeat: std::time::Duration,
    /// A directory whose times are younger keeps them when a file comes or goes. The peer's default is 100 ms,
    /// ours is 0 (POSIX).
    pub skip_dir_mtime: std::time::Duration,
    /// As the session document says it.
    pub mount_point: String,
    /// No clean-ups of stale sessions, deleted files, slices and trash.
    pub no_bgjob: bool,
    /// The directory that is inode 1 for callers, as a path from the volume's root.
    pub subdir: Option<String>,
    /// Directories of `subdir` that are missing are made, for everybody as the root of a volume is.
    pub makes_subdir: bool,
    /// When reading moves the atime of what is read.
    pub atime: AtimeMode,
    /// How long attributes of an opened file are good for another open without asking; zero: not at all.
    pub open_cache: std::time::Duration,
    /// Files whose attributes are kept for that.
    pub open_cache_limit: usize,
    /// Whose addresses the session document tells; empty = all.
    pub network_interfaces: Vec<String>,
    /// As the session document says it; must parse as a version.
    pub version: String,
}

impl Default for MetaOptions {
    fn default() -> Self {
        Self {
            read_only: false,
            heartbeat: std::time::Duration::from_secs(12),
            skip_dir_mtime: std::time::Duration::ZERO,
            mount_point: String::new(),
            no_bgjob: false,
            subdir: None,
            makes_subdir: false,
            atime: AtimeMode::default(),
            open_cache: std::time::Duration::ZERO,
            open_cache_limit: 10_000,
            network_interfaces: Vec::new(),
            version: crate::format::SESSION_VERSION.to_owned(),
        }
    }
}

/// When reading moves an atime (`--atime-mode`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AtimeMode {
    #[default]
    Never,
    /// When it is older than the mtime, the ctime, or a day.
    Relative,
    /// When it is older than a second.
    Strict,
}

/// A time to set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetTime {
    /// The moment of the commit; a caller who may write the file may ask for it.
    Now,
    /// A given moment; only the owner and root may ask for it.
    At(Time),
}

/// Attributes to change; what is `None` stays. The size is changed by [`crate::Meta::truncate`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SetAttr {
    /// Twelve bits.
    pub mode: Option<u16>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub atime: Option<SetTime>,
    pub mtime: Option<SetTime>,
    /// Only the kernel's writeback cache asks for it.
    pub ctime: Option<SetTime>,
    /// Take suid away, and sgid from group-executable files, as a write by somebody else does.
    pub clear_suid: bool,
    /// Those of [`crate::types::flags`] that shall be set, the others not; only root changes any.
    pub flags: Option<u8>,
}

/// A node to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewNode {
    pub kind: Kind,
    /// Twelve bits, before `umask`.
    pub mode: u16,
    pub umask: u16,
    /// Linux encoding; devices only.
    pub rdev: u32,
    /// Symlinks only: 1 to 4095 bytes without NUL.
    pub target: Option<Bytes>,
}

impl NewNode {
    #[must_use]
    pub fn file(mode: u16, umask: u16) -> Self {
        Self { kind: Kind::File, mode, umask, rdev: 0, target: None }
    }

    #[must_use]
    pub fn directory(mode: u16, umask: u16) -> Self {
        Self { kind: Kind::Directory, ..Self::file(mode, umask) }
    }

    #[must_use]
    pub fn symlink(target: impl Into<Bytes>) -> Self {
        Self { kind: Kind::Symlink, target: Some(target.into()), ..Self::file(0o777, 0) }
    }
}

/// Flags of `open(2)`, Linux numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenFlags(pub i32);

impl OpenFlags {
    #[must_use]
    pub fn reads(self) -> bool {
        self.0 & libc::O_ACCMODE != libc::O_WRONLY
    }

    /// Opened for writing, or cut by `O_TRUNC`.
    #[must_use]
    pub fn writes(self) -> bool {
        self.0 & libc::O_ACCMODE != libc::O_RDONLY || self.truncates()
    }

    #[must_use]
    pub fn truncates(self) -> bool {
        self.0 & libc::O_TRUNC != 0
    }

    #[must_use]
    pub fn appends(self) -> bool {
        self.0 & libc::O_APPEND != 0
    }

    #[must_use]
    pub fn is_exclusive(self) -> bool {
        self.0 & libc::O_EXCL != 0
    }
}

/// Flags of `renameat2(2)`, Linux numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RenameFlags(pub u32);

impl RenameFlags {
    pub const NOREPLACE: Self = Self(1);
    pub const EXCHANGE: Self = Self(2);
    pub const WHITEOUT: Self = Self(4);
    /// Out of the trash, also into a directory that lies there itself. No system call has it.
    pub const RESTORE: Self = Self(32);

    #[must_use]
    pub fn has(self, flag: Self) -> bool {
        self.0 & flag.0 != 0
    }
}

/// Whether an extended attribute may or must be there already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum XattrMode {
    #[default]
    Any,
    /// `XATTR_CREATE`
    Create,
    /// `XATTR_REPLACE`
    Replace,
}

/// Bytes to copy from one file to another, or within one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RangeCopy {
    pub src: crate::types::Ino,
    pub src_off: u64,
    pub dst: crate::types::Ino,
    pub dst_off: u64,
    pub len: u64,
}

/// Bits of `fallocate(2)`.
pub mod fallocate {
    pub const KEEP_SIZE: u8 = 1;
    pub const PUNCH_HOLE: u8 = 2;
    pub const COLLAPSE_RANGE: u8 = 8;
    pub const ZERO_RANGE: u8 = 16;
    pub const INSERT_RANGE: u8 = 32;
}

/// Room of the volume.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StatFs {
    pub total_bytes: u64,
    pub avail_bytes: u64,
    pub used_inodes: u64,
    pub avail_inodes: u64,
}

/// What a committed slice made of its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteDone {
    pub attr: Attr,
    /// The file's mtime before: another one than the last known means that somebody else changed the data.
    pub mtime_before: crate::types::Time,
    /// Length of the chunk's list now; many are a reason to compact.
    pub slices: u32,
}

/// A stored slice to be appended to a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SliceWrite {
    pub indx: u32,
    pub slice: crate::types::Slice,
    /// Of the write.
    pub mtime: crate::types::Time,
    /// It belongs at the end of the file as it is when this is committed, whatever `indx` and the slice's place say.
    pub appends: bool,
}

/// What committed slices made of their file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlicesDone {
    pub attr: Attr,
    /// As in [`WriteDone`].
    pub mtime_before: crate::types::Time,
    /// And its ctime, which nobody can set back.
    pub ctime_before: crate::types::Time,
    /// The slices as they were placed, in order; what appends may be elsewhere than asked, and in two parts.
    pub placed: Vec<SliceWrite>,
    /// Length of its chunk's list after each of them.
    pub slices: Vec<u32>,
}
