//! What each message asks of the adapter, by its number (`fuse_opcode`) and the fields behind its header.

use super::Transport;
use super::access::Access;
use super::answers::{Lines, PlusLines, Reply};
use super::wire::{Fields, Header, Short};
use crate::adapter::{Changes, Ioctl, LockCall, Place};
use crate::request::Answer;
use bytes::Bytes;
use juicefs_base::Errno;
use juicefs_vfs::{ACCESS_LOG, Ino, LockKind, RangeCopy, Seek, Time};

/// `fuse_opcode`.
pub(super) mod opcode {
    pub const LOOKUP: u32 = 1;
    pub const FORGET: u32 = 2;
    pub const GETATTR: u32 = 3;
    pub const SETATTR: u32 = 4;
    pub const READLINK: u32 = 5;
    pub const SYMLINK: u32 = 6;
    pub const MKNOD: u32 = 8;
    pub const MKDIR: u32 = 9;
    pub const UNLINK: u32 = 10;
    pub const RMDIR: u32 = 11;
    pub const RENAME: u32 = 12;
    pub const LINK: u32 = 13;
    pub const OPEN: u32 = 14;
    pub const READ: u32 = 15;
    pub const WRITE: u32 = 16;
    pub const STATFS: u32 = 17;
    pub const RELEASE: u32 = 18;
    pub const FSYNC: u32 = 20;
    pub const SETXATTR: u32 = 21;
    pub const GETXATTR: u32 = 22;
    pub const LISTXATTR: u32 = 23;
    pub const REMOVEXATTR: u32 = 24;
    pub const FLUSH: u32 = 25;
    pub const INIT: u32 = 26;
    pub const OPENDIR: u32 = 27;
    pub const READDIR: u32 = 28;
    pub const RELEASEDIR: u32 = 29;
    pub const GETLK: u32 = 31;
    pub const SETLK: u32 = 32;
    pub const SETLKW: u32 = 33;
    pub const ACCESS: u32 = 34;
    pub const CREATE: u32 = 35;
    pub const INTERRUPT: u32 = 36;
    pub const DESTROY: u32 = 38;
    pub const IOCTL: u32 = 39;
    pub const NOTIFY_REPLY: u32 = 41;
    pub const BATCH_FORGET: u32 = 42;
    pub const FALLOCATE: u32 = 43;
    pub const READDIRPLUS: u32 = 44;
    pub const RENAME2: u32 = 45;
    pub const LSEEK: u32 = 46;
    pub const COPY_FILE_RANGE: u32 = 47;
    pub const TMPFILE: u32 = 51;
}

/// Which fields of a SETATTR count (`FATTR_*`).
pub(super) mod fattr {
    pub const MODE: u32 = 1;
    pub const UID: u32 = 1 << 1;
    pub const GID: u32 = 1 << 2;
    pub const SIZE: u32 = 1 << 3;
    pub const ATIME: u32 = 1 << 4;
    pub const MTIME: u32 = 1 << 5;
    pub const FH: u32 = 1 << 6;
    pub const ATIME_NOW: u32 = 1 << 7;
    pub const MTIME_NOW: u32 = 1 << 8;
}

/// `FUSE_UNIQUE_RESEND`: a former process had read this request.
const SENT_AGAIN: u64 = 1 << 63;

/// Whether doing it once more changes nothing.
fn only_asks(operation: u32) -> bool {
    use self::opcode as op;
    let asks = [op::LOOKUP, op::GETATTR, op::READLINK, op::ACCESS, op::STATFS, op::READ, op::READDIR];
    let holds = [op::READDIRPLUS, op::OPEN, op::OPENDIR, op::RELEASE, op::RELEASEDIR, op::GETLK, op::LSEEK];
    let tells = [op::FORGET, op::BATCH_FORGET, op::INTERRUPT, op::NOTIFY_REPLY, op::DESTROY];
    asks.contains(&operation) || holds.contains(&operation) || tells.contains(&operation)
}

/// `FUSE_LK_FLOCK`: a BSD lock.
const LK_FLOCK: u32 = 1;
/// `FUSE_WRITE_KILL_SUIDGID`.
const WRITE_KILLS_SUID: u32 = 1 << 2;

