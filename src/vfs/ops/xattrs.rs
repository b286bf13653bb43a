//! Operations on extended attributes and on flags. Internal files have none and take none.

use crate::error::{Result, stale};
use crate::special;
use crate::vfs::Vfs;
use bytes::Bytes;
use juicefs_base::Errno;
use juicefs_base::metrics::FileOp;
use juicefs_meta::types::flags;
use juicefs_meta::{Caller, Ino, SetAttr, XattrMode};

impl Vfs {
    /// Flags of a node (`chattr`), bits of [`juicefs_meta::types::flags`].
    ///
    /// # Errors
    /// EPERM for internal files; ESTALE.
    pub async fn node_flags(&self, ino: Ino) -> Result<u8> {
        self.count(FileOp::Ioctl, async {
            if special::is_special(ino) {
                return Err(Errno::EPERM.into());
            }
            Ok(self.core.meta.getattr(ino).await.map_err(stale)?.flags & flags::ALL)
        })
        .await
    }

    /// Sets just these flags.
    ///
    /// # Errors
    /// As [`Self::setattr`]; EPERM for internal files and for who is not root.
    pub async fn set_node_flags(&self, caller: &Caller, ino: Ino, wanted: u8) -> Result<()> {
        self.count(FileOp::Ioctl, async {
            self.check_writable()?;
            if special::is_special(ino) {
                return Err(Errno::EPERM.into());
            }
            let set = SetAttr { flags: Some(wanted), ..SetAttr::default() };
            self.set(caller, ino, &set).await.map(drop)
        })
        .await
    }

    /// # Errors
    /// ENODATA, ERANGE, EACCES, ESTALE.
    pub async fn getxattr(&self, caller: &Caller, ino: Ino, name: &Bytes) -> Result<Bytes> {
        self.count(FileOp::Getxattr, async {
            if special::is_special(ino) {
                return Err(Errno::ENODATA.into());
            }
            self.core.meta.getxattr(caller, ino, name).await.map_err(stale)
        })
        .await
    }

    /// # Errors
    /// As the metadata's.
    pub async fn listxattr(&self, ino: Ino) -> Result<Vec<Bytes>> {
        self.count(FileOp::Listxattr, async {
            if special::is_special(ino) {
                return Ok(Vec::new());
            }
            self.core.meta.listxattr(ino).await.map_err(stale)
        })
        .await
    }

    /// # Errors
    /// EEXIST, ENODATA, ERANGE, EPERM, EACCES, ESTALE, EROFS.
    pub async fn setxattr(
        &self,
        caller: &Caller,
        ino: Ino,
        name: &Bytes,
        value: &Bytes,
        mode: XattrMode,
    ) -> Result<()> {
        self.count(FileOp::Setxattr, async {
            self.check_xattrs(ino)?;
            let attr = self.core.meta.setxattr(caller, ino, name, value, mode).await.map_err(stale)?;
            self.changed_node(ino, attr);
            Ok(())
        })
        .await
    }

    /// # Errors
    /// As [`Self::setxattr`].
    pub async fn removexattr(&self, caller: &Caller, ino: Ino, name: &Bytes) -> Result<()> {
        self.count(FileOp::Removexattr, async {
            self.check_xattrs(ino)?;
            let attr = self.core.meta.removexattr(caller, ino, name).await.map_err(stale)?;
            self.changed_node(ino, attr);
            Ok(())
        })
        .await
    }

    fn check_xattrs(&self, ino: Ino) -> Result<()> {
        if special::is_special(ino) {
            return Err(Errno::EPERM.into());
        }
        self.check_writable()
    }
}
