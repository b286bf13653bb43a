//! chmod, chown, utimens, chattr.

use crate::change_log::{Entry, set};
use crate::error::Result;
use crate::meta::Meta;
use crate::port::Hold;
use crate::request::{SetAttr, SetTime};
use crate::rules;
use crate::txn::{NodeOf, Operation, OrNoEntry, Txn};
use crate::types::{Attr, Caller, Ino};

impl Meta {
    /// Changes attributes; the size is [`Self::truncate`]'s. Answers the attributes after the change.
    ///
    /// # Errors
    /// EPERM, EACCES, ENOENT, EROFS.
    pub async fn setattr(&self, caller: &Caller, ino: Ino, set: &SetAttr) -> Result<Attr> {
        self.check_writable()?;
        let ino = self.stored(ino);
        let attr = self.transact(&Change { caller, ino, set }).await?;
        self.open_files.saw(ino, &attr);
        Ok(attr)
    }
}

/// What was asked for, as the change log says it.
fn asked_for(asked: &SetAttr) -> u32 {
    let time = |time: Option<SetTime>, at: u32, now: u32| match time {
        None => 0,
        Some(SetTime::At(_)) => at,
        Some(SetTime::Now) => at | now,
    };
    let bit = |is_asked: bool, bit: u32| if is_asked { bit } else { 0 };
    bit(asked.mode.is_some(), set::MODE)
        | bit(asked.uid.is_some(), set::UID)
        | bit(asked.gid.is_some(), set::GID)
        | bit(asked.ctime.is_some(), set::CTIME)
        | bit(asked.flags.is_some(), set::FLAGS)
        | time(asked.atime, set::ATIME, set::ATIME_NOW)
        | time(asked.mtime, set::MTIME, set::MTIME_NOW)
}

struct Change<'a> {
    caller: &'a Caller,
    ino: Ino,
    set: &'a SetAttr,
}

impl Operation for Change<'_> {
    type Output = Attr;
    const NAME: &'static str = "setattr";
    const FLUSHES: u32 = 2;

    fn contends_on(&self) -> [Option<Ino>; 2] {
        [Some(self.ino), None]
    }

    async fn run(&self, txn: &mut Txn<'_>) -> Result<Attr> {
        let (was,) = txn.read((NodeOf(self.ino, Hold::Update),)).await?;
        let was = was.or_no_entry()?;
        let Some(now) = rules::changed(self.caller, &was, self.set, txn.now())? else { return Ok(was) };
        txn.update_node(self.ino, &was, &now);
        txn.charge_new_owner(&was, &now);
        let (ino, clears_sugid) = (self.ino, self.set.clear_suid);
        txn.log(&Entry::SetAttr { ino, set: asked_for(self.set), clears_sugid, now: &now });
        Ok(now)
    }
}
