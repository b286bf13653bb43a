//! The nouns of the name space. All are values; only transactions change what they describe.

use bytes::Bytes;
use juicefs_base::Errno;
use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

/// Inode number.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ino(pub u64);

impl Ino {
    pub const ROOT: Self = Self(1);
    /// Root of the trash; every inode from here upwards is trash.
    pub const TRASH: Self = Self(0x7FFF_FFFF_1000_0000);

    /// Stands for the number in a directory's record that can't be decoded.
    pub const UNKNOWN: Self = Self(u64::MAX);

    #[must_use]
    pub fn is_trash(self) -> bool {
        self >= Self::TRASH
    }
}

impl fmt::Display for Ino {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Ino {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "i{}", self.0)
    }
}

/// Type of a node; the numbers are the format's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    File = 1,
    Directory = 2,
    Symlink = 3,
    Fifo = 4,
    BlockDevice = 5,
    CharDevice = 6,
    Socket = 7,
}

impl Kind {
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            1 => Self::File,
            2 => Self::Directory,
            3 => Self::Symlink,
            4 => Self::Fifo,
            5 => Self::BlockDevice,
            6 => Self::CharDevice,
            7 => Self::Socket,
            _ => return None,
        })
    }

    #[must_use]
    pub fn code(self) -> u8 {
        self as u8
    }
}

/// A point in time; seconds may be negative, nanoseconds are 0..=999_999_999.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time {
    pub sec: i64,
    pub nsec: u32,
}

impl Time {
    /// By this machine's clock; the epoch where it is set to before it.
    #[must_use]
    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { sec: i64::try_from(since.as_secs()).unwrap_or(i64::MAX), nsec: since.subsec_nanos() }
    }

    /// Milliseconds since the epoch.
    #[must_use]
    pub fn unix_ms(self) -> i64 {
        self.sec.saturating_mul(1000).saturating_add(i64::from(self.nsec / 1_000_000))
    }
}

/// Bits of [`Attr::flags`].
pub mod flags {
    pub const IMMUTABLE: u8 = 1;
    pub const APPEND: u8 = 2;
    pub const SKIP_TRASH: u8 = 32;
    /// What callers see and set; the other bits are another system's.
    pub const ALL: u8 = IMMUTABLE | APPEND | SKIP_TRASH;
}

/// Attributes of a node, all that the format keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attr {
    pub flags: u8,
    pub kind: Kind,
    /// Twelve bits: permissions, suid, sgid, sticky.
    pub mode: u16,
    pub uid: u32,
    pub gid: u32,
    pub atime: Time,
    pub mtime: Time,
    pub ctime: Time,
    pub nlink: u32,
    pub length: u64,
    pub rdev: u32,
    /// 0 = a hard-linked file whose parents are counted apart.
    pub parent: Ino,
    /// 0 = none.
    pub access_acl: u32,
    pub default_acl: u32,
    pub tier: u8,
}

impl Attr {
    /// A new node of `kind`; everything that is not named is zero.
    #[must_use]
    pub fn new(kind: Kind, mode: u16, uid: u32, gid: u32, parent: Ino, now: Time) -> Self {
        let is_directory = kind == Kind::Directory;
        Self {
            flags: 0,
            kind,
            mode: mode & 0o7777,
            uid,
            gid,
            atime: now,
            mtime: now,
            ctime: now,
            nlink: if is_directory { 2 } else { 1 },
            length: if is_directory { 4096 } else { 0 },
            rdev: 0,
            parent,
            access_acl: 0,
            default_acl: 0,
            tier: 0,
        }
    }

    /// Bytes this node counts for in used space.
    #[must_use]
    pub fn space(&self) -> u64 {
        if self.kind == Kind::File { align_4k(self.length) } else { 4096 }
    }
}

/// Length rounded up to 4 KiB; an empty file counts 4 KiB.
#[must_use]
pub fn align_4k(length: u64) -> u64 {
    if length == 0 { 4096 } else { length.div_ceil(4096) * 4096 }
}

/// The name of a directory entry: 1 to 255 raw bytes without `/` and NUL, neither `.` nor `..`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Bytes);

impl Name {
    pub const BYTES_MAX: usize = 255;

    /// # Errors
    /// `ENAMETOOLONG` past 255 bytes, `ENOENT` for nothing, `EINVAL` for `/`, NUL, `.` and `..`.
    pub fn new(bytes: impl Into<Bytes>) -> Result<Self, Errno> {
        let bytes = bytes.into();
        match &bytes[..] {
            [] => Err(Errno::ENOENT),
            b"." | b".." => Err(Errno::EINVAL),
            long if long.len() > Self::BYTES_MAX => Err(Errno::ENAMETOOLONG),
            any if any.iter().any(|&byte| byte == b'/' || byte == 0) => Err(Errno::EINVAL),
            _ => Ok(Self(bytes)),
        }
    }

    /// A name as a record holds it: not checked, so that a directory with a foreign name can still be read.
    #[must_use]
    pub fn from_record(bytes: Bytes) -> Self {
        Self(bytes)
    }

    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.escape_ascii())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

/// What a directory holds under a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edge {
    pub ino: Ino,
    pub kind: Kind,
}

/// A directory entry as listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub name: Name,
    pub edge: Edge,
    /// Missing when not asked for, or when the node's record is missing.
    pub attr: Option<Attr>,
}

/// Number of a slice; 0 = hole.
pub type SliceId = u64;

/// One write inside a chunk, or a hole; a chunk is a list of these in write order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Slice {
    /// Offset inside the chunk.
    pub pos: u32,
    pub id: SliceId,
    /// Size of the whole slice as its blocks are named.
    pub size: u32,
    /// Start inside the slice.
    pub off: u32,
    /// Bytes used.
    pub len: u32,
}

pub const CHUNK_BYTES: u64 = 1 << 26;

/// Largest file: `CHUNK_BYTES << 31`.
pub const FILE_BYTES_MAX: u64 = CHUNK_BYTES << 31;

/// Who asks: the pid is for locks and logs only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    pub uid: u32,
    pub gid: u32,
    /// Supplementary groups; empty when the kernel checks permissions.
    pub groups: Vec<u32>,
    pub pid: u32,
    /// False when the kernel has checked permissions already (`default_permissions`) or for internal work.
    pub checks_permission: bool,
}

impl Caller {
    /// Internal work: root, nothing checked.
    #[must_use]
    pub fn internal() -> Self {
        Self { uid: 0, gid: 0, groups: Vec::new(), pid: 0, checks_permission: false }
    }

    #[must_use]
    pub fn is_in_group(&self, gid: u32) -> bool {
        self.gid == gid || self.groups.contains(&gid)
    }
}

/// Numbers of one directory's direct children.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DirStat {
    /// Sum of file lengths.
    pub length: i64,
    /// Sum of [`Attr::space`].
    pub space: i64,
    /// Number of entries.
    pub inodes: i64,
}

/// What a volume (without its root and `.trash`), a tree, a user or a group uses, or a movement of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub space: i64,
    pub inodes: i64,
}

impl Usage {
    /// What one node counts for.
    #[must_use]
    pub fn of(attr: &Attr) -> Self {
        Self { space: i64::try_from(attr.space()).unwrap_or(i64::MAX), inodes: 1 }
    }
}

impl std::ops::Add for Usage {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { space: self.space + other.space, inodes: self.inodes + other.inodes }
    }
}

impl std::ops::Neg for Usage {
    type Output = Self;

    fn neg(self) -> Self {
        Self { space: -self.space, inodes: -self.inodes }
    }
}
