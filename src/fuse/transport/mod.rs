//! The one place that knows fuser: its requests become ours, its INIT is answered here.

mod answers;

use crate::adapter::{Adapter, Changes, Place};
use crate::convert::request_time;
use crate::request::{Answer, Request};
use bytes::Bytes;
use fuser::{
    AccessFlags, BsdFileFlags, CopyFileRangeFlags, FileHandle, Filesystem, INodeNo, InitFlags, IoctlFlags,
    KernelConfig, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory,
    ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyIoctl, ReplyLock, ReplyLseek, ReplyOpen, ReplyStatfs,
    ReplyWrite, ReplyXattr, TimeOrNow, WriteFlags,
};
use juicefs_base::Errno;
use juicefs_vfs::Ino;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::SystemTime;

/// Bytes of readahead asked for; the kernel gives what it allows.
pub const READAHEAD_BYTES: u32 = 1 << 20;

pub(crate) struct Transport(pub(crate) Adapter);

fn request(from: &fuser::Request) -> Request {
    Request { uid: from.uid(), gid: from.gid(), pid: from.pid() }
}

fn place(parent: INodeNo, name: &OsStr) -> Place {
    Place { parent: Ino(parent.0), name: Bytes::copy_from_slice(name.as_bytes()) }
}

fn time_or_now(time: TimeOrNow) -> Option<juicefs_vfs::Time> {
    match time {
        TimeOrNow::Now => None,
        TimeOrNow::SpecificTime(time) => Some(request_time(time)),
    }
}

impl Transport {
    /// Capabilities taken when the kernel has them. Left out on purpose: WRITEBACK_CACHE (other clients would
    /// see stale lengths), HANDLE_KILLPRIV (the kernel strips suid and sgid itself and sends the mode, but for direct
    /// writes, which carry a flag),
    /// ATOMIC_O_TRUNC (the open would cut a running program before the kernel refuses it with ETXTBSY),
    /// EXPORT_SUPPORT and POSIX_ACL (not done), DONT_MASK (the kernel applies the umask) unless a mask is set.
    fn capabilities(&self) -> InitFlags {
        let mut wanted = InitFlags::FUSE_PARALLEL_DIROPS
            | InitFlags::FUSE_POSIX_LOCKS
            | InitFlags::FUSE_FLOCK_LOCKS
            | InitFlags::FUSE_AUTO_INVAL_DATA
            | InitFlags::FUSE_DO_READDIRPLUS
            | InitFlags::FUSE_READDIRPLUS_AUTO
            | InitFlags::FUSE_ASYNC_DIO
            | InitFlags::FUSE_CACHE_SYMLINKS
            | InitFlags::FUSE_HAS_RESEND;
        if self.0.options.umask.is_some() {
            wanted |= InitFlags::FUSE_DONT_MASK;
        }
        wanted
    }
}

impl Filesystem for Transport {
    fn init(&mut self, _request: &fuser::Request, config: &mut KernelConfig) -> std::io::Result<()> {
        let offered = config.capabilities();
        for capability in self.capabilities().iter() {
            if offered.contains(capability) {
                // Offered, so it can't be refused.
                let _ = config.add_capabilities(capability);
            }
        }
        let options = &self.0.options;
        if let Err(most) = config.set_max_write(options.io_bytes) {
            let _ = config.set_max_write(most);
        }
        if let Err(most) = config.set_max_readahead(READAHEAD_BYTES) {
            let _ = config.set_max_readahead(most);
        }
        let _ = config.set_max_background(options.max_background);
        let abi = config.kernel_abi();
        tracing::debug!(major = abi.0, minor = abi.1, ?offered, "fuse session opened");
        Ok(())
    }

    fn lookup(&self, from: &fuser::Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        self.0.lookup(&request(from), place(parent, name), reply);
    }

    fn forget(&self, _from: &fuser::Request, _ino: INodeNo, _lookups: u64) {}

    fn getattr(&self, _from: &fuser::Request, ino: INodeNo, _fh: Option<FileHandle>, reply: ReplyAttr) {
        self.0.getattr(Ino(ino.0), reply);
    }

