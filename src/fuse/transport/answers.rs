//! Our answers as the protocol lays them out. Nothing here decides; it only translates.

use super::access::{Access, lock_letter};
use super::channel::Channel;
use super::wire::{Body, DIRENT_BYTES, ENTRY_BYTES};
use crate::request::{Answer, Fitted, Listing, Looked, OpenedDirectory, Output};
use bytes::Bytes;
use juicefs_base::Errno;
use juicefs_vfs::{
    Attr, Attributes, Created, Found, Ino, Kind, Line, LockKind, Opened, RangeLock, StatFs, Time,
};
use std::time::Duration;

/// Inode numbers are never used twice.
const GENERATION: u64 = 1;
/// What `st_blksize` says, as the peer does.
const BLOCK_SIZE: u32 = 65536;
/// Block size of `statfs`, as the peer says: what used space is counted in.
const STATFS_BLOCK: u64 = 4096;

/// How the kernel treats an open file (`FOPEN_*`). NOFLUSH is left out on purpose: each close gives up POSIX locks, one
/// of a handle that only reads as well.
mod fopen {
    pub(super) const DIRECT_IO: u32 = 1;
    pub(super) const KEEP_CACHE: u32 = 1 << 1;
    pub(super) const CACHE_DIR: u32 = 1 << 3;
}

/// The answer that a request still waits for. Dropped without one it answers EIO.
#[derive(Debug)]
pub(super) struct Reply {
    channel: Channel,
    unique: u64,
    is_sent: bool,
    /// What the access log is told, while somebody reads it.
    access: Option<Box<Access>>,
}

impl Reply {
    pub(super) fn new(channel: Channel, unique: u64) -> Self {
        Self { channel, unique, is_sent: false, access: None }
    }

    pub(super) fn told(mut self, access: Option<Box<Access>>) -> Self {
        self.access = access;
        self
    }

    /// Adds an answer to the line of the access log.
    fn tell<T>(&mut self, result: &Result<T, Errno>, tell: impl FnOnce(&mut Access, &T)) {
        if let (Some(access), Ok(answer)) = (&mut self.access, result) {
            tell(access, answer);
        }
    }

    pub(super) fn error(self, errno: Errno) {
        self.send(Err(errno));
    }

    fn send(mut self, result: Result<&[u8], Errno>) {
        self.is_sent = true;
        if let Some(access) = self.access.take() {
            access.end(result.err());
        }
        self.channel.answer(self.unique, result);
    }

