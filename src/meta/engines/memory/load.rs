//! A volume's rows of all kinds, out of the tables and into empty ones.

use std::collections::BTreeMap;

use super::tables::Tables;
use crate::error::{Error, Result};
use crate::port::{Counters, Item, Scan, Sequence};

impl Tables {
    pub(super) fn is_empty(&self) -> bool {
        self.setting.is_none() && self.nodes.is_empty() && self.edges.is_empty()
    }

    /// Every row of a kind that only whole copies of a volume ask for.
    pub(super) fn scan_all(&self, scan: &Scan) -> Vec<Item> {
        match scan {
            Scan::Edges => {
                let names = self
                    .edges
                    .iter()
                    .flat_map(|(parent, names)| names.iter().map(move |entry| (parent, entry)));
                names
                    .map(|(parent, (name, edge))| Item::Edge {
                        parent: *parent,
                        name: name.clone(),
                        edge: *edge,
                    })
                    .collect()
            }
            Scan::Parents => {
                let all =
                    self.parents.iter().flat_map(|(ino, of)| of.iter().map(move |parent| (ino, parent)));
                all.map(|(ino, (parent, count))| Item::Parent { ino: *ino, parent: *parent, count: *count })
                    .collect()
            }
            Scan::SliceRefs => {
                let refs = self.slice_refs.iter();
                refs.map(|((id, size), refs)| Item::SliceRefs { id: *id, size: *size, refs: *refs }).collect()
            }
            Scan::Symlinks => {
                let links: BTreeMap<_, _> = self.symlinks.iter().collect();
                links
                    .into_iter()
                    .map(|(ino, target)| Item::Symlink { ino: *ino, target: target.clone() })
                    .collect()
            }
            Scan::Xattrs => {
                let all =
                    self.xattrs.iter().flat_map(|(ino, values)| values.iter().map(move |pair| (ino, pair)));
                all.map(|(ino, (name, value))| Item::Xattr {
                    ino: *ino,
                    name: name.clone(),
                    value: value.clone(),
                })
                .collect()
            }
            Scan::Acls => {
                self.acls.iter().map(|(id, rule)| Item::Acl { id: *id, rule: rule.clone() }).collect()
            }
            Scan::DirStats => {
                let stats: BTreeMap<_, _> = self.dir_stats.iter().collect();
                stats.into_iter().map(|(ino, stat)| Item::DirStat { ino: *ino, stat: *stat }).collect()
            }
            Scan::Quotas { kind } => {
                let of_kind = self.quotas.values().filter(|row| row.kind == *kind);
                of_kind.map(|row| Item::Quota(*row)).collect()
            }
            other => self.scan(other),
        }
    }

    pub(super) fn load(&mut self, item: &Item) -> Result<()> {
        let is_new = match item {
            Item::Node { ino, attr } => self.nodes.insert(*ino, *attr).is_none(),
            Item::Edge { parent, name, edge } => {
                self.edges.entry(*parent).or_default().insert(name.clone(), *edge).is_none()
            }
            Item::Parent { ino, parent, count } => {
                self.parents.entry(*ino).or_default().insert(*parent, *count);
                true
            }
            Item::Chunk { ino, indx, slices } => self.chunks.insert((*ino, *indx), slices.clone()).is_none(),
            Item::SliceRefs { id, size, refs } => {
                self.slice_refs.insert((*id, *size), *refs);
                true
            }
            Item::Symlink { ino, target } => self.symlinks.insert(*ino, target.clone()).is_none(),
            Item::Xattr { ino, name, value } => {
                self.xattrs.entry(*ino).or_default().insert(name.clone(), value.clone()).is_none()
            }
            Item::Acl { id, rule } => self.acls.insert(*id, rule.clone()).is_none(),
            Item::DirStat { ino, stat } => self.dir_stats.insert(*ino, *stat).is_none(),
            Item::Quota(row) => self.quotas.insert((row.kind, row.key), *row).is_none(),
            Item::Sustained { sid, ino } => self.sustained.insert((*sid, *ino)),
            Item::DeletedFile { ino, length, deleted_at } => {
                self.deleted_files.insert((*ino, *length), *deleted_at).is_none()
            }
            Item::DelayedSlices { id, deleted_at, slices } => {
                self.delayed_slices.insert((*id, *deleted_at), slices.clone()).is_none()
            }
            Item::Entry { .. }
            | Item::Session(_)
            | Item::FreedSlice { .. }
            | Item::Side { .. }
            | Item::Damaged(_)
            | Item::DamagedEntry { .. } => return Err(item.not_loaded()),
        };
        if is_new { Ok(()) } else { Err(Error::Conflict) }
    }

    pub(super) fn counters(&self) -> Counters {
        // Numbers are the next to give out.
        let next = |sequence, first: u64| self.numbers.get(&sequence).copied().unwrap_or(first);
        Counters {
            usage: self.usage,
            next_inode: next(Sequence::Inode, 2),
            next_slice: next(Sequence::Slice, 1),
            last_session: next(Sequence::Session, 1) - 1,
            last_trash: next(Sequence::TrashDir, 1) - 1,
        }
    }

    pub(super) fn set_counters(&mut self, counters: &Counters) {
        self.usage = counters.usage;
        for (sequence, next) in [
            (Sequence::Inode, counters.next_inode),
            (Sequence::Slice, counters.next_slice),
            (Sequence::Session, counters.last_session + 1),
            (Sequence::TrashDir, counters.last_trash + 1),
        ] {
            self.numbers.insert(sequence, next);
        }
    }
}
