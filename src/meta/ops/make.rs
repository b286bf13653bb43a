//! Files, directories, symlinks and devices come into being.

use juicefs_base::Errno;

use super::updates_times;
use crate::change_log::Entry;
use crate::error::{Error, Result};
use crate::meta::Meta;
use crate::port::{Change, Hold};
use crate::request::{NewNode, OpenFlags};
use crate::rules;
use crate::txn::{EdgeOf, NodeOf, Operation, OrNoEntry, Txn};
use crate::types::{Attr, Caller, Edge, Ino, Kind, Name, Usage};
use crate::usage;

/// Longest symlink target.
const TARGET_BYTES_MAX: usize = 4096;
/// Times that a file to open may vanish between finding and opening it.
const CREATE_TRIES: u32 = 10;

impl Meta {
    /// Makes a node of any kind.
    ///
    /// # Errors
    /// EEXIST, ENOENT and ENOTDIR of the parent, EACCES, EPERM, ENOSPC, EDQUOT, EINVAL for a bad symlink target, EROFS.
    pub async fn mknod(
        &self,
        caller: &Caller,
        parent: Ino,
        name: &Name,
        new: &NewNode,
    ) -> Result<(Ino, Attr)> {
        let ino = self.number_for(parent, name, new).await?;
        let make = Make { meta: self, caller, parent: self.stored(parent), name, new, ino };
        match self.transact(&make).await? {
            Made::New(attr) => Ok((ino, attr)),
            Made::Found(_) => Err(Errno::EEXIST.into()),
        }
    }

    /// `open(O_CREAT)`: makes a file, or opens the one that is there. The file counts as open afterwards; the
    /// flag tells whether it is new. `O_TRUNC` is the caller's.
    ///
    /// # Errors
    /// As [`Self::mknod`] and [`Self::open_file`]; EISDIR for a directory.
    pub async fn create(
        &self,
        caller: &Caller,
        parent: Ino,
        name: &Name,
        mode: u16,
        umask: u16,
        flags: OpenFlags,
    ) -> Result<(Ino, Attr, bool)> {
        let new = NewNode::file(mode, umask);
        let ino = self.number_for(parent, name, &new).await?;
        let make = Make { meta: self, caller, parent: self.stored(parent), name, new: &new, ino };
        let mut tries = 0;
        loop {
            // Open before anybody can see it, so that nobody's unlink takes it for closed.
            self.open_files.open(ino);
            let made = self.transact(&make).await;
            let found = match made {
                Ok(Made::New(attr)) => {
                    self.open_files.saw(ino, &attr);
                    return Ok((ino, attr, true));
                }
                Ok(Made::Found(edge)) => {
                    self.open_files.close(ino);
                    edge
                }
                Err(error) => {
                    self.open_files.close(ino);
                    return Err(error);
                }
            };
            if flags.is_exclusive() {
                return Err(Errno::EEXIST.into());
            }
            match found.kind {
                Kind::Directory => return Err(Errno::EISDIR.into()),
                Kind::File => {}
                _ => return Err(Errno::EEXIST.into()),
            }
            tries += 1;
            match self.open_file(caller, found.ino, flags).await {
                Err(Error::Errno(Errno::ENOENT)) if tries < CREATE_TRIES => {}
                // It lost the name meanwhile.
                Ok(attr) if attr.nlink == 0 && tries < CREATE_TRIES => self.close_file(found.ino).await?,
                opened => return opened.map(|attr| (found.ino, attr, false)),
            }
        }
    }

    async fn number_for(&self, parent: Ino, name: &Name, new: &NewNode) -> Result<Ino> {
        self.check_writable()?;
        Self::check_may_add(self.stored(parent), name)?;
        if new.kind == Kind::Symlink {
            let target = new.target.as_deref().unwrap_or_default();
            if target.is_empty() || target.len() > TARGET_BYTES_MAX || target.contains(&0) {
                return Err(Errno::EINVAL.into());
            }
        }
        Ok(Ino(self.number(|meta| &meta.inode_numbers).await?))
    }
}

enum Made {
    New(Attr),
    Found(Edge),
}

struct Make<'a> {
    meta: &'a Meta,
    caller: &'a Caller,
    parent: Ino,
    name: &'a Name,
    new: &'a NewNode,
    ino: Ino,
}

impl Operation for Make<'_> {
    type Output = Made;
    const NAME: &'static str = "mknod";
    const FLUSHES: u32 = 2;

    fn contends_on(&self) -> [Option<Ino>; 2] {
        [Some(self.parent), None]
    }

    async fn run(&self, txn: &mut Txn<'_>) -> Result<Made> {
        let Self { parent, name, new, ino, .. } = *self;
        let (directory, edge) =
            txn.read((NodeOf(parent, Hold::Touch), EdgeOf(parent, name, Hold::Guard))).await?;
        let directory = directory.or_no_entry()?;
        if directory.kind != Kind::Directory {
            return Err(Errno::ENOTDIR.into());
        }
        if directory.parent.is_trash() {
            return Err(Errno::ENOENT.into());
        }
        rules::check(self.caller, &directory, rules::EXECUTE)?;
        if let Some(edge) = edge {
            return Ok(Made::Found(edge));
        }
        rules::check_add(self.caller, &directory)?;
        let attr = rules::born(self.caller, parent, &directory, new, txn.now());
        txn.ask_room(&attr, Usage::of(&attr))?;
        txn.charge_name(parent, usage::share_of(&attr), Usage::default()).await?;
        txn.charge_node(&attr, Usage::of(&attr));
        let is_directory = new.kind == Kind::Directory;
        txn.change(Change::InsertNode { ino, attr });
        if let (Kind::Symlink, Some(target)) = (new.kind, &new.target) {
            txn.change(Change::InsertSymlink { ino, target: target.clone() });
        }
        txn.change(Change::InsertEdge { parent, name: name.clone(), edge: Edge { ino, kind: new.kind } });
        let touched = self.meta.touch(txn).directory(&directory, i32::from(is_directory));
        txn.update_node(parent, &directory, &touched);
        if is_directory {
            txn.change(Change::InsertDirStat { ino });
        }
        let NewNode { kind, mode, umask, ref target, .. } = *new;
        txn.log(&Entry::Create {
            parent,
            name,
            uid: self.caller.uid,
            gid: self.caller.gid,
            kind,
            mode: mode & !umask & 0o7777,
            umask,
            target: target.as_deref().unwrap_or_default(),
            updates_parent: updates_times(&directory, &touched),
            ino,
        });
        Ok(Made::New(attr))
    }
}
