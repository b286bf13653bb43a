//! A whole volume into an empty place: rows as plain puts, each of which may be said twice, and at the end the numbers
//! with the setting in one transaction.

use bytes::Bytes;

use super::store::{Ask, Batch, Key, Range, Store};
use super::{KvEngine, keys, records};
use crate::engines::packed;
use crate::error::{Error, Result};
use crate::port::{Counters, Item};

impl<S: Store> KvEngine<S> {
    pub(super) async fn check_empty(&self) -> Result<()> {
        let markers = Range::prefix(keys::MARKERS.to_vec());
        let around =
            [Range { from: Vec::new(), to: markers.from }, Range { from: markers.to, to: vec![0xFF] }];
        let asks = around.map(|range| Ask::Range { range, records_max: 1, keys_only: true });
        if self.read_all(&asks).await?.iter().all(|found| found.records.is_empty()) {
            return Ok(());
        }
        let place = self.store.place();
        Err(Error::Engine(match self.read_setting().await? {
            Some(_) => format!("{place} holds a volume already"),
            None => format!(
                "{place} is not empty: it holds records and no volume, as a load that did not end leaves it; give another \
                 prefix, or remove them"
            ),
        }))
    }

    pub(super) async fn load_rows(&self, rows: &[Item]) -> Result<()> {
        let records = rows.iter().filter_map(|row| record(row).transpose()).collect::<Result<Vec<_>>>()?;
        self.store.fill(&records).await
    }

    pub(super) async fn write_loaded(&self, setting: &str, counters: Counters, last_acl: u32) -> Result<()> {
        let numbers = counters.named().into_iter();
        let acls = (last_acl > 0).then_some((keys::ACL_MAX, i64::from(last_acl)));
        let mut writes: Vec<_> = numbers
            .chain(acls)
            .map(|(name, value)| (keys::counter(name), Some(records::count(value))))
            .collect();
        writes.push((keys::SETTING.to_vec(), Some(Bytes::copy_from_slice(setting.as_bytes()))));
        self.store.commit(Batch { writes, ..Batch::default() }).await
    }
}

/// The record of a row; none for what the family does not write.
fn record(item: &Item) -> Result<Option<(Key, Bytes)>> {
    Ok(Some(match item {
        Item::Node { ino, attr } => (keys::node(*ino), packed::encode_attr(attr).into()),
        Item::Edge { parent, name, edge } => {
            (keys::edge(*parent, name), Bytes::copy_from_slice(&packed::encode_edge(*edge)))
        }
        Item::Parent { ino, parent, count } => (keys::parent(*ino, *parent), records::count(*count)),
        Item::Chunk { slices, .. } if slices.is_empty() => return Ok(None),
        Item::Chunk { ino, indx, slices } => (keys::chunk(*ino, *indx), packed::encode_slices(slices).into()),
        // A single reference has no record.
        Item::SliceRefs { refs: 1, .. } => return Ok(None),
        Item::SliceRefs { id, size, refs } => (keys::slice_ref(*id, *size), records::count(refs - 1)),
        Item::Symlink { ino, target } => (keys::symlink(*ino), target.clone()),
        Item::Xattr { ino, name, value } => (keys::xattr(*ino, name), value.clone()),
        Item::Acl { id, rule } => (keys::acl(*id), packed::encode_acl(rule)),
        Item::DirStat { ino, stat } => (keys::dir_stat(*ino), records::encode_dir_stat(*stat)),
        Item::Quota(row) => (keys::quota(row.kind, row.key), records::encode_quota(row)),
        Item::Sustained { sid, ino } => (keys::sustained(*sid, *ino), Bytes::from_static(&[1])),
        Item::DeletedFile { ino, length, deleted_at } => {
            (keys::deleted_file(*ino, *length), records::seconds(*deleted_at))
        }
        Item::DelayedSlices { id, deleted_at, slices } => {
            (keys::delayed_slices(*id, *deleted_at), packed::encode_slice_pairs(slices).into())
        }
        Item::Entry { .. }
        | Item::Session(_)
        | Item::FreedSlice { .. }
        | Item::Side { .. }
        | Item::Damaged(_)
        | Item::DamagedEntry { .. } => return Err(item.not_loaded()),
    }))
}