impl Transport {
    /// Works on one message.
    pub(super) fn take(&self, message: &[u8]) {
        let Ok((header, fields)) = Fields::of(message) else {
            return tracing::error!(bytes = message.len(), "the kernel sent a message that is cut off");
        };
        if header.unique & SENT_AGAIN != 0 && !only_asks(header.opcode) {
            // It may have been done, and nobody knows.
            tracing::warn!(
                opcode = header.opcode,
                "a change was under way when the former process died: EIO"
            );
            return self.reply(&header, fields).error(Errno::EIO);
        }
        if self.names(&header, fields).is_err() {
            tracing::error!(
                opcode = header.opcode,
                bytes = message.len(),
                "a request without all its fields"
            );
            self.reply(&header, fields).error(Errno::EIO);
        }
    }

    /// `fields`: all of the request's, for whoever reads the access log.
    fn reply(&self, header: &Header, fields: Fields<'_>) -> Reply {
        let log = self.adapter.access_log();
        // Who opens it reads of that first.
        let opens_it = header.opcode == opcode::OPEN && Ino(header.node) == ACCESS_LOG;
        let access = if opens_it || log.is_read() { Access::of(log, header, fields) } else { None };
        Reply::new(self.channel.clone(), header.unique).told(access)
    }

    /// Operations on names; all others are handed on.
    fn names(&self, header: &Header, mut fields: Fields<'_>) -> Result<(), Short> {
        let whole = fields;
        let (adapter, caller, reply) = (&self.adapter, &header.caller, || self.reply(header, whole));
        match header.opcode {
            opcode::LOOKUP => adapter.lookup(caller, place(header.node, fields.name()?), reply()),
            opcode::READLINK => adapter.readlink(Ino(header.node), reply()),
            opcode::SYMLINK => {
                let place = place(header.node, fields.name()?);
                let target = Bytes::copy_from_slice(fields.name()?);
                adapter.symlink(caller, place, target, reply());
            }
            opcode::MKNOD => {
                let (mode, rdev, umask) = (fields.u32()?, fields.u32()?, fields.u32()?);
                fields.skip(4)?;
                adapter.mknod(caller, place(header.node, fields.name()?), mode, umask, rdev, reply());
            }
            opcode::MKDIR => {
                let (mode, umask) = (fields.u32()?, fields.u32()?);
                adapter.mkdir(caller, place(header.node, fields.name()?), mode, umask, reply());
            }
            opcode::UNLINK => adapter.unlink(caller, place(header.node, fields.name()?), reply()),
            opcode::RMDIR => adapter.rmdir(caller, place(header.node, fields.name()?), reply()),
            opcode::RENAME | opcode::RENAME2 => {
                let new_parent = fields.u64()?;
                let mut flags = 0;
                if header.opcode == opcode::RENAME2 {
                    flags = fields.u32()?;
                    fields.skip(4)?;
                }
                let from = place(header.node, fields.name()?);
                adapter.rename(caller, from, place(new_parent, fields.name()?), flags, reply());
            }
            opcode::LINK => {
                let linked = Ino(fields.u64()?);
                adapter.link(caller, linked, place(header.node, fields.name()?), reply());
            }
            opcode::CREATE => {
                let (flags, mode, umask) = (fields.i32()?, fields.u32()?, fields.u32()?);
                fields.skip(4)?;
                adapter.create(caller, place(header.node, fields.name()?), mode, umask, flags, reply());
            }
            // As a CREATE whose name says nothing.
            opcode::TMPFILE => {
                let (flags, mode, umask) = (fields.i32()?, fields.u32()?, fields.u32()?);
                adapter.tmpfile(caller, Ino(header.node), mode, umask, flags, reply());
            }
            _ => return self.nodes(header, fields),
        }
        Ok(())
    }

