//! Every [`Change`] as writes of whole values, and what must be true for them to be right.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::keys::{self, part};
use super::known::{Known, all_locks, ranges_of_node};
use super::records;
use super::store::{Batch, Check, Key, Range};
use crate::engines::packed;
use crate::error::{Error, Result};
use crate::lock::Holder;
use crate::port::{Change, Mirrored, QuotaKind, QuotaRow, Receipt};
use crate::types::{DirStat, Ino, Slice, SliceId, Usage};

/// What a change expects of a key whose value it does not build on.
enum Expected {
    There,
    Missing,
    Is(Bytes),
}

/// The writes of a commit. Each change sees the keys as the earlier ones leave them.
pub(super) struct Plan<'k> {
    known: &'k Known,
    checks: BTreeMap<Key, Check>,
    writes: BTreeMap<Key, Option<Bytes>>,
    cleared: Vec<Range>,
    pub(super) receipt: Receipt,
    pub(super) usage: Usage,
}

impl<'k> Plan<'k> {
    /// `held`: keys that must be as they were read.
    pub(super) fn new(known: &'k Known, held: impl Iterator<Item = Key>) -> Self {
        let check = |key: Key| known.get(&key).map(|seen| (key, seen.unchanged(false)));
        Self {
            known,
            checks: held.filter_map(check).collect(),
            writes: BTreeMap::new(),
            cleared: Vec::new(),
            receipt: Receipt::default(),
            usage: Usage::default(),
        }
    }

    /// Adds checks that came with no value.
    pub(super) fn check(&mut self, key: Key, check: Check) {
        self.checks.entry(key).or_insert(check);
    }

    /// Writes a key again that was read and is not written otherwise.
    pub(super) fn renew(&mut self, key: Key) {
        if let Some(value) = self.known.get(&key).and_then(|seen| seen.value.clone()) {
            self.writes.entry(key).or_insert(Some(value));
        }
    }

    pub(super) fn has_writes(&self) -> bool {
        !self.writes.is_empty() || !self.cleared.is_empty()
    }

    pub(super) fn into_batch(self, empty: Vec<Range>) -> Batch {
        Batch {
            checks: self.checks.into_iter().collect(),
            empty,
            writes: self.writes.into_iter().collect(),
            cleared: self.cleared,
        }
    }

    fn put(&mut self, key: Key, value: impl Into<Bytes>) {
        self.writes.insert(key, Some(value.into()));
    }

    fn delete(&mut self, key: Key) {
        self.writes.insert(key, None);
    }

    /// The value that a key has by now, which the commit then depends on.
    fn value(&mut self, key: &Key, or_gone: bool) -> Result<Option<Bytes>> {
        if let Some(written) = self.writes.get(key) {
            return Ok(written.clone());
        }
        let seen = self.known.get(key);
        let seen = seen.ok_or_else(|| Error::Engine(format!("{} was not read", keys::show(key))))?;
        self.checks.entry(key.clone()).or_insert_with(|| seen.unchanged(or_gone));
        Ok(seen.value.clone())
    }

    fn expect(&mut self, key: &Key, expected: Expected) -> Result<()> {
        let is_held = matches!(self.checks.get(key), Some(Check::Unchanged { .. }));
        let known = self.known.get(key).filter(|_| is_held).map(|seen| &seen.value);
        let Some(value) = self.writes.get(key).or(known) else {
            let check = match expected {
                Expected::There => Check::Present,
                Expected::Missing => Check::Absent,
                Expected::Is(value) => Check::Equals(value),
            };
            self.checks.insert(key.clone(), check);
            return Ok(());
        };
        let fits = match expected {
            Expected::There => value.is_some(),
            Expected::Missing => value.is_none(),
            Expected::Is(wanted) => value.as_ref() == Some(&wanted),
        };
        if fits { Ok(()) } else { Err(Error::Conflict) }
    }

