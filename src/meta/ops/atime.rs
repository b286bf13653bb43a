//! Reading moves an atime, where the mount asks for it.

use crate::change_log::Entry;
use crate::error::Result;
use crate::meta::Meta;
use crate::port::Hold;
use crate::request::AtimeMode;
use crate::txn::{NodeOf, Operation, Txn};
use crate::types::{Attr, Ino, Time};

const DAY_SEC: i64 = 86_400;

impl AtimeMode {
    /// Whether who reads a node with these attributes at `now` moves its atime.
    #[must_use]
    pub fn moves(self, attr: &Attr, now: Time) -> bool {
        let Attr { atime, mtime, ctime, .. } = *attr;
        let is_old = mtime > atime || ctime > atime || now.sec - atime.sec > DAY_SEC;
        match self {
            Self::Never => false,
            Self::Relative => is_old,
            Self::Strict => is_old || (now.sec - 1, now.nsec) > (atime.sec, atime.nsec),
        }
    }
}

impl Meta {
    /// Whether reading a node that looked like this moves its atime now.
    #[must_use]
    pub fn moves_atime(&self, attr: &Attr) -> bool {
        self.options.atime.moves(attr, Time::now())
    }

    /// A node is read whose attributes were last seen as `known`: the attributes with the atime that it has from now on, or
    /// nothing. Who reads is not told why it stayed as it was.
    pub async fn touch_atime(&self, ino: Ino, known: &Attr) -> Option<Attr> {
        if !self.moves_atime(known) || self.check_writable().is_err() {
            return None;
        }
        let ino = self.stored(ino);
        let touched = self.transact(&Touch { ino, mode: self.options.atime }).await;
        touched.inspect_err(|error| tracing::debug!(%ino, %error, "the atime stays")).ok().flatten()
    }

    /// [`Self::touch_atime`] of a node whose attributes nobody has looked at.
    pub async fn touch_atime_of(&self, ino: Ino) {
        if self.options.atime == AtimeMode::Never {
            return;
        }
        if let Ok(attr) = self.getattr(ino).await {
            self.touch_atime(ino, &attr).await;
        }
    }
}

struct Touch {
    ino: Ino,
    mode: AtimeMode,
}

impl Operation for Touch {
    type Output = Option<Attr>;
    const NAME: &'static str = "touch_atime";
    const FLUSHES: u32 = 2;

    fn contends_on(&self) -> [Option<Ino>; 2] {
        [Some(self.ino), None]
    }

    async fn run(&self, txn: &mut Txn<'_>) -> Result<Option<Attr>> {
        let ino = self.ino;
        let (node,) = txn.read((NodeOf(ino, Hold::Update),)).await?;
        let Some(node) = node.filter(|node| self.mode.moves(node, txn.now())) else { return Ok(None) };
        let touched = Attr { atime: txn.now(), ..node };
        txn.update_node(ino, &node, &touched);
        txn.log(&Entry::Access { ino });
        Ok(Some(touched))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Kind;

    #[test]
    fn an_atime_moves_when_its_mode_says_so() {
        let at = |sec| Time { sec, nsec: 5 };
        let fresh = Attr { atime: at(1000), ..Attr::new(Kind::File, 0, 0, 0, Ino::ROOT, at(900)) };
        let written = Attr { mtime: at(1001), ..fresh };
        let changed = Attr { ctime: at(1001), ..fresh };
        let (soon, later, next_day) = (at(1001), Time { sec: 1001, nsec: 6 }, at(1001 + DAY_SEC));
        for (mode, attr, now, moves) in [
            (AtimeMode::Never, written, next_day, false),
            (AtimeMode::Relative, fresh, later, false),
            (AtimeMode::Relative, fresh, next_day, true),
            (AtimeMode::Relative, written, soon, true),
            (AtimeMode::Relative, changed, soon, true),
            (AtimeMode::Strict, fresh, soon, false),
            (AtimeMode::Strict, fresh, later, true),
        ] {
            assert_eq!(mode.moves(&attr, now), moves, "{mode:?} {attr:?} {now:?}");
        }
    }
}
