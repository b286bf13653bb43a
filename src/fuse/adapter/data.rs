//! Open files and their bytes.

use super::{Adapter, Place, errno, permissions};
use crate::repeats::Question;
use crate::request::{Answer, Request};
use bytes::Bytes;
use juicefs_base::Errno;
use juicefs_vfs::{CONTROL, Created, Ino, OpenFlags, Opened, RangeCopy, Seek};
use std::ops::Range;

impl Adapter {
    pub(crate) fn open(&self, request: &Request, ino: Ino, flags: i32, reply: impl Answer<Opened>) {
        let (vfs, mut caller) = (self.vfs.clone(), self.caller(request));
        if ino == CONTROL {
            // The kernel checks nothing of what is asked through it.
            self.add_groups(request, &mut caller);
        }
        let flags = OpenFlags(flags);
        self.run("open", reply, async move { vfs.open(&caller, ino, flags).await });
    }

    pub(crate) fn create(
        &self,
        request: &Request,
        place: Place,
        mode: u32,
        umask: u32,
        flags: i32,
        reply: impl Answer<Created>,
    ) {
        let (vfs, caller) = (self.vfs.clone(), self.caller(request));
        let (mode, umask) = (permissions(mode), self.umask(umask));
        self.run("create", reply, async move {
            vfs.create(&caller, place.parent, &place.name()?, mode, umask, OpenFlags(flags)).await
        });
    }

    pub(crate) fn tmpfile(
        &self,
        request: &Request,
        parent: Ino,
        mode: u32,
        umask: u32,
        flags: i32,
        reply: impl Answer<Created>,
    ) {
        let (vfs, caller) = (self.vfs.clone(), self.caller(request));
        let (mode, umask) = (permissions(mode), self.umask(umask));
        self.run("tmpfile", reply, async move {
            vfs.tmpfile(&caller, parent, mode, umask, OpenFlags(flags)).await
        });
    }

    pub(crate) fn read(&self, ino: Ino, fh: u64, offset: u64, size: u32, reply: impl Answer<Bytes>) {
        let vfs = self.vfs.clone();
        let question = Question::Bytes(ino, offset..offset.saturating_add(u64::from(size)));
        self.run_repeated("read", question, reply, async move { vfs.read(ino, fh, offset, size).await });
    }

    /// `kills_suid`: on handles that only append, the kernel leaves taking suid and sgid away to us.
    pub(crate) fn write(
        &self,
        (ino, fh): (Ino, u64),
        offset: u64,
        data: &[u8],
        kills_suid: bool,
        reply: impl Answer<u32>,
    ) {
        let kills_suid = kills_suid && self.vfs.may_have_suid(ino, fh);
        if !kills_suid && let Some(written) = self.vfs.try_write(ino, fh, offset, data) {
            return reply.answer(written.map_err(|error| errno("write", &error)));
        }
        let vfs = self.vfs.clone();
        let data = Bytes::copy_from_slice(data);
        self.run("write", reply, async move {
            if kills_suid {
                vfs.clear_suid(ino).await?;
            }
            vfs.write(ino, fh, offset, &data).await
        });
    }

    /// One per close(2); reports what earlier writes failed with. `owner`: whose POSIX locks go.
    pub(crate) fn flush(&self, ino: Ino, fh: u64, owner: u64, reply: impl Answer<()>) {
        let vfs = self.vfs.clone();
        self.run("flush", reply, async move { vfs.flush(ino, fh, owner).await });
    }

    pub(crate) fn fsync(&self, ino: Ino, fh: u64, reply: impl Answer<()>) {
        let vfs = self.vfs.clone();
        self.run("fsync", reply, async move { vfs.fsync(ino, fh).await });
    }

    pub(crate) fn release(&self, ino: Ino, fh: u64, reply: impl Answer<()>) {
        let vfs = self.vfs.clone();
        self.run("release", reply, async move { vfs.release(ino, fh).await });
    }

    pub(crate) fn seek(&self, ino: Ino, fh: u64, offset: u64, seek: Seek, reply: impl Answer<u64>) {
        let vfs = self.vfs.clone();
        self.run("lseek", reply, async move { vfs.seek(ino, fh, offset, seek).await });
    }

    pub(crate) fn copy_file_range(
        &self,
        request: &Request,
        handles: (u64, u64),
        copy: RangeCopy,
        reply: impl Answer<u32>,
    ) {
        let (vfs, caller) = (self.vfs.clone(), self.caller(request));
        self.run("copy_file_range", reply, async move { vfs.copy_file_range(&caller, handles, copy).await });
    }

    pub(crate) fn fallocate(
        &self,
        request: &Request,
        ino: Ino,
        fh: u64,
        range: Range<u64>,
        mode: i32,
        reply: impl Answer<()>,
    ) {
        let Ok(mode) = u8::try_from(mode) else { return reply.answer(Err(Errno::EOPNOTSUPP)) };
        let (vfs, caller) = (self.vfs.clone(), self.caller(request));
        let length = range.end - range.start;
        self.run("fallocate", reply, async move {
            vfs.fallocate(&caller, ino, fh, mode, range.start, length).await
        });
    }
}
