//! What a request is and how it is answered, in our own words: nothing outside `transport` knows which crate
//! or read loop carries them. Where the vfs has a word for an answer, it is used as it is.

use bytes::Bytes;
use juicefs_base::Errno;
use juicefs_vfs::{Found, Line};
use std::time::Duration;

/// Who asks, as the kernel says it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) pid: u32,
}

/// The one answer to a request. Dropping it without one answers EIO.
pub(crate) trait Answer<T>: Send + 'static {
    fn answer(self, result: Result<T, Errno>);
}

/// What a lookup says.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Looked {
    Found(Found),
    /// There is no such name, and the kernel may remember that.
    Absent(Duration),
}

/// Bytes for a caller who has `room` for so many; 0 asks how many there are.
#[derive(Clone, Debug)]
pub(crate) struct Fitted {
    pub(crate) room: u32,
    pub(crate) bytes: Bytes,
}

/// What an ioctl answers.
#[derive(Clone, Debug)]
pub(crate) struct Output(pub(crate) Bytes);

/// An open directory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OpenedDirectory {
    pub(crate) fh: u64,
    /// The kernel may keep the listing.
    pub(crate) cache_listing: bool,
}

/// The buffer of a listing and its answer.
pub(crate) trait Listing: Send + 'static {
    /// Adds `line`; true when it no longer fitted.
    fn add(&mut self, line: &Line) -> bool;
    fn answer(self, result: Result<(), Errno>);
}