    fn setattr(
        &self,
        from: &fuser::Request,
        ino: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        fh: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let changes = Changes {
            mode,
            uid,
            gid,
            size,
            atime: atime.map(time_or_now),
            mtime: mtime.map(time_or_now),
            fh: fh.map(|fh| fh.0),
        };
        self.0.setattr(&request(from), Ino(ino.0), changes, reply);
    }

    fn readlink(&self, _from: &fuser::Request, ino: INodeNo, reply: ReplyData) {
        self.0.readlink(Ino(ino.0), reply);
    }

    fn mknod(
        &self,
        from: &fuser::Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        rdev: u32,
        reply: ReplyEntry,
    ) {
        self.0.mknod(&request(from), place(parent, name), mode, umask, rdev, reply);
    }

    fn mkdir(
        &self,
        from: &fuser::Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        reply: ReplyEntry,
    ) {
        self.0.mkdir(&request(from), place(parent, name), mode, umask, reply);
    }

    fn unlink(&self, from: &fuser::Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.0.unlink(&request(from), place(parent, name), reply);
    }

    fn rmdir(&self, from: &fuser::Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.0.rmdir(&request(from), place(parent, name), reply);
    }

    fn symlink(
        &self,
        from: &fuser::Request,
        parent: INodeNo,
        name: &OsStr,
        target: &Path,
        reply: ReplyEntry,
    ) {
        let target = Bytes::copy_from_slice(target.as_os_str().as_bytes());
        self.0.symlink(&request(from), place(parent, name), target, reply);
    }

    fn rename(
        &self,
        from: &fuser::Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        self.0.rename(&request(from), place(parent, name), place(new_parent, new_name), flags.bits(), reply);
    }

    fn link(
        &self,
        from: &fuser::Request,
        ino: INodeNo,
        new_parent: INodeNo,
        new_name: &OsStr,
        reply: ReplyEntry,
    ) {
        self.0.link(&request(from), Ino(ino.0), place(new_parent, new_name), reply);
    }

    fn open(&self, from: &fuser::Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        self.0.open(&request(from), Ino(ino.0), flags.0, reply);
    }

    fn create(
        &self,
        from: &fuser::Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        self.0.create(&request(from), place(parent, name), mode, umask, flags, reply);
    }

    fn read(
        &self,
        _from: &fuser::Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        self.0.read(Ino(ino.0), fh.0, offset, size, reply);
    }

    fn write(
        &self,
        _from: &fuser::Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        data: &[u8],
        write_flags: WriteFlags,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let kills_suid = write_flags.contains(WriteFlags::FUSE_WRITE_KILL_SUIDGID);
        self.0.write((Ino(ino.0), fh.0), offset, data, kills_suid, reply);
    }

    fn flush(
        &self,
        _from: &fuser::Request,
        ino: INodeNo,
        fh: FileHandle,
        _owner: LockOwner,
        reply: ReplyEmpty,
    ) {
        self.0.flush(Ino(ino.0), fh.0, reply);
    }

    fn release(
        &self,
        _from: &fuser::Request,
        ino: INodeNo,
        fh: FileHandle,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        self.0.release(Ino(ino.0), fh.0, reply);
    }

    fn fsync(
        &self,
        _from: &fuser::Request,
        ino: INodeNo,
        fh: FileHandle,
        _datasync: bool,
        reply: ReplyEmpty,
    ) {
        self.0.fsync(Ino(ino.0), fh.0, reply);
    }

    fn opendir(&self, from: &fuser::Request, ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        self.0.opendir(&request(from), Ino(ino.0), reply);
    }

    fn readdir(
        &self,
        from: &fuser::Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        reply: ReplyDirectory,
    ) {
        self.0.readdir(&request(from), Ino(ino.0), fh.0, offset, false, reply);
    }

    fn readdirplus(
        &self,
        from: &fuser::Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        reply: ReplyDirectoryPlus,
    ) {
        self.0.readdir(&request(from), Ino(ino.0), fh.0, offset, true, reply);
    }

