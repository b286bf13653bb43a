//! Files are opened and closed; an open file outlives its last name.

use juicefs_base::Errno;

use crate::change_log::Entry;
use crate::error::Result;
use crate::meta::Meta;
use crate::port::{Change, Hold};
use crate::request::OpenFlags;
use crate::rules;
use crate::txn::{IsSustained, NodeOf, Operation, Txn};
use crate::types::{Attr, Caller, Ino, Kind, Usage, flags};

impl Meta {
    /// Checks and counts an open of a file; each needs one [`Self::close_file`]. `O_TRUNC` is the caller's.
    ///
    /// # Errors
    /// ENOENT, EACCES, EPERM (trash, immutable and append-only files), EISDIR, EROFS.
    pub async fn open_file(&self, caller: &Caller, ino: Ino, how: OpenFlags) -> Result<Attr> {
        if how.writes() {
            self.check_writable()?;
        }
        let ino = self.stored(ino);
        {
            // After this turn an unlink sees the file as open; before it, we see the file as gone.
            let _turn = self.removals.lock(ino).await;
            self.open_files.open(ino);
        }
        let opened = self.getattr(ino).await.and_then(|attr| {
            check_open(caller, &attr, how)?;
            Ok(attr)
        });
        if opened.is_err() && self.open_files.close(ino) {
            self.delete_sustained(self.session(), ino).await?;
        }
        opened
    }

    /// One open less; the last close of a file without a name deletes it.
    ///
    /// # Errors
    /// As the engine's; the file is closed anyway, and the session's end deletes it.
    pub async fn close_file(&self, ino: Ino) -> Result<()> {
        let ino = self.stored(ino);
        if self.open_files.close(ino) {
            self.delete_sustained(self.session(), ino).await?;
        }
        Ok(())
    }

    /// Whether this process holds the file open.
    #[must_use]
    pub fn is_open(&self, ino: Ino) -> bool {
        self.open_files.is_open(ino)
    }

    /// Turns a file that a session kept for its open handles into a deleted one.
    pub(crate) async fn delete_sustained(&self, sid: u64, ino: Ino) -> Result<()> {
        self.transact(&DeleteSustained { sid, ino }).await
    }

    fn session(&self) -> u64 {
        self.sid.load(std::sync::atomic::Ordering::Acquire)
    }
}

fn check_open(caller: &Caller, attr: &Attr, how: OpenFlags) -> Result<()> {
    if attr.kind == Kind::Directory && how.writes() {
        return Err(Errno::EISDIR.into());
    }
    if how.writes() {
        let is_cut = how.truncates() || !how.appends();
        let is_refused = attr.parent.is_trash()
            || attr.flags & flags::IMMUTABLE != 0
            || attr.flags & flags::APPEND != 0 && is_cut;
        if is_refused {
            return Err(Errno::EPERM.into());
        }
    }
    let mut mask = 0;
    if how.reads() {
        mask |= rules::READ;
    }
    if how.writes() {
        mask |= rules::WRITE;
    }
    Ok(rules::check(caller, attr, mask)?)
}

struct DeleteSustained {
    sid: u64,
    ino: Ino,
}

impl Operation for DeleteSustained {
    type Output = ();
    const NAME: &'static str = "delete_sustained";
    const FLUSHES: u32 = 2;

    fn contends_on(&self) -> [Option<Ino>; 2] {
        [Some(self.ino), None]
    }

    async fn run(&self, txn: &mut Txn<'_>) -> Result<()> {
        let Self { sid, ino } = *self;
        let (node, is_sustained) = txn.read((NodeOf(ino, Hold::Update), IsSustained(sid, ino))).await?;
        if !is_sustained {
            return Ok(());
        }
        txn.change(Change::DeleteSustained { sid, ino });
        txn.log(&Entry::DelSustained { sid, ino });
        let Some(node) = node else { return Ok(()) };
        if node.nlink > 0 {
            return Ok(());
        }
        let (length, deleted_at) = (node.length, txn.now().sec);
        txn.change(Change::InsertDeletedFile { ino, length, deleted_at });
        txn.change(Change::DeleteNode { ino });
        txn.charge_node(&node, -Usage::of(&node));
        txn.after().deleted_files.push((ino, length));
        Ok(())
    }
}
