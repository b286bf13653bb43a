//! Attributes and times between the volume's words and the kernel's.

use fuser::{FileAttr, FileType, INodeNo};
use juicefs_vfs::{Attr, Ino, Kind, Time};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What `st_blksize` says, as the peer does.
const BLOCK_SIZE: u32 = 65536;

pub(crate) fn file_type(kind: Kind) -> FileType {
    match kind {
        Kind::File => FileType::RegularFile,
        Kind::Directory => FileType::Directory,
        Kind::Symlink => FileType::Symlink,
        Kind::Fifo => FileType::NamedPipe,
        Kind::BlockDevice => FileType::BlockDevice,
        Kind::CharDevice => FileType::CharDevice,
        Kind::Socket => FileType::Socket,
    }
}

/// The kind a `mknod` mode asks for; no type bits mean a plain file.
pub(crate) fn kind_of_mode(mode: u32) -> Option<Kind> {
    Some(match mode & nix::libc::S_IFMT {
        0 | nix::libc::S_IFREG => Kind::File,
        nix::libc::S_IFIFO => Kind::Fifo,
        nix::libc::S_IFBLK => Kind::BlockDevice,
        nix::libc::S_IFCHR => Kind::CharDevice,
        nix::libc::S_IFSOCK => Kind::Socket,
        _ => return None,
    })
}

pub(crate) fn file_attr(ino: Ino, attr: &Attr) -> FileAttr {
    FileAttr {
        ino: INodeNo(ino.0),
        size: attr.length,
        blocks: attr.length.div_ceil(512),
        atime: system_time(attr.atime),
        mtime: system_time(attr.mtime),
        ctime: system_time(attr.ctime),
        crtime: UNIX_EPOCH,
        kind: file_type(attr.kind),
        perm: attr.mode & 0o7777,
        nlink: attr.nlink,
        uid: attr.uid,
        gid: attr.gid,
        rdev: attr.rdev,
        blksize: BLOCK_SIZE,
        flags: 0,
    }
}

/// Stays in range whatever a record says.
pub(crate) fn system_time(time: Time) -> SystemTime {
    let nsec = Duration::from_nanos(u64::from(time.nsec.min(999_999_999)));
    let seconds = Duration::from_secs(time.sec.unsigned_abs());
    let whole = if time.sec >= 0 { UNIX_EPOCH.checked_add(seconds) } else { UNIX_EPOCH.checked_sub(seconds) };
    whole.and_then(|whole| whole.checked_add(nsec)).unwrap_or(UNIX_EPOCH)
}

/// A time that came in with a request. For times before 1970 the carrier subtracts the nanoseconds instead of
/// adding them; taking its number apart the same way gives back what the kernel sent.
pub(crate) fn request_time(time: SystemTime) -> Time {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => {
            Time { sec: i64::try_from(after.as_secs()).unwrap_or(i64::MAX), nsec: after.subsec_nanos() }
        }
        Err(before) => {
            let before = before.duration();
            let sec = 0i64.checked_sub_unsigned(before.as_secs()).unwrap_or(i64::MIN);
            Time { sec, nsec: before.subsec_nanos() }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_of_512_bytes_rounded_up_and_the_block_size_is_64_kib() {
        let mut attr = Attr::new(Kind::File, 0o4755, 3, 4, Ino(1), Time { sec: 5, nsec: 6 });
        for (length, blocks) in [(0, 0), (1, 1), (512, 1), (513, 2), (1 << 30, 1 << 21)] {
            attr.length = length;
            let file = file_attr(Ino(7), &attr);
            assert_eq!((file.size, file.blocks, file.blksize), (length, blocks, 65536));
            assert_eq!((file.ino.0, file.perm, file.uid, file.gid), (7, 0o4755, 3, 4));
        }
    }

    #[test]
    fn times_before_1970_keep_their_nanoseconds() {
        let time = system_time(Time { sec: -2, nsec: 300_000_000 });
        assert_eq!(UNIX_EPOCH.duration_since(time).unwrap(), Duration::from_millis(1700));
        assert!(system_time(Time { sec: i64::MIN, nsec: 5 }) < UNIX_EPOCH);
        assert!(system_time(Time { sec: i64::MAX, nsec: 999_999_999 }) > UNIX_EPOCH);
    }

    #[test]
    fn a_request_time_before_1970_is_what_the_kernel_sent() {
        // -1.25 s arrives from the kernel as sec -2, nsec 750_000_000, and from the carrier as -(2 + 0.75) s.
        let carried = UNIX_EPOCH - Duration::new(2, 750_000_000);
        assert_eq!(request_time(carried), Time { sec: -2, nsec: 750_000_000 });
        assert_eq!(request_time(UNIX_EPOCH + Duration::new(3, 1)), Time { sec: 3, nsec: 1 });
    }

    #[test]
    fn every_kind_has_its_type_and_a_mode_without_type_is_a_file() {
        assert_eq!(kind_of_mode(0o644), Some(Kind::File));
        assert_eq!(kind_of_mode(nix::libc::S_IFIFO | 0o600), Some(Kind::Fifo));
        assert_eq!(kind_of_mode(nix::libc::S_IFDIR | 0o755), None);
        assert_eq!(file_type(Kind::Socket), FileType::Socket);
    }
}