    fn body(self, result: Result<Body, Errno>) {
        match &result {
            Ok(body) => self.send(Ok(body.as_slice())),
            Err(errno) => self.send(Err(*errno)),
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if !self.is_sent {
            if let Some(access) = self.access.take() {
                access.end(Some(Errno::EIO));
            }
            self.channel.answer(self.unique, Err(Errno::EIO));
        }
    }
}

/// `S_IFMT` bits of a kind.
fn type_bits(kind: Kind) -> u32 {
    match kind {
        Kind::File => libc::S_IFREG,
        Kind::Directory => libc::S_IFDIR,
        Kind::Symlink => libc::S_IFLNK,
        Kind::Fifo => libc::S_IFIFO,
        Kind::BlockDevice => libc::S_IFBLK,
        Kind::CharDevice => libc::S_IFCHR,
        Kind::Socket => libc::S_IFSOCK,
    }
}

/// Kind and permissions, as `st_mode` has them.
pub(super) fn mode_bits(attr: &Attr) -> u32 {
    type_bits(attr.kind) | u32::from(attr.mode & 0o7777)
}

/// `fuse_attr`. Times before 1970 travel as they are: the kernel takes the seconds as signed.
fn put_attr(body: &mut Body, ino: Ino, attr: &Attr) {
    body.u64(ino.0).u64(attr.length).u64(attr.length.div_ceil(512));
    body.i64(attr.atime.sec).i64(attr.mtime.sec).i64(attr.ctime.sec);
    for time in [attr.atime, attr.mtime, attr.ctime] {
        body.u32(time.nsec.min(999_999_999));
    }
    body.u32(mode_bits(attr)).u32(attr.nlink).u32(attr.uid).u32(attr.gid);
    body.u32(attr.rdev).u32(BLOCK_SIZE).u32(0);
}

/// `fuse_entry_out`. Inode 0 makes the kernel remember that there is no such name.
fn put_entry(body: &mut Body, ino: Ino, attr: &Attr, entry_ttl: Duration, attr_ttl: Duration) {
    body.u64(ino.0).u64(GENERATION).u64(entry_ttl.as_secs()).u64(attr_ttl.as_secs());
    body.u32(entry_ttl.subsec_nanos()).u32(attr_ttl.subsec_nanos());
    put_attr(body, ino, attr);
}

fn put_found(body: &mut Body, found: &Found) {
    put_entry(body, found.ino, &found.attr, found.entry_ttl, found.attr_ttl);
}

/// `fuse_open_out`.
fn put_open(body: &mut Body, fh: u64, flags: u32) {
    body.u64(fh).u32(flags).u32(0);
}

fn open_flags(opened: &Opened) -> u32 {
    let keep_cache = if opened.keep_cache { fopen::KEEP_CACHE } else { 0 };
    keep_cache | if opened.direct { fopen::DIRECT_IO } else { 0 }
}

/// `fuse_dirent`, up to the next multiple of eight.
fn put_dirent(body: &mut Body, line: &Line) {
    let name: &[u8] = &line.name;
    body.u64(line.ino.0).u64(line.next).u32(name.len() as u32).u32(type_bits(line.kind) >> 12).raw(name);
    body.pad(body.len().next_multiple_of(8) - body.len());
}

/// A node nothing is known of but its number and kind.
fn bare(kind: Kind) -> Attr {
    Attr { nlink: 0, ..Attr::new(kind, 0, 0, 0, Ino(0), Time::default()) }
}

impl Answer<()> for Reply {
    fn answer(self, result: Result<(), Errno>) {
        self.send(result.map(|()| &[][..]));
    }
}

impl Answer<Found> for Reply {
    fn answer(mut self, result: Result<Found, Errno>) {
        self.tell(&result, |access, found| access.node(found.ino, &found.attr));
        self.body(result.map(|found| {
            let mut body = Body::with_capacity(ENTRY_BYTES);
            put_found(&mut body, &found);
            body
        }));
    }
}

impl Answer<Looked> for Reply {
    fn answer(mut self, result: Result<Looked, Errno>) {
        match &result {
            // The kernel is told to remember it; to whoever reads along it is what it was asked for.
            Ok(Looked::Absent(_)) => {
                if let Some(access) = self.access.take() {
                    access.end(Some(Errno::ENOENT));
                }
            }
            Ok(Looked::Found(found)) => {
                if let Some(access) = &mut self.access {
                    access.node(found.ino, &found.attr);
                }
            }
            Err(_) => {}
        }
        self.body(result.map(|looked| {
            let mut body = Body::with_capacity(ENTRY_BYTES);
            match looked {
                Looked::Found(found) => put_found(&mut body, &found),
                Looked::Absent(ttl) => put_entry(&mut body, Ino(0), &bare(Kind::File), ttl, ttl),
            }
            body
        }));
    }
}

impl Answer<Attributes> for Reply {
    fn answer(mut self, result: Result<Attributes, Errno>) {
        self.tell(&result, |access, got| access.node(got.ino, &got.attr));
        self.body(result.map(|got| {
            let mut body = Body::with_capacity(104);
            body.u64(got.attr_ttl.as_secs()).u32(got.attr_ttl.subsec_nanos()).u32(0);
            put_attr(&mut body, got.ino, &got.attr);
            body
        }));
    }
}

impl Answer<Opened> for Reply {
    fn answer(mut self, result: Result<Opened, Errno>) {
        self.tell(&result, |access, opened| access.handle(opened.fh));
        self.body(result.map(|opened| {
            let mut body = Body::with_capacity(16);
            put_open(&mut body, opened.fh, open_flags(&opened));
            body
        }));
    }
}

impl Answer<OpenedDirectory> for Reply {
    fn answer(mut self, result: Result<OpenedDirectory, Errno>) {
        self.tell(&result, |access, opened| access.handle(opened.fh));
        self.body(result.map(|opened| {
            let mut body = Body::with_capacity(16);
            let keeps = if opened.cache_listing { fopen::CACHE_DIR | fopen::KEEP_CACHE } else { 0 };
            put_open(&mut body, opened.fh, keeps);
            body
        }));
    }
}

impl Answer<Created> for Reply {
    fn answer(mut self, result: Result<Created, Errno>) {
        self.tell(&result, |access, Created { found, opened }| {
            access.node(found.ino, &found.attr);
            access.handle(opened.fh);
        });
        self.body(result.map(|Created { found, opened }| {
            let mut body = Body::with_capacity(ENTRY_BYTES + 16);
            put_found(&mut body, &found);
            put_open(&mut body, opened.fh, open_flags(&opened));
            body
        }));
    }
}

impl Answer<Bytes> for Reply {
    fn answer(mut self, result: Result<Bytes, Errno>) {
        self.tell(&result, |access, bytes| access.bytes(bytes));
        match &result {
            Ok(bytes) => self.send(Ok(bytes)),
            Err(errno) => self.send(Err(*errno)),
        }
    }
}

/// `fuse_ioctl_out`, then the bytes.
impl Answer<Output> for Reply {
    fn answer(self, result: Result<Output, Errno>) {
        self.body(result.map(|Output(bytes)| {
            let mut body = Body::with_capacity(16 + bytes.len());
            // The caller's result, flags, and pieces to be fetched again: none.
            body.u32(0).u32(0).u32(0).u32(0).raw(&bytes);
            body
        }));
    }
}

impl Answer<u32> for Reply {
    fn answer(mut self, result: Result<u32, Errno>) {
        self.tell(&result, |access, count| access.count(*count as usize));
        self.body(result.map(|count| {
            let mut body = Body::with_capacity(8);
            body.u32(count).u32(0);
            body
        }));
    }
}

impl Answer<u64> for Reply {
    fn answer(self, result: Result<u64, Errno>) {
        self.body(result.map(|place| {
            let mut body = Body::with_capacity(8);
            body.u64(place);
            body
        }));
    }
}

impl Answer<Fitted> for Reply {
    fn answer(self, result: Result<Fitted, Errno>) {
        match result {
            Ok(Fitted { room: 0, bytes }) => self.answer(Ok(u32::try_from(bytes.len()).unwrap_or(u32::MAX))),
            Ok(Fitted { room, bytes }) if bytes.len() > room as usize => self.error(Errno::ERANGE),
            Ok(Fitted { bytes, .. }) => self.answer(Ok(bytes)),
            Err(errno) => self.error(errno),
        }
    }
}

fn lock_type(kind: LockKind) -> i32 {
    if kind == LockKind::Shared { libc::F_RDLCK } else { libc::F_WRLCK }
}

impl Answer<Option<RangeLock>> for Reply {
    fn answer(mut self, result: Result<Option<RangeLock>, Errno>) {
        self.tell(&result, |access, lock| {
            access.words(&match lock {
                Some(RangeLock { kind, pid, start, end }) => {
                    format!("{start},{end},{},{pid}", lock_letter(lock_type(*kind)))
                }
                None => "0,0,U,0".to_owned(),
            });
        });
        self.body(result.map(|lock| {
            let mut body = Body::with_capacity(24);
            match lock {
                Some(RangeLock { kind, pid, start, end }) => {
                    body.u64(start).u64(end).u32(lock_type(kind).cast_unsigned()).u32(pid);
                }
                None => {
                    body.u64(0).u64(0).u32(libc::F_UNLCK.cast_unsigned()).u32(0);
                }
            }
            body
        }));
    }
}

impl Answer<StatFs> for Reply {
    fn answer(mut self, result: Result<StatFs, Errno>) {
        self.tell(&result, |access, room| {
            let StatFs { total_bytes, avail_bytes, used_inodes, avail_inodes, .. } = room;
            let used = total_bytes.saturating_sub(*avail_bytes);
            access.words(&format!("{used},{avail_bytes},{used_inodes},{avail_inodes}"));
        });
        self.body(result.map(|room| {
            let free = room.avail_bytes / STATFS_BLOCK;
            let mut body = Body::with_capacity(80);
            body.u64(room.total_bytes / STATFS_BLOCK).u64(free).u64(free);
            body.u64(room.used_inodes.saturating_add(room.avail_inodes)).u64(room.avail_inodes);
            body.u32(STATFS_BLOCK as u32).u32(255).u32(STATFS_BLOCK as u32).pad(28);
            body
        }));
    }
}

/// A listing of names, up to the bytes that the kernel has room for.
pub(super) struct Lines {
    reply: Reply,
    body: Body,
    bytes_max: usize,
    /// How many there are.
    count: usize,
}

impl Lines {
    pub(super) fn new(reply: Reply, bytes_max: usize) -> Self {
        Self {
            reply,
            body: Body::with_capacity(bytes_max.min(super::OTHER_REQUESTS_MAX)),
            bytes_max,
            count: 0,
        }
    }

