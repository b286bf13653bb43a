//! What operations answer with.

use bytes::Bytes;
use juicefs_meta::{Attr, Ino, Kind};
use std::time::Duration;

/// A name that was found or made.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    pub ino: Ino,
    pub attr: Attr,
    /// For how long the attributes may be kept.
    pub attr_ttl: Duration,
    /// For how long the name may be kept.
    pub entry_ttl: Duration,
}

/// Attributes of an inode.
#[derive(Clone, Copy, Debug)]
pub struct Attributes {
    pub ino: Ino,
    pub attr: Attr,
    pub attr_ttl: Duration,
}

/// An open file or directory.
#[derive(Clone, Copy, Debug)]
pub struct Opened {
    pub fh: u64,
    /// Pages that the kernel has of this file are still right.
    pub keep_cache: bool,
    /// The kernel keeps no pages for this handle: every read and write comes here.
    pub direct: bool,
}

/// A file that was made (or found, without `O_EXCL`) and opened.
#[derive(Clone, Copy, Debug)]
pub struct Created {
    pub found: Found,
    pub opened: Opened,
}

/// One line of a listing.
#[derive(Clone, Debug)]
pub struct Line {
    pub name: Bytes,
    pub ino: Ino,
    pub kind: Kind,
    /// Where the listing goes on after this line.
    pub next: u64,
    /// When asked for and known; never for `.` and `..`.
    pub found: Option<Found>,
}
