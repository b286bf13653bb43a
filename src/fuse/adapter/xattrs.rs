//! Extended attributes, and which of them this mount knows at all.
//!
//! ENOSYS makes the kernel stop asking for the rest of the mount. Of `security.capability` it asks before every write,
//! so without `--enable-cap` that is answered here.

use super::Adapter;
use crate::request::{Answer, Fitted, Request};
use bytes::{BufMut, Bytes, BytesMut};
use juicefs_base::Errno;
use juicefs_vfs::{Ino, XattrMode};

const CAPABILITY: &[u8] = b"security.capability";
const SELINUX: &[u8] = b"security.selinux";

impl Adapter {
    pub(crate) fn getxattr(
        &self,
        request: &Request,
        ino: Ino,
        name: Bytes,
        room: u32,
        reply: impl Answer<Fitted>,
    ) {
        if !self.options.xattrs {
            return reply.answer(Err(Errno::ENOSYS));
        }
        if self.leaves_out(&name) {
            return reply.answer(Err(Errno::ENODATA));
        }
        let (vfs, caller) = (self.vfs.clone(), self.caller(request));
        self.run("getxattr", reply, async move {
            let bytes = vfs.getxattr(&caller, ino, &name).await?;
            Ok(Fitted { room, bytes })
        });
    }

    pub(crate) fn listxattr(&self, ino: Ino, room: u32, reply: impl Answer<Fitted>) {
        if !self.options.xattrs {
            return reply.answer(Err(Errno::ENOSYS));
        }
        let vfs = self.vfs.clone();
        self.run("listxattr", reply, async move {
            let mut list = BytesMut::new();
            for name in vfs.listxattr(ino).await? {
                list.extend_from_slice(&name);
                list.put_u8(0);
            }
            Ok(Fitted { room, bytes: list.freeze() })
        });
    }

    pub(crate) fn setxattr(
        &self,
        request: &Request,
        ino: Ino,
        (name, value): (Bytes, Bytes),
        flags: i32,
        reply: impl Answer<()>,
    ) {
        if let Err(errno) = self.check_change(&name) {
            return reply.answer(Err(errno));
        }
        let Some(mode) = mode(flags) else { return reply.answer(Err(Errno::EINVAL)) };
        let (vfs, caller) = (self.vfs.clone(), self.caller(request));
        self.run("setxattr", reply, async move { vfs.setxattr(&caller, ino, &name, &value, mode).await });
    }

    pub(crate) fn removexattr(&self, request: &Request, ino: Ino, name: Bytes, reply: impl Answer<()>) {
        if let Err(errno) = self.check_change(&name) {
            return reply.answer(Err(errno));
        }
        let (vfs, caller) = (self.vfs.clone(), self.caller(request));
        self.run("removexattr", reply, async move { vfs.removexattr(&caller, ino, &name).await });
    }

    fn check_change(&self, name: &[u8]) -> Result<(), Errno> {
        if !self.options.xattrs {
            return Err(Errno::ENOSYS);
        }
        // ACLs are no attributes of their own (format 9.3), and are not kept yet.
        if self.leaves_out(name) || name.starts_with(b"system.posix_acl_") {
            return Err(Errno::EOPNOTSUPP);
        }
        Ok(())
    }

    fn leaves_out(&self, name: &[u8]) -> bool {
        name == CAPABILITY && !self.options.capabilities || name == SELINUX && !self.options.selinux
    }
}

fn mode(flags: i32) -> Option<XattrMode> {
    Some(match flags {
        0 => XattrMode::Any,
        nix::libc::XATTR_CREATE => XattrMode::Create,
        nix::libc::XATTR_REPLACE => XattrMode::Replace,
        _ => return None,
    })
}