    #[expect(clippy::too_many_lines, reason = "a table: one arm per change, no wildcard")]
    pub(super) fn apply(&mut self, change: &Change) -> Result<()> {
        match change {
            Change::InsertNode { ino, attr } => {
                let key = keys::node(*ino);
                self.expect(&key, Expected::Missing)?;
                self.put(key, packed::encode_attr(attr));
            }
            Change::UpdateNode { ino, now, .. } => {
                let key = keys::node(*ino);
                self.expect(&key, Expected::There)?;
                self.put(key, packed::encode_attr(now));
            }
            Change::DeleteNode { ino } => {
                let key = keys::node(*ino);
                self.expect(&key, Expected::There)?;
                self.delete(key);
            }
            Change::InsertEdge { parent, name, edge } => {
                let key = keys::edge(*parent, name);
                self.expect(&key, Expected::Missing)?;
                self.put(key, packed::encode_edge(*edge).to_vec());
            }
            Change::UpdateEdge { parent, name, was, now } => {
                let key = keys::edge(*parent, name);
                self.expect(&key, Expected::Is(packed::encode_edge(*was).to_vec().into()))?;
                self.put(key, packed::encode_edge(*now).to_vec());
            }
            Change::DeleteEdge { parent, name, was } => {
                let key = keys::edge(*parent, name);
                self.expect(&key, Expected::Is(packed::encode_edge(*was).to_vec().into()))?;
                self.delete(key);
            }
            Change::AddParentRef { ino, parent, delta } => {
                let key = keys::parent(*ino, *parent);
                let count = self.number(&key)?.unwrap_or(0);
                self.put(key, records::count(count + delta));
            }
            Change::DeleteParentRefs { ino } => self.cleared.push(keys::all_of(*ino, part::PARENT)),
            Change::InsertSymlink { ino, target } => self.put(keys::symlink(*ino), target.clone()),
            Change::DeleteSymlink { ino } => self.delete(keys::symlink(*ino)),
            Change::SetXattr { ino, name, value } => self.put(keys::xattr(*ino, name), value.clone()),
            Change::DeleteXattr { ino, name } => self.delete(keys::xattr(*ino, name)),
            Change::DeleteXattrs { ino } => self.cleared.push(keys::all_of(*ino, part::XATTR)),
            Change::AppendSlice { ino, indx, slice, only_existing } => {
                self.append(*ino, *indx, *slice, *only_existing)?;
            }
            Change::DeleteChunk { ino, indx } => self.delete(keys::chunk(*ino, *indx)),
            Change::ReplaceSlices { ino, indx, was, now } => {
                let key = keys::chunk(*ino, *indx);
                let list = self.value(&key, false)?.unwrap_or_default();
                let appended = list.strip_prefix(&packed::encode_slices(was)[..]).ok_or(Error::Conflict)?;
                let whole = [&packed::encode_slices(now), appended].concat();
                if whole.is_empty() { self.delete(key) } else { self.put(key, whole) }
            }
            Change::InsertDelayedSlices { id, deleted_at, slices } => {
                self.put(keys::delayed_slices(*id, *deleted_at), packed::encode_slice_pairs(slices));
            }
            Change::DeleteDelayedSlices { id, deleted_at } => {
                let key = keys::delayed_slices(*id, *deleted_at);
                self.expect(&key, Expected::There)?;
                self.delete(key);
            }
            // A single reference has no record.
            Change::TrackSlice { .. } => {}
            Change::ShareSlice { id, size } => self.move_refs(*id, *size, 1)?,
            Change::ReleaseSlice { id, size } => self.move_refs(*id, *size, -1)?,
            Change::ForgetSlice { id, size } => self.delete(keys::slice_ref(*id, *size)),
            Change::AddUsage { space, inodes } => {
                self.usage = self.usage + Usage { space: *space, inodes: *inodes };
            }
            Change::InsertDirStat { ino } => {
                self.put(keys::dir_stat(*ino), records::encode_dir_stat(DirStat::default()));
            }
            Change::SetDirStat { ino, stat } => {
                self.put(keys::dir_stat(*ino), records::encode_dir_stat(*stat));
            }
            Change::AddDirStat { ino, delta } => {
                let key = keys::dir_stat(*ino);
                if let Some(value) = self.value(&key, true)? {
                    let was = records::dir_stat(&key, &value)?;
                    let now = DirStat {
                        length: was.length + delta.length,
                        space: was.space + delta.space,
                        inodes: was.inodes + delta.inodes,
                    };
                    self.put(key, records::encode_dir_stat(now));
                }
            }
            Change::DeleteDirRecords { ino } => {
                self.delete(keys::dir_stat(*ino));
                self.delete(keys::quota(QuotaKind::Directory, ino.0));
            }
            Change::DeleteDirQuota { ino } => self.delete(keys::quota(QuotaKind::Directory, ino.0)),
            Change::PutQuota { kind, key, space_max, inodes_max } => {
                let (at, row) = self.quota(*kind, *key)?;
                let used = row.map(|row| row.used).unwrap_or_default();
                let (space_max, inodes_max) = (*space_max, *inodes_max);
                let row = QuotaRow { kind: *kind, key: *key, space_max, inodes_max, used };
                self.put(at, records::encode_quota(&row));
            }
            Change::SetQuotaUsage { kind, key, used } => {
                if let (at, Some(row)) = self.quota(*kind, *key)? {
                    self.put(at, records::encode_quota(&QuotaRow { used: *used, ..row }));
                }
            }
            Change::AddQuotaUsage { kind, key, delta } => {
                let (at, row) = self.quota(*kind, *key)?;
                let unlimited = QuotaRow {
                    kind: *kind,
                    key: *key,
                    space_max: -1,
                    inodes_max: -1,
                    used: Usage::default(),
                };
                let row = row.or((*kind != QuotaKind::Directory).then_some(unlimited));
                if let Some(row) = row {
                    self.put(at, records::encode_quota(&QuotaRow { used: row.used + *delta, ..row }));
                }
            }
            Change::InsertSustained { sid, ino } => {
                self.put(keys::sustained(*sid, *ino), Bytes::from_static(&[1]));
            }
            Change::DeleteSustained { sid, ino } => self.delete(keys::sustained(*sid, *ino)),
            Change::InsertDeletedFile { ino, length, deleted_at } => {
                self.put(keys::deleted_file(*ino, *length), records::seconds(*deleted_at));
            }
            Change::DeleteDeletedFile { ino, length } => self.delete(keys::deleted_file(*ino, *length)),
            Change::PutSession { sid, expires_at, info } => {
                self.put(keys::session_expiry(*sid), records::seconds(*expires_at));
                let key = keys::session_info(*sid);
                if self.value(&key, false)?.is_none() {
                    self.put(key, info.clone());
                }
            }
            Change::DeleteSession { sid } => {
                self.delete(keys::session_expiry(*sid));
                self.delete(keys::session_info(*sid));
            }
            Change::SetFlock { ino, holder, kind } => {
                self.flocks(&keys::flocks(*ino), |locks| put_lock(locks, *holder, *kind))?;
            }
            Change::DeleteFlock { ino, holder, .. } => {
                self.flocks(&keys::flocks(*ino), |locks| locks.retain(|(other, _)| other != holder))?;
            }
            Change::SetRangeLocks { ino, holder, locks: now } => {
                self.range_locks(&keys::range_locks(*ino), |locks| put_lock(locks, *holder, now.clone()))?;
            }
            Change::DeleteRangeLocks { ino, holder, .. } => {
                let key = keys::range_locks(*ino);
                self.range_locks(&key, |locks| locks.retain(|(other, _)| other != holder))?;
            }
            Change::DeleteLocks { sid } => self.delete_locks(*sid)?,
            // The transactions of etcd have no numbers that order lines: no client writes a change log there.
            Change::Log(_) => {}
            Change::PutSide { name, value } => self.put(keys::side(name), value.clone()),
            Change::DeleteSide { name } => self.delete(keys::side(name)),
            Change::Mirror(row) => self.mirror(row),
        }
        Ok(())
    }

