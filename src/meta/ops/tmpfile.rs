//! Files that begin without a name (`O_TMPFILE`), and may be given one.

use juicefs_base::Errno;

use crate::change_log::{Entry, set};
use crate::error::Result;
use crate::meta::Meta;
use crate::port::{Change, Hold};
use crate::request::NewNode;
use crate::rules;
use crate::txn::{NodeOf, Operation, OrNoEntry, Txn};
use crate::types::{Attr, Caller, Ino, Kind, Usage};

impl Meta {
    /// Makes a file without a name, as if in `parent`. It counts as open, is gone with its last close, and
    /// [`Self::link`] may give it a name until then.
    ///
    /// # Errors
    /// ENOENT and ENOTDIR of the parent, EACCES, EPERM in the trash, ENOSPC, EDQUOT, EROFS; ENOTSUP without a session, which
    /// is what keeps it.
    pub async fn tmpfile(&self, caller: &Caller, parent: Ino, mode: u16, umask: u16) -> Result<(Ino, Attr)> {
        self.check_writable()?;
        let (parent, sid) = (self.stored(parent), self.session_id());
        if parent.is_trash() {
            return Err(Errno::EPERM.into());
        }
        if sid == 0 {
            return Err(Errno::ENOTSUP.into());
        }
        let ino = Ino(self.number(|meta| &meta.inode_numbers).await?);
        self.open_files.open(ino);
        let new = NewNode::file(mode, umask);
        match self.transact(&Tmpfile { caller, parent, new: &new, sid, ino }).await {
            Ok(attr) => {
                self.open_files.make_linkable(ino);
                self.open_files.saw(ino, &attr);
                Ok((ino, attr))
            }
            Err(error) => {
                // Should it have happened, the session's end deletes it.
                self.open_files.close(ino);
                Err(error)
            }
        }
    }
}

struct Tmpfile<'a> {
    caller: &'a Caller,
    parent: Ino,
    new: &'a NewNode,
    sid: u64,
    ino: Ino,
}

impl Operation for Tmpfile<'_> {
    type Output = Attr;
    const NAME: &'static str = "tmpfile";
    const FLUSHES: u32 = 2;

    fn contends_on(&self) -> [Option<Ino>; 2] {
        [None, None]
    }

    async fn run(&self, txn: &mut Txn<'_>) -> Result<Attr> {
        let Self { caller, parent, new, sid, ino } = *self;
        let (directory,) = txn.read((NodeOf(parent, Hold::Peek),)).await?;
        let directory = directory.or_no_entry()?;
        if directory.kind != Kind::Directory {
            return Err(Errno::ENOTDIR.into());
        }
        if directory.parent.is_trash() {
            return Err(Errno::ENOENT.into());
        }
        rules::check(caller, &directory, rules::EXECUTE)?;
        rules::check_add(caller, &directory)?;
        let attr = Attr { nlink: 0, ..rules::born(caller, parent, &directory, new, txn.now()) };
        txn.ask_room(&attr, Usage::of(&attr))?;
        txn.change(Change::InsertNode { ino, attr });
        txn.change(Change::InsertSustained { sid, ino });
        txn.charge_node(&attr, Usage::of(&attr));
        txn.after().sustained.push(ino);
        // No line makes a node without a name; this one says that there is something to look at.
        txn.log(&Entry::SetAttr { ino, set: set::MODE, clears_sugid: false, now: &attr });
        Ok(attr)
    }
}
