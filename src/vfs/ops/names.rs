//! Operations on names.

use crate::answer::Found;
use crate::directory::Touch;
use crate::error::Result;
use crate::special::{self, Special};
use crate::vfs::Vfs;
use bytes::Bytes;
use juicefs_base::Errno;
use juicefs_base::metrics::FileOp;
use juicefs_meta::{Attr, Caller, Ino, Name, NewNode, RenameFlags};

impl Vfs {
    /// # Errors
    /// ENOENT, ENOTDIR, EACCES.
    pub async fn lookup(&self, caller: &Caller, parent: Ino, name: &Name) -> Result<Found> {
        self.count(FileOp::Lookup, async {
            let asked_at = self.core.tick();
            let (ino, attr) = match self.specials.find(parent, name.as_bytes()) {
                Some(Special::AccessLog) => return self.special_found(special::ACCESS_LOG),
                Some(Special::Control) => return self.special_found(special::CONTROL),
                Some(Special::Stats) => return self.special_found(special::STATS),
                Some(Special::Config) => return self.special_found(special::CONFIG),
                Some(Special::Trash) => self.core.meta.lookup(caller, parent, &special::trash_name()).await?,
                Some(Special::Reserved | Special::Hidden) => return Err(Errno::ENOENT.into()),
                None => self.core.meta.lookup(caller, parent, name).await?,
            };
            Ok(self.found(ino, self.core.observe(ino, attr, asked_at)))
        })
        .await
    }

    fn special_found(&self, ino: Ino) -> Result<Found> {
        let attr = self.special_attr(ino).ok_or(Errno::ENOENT)?;
        Ok(Found { ino, attr, attr_ttl: special::TTL, entry_ttl: special::TTL })
    }

    /// # Errors
    /// EEXIST, ENOENT, ENOTDIR, EACCES, EPERM, ENOSPC, EROFS.
    pub async fn mknod(&self, caller: &Caller, parent: Ino, name: &Name, new: &NewNode) -> Result<Found> {
        self.count(FileOp::Mknod, self.make(caller, parent, name, new)).await
    }

    /// # Errors
    /// As [`Self::mknod`].
    pub async fn mkdir(
        &self,
        caller: &Caller,
        parent: Ino,
        name: &Name,
        mode: u16,
        umask: u16,
    ) -> Result<Found> {
        let new = NewNode::directory(mode, umask);
        self.count(FileOp::Mkdir, self.make(caller, parent, name, &new)).await
    }

    /// # Errors
    /// As [`Self::mknod`]; EINVAL for a bad target.
    pub async fn symlink(&self, caller: &Caller, parent: Ino, name: &Name, target: Bytes) -> Result<Found> {
        let new = NewNode::symlink(target);
        self.count(FileOp::Symlink, self.make(caller, parent, name, &new)).await
    }

    async fn make(&self, caller: &Caller, parent: Ino, name: &Name, new: &NewNode) -> Result<Found> {
        self.check_changes(parent, name)?;
        let (ino, attr) = self.core.meta.mknod(caller, parent, name, new).await?;
        self.touch(parent, name, Touch::Changed);
        Ok(self.found(ino, attr))
    }

    /// # Errors
    /// EEXIST, ENOENT, EPERM for directories, EMLINK, EACCES, EROFS.
    pub async fn link(&self, caller: &Caller, ino: Ino, parent: Ino, name: &Name) -> Result<Found> {
        self.count(FileOp::Link, async {
            self.check_changes(parent, name)?;
            if special::is_special(ino) {
                return Err(Errno::EPERM.into());
            }
            let attr = self.core.meta.link(caller, ino, parent, name).await?;
            self.touch(parent, name, Touch::Changed);
            Ok(self.found(ino, self.changed_node(ino, attr)))
        })
        .await
    }

    /// # Errors
    /// ENOENT, EPERM, EACCES, EROFS.
    pub async fn unlink(&self, caller: &Caller, parent: Ino, name: &Name) -> Result<()> {
        self.count(FileOp::Unlink, async {
            self.check_changes(parent, name)?;
            self.core.meta.unlink(caller, parent, name).await?;
            self.touch(parent, name, Touch::Removed);
            Ok(())
        })
        .await
    }

    /// # Errors
    /// ENOENT, ENOTDIR, ENOTEMPTY, EPERM, EACCES, EROFS.
    pub async fn rmdir(&self, caller: &Caller, parent: Ino, name: &Name) -> Result<()> {
        self.count(FileOp::Rmdir, async {
            self.check_changes(parent, name)?;
            self.core.meta.rmdir(caller, parent, name).await?;
            self.touch(parent, name, Touch::Removed);
            Ok(())
        })
        .await
    }

    /// # Errors
    /// As `renameat2(2)`; EINVAL for flags that are not known.
    pub async fn rename(
        &self,
        caller: &Caller,
        parent: Ino,
        name: &Name,
        new_parent: Ino,
        new_name: &Name,
        flags: RenameFlags,
    ) -> Result<()> {
        self.count(FileOp::Rename, async {
            self.check_changes(parent, name)?;
            self.check_changes(new_parent, new_name)?;
            self.core.meta.rename(caller, parent, name, new_parent, new_name, flags).await?;
            let stays = flags.has(RenameFlags::EXCHANGE) || flags.has(RenameFlags::WHITEOUT);
            let left = if stays { Touch::Changed } else { Touch::Removed };
            self.touch(parent, name, left);
            self.touch(new_parent, new_name, Touch::Changed);
            Ok(())
        })
        .await
    }

    /// # Errors
    /// EROFS, EPERM for internal names.
    pub(crate) fn check_changes(&self, parent: Ino, name: &Name) -> Result<()> {
        self.check_writable()?;
        match self.specials.find(parent, name.as_bytes()) {
            Some(_) => Err(Errno::EPERM.into()),
            None => Ok(()),
        }
    }

    pub(crate) fn touch(&self, parent: Ino, name: &Name, touch: Touch) {
        self.directories.touch(parent, &Bytes::copy_from_slice(name.as_bytes()), touch);
    }

    /// Attributes after an own change that left the data alone.
    pub(crate) fn changed_node(&self, ino: Ino, attr: Attr) -> Attr {
        let Some(file) = self.core.files.find(ino) else { return attr };
        let mut state = file.state();
        state.attributes_changed(attr, self.core.tick());
        state.with_dirty(attr)
    }
}