    fn number(&mut self, key: &Key) -> Result<Option<i64>> {
        self.value(key, true)?.map(|value| records::little_endian(key, &value)).transpose()
    }

    fn append(&mut self, ino: Ino, indx: u32, slice: Slice, only_existing: bool) -> Result<()> {
        let key = keys::chunk(ino, indx);
        let list = self.value(&key, only_existing)?;
        if only_existing && list.is_none() {
            self.receipt.slices_after_append.push(0);
            return Ok(());
        }
        let list = list.unwrap_or_default();
        let whole = [&list[..], &packed::encode_slice(slice)].concat();
        let length = u32::try_from(whole.len() / packed::SLICE_BYTES).unwrap_or(u32::MAX);
        self.receipt.slices_after_append.push(length);
        self.put(key, whole);
        Ok(())
    }

    /// The record counts what is beyond the first reference; a hole has none.
    fn move_refs(&mut self, id: SliceId, size: u32, delta: i64) -> Result<()> {
        if id == 0 {
            return Ok(());
        }
        let key = keys::slice_ref(id, size);
        let refs = self.number(&key)?.unwrap_or(0) + delta;
        if refs < 0 && delta < 0 && !self.receipt.slices_freed.contains(&(id, size)) {
            self.receipt.slices_freed.push((id, size));
        }
        self.put(key, records::count(refs));
        Ok(())
    }

    fn quota(&mut self, kind: QuotaKind, number: u64) -> Result<(Key, Option<QuotaRow>)> {
        let key = keys::quota(kind, number);
        let value = self.value(&key, kind == QuotaKind::Directory)?;
        let row = value.map(|value| records::quota(kind, number, &key, &value)).transpose()?;
        Ok((key, row))
    }