    /// Whether `bytes` more fit.
    fn fits(&self, bytes: usize) -> bool {
        self.body.len() + bytes.next_multiple_of(8) <= self.bytes_max
    }
}

impl Listing for Lines {
    fn add(&mut self, line: &Line) -> bool {
        if !self.fits(DIRENT_BYTES + line.name.len()) {
            return true;
        }
        put_dirent(&mut self.body, line);
        self.count += 1;
        false
    }

    fn answer(mut self, result: Result<(), Errno>) {
        self.reply.tell(&result, |access, ()| access.count(self.count));
        self.reply.body(result.map(|()| self.body));
    }
}

/// The same with attributes.
pub(super) struct PlusLines(Lines);

impl PlusLines {
    pub(super) fn new(reply: Reply, bytes_max: usize) -> Self {
        Self(Lines::new(reply, bytes_max))
    }
}

impl Listing for PlusLines {
    fn add(&mut self, line: &Line) -> bool {
        if !self.0.fits(ENTRY_BYTES + DIRENT_BYTES + line.name.len()) {
            return true;
        }
        let body = &mut self.0.body;
        match &line.found {
            Some(found) => put_found(body, found),
            // A line without attributes still makes a node in the kernel: with no lifetime, so that it is asked
            // for before anybody looks at it.
            None => put_entry(body, line.ino, &bare(line.kind), Duration::ZERO, Duration::ZERO),
        }
        put_dirent(body, line);
        self.0.count += 1;
        false
    }

