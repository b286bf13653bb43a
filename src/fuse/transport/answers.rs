//! Our answers as fuser's replies. Nothing here decides; it only translates.

use crate::convert::{file_attr, file_type};
use crate::request::{Answer, Listing, Looked, OpenedDirectory, OpenedFile};
use bytes::Bytes;
use fuser::{FileAttr, FileHandle, FopenFlags, Generation, INodeNo};
use juicefs_base::Errno;
use juicefs_vfs::{Attr, Attributes, Created, Found, Ino, Kind, Line, Opened, StatFs, Time};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

/// Inode numbers are never used twice.
const GENERATION: Generation = Generation(1);

/// Block size of `statfs`, as the peer says: what used space is counted in.
const STATFS_BLOCK: u64 = 4096;

fn number(errno: Errno) -> fuser::Errno {
    fuser::Errno::from_i32(errno as i32)
}

fn open_flags(opened: &Opened) -> FopenFlags {
    let mut flags = FopenFlags::empty();
    flags.set(FopenFlags::FOPEN_KEEP_CACHE, opened.keep_cache);
    flags.set(FopenFlags::FOPEN_DIRECT_IO, opened.direct);
    flags
}

/// A node nothing is known of but its number and kind.
fn bare(ino: Ino, kind: Kind) -> FileAttr {
    file_attr(ino, &Attr::new(kind, 0, 0, 0, Ino(0), Time::default()))
}

impl Answer<()> for fuser::ReplyEmpty {
    fn answer(self, result: Result<(), Errno>) {
        match result {
            Ok(()) => self.ok(),
            Err(errno) => self.error(number(errno)),
        }
    }
}

impl Answer<Found> for fuser::ReplyEntry {
    fn answer(self, result: Result<Found, Errno>) {
        match result {
            Ok(found) => {
                let attr = file_attr(found.ino, &found.attr);
                self.entry_with_ttls(&found.attr_ttl, &found.entry_ttl, &attr, GENERATION);
            }
            Err(errno) => self.error(number(errno)),
        }
    }
}

impl Answer<Looked> for fuser::ReplyEntry {
    fn answer(self, result: Result<Looked, Errno>) {
        match result {
            Ok(Looked::Found(found)) => Answer::<Found>::answer(self, Ok(found)),
            // Inode 0 makes the kernel remember that there is no such name.
            Ok(Looked::Absent(ttl)) => self.entry(&ttl, &bare(Ino(0), Kind::File), GENERATION),
            Err(errno) => self.error(number(errno)),
        }
    }
}

impl Answer<Attributes> for fuser::ReplyAttr {
    fn answer(self, result: Result<Attributes, Errno>) {
        match result {
            Ok(got) => self.attr(&got.attr_ttl, &file_attr(got.ino, &got.attr)),
            Err(errno) => self.error(number(errno)),
        }
    }
}

impl Answer<OpenedFile> for fuser::ReplyOpen {
    fn answer(self, result: Result<OpenedFile, Errno>) {
        match result {
            Ok(OpenedFile { opened, skips_flush }) => {
                let mut flags = open_flags(&opened);
                flags.set(FopenFlags::FOPEN_NOFLUSH, skips_flush);
                self.opened(FileHandle(opened.fh), flags);
            }
            Err(errno) => self.error(number(errno)),
        }
    }
}

impl Answer<OpenedDirectory> for fuser::ReplyOpen {
    fn answer(self, result: Result<OpenedDirectory, Errno>) {
        match result {
            Ok(opened) => {
                let mut flags = FopenFlags::empty();
                flags.set(FopenFlags::FOPEN_CACHE_DIR, opened.cache_listing);
                flags.set(FopenFlags::FOPEN_KEEP_CACHE, opened.cache_listing);
                self.opened(FileHandle(opened.fh), flags);
            }
            Err(errno) => self.error(number(errno)),
        }
    }
}

impl Answer<Created> for fuser::ReplyCreate {
    fn answer(self, result: Result<Created, Errno>) {
        match result {
            Ok(Created { found, opened }) => {
                // The carrier has one lifetime for both; the shorter one is never wrong.
                let ttl = found.attr_ttl.min(found.entry_ttl);
                let flags = open_flags(&opened);
                let attr = file_attr(found.ino, &found.attr);
                self.created(&ttl, &attr, GENERATION, FileHandle(opened.fh), flags);
            }
            Err(errno) => self.error(number(errno)),
        }
    }
}

impl Answer<Bytes> for fuser::ReplyData {
    fn answer(self, result: Result<Bytes, Errno>) {
        match result {
            Ok(data) => self.data(&data),
            Err(errno) => self.error(number(errno)),
        }
    }
}

impl Answer<u32> for fuser::ReplyWrite {
    fn answer(self, result: Result<u32, Errno>) {
        match result {
            Ok(count) => self.written(count),
            Err(errno) => self.error(number(errno)),
        }
    }
}

impl Answer<u64> for fuser::ReplyLseek {
    fn answer(self, result: Result<u64, Errno>) {
        match result.and_then(|offset| i64::try_from(offset).map_err(|_| Errno::EOVERFLOW)) {
            Ok(offset) => self.offset(offset),
            Err(errno) => self.error(number(errno)),
        }
    }
}

impl Answer<StatFs> for fuser::ReplyStatfs {
    fn answer(self, result: Result<StatFs, Errno>) {
        match result {
            Ok(capacity) => {
                let blocks = capacity.total_bytes / STATFS_BLOCK;
                let free = capacity.avail_bytes / STATFS_BLOCK;
                let inodes = capacity.used_inodes.saturating_add(capacity.avail_inodes);
                let size = u32::try_from(STATFS_BLOCK).unwrap_or(u32::MAX);
                self.statfs(blocks, free, free, inodes, capacity.avail_inodes, size, 255, size);
            }
            Err(errno) => self.error(number(errno)),
        }
    }
}

impl Listing for fuser::ReplyDirectory {
    fn add(&mut self, line: &Line) -> bool {
        let name = OsStr::from_bytes(&line.name);
        fuser::ReplyDirectory::add(self, INodeNo(line.ino.0), line.next, file_type(line.kind), name)
    }

    fn answer(self, result: Result<(), Errno>) {
        match result {
            Ok(()) => self.ok(),
            Err(errno) => self.error(number(errno)),
        }
    }
}

impl Listing for fuser::ReplyDirectoryPlus {
    fn add(&mut self, line: &Line) -> bool {
        let name = OsStr::from_bytes(&line.name);
        // A line without attributes still makes a node in the kernel: with no lifetime, so that it is asked
        // for before anybody looks at it.
        let (attr, ttl) = match &line.found {
            Some(found) => (file_attr(line.ino, &found.attr), found.attr_ttl.min(found.entry_ttl)),
            None => (bare(line.ino, line.kind), Duration::ZERO),
        };
        fuser::ReplyDirectoryPlus::add(self, INodeNo(line.ino.0), line.next, name, &ttl, &attr, GENERATION)
    }

    fn answer(self, result: Result<(), Errno>) {
        match result {
            Ok(()) => self.ok(),
            Err(errno) => self.error(number(errno)),
        }
    }
}
