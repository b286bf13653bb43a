//! chmod, chown, utimens.

use crate::error::Result;
use crate::meta::Meta;
use crate::port::Hold;
use crate::request::SetAttr;
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
        Ok(now)
    }
}