    fn answer(self, result: Result<(), Errno>) {
        self.0.answer(result);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    /// What the kernel would read of one answer.
    fn sent(answer: impl FnOnce(Reply)) -> Vec<u8> {
        let (ours, mut kernels) = UnixStream::pair().unwrap();
        answer(Reply::new(Channel::new(ours.into(), false), 7));
        let mut sent = Vec::new();
        kernels.read_to_end(&mut sent).unwrap();
        assert_eq!(u32::from_ne_bytes(sent[..4].try_into().unwrap()) as usize, sent.len());
        assert_eq!(u64::from_ne_bytes(sent[8..16].try_into().unwrap()), 7);
        sent.split_off(4)
    }

    fn number<const N: usize>(sent: &[u8], at: usize) -> [u8; N] {
        sent[at..at + N].try_into().unwrap()
    }

    #[test]
    fn attributes_have_blocks_of_512_bytes_and_times_before_1970() {
        for (length, blocks) in [(0, 0), (1, 1), (512, 1), (513, 2), (1 << 30, 1 << 21)] {
            let mut attr = Attr::new(Kind::File, 0o4755, 3, 4, Ino(1), Time { sec: -2, nsec: 300_000_000 });
            attr.length = length;
            let mut body = Body::default();
            put_attr(&mut body, Ino(7), &attr);
            let body = body.as_slice();
            assert_eq!(body.len(), 88);
            assert_eq!(u64::from_ne_bytes(number(body, 8)), length);
            assert_eq!(u64::from_ne_bytes(number(body, 16)), blocks);
            assert_eq!(i64::from_ne_bytes(number(body, 24)), -2);
            assert_eq!(u32::from_ne_bytes(number(body, 48)), 300_000_000);
            assert_eq!(u32::from_ne_bytes(number(body, 60)), 0o104_755);
            assert_eq!(u32::from_ne_bytes(number(body, 80)), 65536);
        }
    }

    #[test]
    fn a_forgotten_answer_is_eio() {
        let said = sent(drop);
        assert_eq!((said.len(), i32::from_ne_bytes(number(&said, 0))), (12, -(Errno::EIO as i32)));
        let said = sent(|reply| Answer::<()>::answer(reply, Ok(())));
        assert_eq!((said.len(), i32::from_ne_bytes(number(&said, 0))), (12, 0));
    }

    #[test]
    fn a_listing_keeps_to_the_room_it_has() {
        let line = |name: &'static str| Line {
            name: Bytes::from_static(name.as_bytes()),
            ino: Ino(9),
            kind: Kind::Directory,
            next: 11,
            found: None,
        };
        let said = sent(|reply| {
            let mut lines = Lines::new(reply, 64);
            assert!(!lines.add(&line("12345678")), "32 bytes");
            assert!(lines.add(&line("123456789")), "40 bytes are too many");
            assert!(!lines.add(&line("abc")), "32 bytes with padding");
            lines.answer(Ok(()));
        });
        assert_eq!(said.len(), 12 + 64);
        assert_eq!(u32::from_ne_bytes(number(&said, 12 + 16)), 8);
        assert_eq!(u32::from_ne_bytes(number(&said, 12 + 20)), 4, "DT_DIR");
        assert_eq!(&said[12 + 32 + 24..], b"abc\0\0\0\0\0");
        let said = sent(|reply| {
            let mut lines = PlusLines::new(reply, 4096);
            assert!(!lines.add(&line("x")));
            lines.answer(Ok(()));
        });
        assert_eq!(said.len(), 12 + 128 + 32);
        assert_eq!(u64::from_ne_bytes(number(&said, 12 + 16)), 0, "no lifetime");
    }
}
