//! Extended attributes: bytes under a name, beside a node's own attributes.
//!
//! A name is raw bytes with its namespace (`user.`, `trusted.`, `security.`); who may use which is for the kernel, or
//! for [`rules::check_xattr`] where it does not check.

use bytes::Bytes;
use juicefs_base::Errno;

use crate::change_log::Entry;
use crate::error::Result;
use crate::meta::Meta;
use crate::port::{Change, Hold};
use crate::request::XattrMode;
use crate::rules;
use crate::txn::{NodeOf, Operation, OrNoEntry, Txn, XattrNamesOf, XattrOf};
use crate::types::{Attr, Caller, Ino};

/// Longest name and largest value, as Linux has them.
const NAME_BYTES_MAX: usize = 255;
const VALUE_BYTES_MAX: usize = 65_536;

impl Meta {
    /// # Errors
    /// ENODATA when there is none, ENOENT of the node where permissions are checked here, EACCES, EPERM, ERANGE, EINVAL.
    pub async fn getxattr(&self, caller: &Caller, ino: Ino, name: &Bytes) -> Result<Bytes> {
        check_name(name)?;
        let ino = self.stored(ino);
        if caller.checks_permission {
            rules::check_xattr(caller, &self.getattr(ino).await?, name, rules::READ)?;
        }
        let (value,) = self.peek((XattrOf(ino, name, Hold::Peek),)).await?;
        Ok(value.ok_or(Errno::ENODATA)?)
    }

    /// All names, sorted; nothing for a node that is gone.
    ///
    /// # Errors
    /// As the engine's.
    pub async fn listxattr(&self, ino: Ino) -> Result<Vec<Bytes>> {
        let (names,) = self.peek((XattrNamesOf(self.stored(ino)),)).await?;
        Ok(names)
    }

    /// Sets a value; the node's ctime moves. Answers its attributes after that.
    ///
    /// # Errors
    /// EEXIST and ENODATA as `mode` says, ERANGE for a name or value that is too long, EINVAL without a name, ENOENT,
    /// EPERM (trash, immutable and append-only nodes, a foreign namespace), EACCES, EROFS.
    pub async fn setxattr(
        &self,
        caller: &Caller,
        ino: Ino,
        name: &Bytes,
        value: &Bytes,
        mode: XattrMode,
    ) -> Result<Attr> {
        if value.len() > VALUE_BYTES_MAX {
            return Err(Errno::ERANGE.into());
        }
        self.change_xattr(caller, ino, name, Some((value, mode))).await
    }

    /// # Errors
    /// ENODATA when there is none; otherwise as [`Self::setxattr`].
    pub async fn removexattr(&self, caller: &Caller, ino: Ino, name: &Bytes) -> Result<Attr> {
        self.change_xattr(caller, ino, name, None).await
    }

    async fn change_xattr(
        &self,
        caller: &Caller,
        ino: Ino,
        name: &Bytes,
        value: Option<(&Bytes, XattrMode)>,
    ) -> Result<Attr> {
        self.check_writable()?;
        check_name(name)?;
        let ino = self.stored(ino);
        if ino.is_trash() {
            return Err(Errno::EPERM.into());
        }
        let attr = self.transact(&ChangeXattr { caller, ino, name, value }).await?;
        self.open_files.saw(ino, &attr);
        Ok(attr)
    }
}

fn check_name(name: &[u8]) -> Result<(), Errno> {
    match name.len() {
        0 => Err(Errno::EINVAL),
        long if long > NAME_BYTES_MAX => Err(Errno::ERANGE),
        _ => Ok(()),
    }
}

struct ChangeXattr<'a> {
    caller: &'a Caller,
    ino: Ino,
    name: &'a Bytes,
    /// `None` takes the attribute away.
    value: Option<(&'a Bytes, XattrMode)>,
}

impl Operation for ChangeXattr<'_> {
    type Output = Attr;
    const NAME: &'static str = "setxattr";
    const FLUSHES: u32 = 2;

    fn contends_on(&self) -> [Option<Ino>; 2] {
        [Some(self.ino), None]
    }

    async fn run(&self, txn: &mut Txn<'_>) -> Result<Attr> {
        let Self { caller, ino, name, value } = *self;
        let rows = (NodeOf(ino, Hold::Update), XattrOf(ino, name, Hold::Update));
        let (was, known) = txn.read(rows).await?;
        let was = was.or_no_entry()?;
        rules::check_xattr(caller, &was, name, rules::WRITE)?;
        match (value, known) {
            (Some((_, XattrMode::Create)), Some(_)) => return Err(Errno::EEXIST.into()),
            (Some((_, XattrMode::Replace)) | None, None) => return Err(Errno::ENODATA.into()),
            _ => {}
        }
        let name = name.clone();
        match value {
            Some((value, mode)) => {
                txn.log(&Entry::SetXattr { ino, name: &name, value, flags: mode as u32 });
                txn.change(Change::SetXattr { ino, name, value: value.clone() });
            }
            None => {
                txn.log(&Entry::RemoveXattr { ino, name: &name });
                txn.change(Change::DeleteXattr { ino, name });
            }
        }
        let now = Attr { ctime: txn.now(), ..was };
        txn.update_node(ino, &was, &now);
        Ok(now)
    }
}