    /// Operations on inodes.
    fn nodes(&self, header: &Header, mut fields: Fields<'_>) -> Result<(), Short> {
        let whole = fields;
        let (adapter, caller, reply) = (&self.adapter, &header.caller, || self.reply(header, whole));
        let ino = Ino(header.node);
        match header.opcode {
            opcode::GETATTR => adapter.getattr(ino, reply()),
            opcode::SETATTR => adapter.setattr(caller, ino, changes(&mut fields)?, reply()),
            opcode::ACCESS => adapter.access(caller, ino, fields.i32()?, reply()),
            opcode::STATFS => adapter.statfs(caller, ino, reply()),
            opcode::SETXATTR => {
                // Without FUSE_SETXATTR_EXT two numbers stand before the name.
                let (size, flags) = (fields.u32()? as usize, fields.i32()?);
                let name = Bytes::copy_from_slice(fields.name()?);
                let value = Bytes::copy_from_slice(fields.bytes(size)?);
                adapter.setxattr(caller, ino, (name, value), flags, reply());
            }
            opcode::GETXATTR => {
                let room = fields.u32()?;
                fields.skip(4)?;
                adapter.getxattr(caller, ino, Bytes::copy_from_slice(fields.name()?), room, reply());
            }
            opcode::LISTXATTR => adapter.listxattr(ino, fields.u32()?, reply()),
            opcode::REMOVEXATTR => {
                adapter.removexattr(caller, ino, Bytes::copy_from_slice(fields.name()?), reply());
            }
            opcode::OPEN => adapter.open(caller, ino, fields.i32()?, reply()),
            opcode::OPENDIR => adapter.opendir(caller, ino, reply()),
            opcode::READDIR | opcode::READDIRPLUS => {
                let (fh, cookie, size) = (fields.u64()?, fields.u64()?, fields.u32()? as usize);
                if self.channel.is_inherited {
                    adapter.inherit_dir(ino, fh);
                }
                if header.opcode == opcode::READDIR {
                    adapter.readdir(caller, ino, fh, cookie, false, Lines::new(reply(), size));
                } else {
                    adapter.readdir(caller, ino, fh, cookie, true, PlusLines::new(reply(), size));
                }
            }
            opcode::RELEASEDIR => adapter.releasedir(ino, fields.u64()?, reply()),
            _ => return self.files(header, fields),
        }
        Ok(())
    }

    /// Operations on open files.
    fn files(&self, header: &Header, mut fields: Fields<'_>) -> Result<(), Short> {
        let whole = fields;
        let (adapter, reply) = (&self.adapter, || self.reply(header, whole));
        let ino = Ino(header.node);
        match header.opcode {
            opcode::READ => {
                let (fh, offset, size) = (fields.u64()?, fields.u64()?, fields.u32()?);
                if self.channel.is_inherited {
                    // Flags of the read, lock owner.
                    fields.skip(12)?;
                    let flags = fields.i32()?;
                    adapter.read_inherited((ino, fh, flags), offset, size, reply());
                } else {
                    adapter.read(ino, fh, offset, size, reply());
                }
            }
            opcode::WRITE => {
                let (fh, offset, size) = (fields.u64()?, fields.u64()?, fields.u32()? as usize);
                let kills_suid = fields.u32()? & WRITE_KILLS_SUID != 0;
                // Lock owner, flags, padding.
                fields.skip(16)?;
                adapter.write((ino, fh), offset, fields.bytes(size)?, kills_suid, reply());
            }
            opcode::FLUSH => {
                let fh = fields.u64()?;
                fields.skip(8)?;
                adapter.flush(ino, fh, fields.u64()?, reply());
            }
            opcode::RELEASE => adapter.release(ino, fields.u64()?, reply()),
            opcode::FSYNC => adapter.fsync(ino, fields.u64()?, reply()),
            opcode::FALLOCATE => {
                let (fh, offset, length) = (fields.u64()?, fields.u64()?, fields.u64()?);
                let range = offset..offset.saturating_add(length);
                adapter.fallocate(&header.caller, ino, fh, range, fields.i32()?, reply());
            }
            opcode::LSEEK => {
                let (fh, offset) = (fields.u64()?, fields.u64()?);
                match fields.i32()? {
                    libc::SEEK_DATA => adapter.seek(ino, fh, offset, Seek::Data, reply()),
                    libc::SEEK_HOLE => adapter.seek(ino, fh, offset, Seek::Hole, reply()),
                    _ => reply().error(Errno::EINVAL),
                }
            }
            opcode::IOCTL => {
                // The handle, and whether it is a directory's.
                fields.skip(12)?;
                let command = fields.u32()?;
                // Where the caller has its bytes.
                fields.skip(8)?;
                let (len, room) = (fields.u32()? as usize, fields.u32()? as usize);
                let input = Bytes::copy_from_slice(fields.bytes(len)?);
                adapter.ioctl(&header.caller, Ioctl { ino, command, input, room }, reply());
            }
            opcode::COPY_FILE_RANGE => {
                let (src_fh, src_off) = (fields.u64()?, fields.u64()?);
                let (dst, dst_fh, dst_off) = (Ino(fields.u64()?), fields.u64()?, fields.u64()?);
                let copy = RangeCopy { src: ino, src_off, dst, dst_off, len: fields.u64()? };
                match fields.u64()? {
                    0 => adapter.copy_file_range(&header.caller, (src_fh, dst_fh), copy, reply()),
                    _ => reply().error(Errno::EINVAL),
                }
            }
            opcode::GETLK | opcode::SETLK | opcode::SETLKW => self.locks(header, &mut fields)?,
            opcode::INTERRUPT => self.interrupts.interrupt(fields.u64()?),
            _ => self.rest(header, whole),
        }
        Ok(())
    }

