//! What an attempt has read: whole values are written here, so a change builds on what its key held.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;

use super::keys::{self, part};
use super::store::{ABSENT, Ask, Check, Found, Key, Range};
use crate::port::{Change, Mirrored};
use crate::types::Ino;

#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) value: Option<Bytes>,
    pub(super) version: i64,
    pub(super) moment: i64,
}

impl Seen {
    pub(super) fn unchanged(&self, or_gone: bool) -> Check {
        Check::Unchanged { version: self.version, moment: self.moment, or_gone }
    }
}

#[derive(Debug, Default)]
pub(super) struct Known {
    keys: HashMap<Key, Seen>,
    /// The keys of a range, by where it begins.
    lists: HashMap<Key, Vec<Key>>,
}

impl Known {
    pub(super) fn get(&self, key: &[u8]) -> Option<&Seen> {
        self.keys.get(key)
    }

    pub(super) fn list(&self, range: &Range) -> &[Key] {
        self.lists.get(&range.from).map_or(&[], |keys| &keys[..])
    }

    /// What was learned first of a key stays: the caller decided by it.
    pub(super) fn learn(&mut self, ask: &Ask, found: &Found) {
        let moment = found.moment;
        let seen = |record: &super::store::Record| Seen {
            value: Some(record.value.clone()),
            version: record.version,
            moment,
        };
        match ask {
            Ask::Key(key) => {
                let missing = Seen { value: None, version: ABSENT, moment };
                let seen = found.records.first().map_or(missing, seen);
                self.keys.entry(key.clone()).or_insert(seen);
            }
            Ask::Range { range, records_max, keys_only } => {
                if !keys_only {
                    for record in &found.records {
                        self.keys.entry(record.key.clone()).or_insert_with(|| seen(record));
                    }
                }
                if *records_max == 0 {
                    let keys = found.records.iter().map(|record| record.key.clone()).collect();
                    self.lists.insert(range.from.clone(), keys);
                }
            }
        }
    }

    pub(super) fn forget(&mut self, key: &[u8]) {
        self.keys.remove(key);
    }

    /// What else must be read before these changes can be written. Nothing for what operations do all the time.
    pub(super) fn lacks(&self, changes: &[Change]) -> Vec<Ask> {
        let mut needs = Needs { known: self, asked: HashSet::new(), asks: Vec::new() };
        changes.iter().for_each(|change| needs.add(change));
        needs.asks
    }
}

/// Every key of locks of one kind.
pub(super) fn all_locks() -> [Range; 2] {
    [Range::prefix(b"F".to_vec()), Range::prefix(b"P".to_vec())]
}

/// What goes with a node that is not in the source of a mirror any more.
pub(super) fn ranges_of_node(ino: Ino) -> [Range; 2] {
    [keys::all_of(ino, part::XATTR), keys::all_of(ino, part::PARENT)]
}

struct Needs<'k> {
    known: &'k Known,
    asked: HashSet<Key>,
    asks: Vec<Ask>,
}

impl Needs<'_> {
    fn key(&mut self, key: Key) {
        if self.known.get(&key).is_none() && self.asked.insert(key.clone()) {
            self.asks.push(Ask::Key(key));
        }
    }

    fn list(&mut self, range: Range) {
        if self.asked.insert(range.from.clone()) {
            self.asks.push(Ask::keys(range));
        }
    }

    fn add(&mut self, change: &Change) {
        match change {
            Change::AddParentRef { ino, parent, .. } => self.key(keys::parent(*ino, *parent)),
            Change::AppendSlice { ino, indx, .. } | Change::ReplaceSlices { ino, indx, .. } => {
                self.key(keys::chunk(*ino, *indx));
            }
            Change::ShareSlice { id, size } | Change::ReleaseSlice { id, size } if *id > 0 => {
                self.key(keys::slice_ref(*id, *size));
            }
            Change::AddDirStat { ino, .. } => self.key(keys::dir_stat(*ino)),
            Change::PutQuota { kind, key, .. }
            | Change::SetQuotaUsage { kind, key, .. }
            | Change::AddQuotaUsage { kind, key, .. } => self.key(keys::quota(*kind, *key)),
            Change::PutSession { sid, .. } => self.key(keys::session_info(*sid)),
            Change::SetFlock { ino, .. } | Change::DeleteFlock { ino, .. } => self.key(keys::flocks(*ino)),
            Change::SetRangeLocks { ino, .. } | Change::DeleteRangeLocks { ino, .. } => {
                self.key(keys::range_locks(*ino));
            }
            Change::DeleteLocks { .. } => {
                for range in all_locks() {
                    if self.asked.insert(range.from.clone()) {
                        self.asks.push(Ask::all(range));
                    }
                }
            }
            Change::Mirror(Mirrored::Node { ino, attr: None }) => {
                ranges_of_node(*ino).into_iter().for_each(|range| self.list(range));
            }
            Change::Mirror(Mirrored::Parents { ino, .. }) => self.list(keys::all_of(*ino, part::PARENT)),
            Change::Mirror(
                Mirrored::Node { attr: Some(_), .. }
                | Mirrored::Edge { .. }
                | Mirrored::Slices { .. }
                | Mirrored::Symlink { .. },
            )
            | Change::InsertNode { .. }
            | Change::UpdateNode { .. }
            | Change::DeleteNode { .. }
            | Change::InsertEdge { .. }
            | Change::UpdateEdge { .. }
            | Change::DeleteEdge { .. }
            | Change::DeleteParentRefs { .. }
            | Change::InsertSymlink { .. }
            | Change::DeleteSymlink { .. }
            | Change::SetXattr { .. }
            | Change::DeleteXattr { .. }
            | Change::DeleteXattrs { .. }
            | Change::DeleteChunk { .. }
            | Change::InsertDelayedSlices { .. }
            | Change::DeleteDelayedSlices { .. }
            | Change::TrackSlice { .. }
            | Change::ShareSlice { .. }
            | Change::ReleaseSlice { .. }
            | Change::ForgetSlice { .. }
            | Change::AddUsage { .. }
            | Change::InsertDirStat { .. }
            | Change::DeleteDirRecords { .. }
            | Change::DeleteDirQuota { .. }
            | Change::SetDirStat { .. }
            | Change::InsertSustained { .. }
            | Change::DeleteSustained { .. }
            | Change::InsertDeletedFile { .. }
            | Change::DeleteDeletedFile { .. }
            | Change::DeleteSession { .. }
            | Change::Log(_)
            | Change::PutSide { .. }
            | Change::DeleteSide { .. } => {}
        }
    }
}
