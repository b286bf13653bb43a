//! The operations of the name space, each a value with its rule written once for all engines.
//!
//! Every file adds its calls to [`crate::Meta`]. A call first answers what needs no engine, then runs its
//! operation through the transaction layer; an operation reads, decides by `rules`, and says its changes.

mod atime;
mod attributes;
mod backup;
mod compact;
mod copy;
mod data;
mod link;
mod list;
mod locks;
mod lookup;
mod make;
mod open;
pub(crate) mod quota;
mod remove;
mod rename;
mod repair;
mod resize;
mod statfs;
mod sustain;
mod tmpfile;
mod victim;
pub(crate) mod write_many;
mod xattr;

#[cfg(test)]
mod tests;

use juicefs_base::Errno;

use crate::error::Result;
use crate::meta::Meta;
use crate::rules::Touch;
use crate::txn::{Operation, Txn};
use crate::types::{Attr, Ino, Name, Time};

/// The trash root's name under the volume's root; it is not an entry.
const TRASH_NAME: &[u8] = b".trash";
/// A trash directory can vanish between finding and using it; not more often than this.
const TRASH_TRIES: u32 = 3;

/// Whether an operation moves the times of its directory, as lines of the change log say it.
fn updates_times(was: &Attr, now: &Attr) -> bool {
    was.mtime != now.mtime
}

impl Meta {
    /// How directories change with their entries now.
    pub(crate) fn touch(&self, txn: &Txn<'_>) -> Touch {
        Touch { now: txn.now(), skip: self.options.skip_dir_mtime }
    }

    /// # Errors
    /// EPERM for the trash root's own name and for names in the trash.
    fn check_may_add(parent: Ino, name: &Name) -> Result<()> {
        if parent.is_trash() {
            return Err(Errno::EPERM.into());
        }
        Self::check_not_trash_root(parent, name)
    }

    fn check_not_trash_root(parent: Ino, name: &Name) -> Result<()> {
        if parent == Ino::ROOT && name.as_bytes() == TRASH_NAME { Err(Errno::EPERM.into()) } else { Ok(()) }
    }

    /// Runs an operation that moves what `parent` loses into the trash.
    async fn transact_with_trash<O: Operation>(
        &self,
        parent: Ino,
        operation: impl Fn(Option<Ino>) -> O,
    ) -> Result<O::Output> {
        let mut tries = 0;
        loop {
            let trash = self.trash_for(parent, Time::now()).await?;
            let answer = self.transact(&operation(trash)).await;
            tries += 1;
            match answer {
                Err(crate::Error::Errno(Errno::ESTALE)) if tries < TRASH_TRIES => self.trash_dirs.forget(),
                other => return other,
            }
        }
    }
}