    fn locks(&self, header: &Header, fields: &mut Fields<'_>) -> Result<(), Short> {
        let reply = self.reply(header, *fields);
        let (fh, owner) = (fields.u64()?, fields.u64()?);
        let (start, end, kind, pid) = (fields.u64()?, fields.u64()?, fields.i32()?, fields.u32()?);
        let is_flock = fields.u32()? & LK_FLOCK != 0;
        let kind = match kind {
            libc::F_RDLCK => Some(LockKind::Shared),
            libc::F_WRLCK => Some(LockKind::Exclusive),
            libc::F_UNLCK => None,
            _ => {
                reply.error(Errno::EINVAL);
                return Ok(());
            }
        };
        let call = LockCall { ino: Ino(header.node), fh, owner, kind, pid, start, end };
        if header.opcode == opcode::GETLK {
            self.adapter.getlk(call, reply);
            return Ok(());
        }
        let waits = header.opcode == opcode::SETLKW && kind.is_some();
        let interrupted = waits.then(|| self.interrupts.listen(header.unique));
        if is_flock {
            self.adapter.flock(call, interrupted, reply);
        } else {
            self.adapter.setlk(call, interrupted, reply);
        }
        Ok(())
    }

    /// What needs no answer, and what is not done. ENOSYS makes the kernel stop asking: `fsync` of a directory is answered by the
    /// kernel (names are durable when their request is).
    fn rest(&self, header: &Header, fields: Fields<'_>) {
        match header.opcode {
            opcode::FORGET | opcode::BATCH_FORGET | opcode::NOTIFY_REPLY => {}
            opcode::DESTROY => self.reply(header, fields).answer(Ok(())),
            _ => self.reply(header, fields).error(Errno::ENOSYS),
        }
    }
}

fn place(parent: u64, name: &[u8]) -> Place {
    Place { parent: Ino(parent), name: Bytes::copy_from_slice(name) }
}

fn changes(fields: &mut Fields<'_>) -> Result<Changes, Short> {
    let valid = fields.u32()?;
    fields.skip(4)?;
    let (fh, size) = (fields.u64()?, fields.u64()?);
    // The lock owner.
    fields.skip(8)?;
    let (atime, mtime) = (fields.i64()?, fields.i64()?);
    // The ctime only counts with a writeback cache.
    fields.skip(8)?;
    let (atime_nsec, mtime_nsec) = (fields.u32()?, fields.u32()?);
    fields.skip(4)?;
    let mode = fields.u32()?;
    fields.skip(4)?;
    let (uid, gid) = (fields.u32()?, fields.u32()?);
    let has = |bit: u32| valid & bit != 0;
    let time =
        |bit: u32, now: u32, sec: i64, nsec: u32| has(bit).then(|| (!has(now)).then_some(Time { sec, nsec }));
    Ok(Changes {
        mode: has(fattr::MODE).then_some(mode),
        uid: has(fattr::UID).then_some(uid),
        gid: has(fattr::GID).then_some(gid),
        size: has(fattr::SIZE).then_some(size),
        atime: time(fattr::ATIME, fattr::ATIME_NOW, atime, atime_nsec),
        mtime: time(fattr::MTIME, fattr::MTIME_NOW, mtime, mtime_nsec),
        fh: has(fattr::FH).then_some(fh),
    })
}

#[cfg(test)]
mod tests {
    use super::super::wire::Body;
    use super::*;

    #[test]
    fn changes_are_what_their_bits_say() {
        let mut message = Body::default();
        message.u32(40 + 88).pad(36);
        let valid = fattr::MODE | fattr::SIZE | fattr::ATIME | fattr::ATIME_NOW | fattr::MTIME;
        message.u32(valid).u32(0).u64(9).u64(4096).u64(1).i64(5).i64(-2).u64(0);
        message.u32(6).u32(750_000_000).u32(0).u32(0o104_755).u32(0).u32(1).u32(2).u32(0);
        let (_, mut fields) = Fields::of(message.as_slice()).unwrap();
        let changes = changes(&mut fields).unwrap();
        assert_eq!((changes.mode, changes.size), (Some(0o104_755), Some(4096)));
        assert_eq!((changes.uid, changes.gid, changes.fh), (None, None, None));
        // A moment before 1970 is what was asked for.
        assert_eq!(
            (changes.atime, changes.mtime),
            (Some(None), Some(Some(Time { sec: -2, nsec: 750_000_000 })))
        );
    }
}