    fn releasedir(
        &self,
        _from: &fuser::Request,
        ino: INodeNo,
        fh: FileHandle,
        _flags: OpenFlags,
        reply: ReplyEmpty,
    ) {
        self.0.releasedir(Ino(ino.0), fh.0, reply);
    }

    /// Names are durable when their request is answered. ENOSYS makes the kernel answer all later ones itself.
    fn fsyncdir(&self, _: &fuser::Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        reply.answer(Err(Errno::ENOSYS));
    }

    fn statfs(&self, from: &fuser::Request, ino: INodeNo, reply: ReplyStatfs) {
        self.0.statfs(&request(from), Ino(ino.0), reply);
    }

    fn access(&self, from: &fuser::Request, ino: INodeNo, mask: AccessFlags, reply: ReplyEmpty) {
        self.0.access(&request(from), Ino(ino.0), mask.bits(), reply);
    }

    fn fallocate(
        &self,
        from: &fuser::Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let range = offset..offset.saturating_add(length);
        self.0.fallocate(&request(from), Ino(ino.0), fh.0, range, mode, reply);
    }

    // Not done yet. ENOSYS makes the kernel stop asking: xattr calls answer EOPNOTSUPP (and no write asks for
    // `security.capability` any more), SEEK_DATA and copies fall back to the kernel's own ways.

    fn setxattr(
        &self,
        _: &fuser::Request,
        _: INodeNo,
        _: &OsStr,
        _: &[u8],
        _: i32,
        _: u32,
        reply: ReplyEmpty,
    ) {
        reply.answer(Err(Errno::ENOSYS));
    }

    fn getxattr(&self, _: &fuser::Request, _: INodeNo, _: &OsStr, _: u32, reply: ReplyXattr) {
        reply.error(fuser::Errno::ENOSYS);
    }

    fn listxattr(&self, _: &fuser::Request, _: INodeNo, _: u32, reply: ReplyXattr) {
        reply.error(fuser::Errno::ENOSYS);
    }

    fn removexattr(&self, _: &fuser::Request, _: INodeNo, _: &OsStr, reply: ReplyEmpty) {
        reply.answer(Err(Errno::ENOSYS));
    }

    fn lseek(&self, _: &fuser::Request, _: INodeNo, _: FileHandle, _: i64, _: i32, reply: ReplyLseek) {
        reply.answer(Err(Errno::ENOSYS));
    }

    fn copy_file_range(
        &self,
        _: &fuser::Request,
        _: INodeNo,
        _: FileHandle,
        _: u64,
        _: INodeNo,
        _: FileHandle,
        _: u64,
        _: u64,
        _: CopyFileRangeFlags,
        reply: ReplyWrite,
    ) {
        reply.answer(Err(Errno::ENOSYS));
    }

    fn ioctl(
        &self,
        _: &fuser::Request,
        _: INodeNo,
        _: FileHandle,
        _: IoctlFlags,
        _: u32,
        _: &[u8],
        _: u32,
        reply: ReplyIoctl,
    ) {
        reply.error(fuser::Errno::ENOTTY);
    }

    // Locks are asked for at INIT and refused: a lock that only this kernel knows would be a lie to the others.

    fn getlk(
        &self,
        _: &fuser::Request,
        _: INodeNo,
        _: FileHandle,
        _: LockOwner,
        _: u64,
        _: u64,
        _: i32,
        _: u32,
        reply: ReplyLock,
    ) {
        reply.error(fuser::Errno::ENOLCK);
    }

    fn setlk(
        &self,
        _: &fuser::Request,
        _: INodeNo,
        _: FileHandle,
        _: LockOwner,
        _: u64,
        _: u64,
        kind: i32,
        _: u32,
        _: bool,
        reply: ReplyEmpty,
    ) {
        // To give up what nobody got is no lie.
        reply.answer(if kind == nix::libc::F_UNLCK { Ok(()) } else { Err(Errno::ENOLCK) });
    }
}
