//! Looking up, making, moving and removing names.

use super::{Adapter, Place, permissions};
use crate::repeats::Question;
use crate::request::{Answer, Looked, Request};
use bytes::Bytes;
use juicefs_base::Errno;
use juicefs_vfs::{Found, Ino, Kind, NewNode, RenameFlags};

impl Adapter {
    pub(crate) fn lookup(&self, request: &Request, place: Place, reply: impl Answer<Looked>) {
        let (vfs, caller) = (self.vfs.clone(), self.caller(request));
        let negative_ttl = vfs.negative_ttl(place.parent);
        let question = Question::Name(place.parent, place.name.clone());
        self.run_repeated("lookup", question, reply, async move {
            let found = vfs.lookup(&caller, place.parent, &place.name()?).await;
            match found {
                Ok(found) => Ok(Looked::Found(found)),
                Err(error) if !negative_ttl.is_zero() && error.errno() == Errno::ENOENT => {
                    Ok(Looked::Absent(negative_ttl))
                }
                Err(error) => Err(error),
            }
        });
    }

    pub(crate) fn mknod(
        &self,
        request: &Request,
        place: Place,
        mode: u32,
        umask: u32,
        rdev: u32,
        reply: impl Answer<Found>,
    ) {
        let Some(kind) = kind_of_mode(mode) else { return reply.answer(Err(Errno::EPERM)) };
        let (vfs, caller) = (self.vfs.clone(), self.caller(request));
        let new = NewNode { kind, mode: permissions(mode), umask: self.umask(umask), rdev, target: None };
        self.run("mknod", reply, async move { vfs.mknod(&caller, place.parent, &place.name()?, &new).await });
    }

    pub(crate) fn mkdir(
        &self,
        request: &Request,
        place: Place,
        mode: u32,
        umask: u32,
        reply: impl Answer<Found>,
    ) {
        let (vfs, caller) = (self.vfs.clone(), self.caller(request));
        let (mode, umask) = (permissions(mode), self.umask(umask));
        self.run("mkdir", reply, async move {
            vfs.mkdir(&caller, place.parent, &place.name()?, mode, umask).await
        });
    }

    pub(crate) fn symlink(&self, request: &Request, place: Place, target: Bytes, reply: impl Answer<Found>) {
        let (vfs, caller) = (self.vfs.clone(), self.caller(request));
        self.run("symlink", reply, async move {
            vfs.symlink(&caller, place.parent, &place.name()?, target).await
        });
    }

    pub(crate) fn unlink(&self, request: &Request, place: Place, reply: impl Answer<()>) {
        let (vfs, caller) = (self.vfs.clone(), self.caller(request));
        self.run("unlink", reply, async move { vfs.unlink(&caller, place.parent, &place.name()?).await });
    }

    pub(crate) fn rmdir(&self, request: &Request, place: Place, reply: impl Answer<()>) {
        let (vfs, caller) = (self.vfs.clone(), self.caller(request));
        self.run("rmdir", reply, async move { vfs.rmdir(&caller, place.parent, &place.name()?).await });
    }

    pub(crate) fn rename(
        &self,
        request: &Request,
        from: Place,
        to: Place,
        flags: u32,
        reply: impl Answer<()>,
    ) {
        let (vfs, caller) = (self.vfs.clone(), self.caller(request));
        self.run("rename", reply, async move {
            let (old, new) = (from.name()?, to.name()?);
            vfs.rename(&caller, from.parent, &old, to.parent, &new, RenameFlags(flags)).await
        });
    }

    pub(crate) fn link(&self, request: &Request, ino: Ino, to: Place, reply: impl Answer<Found>) {
        let (vfs, caller) = (self.vfs.clone(), self.caller(request));
        self.run("link", reply, async move { vfs.link(&caller, ino, to.parent, &to.name()?).await });
    }

    pub(crate) fn readlink(&self, ino: Ino, reply: impl Answer<Bytes>) {
        let vfs = self.vfs.clone();
        self.run("readlink", reply, async move { vfs.readlink(ino).await });
    }
}

/// The kind a `mknod` mode asks for; no type bits mean a plain file.
fn kind_of_mode(mode: u32) -> Option<Kind> {
    Some(match mode & libc::S_IFMT {
        0 | libc::S_IFREG => Kind::File,
        libc::S_IFIFO => Kind::Fifo,
        libc::S_IFBLK => Kind::BlockDevice,
        libc::S_IFCHR => Kind::CharDevice,
        libc::S_IFSOCK => Kind::Socket,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mode_without_type_is_a_file_and_directories_are_not_made_so() {
        assert_eq!(kind_of_mode(0o644), Some(Kind::File));
        assert_eq!(kind_of_mode(libc::S_IFIFO | 0o600), Some(Kind::Fifo));
        assert_eq!(kind_of_mode(libc::S_IFDIR | 0o755), None);
    }
}
