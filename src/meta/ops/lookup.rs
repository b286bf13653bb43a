//! From a name to a node.

use bytes::Bytes;
use juicefs_base::Errno;

use super::TRASH_NAME;
use crate::error::Result;
use crate::meta::Meta;
use crate::port::Hold;
use crate::rules;
use crate::txn::{NodeOf, OrNoEntry, ParentsOf, SymlinkOf};
use crate::types::{Attr, Caller, Ino, Kind, Name, Time};

impl Meta {
    /// The node behind a name; `.trash` under the volume's root is the trash. Neither `.` nor `..` is a name:
    /// see [`Self::parent_of`].
    ///
    /// # Errors
    /// ENOENT, ENOTDIR, EACCES.
    pub async fn lookup(&self, caller: &Caller, parent: Ino, name: &Name) -> Result<(Ino, Attr)> {
        let parent = self.stored(parent);
        if parent == Ino::ROOT && name.as_bytes() == TRASH_NAME {
            return Ok((Ino::TRASH, self.getattr(Ino::TRASH).await?));
        }
        if caller.checks_permission {
            let (directory,) = self.peek((NodeOf(parent, Hold::Peek),)).await?;
            let directory = directory.or_no_entry()?;
            if directory.kind != Kind::Directory {
                return Err(Errno::ENOTDIR.into());
            }
            rules::check(caller, &directory, rules::EXECUTE)?;
        }
        let found = self.ask(|engine| engine.lookup(parent, name)).await?;
        let (edge, attr) = found.or_no_entry()?;
        let attr = attr.or_no_entry()?;
        self.open_files.saw(edge.ino, &attr);
        self.open_cache.saw(edge.ino, &attr);
        Ok((self.shown(edge.ino), attr))
    }

    /// # Errors
    /// ENOENT.
    pub async fn getattr(&self, ino: Ino) -> Result<Attr> {
        let ino = self.stored(ino);
        let (attr,) = self.peek((NodeOf(ino, Hold::Peek),)).await?;
        let attr = match attr {
            // A volume that never had a trash shows an empty one, as the peer does.
            None if ino == Ino::TRASH => {
                Attr { length: 0, ..Attr::new(Kind::Directory, 0o555, 0, 0, Ino::ROOT, Time::default()) }
            }
            attr => attr.or_no_entry()?,
        };
        self.open_files.saw(ino, &attr);
        Ok(attr)
    }

    /// Whether the mode grants `mask` (4 read, 2 write, 1 execute); asked for every caller, also for those
    /// that the kernel has checked.
    ///
    /// # Errors
    /// EACCES, ENOENT.
    pub async fn access(&self, caller: &Caller, ino: Ino, mask: u8) -> Result<()> {
        let attr = self.getattr(ino).await?;
        if rules::permits(caller, &attr, mask) { Ok(()) } else { Err(Errno::EACCES.into()) }
    }

    /// The directory a node is found in; one of them for a file with several names. The root is its own.
    ///
    /// # Errors
    /// ENOENT.
    pub async fn parent_of(&self, ino: Ino) -> Result<Ino> {
        let ino = self.stored(ino);
        if ino == self.root() {
            return Ok(Ino::ROOT);
        }
        let attr = self.getattr(ino).await?;
        if attr.parent.0 > 0 {
            return Ok(self.shown(attr.parent));
        }
        let (parents,) = self.peek((ParentsOf(ino),)).await?;
        let (parent, _) = *parents.first().ok_or(Errno::ENOENT)?;
        Ok(self.shown(parent))
    }

    /// # Errors
    /// EINVAL for anything but a symlink, ENOENT.
    pub async fn readlink(&self, ino: Ino) -> Result<Bytes> {
        let (target,) = self.peek((SymlinkOf(ino),)).await?;
        if let Some(target) = target {
            return Ok(target);
        }
        match self.getattr(ino).await?.kind {
            Kind::Symlink => Err(Errno::EIO.into()),
            _ => Err(Errno::EINVAL.into()),
        }
    }

    /// The number callers know a stored inode by.
    fn shown(&self, ino: Ino) -> Ino {
        if ino == self.root() { Ino::ROOT } else { ino }
    }
}
