//! Operations on extended attributes. Internal files have none and take none.

use crate::error::{Result, stale};
use crate::special;
use crate::vfs::Vfs;
use bytes::Bytes;
use juicefs_base::Errno;
use juicefs_base::metrics::FileOp;
use juicefs_meta::{Caller, Ino, XattrMode};

impl Vfs {
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
