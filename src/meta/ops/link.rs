//! Another name for a file.

use juicefs_base::Errno;

use super::updates_times;
use crate::change_log::Entry;
use crate::error::Result;
use crate::meta::Meta;
use crate::port::{Change, Hold};
use crate::rules;
use crate::txn::{EdgeOf, NodeOf, Operation, OrNoEntry, Txn};
use crate::types::{Attr, Caller, Edge, Ino, Kind, Name, Usage, flags};
use crate::usage;

impl Meta {
    /// Adds a name; from then on the node has no parent of its own, its parents are counted apart. The first name of a
    /// file that never had one makes it a plain file there, which its session no longer sustains.
    ///
    /// # Errors
    /// EEXIST, EPERM (a directory, trash, immutable), ENOENT, ENOTDIR, EACCES, EDQUOT, EROFS.
    pub async fn link(&self, caller: &Caller, ino: Ino, parent: Ino, name: &Name) -> Result<Attr> {
        self.check_writable()?;
        let (ino, parent) = (self.stored(ino), self.stored(parent));
        Self::check_may_add(parent, name)?;
        self.transact(&Link { meta: self, caller, ino, parent, name }).await
    }
}

struct Link<'a> {
    meta: &'a Meta,
    caller: &'a Caller,
    ino: Ino,
    parent: Ino,
    name: &'a Name,
}

impl Operation for Link<'_> {
    type Output = Attr;
    const NAME: &'static str = "link";
    const FLUSHES: u32 = 2;

    fn contends_on(&self) -> [Option<Ino>; 2] {
        [Some(self.parent), Some(self.ino)]
    }

    async fn run(&self, txn: &mut Txn<'_>) -> Result<Attr> {
        let Self { ino, parent, name, .. } = *self;
        let rows =
            (NodeOf(parent, Hold::Touch), EdgeOf(parent, name, Hold::Guard), NodeOf(ino, Hold::Update));
        let (directory, edge, node) = txn.read(rows).await?;
        let directory = directory.or_no_entry()?;
        if directory.kind != Kind::Directory {
            return Err(Errno::ENOTDIR.into());
        }
        if directory.parent.is_trash() {
            return Err(Errno::ENOENT.into());
        }
        rules::check(self.caller, &directory, rules::EXECUTE)?;
        let node = node.or_no_entry()?;
        if node.kind == Kind::Directory || node.parent.is_trash() {
            return Err(Errno::EPERM.into());
        }
        let is_first = node.nlink == 0;
        if is_first && !self.meta.open_files.is_linkable(ino) {
            return Err(Errno::ENOENT.into());
        }
        if edge.is_some() {
            return Err(Errno::EEXIST.into());
        }
        rules::check_add(self.caller, &directory)?;
        if node.flags & (flags::IMMUTABLE | flags::APPEND) != 0 {
            return Err(Errno::EPERM.into());
        }
        txn.charge_name(parent, usage::share_of(&node), Usage::default()).await?;
        let nlink = node.nlink.checked_add(1).ok_or(Errno::EMLINK)?;
        let own_parent = if is_first { parent } else { Ino(0) };
        let now = Attr { nlink, parent: own_parent, ctime: txn.now(), ..node };
        txn.change(Change::InsertEdge { parent, name: name.clone(), edge: Edge { ino, kind: node.kind } });
        let touched = self.meta.touch(txn).directory(&directory, 0);
        txn.update_node(parent, &directory, &touched);
        txn.update_node(ino, &node, &now);
        if is_first {
            txn.change(Change::DeleteSustained { sid: self.meta.session_id(), ino });
            txn.after().named.push(ino);
        } else {
            if node.parent.0 > 0 {
                txn.change(Change::AddParentRef { ino, parent: node.parent, delta: 1 });
            }
            txn.change(Change::AddParentRef { ino, parent, delta: 1 });
        }
        let updates_parent = updates_times(&directory, &touched);
        txn.log(&Entry::Link { ino, parent, name, updates_parent, nlink });
        Ok(now)
    }
}
