//! Names go away.

use juicefs_base::Errno;

use super::updates_times;
use super::victim::{Fate, Victim};
use crate::change_log::Entry;
use crate::error::Result;
use crate::meta::Meta;
use crate::port::{Change, Get, Hold};
use crate::rules;
use crate::txn::{EdgeOf, NodeOf, Operation, OrNoEntry, Txn};
use crate::types::{Attr, Caller, Edge, Ino, Kind, Name};

impl Meta {
    /// Takes a name from anything but a directory. The node goes to the trash, or away with its last name; a
    /// file that this process holds open stays until its last close, one that others may hold open until they have
    /// said so or had time to.
    ///
    /// # Errors
    /// ENOENT, EPERM (a directory, trash, immutable), EACCES, EROFS.
    pub async fn unlink(&self, caller: &Caller, parent: Ino, name: &Name) -> Result<()> {
        self.unlink_with(caller, parent, name, false).await
    }

    /// [`Self::unlink`], for good with `skip_trash`.
    pub(crate) async fn unlink_with(
        &self,
        caller: &Caller,
        parent: Ino,
        name: &Name,
        skip_trash: bool,
    ) -> Result<()> {
        let parent = self.check_may_take(caller, parent, name)?;
        let unlink = |trash| Unlink(Take { meta: self, caller, parent, name, trash });
        if skip_trash {
            return self.transact(&unlink(None)).await;
        }
        self.transact_with_trash(parent, unlink).await
    }

    /// Takes an empty directory away, or moves it to the trash.
    ///
    /// # Errors
    /// ENOENT, ENOTDIR, ENOTEMPTY, EPERM, EACCES, EROFS.
    pub async fn rmdir(&self, caller: &Caller, parent: Ino, name: &Name) -> Result<()> {
        self.rmdir_with(caller, parent, name, false).await
    }

    /// [`Self::rmdir`], for good with `skip_trash`.
    pub(crate) async fn rmdir_with(
        &self,
        caller: &Caller,
        parent: Ino,
        name: &Name,
        skip_trash: bool,
    ) -> Result<()> {
        let parent = self.check_may_take(caller, parent, name)?;
        let rmdir = |trash| Rmdir(Take { meta: self, caller, parent, name, trash });
        if skip_trash {
            return self.transact(&rmdir(None)).await;
        }
        self.transact_with_trash(parent, rmdir).await
    }

    fn check_may_take(&self, caller: &Caller, parent: Ino, name: &Name) -> Result<Ino> {
        self.check_writable()?;
        let parent = self.stored(parent);
        Self::check_not_trash_root(parent, name)?;
        if parent.is_trash() && caller.uid != 0 {
            return Err(Errno::EPERM.into());
        }
        Ok(parent)
    }
}

struct Take<'a> {
    meta: &'a Meta,
    caller: &'a Caller,
    parent: Ino,
    name: &'a Name,
    trash: Option<Ino>,
}

impl Take<'_> {
    async fn directory_and_edge(&self, txn: &mut Txn<'_>) -> Result<(Attr, Edge)> {
        let Self { parent, name, .. } = *self;
        let (directory, edge) =
            txn.read((NodeOf(parent, Hold::Touch), EdgeOf(parent, name, Hold::Guard))).await?;
        let directory = directory.or_no_entry()?;
        if directory.kind != Kind::Directory {
            return Err(Errno::ENOTDIR.into());
        }
        rules::check(self.caller, &directory, rules::EXECUTE)?;
        Ok((directory, edge.or_no_entry()?))
    }

    /// One name less in the directory, whose node is `victim`'s.
    async fn take(&self, txn: &mut Txn<'_>, directory: &Attr, edge: Edge) -> Result<()> {
        let Self { meta, caller, parent, name, trash } = *self;
        let is_directory = edge.kind == Kind::Directory;
        let victim = Victim { parent, name, edge, trash, sid: meta.session_id() };
        let mut gets: Vec<Get> = Vec::with_capacity(5);
        victim.gets(&mut gets, txn.now());
        let found = victim.found(&mut txn.read_all(&gets).await?)?;
        if found.has_children {
            return Err(Errno::ENOTEMPTY.into());
        }
        // A name without a node can still be taken away: by those who may change the directory.
        rules::check_remove(caller, directory, found.node.as_ref().unwrap_or(directory))?;
        txn.change(Change::DeleteEdge { parent, name: name.clone(), was: edge });
        let mut updates_parent = false;
        if !parent.is_trash() {
            let touched = meta.touch(txn).directory(directory, -i32::from(is_directory));
            updates_parent = updates_times(directory, &touched);
            txn.update_node(parent, directory, &touched);
        }
        let Fate { trash, is_open } = victim.remove(meta, txn, found).await?;
        let ino = edge.ino;
        txn.log(&if is_directory {
            Entry::Rmdir { parent, name, trash, ino }
        } else {
            Entry::Unlink { parent, name, trash, is_open, updates_parent, ino }
        });
        Ok(())
    }
}

struct Unlink<'a>(Take<'a>);

impl Operation for Unlink<'_> {
    type Output = ();
    const NAME: &'static str = "unlink";
    const FLUSHES: u32 = 3;

    fn contends_on(&self) -> [Option<Ino>; 2] {
        [Some(self.0.parent), None]
    }

    async fn run(&self, txn: &mut Txn<'_>) -> Result<()> {
        let (directory, edge) = self.0.directory_and_edge(txn).await?;
        if edge.kind == Kind::Directory {
            return Err(Errno::EPERM.into());
        }
        self.0.take(txn, &directory, edge).await
    }
}

struct Rmdir<'a>(Take<'a>);

impl Operation for Rmdir<'_> {
    type Output = ();
    const NAME: &'static str = "rmdir";
    const FLUSHES: u32 = 3;

    fn contends_on(&self) -> [Option<Ino>; 2] {
        [Some(self.0.parent), None]
    }

    async fn run(&self, txn: &mut Txn<'_>) -> Result<()> {
        let (directory, edge) = self.0.directory_and_edge(txn).await?;
        if edge.kind != Kind::Directory {
            return Err(Errno::ENOTDIR.into());
        }
        self.0.take(txn, &directory, edge).await
    }
}