    fn flocks(&mut self, key: &Key, change: impl FnOnce(&mut Vec<(Holder, crate::LockKind)>)) -> Result<()> {
        let value = self.value(key, false)?;
        let mut locks = records::flocks(key, &value.unwrap_or_default())?;
        change(&mut locks);
        self.put_or_delete(key, locks.is_empty(), || records::encode_flocks(&locks));
        Ok(())
    }

    fn range_locks(
        &mut self,
        key: &Key,
        change: impl FnOnce(&mut Vec<(Holder, Vec<crate::RangeLock>)>),
    ) -> Result<()> {
        let value = self.value(key, false)?;
        let mut locks = records::range_locks(key, &value.unwrap_or_default())?;
        change(&mut locks);
        self.put_or_delete(key, locks.is_empty(), || records::encode_range_locks(&locks));
        Ok(())
    }

    fn put_or_delete(&mut self, key: &Key, is_empty: bool, value: impl FnOnce() -> Bytes) {
        if is_empty { self.delete(key.clone()) } else { self.put(key.clone(), value()) }
    }

    fn delete_locks(&mut self, sid: u64) -> Result<()> {
        let [flocks, ranges] = all_locks().map(|range| self.known.list(&range).to_vec());
        for key in flocks {
            let value = self.value(&key, true)?.unwrap_or_default();
            let mut locks = records::flocks(&key, &value)?;
            if retain_others(&mut locks, sid) {
                self.put_or_delete(&key, locks.is_empty(), || records::encode_flocks(&locks));
            } else {
                self.release(&key);
            }
        }
        for key in ranges {
            let value = self.value(&key, true)?.unwrap_or_default();
            let mut locks = records::range_locks(&key, &value)?;
            if retain_others(&mut locks, sid) {
                self.put_or_delete(&key, locks.is_empty(), || records::encode_range_locks(&locks));
            } else {
                self.release(&key);
            }
        }
        Ok(())
    }

    /// Nothing depends on a key after all that was only looked at.
    fn release(&mut self, key: &Key) {
        if matches!(self.checks.get(key), Some(Check::Unchanged { or_gone: true, .. }))
            && !self.writes.contains_key(key)
        {
            self.checks.remove(key);
        }
    }

    /// Rows of a mirror's source. One follower writes them, and whole.
    fn mirror(&mut self, row: &Mirrored) {
        match row {
            Mirrored::Node { ino, attr: Some(attr) } => {
                self.put(keys::node(*ino), packed::encode_attr(attr));
            }
            Mirrored::Node { ino, attr: None } => {
                self.delete(keys::node(*ino));
                self.delete(keys::symlink(*ino));
                ranges_of_node(*ino).iter().for_each(|range| self.delete_listed(range));
            }
            Mirrored::Edge { parent, name, edge } => {
                let value = edge.map(|edge| Bytes::copy_from_slice(&packed::encode_edge(edge)));
                self.writes.insert(keys::edge(*parent, name), value);
            }
            Mirrored::Slices { ino, indx, slices } => {
                let key = keys::chunk(*ino, *indx);
                self.put_or_delete(&key, slices.is_empty(), || packed::encode_slices(slices).into());
            }
            Mirrored::Symlink { ino, target } => self.put(keys::symlink(*ino), target.clone()),
            Mirrored::Parents { ino, parents } => {
                self.delete_listed(&keys::all_of(*ino, part::PARENT));
                for (parent, count) in parents {
                    self.put(keys::parent(*ino, *parent), records::count(*count));
                }
            }
        }
    }

    /// Also what this commit has put there.
    fn delete_listed(&mut self, range: &Range) {
        for key in self.known.list(range).to_vec() {
            self.delete(key);
        }
        for (_, value) in self.writes.iter_mut().filter(|(key, _)| range.contains(key)) {
            *value = None;
        }
    }
}

fn put_lock<T>(locks: &mut Vec<(Holder, T)>, holder: Holder, lock: T) {
    match locks.iter_mut().find(|(other, _)| *other == holder) {
        Some((_, held)) => *held = lock,
        None => locks.push((holder, lock)),
    }
}

/// Whether any was the session's.
fn retain_others<T>(locks: &mut Vec<(Holder, T)>, sid: u64) -> bool {
    let before = locks.len();
    locks.retain(|(holder, _)| holder.sid != sid);
    locks.len() < before
}
