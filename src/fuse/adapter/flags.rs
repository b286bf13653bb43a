//! The ioctls of chattr and lsattr: flags of a node. All others, and these without `--enable-ioctl`, are ENOTTY.

use super::Adapter;
use crate::request::{Answer, Output, Request};
use bytes::Bytes;
use juicefs_base::Errno;
use juicefs_vfs::{Ino, node_flags as kept};

/// `FS_IOC_*` and their forms for 32-bit callers.
mod command {
    pub const GETFLAGS: u32 = 0x8008_6601;
    pub const GETFLAGS_32: u32 = 0x8004_6601;
    pub const SETFLAGS: u32 = 0x4008_6602;
    pub const SETFLAGS_32: u32 = 0x4004_6602;
    pub const FSGETXATTR: u32 = 0x801c_581f;
}

/// `struct fsxattr`.
const FSXATTR_BYTES: usize = 28;

/// (`FS_*_FL`, `FS_XFLAG_*`, ours). The peer lets `s` say that a file goes without the trash.
const FLAGS: [(u32, u32, u8); 3] =
    [(0x1, 0, kept::SKIP_TRASH), (0x10, 0x8, kept::IMMUTABLE), (0x20, 0x10, kept::APPEND)];

/// An ioctl as it came.
pub(crate) struct Ioctl {
    pub(crate) ino: Ino,
    pub(crate) command: u32,
    pub(crate) input: Bytes,
    /// Bytes that the caller has room for.
    pub(crate) room: usize,
}

impl Adapter {
    pub(crate) fn ioctl(&self, request: &Request, ioctl: Ioctl, reply: impl Answer<Output>) {
        let Ioctl { ino, command, input, room } = ioctl;
        let vfs = self.vfs.clone();
        match (self.options.ioctl, command) {
            (true, command::SETFLAGS | command::SETFLAGS_32) => {
                let caller = self.caller(request);
                let wanted = wanted(&input);
                self.run("ioctl", reply, async move {
                    // Where the kernel checks, it lets owners change what only root may.
                    let is_root = caller.uid == 0;
                    let wanted = wanted?;
                    if !is_root && wanted != vfs.node_flags(ino).await? {
                        return Err(Errno::EPERM.into());
                    }
                    vfs.set_node_flags(&caller, ino, wanted).await?;
                    Ok(Output(Bytes::new()))
                });
            }
            (true, command::GETFLAGS | command::GETFLAGS_32 | command::FSGETXATTR) => {
                self.run("ioctl", reply, async move {
                    Ok(Output(shown(vfs.node_flags(ino).await?, command == command::FSGETXATTR, room)?))
                });
            }
            _ => reply.answer(Err(Errno::ENOTTY)),
        }
    }
}

/// # Errors
/// EINVAL for another length than 4 or 8 bytes, ENOTSUP for other flags.
fn wanted(input: &[u8]) -> Result<u8, Errno> {
    let mut asked = match *input {
        [a, b, c, d] => u64::from(u32::from_ne_bytes([a, b, c, d])),
        [a, b, c, d, e, f, g, h] => u64::from_ne_bytes([a, b, c, d, e, f, g, h]),
        _ => return Err(Errno::EINVAL),
    };
    let mut flags = 0;
    for (bit, _, ours) in FLAGS {
        if asked & u64::from(bit) != 0 {
            flags |= ours;
            asked &= !u64::from(bit);
        }
    }
    if asked == 0 { Ok(flags) } else { Err(Errno::ENOTSUP) }
}

fn shown(flags: u8, is_fsxattr: bool, room: usize) -> Result<Bytes, Errno> {
    let set = FLAGS.iter().filter(|(.., ours)| flags & ours != 0);
    let bits: u32 = set.map(|(bit, xbit, _)| if is_fsxattr { *xbit } else { *bit }).sum();
    let mut shown = bits.to_ne_bytes().to_vec();
    match (is_fsxattr, room) {
        (true, FSXATTR_BYTES) | (false, 8) => shown.resize(room, 0),
        (false, 4) => {}
        _ => return Err(Errno::EINVAL),
    }
    if !is_fsxattr && room == 8 {
        shown = u64::from(bits).to_ne_bytes().to_vec();
    }
    Ok(shown.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_the_kernels_in_either_length() {
        let both = kept::SKIP_TRASH | kept::APPEND;
        assert_eq!(wanted(&0x21u64.to_ne_bytes()), Ok(both));
        assert_eq!(wanted(&0x21u32.to_ne_bytes()), Ok(both));
        assert_eq!(wanted(&0x25u64.to_ne_bytes()), Err(Errno::ENOTSUP), "undelete is not kept");
        assert_eq!(wanted(&[0; 5]), Err(Errno::EINVAL));
        assert_eq!(shown(both, false, 8).unwrap(), 0x21u64.to_ne_bytes()[..]);
        assert_eq!(shown(both, false, 4).unwrap(), 0x21u32.to_ne_bytes()[..]);
        let fsxattr = shown(both | kept::IMMUTABLE, true, FSXATTR_BYTES).unwrap();
        assert_eq!((fsxattr.len(), &fsxattr[..4]), (FSXATTR_BYTES, &0x18u32.to_ne_bytes()[..]));
        assert_eq!(shown(both, true, 8), Err(Errno::EINVAL));
    }
}
