//! Where removed nodes go: one directory per hour (UTC), made by whoever removes something first in it.

use jiff::tz::TimeZone;
use juicefs_base::sync::Mutex;

use crate::change_log::Entry;
use crate::error::Result;
use crate::meta::Meta;
use crate::port::{Change, Hold, Sequence};
use crate::txn::{EdgeOf, NodeOf, Operation, OrNoEntry, Txn};
use crate::types::{Attr, Edge, Ino, Kind, Name, Time, Usage};

/// The hourly directory that was used last. A hint: whoever uses it holds its node in the transaction and
/// calls [`TrashDirs::forget`] when it is gone.
#[derive(Default)]
pub(crate) struct TrashDirs {
    current: Mutex<Option<(i64, Ino)>>,
    making: tokio::sync::Mutex<()>,
}

impl TrashDirs {
    pub(crate) fn forget(&self) {
        *self.current.lock() = None;
    }
}

/// `YYYY-MM-DD-HH` of a moment, UTC.
pub(crate) fn hour_name(sec: i64) -> Name {
    let moment = jiff::Timestamp::from_second(sec).unwrap_or_default().to_zoned(TimeZone::UTC);
    Name::from_record(moment.strftime("%Y-%m-%d-%H").to_string().into())
}

/// The moment an hourly directory's hour began, or `None` for a foreign name.
#[must_use]
pub fn hour_of(name: &Name) -> Option<i64> {
    let text = std::str::from_utf8(name.as_bytes()).ok()?;
    let moment = jiff::civil::DateTime::strptime("%Y-%m-%d-%H", text).ok()?;
    Some(moment.to_zoned(TimeZone::UTC).ok()?.timestamp().as_second())
}

/// `<parent>-<ino>-<name>`, cut at 255 bytes.
#[must_use]
pub fn entry_name(parent: Ino, ino: Ino, name: &Name) -> Name {
    let mut text = format!("{parent}-{ino}-").into_bytes();
    text.extend_from_slice(name.as_bytes());
    text.truncate(Name::BYTES_MAX);
    Name::from_record(text.into())
}

impl Meta {
    /// The directory for what is removed from `parent` now; `None` when it is removed for good.
    pub(crate) async fn trash_for(&self, parent: Ino, now: Time) -> Result<Option<Ino>> {
        if parent.is_trash() || !self.format.read().has_trash() {
            return Ok(None);
        }
        let hour = now.sec.div_euclid(3600);
        let current = |(made_at, ino): (i64, Ino)| (made_at == hour).then_some(ino);
        if let Some(ino) = self.trash_dirs.current.lock().and_then(current) {
            return Ok(Some(ino));
        }
        let _turn = self.trash_dirs.making.lock().await;
        if let Some(ino) = self.trash_dirs.current.lock().and_then(current) {
            return Ok(Some(ino));
        }
        let name = hour_name(now.sec);
        let (edge,) = self.peek((EdgeOf(Ino::TRASH, &name, Hold::Peek),)).await?;
        let ino = if let Some(edge) = edge {
            edge.ino
        } else {
            let number = self.allocate(Sequence::TrashDir, 1).await?.start;
            // Deep below an operation that is itself a transaction: boxed, as its type contains it.
            Box::pin(self.transact(&MakeTrashDir { ino: Ino(Ino::TRASH.0 + number), name: &name })).await?
        };
        *self.trash_dirs.current.lock() = Some((hour, ino));
        Ok(Some(ino))
    }
}

struct MakeTrashDir<'a> {
    ino: Ino,
    name: &'a Name,
}

impl Operation for MakeTrashDir<'_> {
    type Output = Ino;
    const NAME: &'static str = "make_trash_dir";
    const FLUSHES: u32 = 2;

    fn contends_on(&self) -> [Option<Ino>; 2] {
        // The caller holds stripes already; `TrashDirs::making` is the turn.
        [None, None]
    }

    async fn run(&self, txn: &mut Txn<'_>) -> Result<Ino> {
        let (root, edge) =
            txn.read((NodeOf(Ino::TRASH, Hold::Peek), EdgeOf(Ino::TRASH, self.name, Hold::Guard))).await?;
        if let Some(edge) = edge {
            return Ok(edge.ino);
        }
        root.or_no_entry()?;
        let attr = Attr::new(Kind::Directory, 0o555, 0, 0, Ino::TRASH, txn.now());
        let edge = Edge { ino: self.ino, kind: Kind::Directory };
        txn.change(Change::InsertNode { ino: self.ino, attr });
        txn.change(Change::InsertEdge { parent: Ino::TRASH, name: self.name.clone(), edge });
        txn.change(Change::InsertDirStat { ino: self.ino });
        txn.charge_node(&attr, Usage::of(&attr));
        txn.log(&Entry::Create {
            parent: Ino::TRASH,
            name: self.name,
            uid: 0,
            gid: 0,
            kind: Kind::Directory,
            mode: attr.mode,
            umask: 0,
            target: b"",
            updates_parent: false,
            ino: self.ino,
        });
        Ok(self.ino)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_are_utc_and_read_back() {
        let name = hour_name(1_795_301_406);
        assert_eq!(name.as_bytes(), b"2026-11-21-22");
        assert_eq!(hour_of(&name), Some(1_795_301_406 / 3600 * 3600));
        assert_eq!(hour_of(&Name::new("lost+found").unwrap()), None);
    }

    #[test]
    fn entry_names_are_cut_at_255_bytes() {
        let name = Name::new(vec![b'x'; 255]).unwrap();
        let entry = entry_name(Ino(1), Ino(77), &name);
        assert_eq!(entry.as_bytes().len(), 255);
        assert!(entry.as_bytes().starts_with(b"1-77-xxx"));
    }
}
