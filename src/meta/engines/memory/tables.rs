//! The rows of a volume in plain collections, and what each question and each change means on them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bytes::Bytes;

use crate::engines::packed::AclRecord;
use crate::error::{Error, Result};
use crate::lock::{Holder, LockKind, RangeLock};
use crate::port::{
    Change, Get, Got, Item, Job, LogLine, LogPage, Mirrored, QuotaKind, QuotaRow, Receipt, Scan, Sequence,
    SessionRow,
};
use crate::types::{Attr, DirStat, Edge, Ino, Name, Slice, SliceId, Usage};

/// All rows. Changed only by [`Tables::apply`], and by what needs no transaction (setting, numbers, jobs).
#[derive(Default)]
pub(super) struct Tables {
    pub(super) setting: Option<String>,
    pub(super) nodes: BTreeMap<Ino, Attr>,
    pub(super) edges: BTreeMap<Ino, BTreeMap<Name, Edge>>,
    pub(super) parents: BTreeMap<Ino, BTreeMap<Ino, i64>>,
    pub(super) symlinks: HashMap<Ino, Bytes>,
    pub(super) xattrs: BTreeMap<Ino, BTreeMap<Bytes, Bytes>>,
    pub(super) chunks: BTreeMap<(Ino, u32), Vec<Slice>>,
    /// True counts; 0 or less = the objects wait for their deletion.
    pub(super) slice_refs: BTreeMap<(SliceId, u32), i64>,
    /// By the slice that took their place, and when.
    pub(super) delayed_slices: BTreeMap<(SliceId, i64), Vec<(SliceId, u32)>>,
    pub(super) dir_stats: HashMap<Ino, DirStat>,
    pub(super) sustained: BTreeSet<(u64, Ino)>,
    pub(super) deleted_files: BTreeMap<(Ino, u64), i64>,
    sessions: BTreeMap<u64, (i64, Bytes)>,
    flocks: BTreeMap<Ino, BTreeMap<Holder, LockKind>>,
    range_locks: BTreeMap<Ino, BTreeMap<Holder, Vec<RangeLock>>>,
    pub(super) usage: Usage,
    pub(super) numbers: HashMap<Sequence, u64>,
    jobs: HashMap<Job, i64>,
    /// By version, from 1.
    log: BTreeMap<u64, Bytes>,
    /// Version of the newest line there ever was.
    log_last: u64,
    sides: BTreeMap<String, Bytes>,
    /// Only loads bring these.
    pub(super) acls: BTreeMap<u32, AclRecord>,
    pub(super) quotas: BTreeMap<(QuotaKind, u64), QuotaRow>,
}

impl Tables {
    pub(super) fn answer(&self, get: &Get) -> Got {
        match get {
            Get::Node { ino, .. } => Got::Node(self.nodes.get(ino).copied()),
            Get::Edge { parent, name, .. } => Got::Edge(self.edge(*parent, name)),
            Get::HasChildren { ino } => Got::Flag(self.edges.contains_key(ino)),
            Get::Parents { ino } => {
                let parents = self.parents.get(ino).into_iter().flatten();
                Got::Parents(
                    parents.filter(|(_, count)| **count > 0).map(|(ino, count)| (*ino, *count)).collect(),
                )
            }
            Get::Symlink { ino } => Got::Bytes(self.symlinks.get(ino).cloned()),
            Get::Xattr { ino, name, .. } => {
                Got::Bytes(self.xattrs.get(ino).and_then(|values| values.get(name)).cloned())
            }
            Get::XattrNames { ino } => {
                Got::Names(self.xattrs.get(ino).into_iter().flatten().map(|(name, _)| name.clone()).collect())
            }
            Get::Chunk { ino, indx, .. } => {
                Got::Slices(self.chunks.get(&(*ino, *indx)).cloned().unwrap_or_default())
            }
            Get::AppendTarget { .. } => Got::Ready,
            Get::Chunks { ino, first, last } => {
                let range = self.chunks.range((*ino, *first)..=(*ino, *last));
                Got::Indexes(range.map(|((_, indx), _)| *indx).collect())
            }
            Get::DirStat { ino } => Got::DirStat(self.dir_stats.get(ino).copied()),
            Get::Quota { kind, key } => Got::Quota(self.quotas.get(&(*kind, *key)).copied()),
            Get::Session { sid } => Got::Session(self.sessions.get(sid).map(|session| row(*sid, session))),
            Get::OtherSession { sid, at } => {
                let lives =
                    |(other, (expires_at, _)): (&u64, &(i64, Bytes))| other != sid && expires_at >= at;
                Got::Flag(self.sessions.iter().any(lives))
            }
            Get::DeletedFile { ino, length } => Got::Flag(self.deleted_files.contains_key(&(*ino, *length))),
            Get::Side { name } => Got::Bytes(self.sides.get(name).cloned()),
            Get::Sustained { sid, ino } => Got::Flag(self.sustained.contains(&(*sid, *ino))),
            Get::DelayedSlices { id, deleted_at } => {
                Got::SlicePairs(self.delayed_slices.get(&(*id, *deleted_at)).cloned())
            }
            Get::Flocks { ino } => {
                let locks = self.flocks.get(ino).into_iter().flatten();
                Got::Flocks(locks.map(|(holder, kind)| (*holder, *kind)).collect())
            }
            Get::RangeLocks { ino } => {
                let locks = self.range_locks.get(ino).into_iter().flatten();
                Got::RangeLocks(locks.map(|(holder, locks)| (*holder, locks.clone())).collect())
            }
        }
    }

    pub(super) fn edge(&self, parent: Ino, name: &Name) -> Option<Edge> {
        self.edges.get(&parent).and_then(|names| names.get(name)).copied()
    }

    /// Whether every change finds the row it expects; each sees the rows as the earlier ones leave them.
    pub(super) fn check(&self, changes: &[Change]) -> Result<()> {
        let mut nodes: HashMap<Ino, bool> = HashMap::new();
        let mut edges: HashMap<(Ino, &Name), Option<Edge>> = HashMap::new();
        for change in changes {
            let fits = match change {
                Change::InsertNode { ino, .. } => {
                    let was_there = nodes.insert(*ino, true).unwrap_or_else(|| self.nodes.contains_key(ino));
                    !was_there
                }
                Change::UpdateNode { ino, .. } => {
                    nodes.get(ino).copied().unwrap_or_else(|| self.nodes.contains_key(ino))
                }
                Change::DeleteNode { ino } => {
                    nodes.insert(*ino, false).unwrap_or_else(|| self.nodes.contains_key(ino))
                }
                Change::InsertEdge { parent, name, edge } => {
                    let held = edges
                        .insert((*parent, name), Some(*edge))
                        .unwrap_or_else(|| self.edge(*parent, name));
                    held.is_none()
                }
                Change::UpdateEdge { parent, name, was, now } => {
                    let held =
                        edges.insert((*parent, name), Some(*now)).unwrap_or_else(|| self.edge(*parent, name));
                    held == Some(*was)
                }
                Change::DeleteEdge { parent, name, was } => {
                    let held =
                        edges.insert((*parent, name), None).unwrap_or_else(|| self.edge(*parent, name));
                    held == Some(*was)
                }
                Change::ReplaceSlices { ino, indx, was, .. } => {
                    self.chunks.get(&(*ino, *indx)).is_some_and(|list| list.starts_with(was))
                }
                Change::DeleteDelayedSlices { id, deleted_at } => {
                    self.delayed_slices.contains_key(&(*id, *deleted_at))
                }
                // None expects a row to be there.
                Change::AddParentRef { .. }
                | Change::DeleteParentRefs { .. }
                | Change::InsertSymlink { .. }
                | Change::DeleteSymlink { .. }
                | Change::SetXattr { .. }
                | Change::DeleteXattr { .. }
                | Change::DeleteXattrs { .. }
                | Change::AppendSlice { .. }
                | Change::DeleteChunk { .. }
                | Change::InsertDelayedSlices { .. }
                | Change::TrackSlice { .. }
                | Change::ShareSlice { .. }
                | Change::ReleaseSlice { .. }
                | Change::ForgetSlice { .. }
                | Change::AddUsage { .. }
                | Change::InsertDirStat { .. }
                | Change::DeleteDirRecords { .. }
                | Change::DeleteDirQuota { .. }
                | Change::PutQuota { .. }
                | Change::SetQuotaUsage { .. }
                | Change::AddQuotaUsage { .. }
                | Change::AddDirStat { .. }
                | Change::SetDirStat { .. }
                | Change::InsertSustained { .. }
                | Change::DeleteSustained { .. }
                | Change::InsertDeletedFile { .. }
                | Change::DeleteDeletedFile { .. }
                | Change::PutSession { .. }
                | Change::DeleteSession { .. }
                | Change::SetFlock { .. }
                | Change::DeleteFlock { .. }
                | Change::SetRangeLocks { .. }
                | Change::DeleteRangeLocks { .. }
                | Change::DeleteLocks { .. }
                | Change::PutSide { .. }
                | Change::DeleteSide { .. }
                | Change::Log(_)
                | Change::Mirror(_) => true,
            };
            if !fits {
                return Err(Error::Conflict);
            }
        }
        Ok(())
    }

    /// Does what [`Self::check`] let through.
    #[expect(clippy::too_many_lines, reason = "a table: one arm per change, no wildcard")]
    pub(super) fn apply(&mut self, change: &Change, receipt: &mut Receipt) {
        match change {
            Change::InsertNode { ino, attr } => {
                self.nodes.insert(*ino, *attr);
            }
            Change::UpdateNode { ino, was, now } => {
                if let Some(attr) = self.nodes.get_mut(ino) {
                    *attr = merged(attr, was, now);
                }
            }
            Change::DeleteNode { ino } => {
                self.nodes.remove(ino);
            }
            Change::InsertEdge { parent, name, edge }
            | Change::UpdateEdge { parent, name, now: edge, .. } => {
                self.edges.entry(*parent).or_default().insert(name.clone(), *edge);
            }
            Change::DeleteEdge { parent, name, .. } => self.delete_edge(*parent, name),
            Change::AddParentRef { ino, parent, delta } => {
                *self.parents.entry(*ino).or_default().entry(*parent).or_default() += delta;
            }
            Change::DeleteParentRefs { ino } => {
                self.parents.remove(ino);
            }
            Change::InsertSymlink { ino, target } => {
                self.symlinks.insert(*ino, target.clone());
            }
            Change::DeleteSymlink { ino } => {
                self.symlinks.remove(ino);
            }
            Change::AppendSlice { ino, indx, slice, only_existing } => {
                receipt.slices_after_append.push(self.append(*ino, *indx, *slice, *only_existing));
            }
            Change::DeleteChunk { ino, indx } => {
                self.chunks.remove(&(*ino, *indx));
            }
            Change::ReplaceSlices { ino, indx, was, now } => {
                let list = self.chunks.entry((*ino, *indx)).or_default();
                list.splice(..was.len().min(list.len()), now.iter().copied());
            }
            Change::InsertDelayedSlices { id, deleted_at, slices } => {
                self.delayed_slices.insert((*id, *deleted_at), slices.clone());
            }
            Change::DeleteDelayedSlices { id, deleted_at } => {
                self.delayed_slices.remove(&(*id, *deleted_at));
            }
            Change::TrackSlice { id, size } => {
                self.slice_refs.insert((*id, *size), 1);
            }
            Change::ShareSlice { id, size } => {
                *self.slice_refs.entry((*id, *size)).or_insert(1) += 1;
            }
            Change::ReleaseSlice { id, size } => {
                let refs = self.slice_refs.entry((*id, *size)).or_insert(1);
                *refs -= 1;
                if *refs <= 0 && !receipt.slices_freed.contains(&(*id, *size)) {
                    receipt.slices_freed.push((*id, *size));
                }
            }
            Change::ForgetSlice { id, size } => {
                self.slice_refs.remove(&(*id, *size));
            }
            Change::AddUsage { space, inodes } => {
                self.usage.space += space;
                self.usage.inodes += inodes;
            }
            Change::Mirror(row) => self.mirror(row),
            Change::Log(line) => self.log(line, &receipt.slices_after_append),
            Change::SetXattr { ino, name, value } => {
                self.xattrs.entry(*ino).or_default().insert(name.clone(), value.clone());
            }
            Change::DeleteXattr { ino, name } => {
                if let Some(values) = self.xattrs.get_mut(ino) {
                    values.remove(name);
                }
            }
            Change::DeleteXattrs { ino } => {
                self.xattrs.remove(ino);
            }
            Change::InsertDirStat { ino } => {
                self.dir_stats.insert(*ino, DirStat::default());
            }
            Change::DeleteDirRecords { ino } => {
                self.dir_stats.remove(ino);
                self.quotas.remove(&(QuotaKind::Directory, ino.0));
            }
            Change::AddDirStat { ino, delta } => {
                if let Some(stat) = self.dir_stats.get_mut(ino) {
                    stat.length += delta.length;
                    stat.space += delta.space;
                    stat.inodes += delta.inodes;
                }
            }
            Change::SetDirStat { ino, stat } => {
                self.dir_stats.insert(*ino, *stat);
            }
            Change::InsertSustained { sid, ino } => {
                self.sustained.insert((*sid, *ino));
            }
            Change::DeleteSustained { sid, ino } => {
                self.sustained.remove(&(*sid, *ino));
            }
            Change::InsertDeletedFile { ino, length, deleted_at } => {
                self.deleted_files.insert((*ino, *length), *deleted_at);
            }
            Change::DeleteDeletedFile { ino, length } => {
                self.deleted_files.remove(&(*ino, *length));
            }
            Change::PutSession { sid, expires_at, info } => {
                let session = self.sessions.entry(*sid).or_insert_with(|| (0, info.clone()));
                session.0 = *expires_at;
            }
            Change::DeleteSession { sid } => {
                self.sessions.remove(sid);
            }
            Change::PutSide { name, value } => {
                self.sides.insert(name.clone(), value.clone());
            }
            Change::DeleteSide { name } => {
                self.sides.remove(name);
            }
            Change::SetFlock { ino, holder, kind } => {
                self.flocks.entry(*ino).or_default().insert(*holder, *kind);
            }
            Change::DeleteFlock { ino, holder, .. } => {
                retain(&mut self.flocks, |of, other| of != *ino || other != *holder);
            }
            Change::SetRangeLocks { ino, holder, locks } => {
                self.range_locks.entry(*ino).or_default().insert(*holder, locks.clone());
            }
            Change::DeleteRangeLocks { ino, holder, .. } => {
                retain(&mut self.range_locks, |of, other| of != *ino || other != *holder);
            }
            Change::DeleteLocks { sid } => {
                retain(&mut self.flocks, |_, holder| holder.sid != *sid);
                retain(&mut self.range_locks, |_, holder| holder.sid != *sid);
            }
            Change::DeleteDirQuota { ino } => {
                self.quotas.remove(&(QuotaKind::Directory, ino.0));
            }
            Change::PutQuota { kind, key, space_max, inodes_max } => {
                let row = self.quotas.entry((*kind, *key)).or_insert_with(|| unlimited(*kind, *key));
                (row.space_max, row.inodes_max) = (*space_max, *inodes_max);
            }
            Change::SetQuotaUsage { kind, key, used } => {
                if let Some(row) = self.quotas.get_mut(&(*kind, *key)) {
                    row.used = *used;
                }
            }
            Change::AddQuotaUsage { kind, key, delta } => {
                if *kind != QuotaKind::Directory {
                    self.quotas.entry((*kind, *key)).or_insert_with(|| unlimited(*kind, *key));
                }
                if let Some(row) = self.quotas.get_mut(&(*kind, *key)) {
                    row.used.space += delta.space;
                    row.used.inodes += delta.inodes;
                }
            }
        }
    }

    fn mirror(&mut self, row: &Mirrored) {
        match row {
            Mirrored::Node { ino, attr: Some(attr) } => {
                self.nodes.insert(*ino, *attr);
            }
            Mirrored::Node { ino, attr: None } => {
                self.nodes.remove(ino);
                self.symlinks.remove(ino);
                self.parents.remove(ino);
            }
            Mirrored::Edge { parent, name, edge: Some(edge) } => {
                self.edges.entry(*parent).or_default().insert(name.clone(), *edge);
            }
            Mirrored::Edge { parent, name, edge: None } => self.delete_edge(*parent, name),
            Mirrored::Slices { ino, indx, slices } if slices.is_empty() => {
                self.chunks.remove(&(*ino, *indx));
            }
            Mirrored::Slices { ino, indx, slices } => {
                self.chunks.insert((*ino, *indx), slices.clone());
            }
            Mirrored::Symlink { ino, target } => {
                self.symlinks.insert(*ino, target.clone());
            }
            Mirrored::Parents { ino, parents } => {
                self.parents.insert(*ino, parents.iter().copied().collect());
            }
        }
    }

    pub(super) fn log(&mut self, line: &LogLine, lengths: &[u32]) {
        self.log_last += 1;
        self.log.insert(self.log_last, line.text(lengths).into());
    }

    pub(super) fn log_page(&self, after: u64, max: usize) -> LogPage {
        let lines = self.log.range(after.saturating_add(1)..).take(max);
        LogPage {
            lines: lines.map(|(version, line)| (*version, line.clone())).collect(),
            first: self.log.keys().next().copied().unwrap_or(self.log_last + 1),
            last: self.log_last,
        }
    }

    pub(super) fn trim_log(&mut self, upto: u64) {
        self.log = self.log.split_off(&upto.saturating_add(1));
    }

    fn delete_edge(&mut self, parent: Ino, name: &Name) {
        if let Some(names) = self.edges.get_mut(&parent) {
            names.remove(name);
            if names.is_empty() {
                self.edges.remove(&parent);
            }
        }
    }

    fn append(&mut self, ino: Ino, indx: u32, slice: Slice, only_existing: bool) -> u32 {
        if only_existing && !self.chunks.contains_key(&(ino, indx)) {
            return 0;
        }
        let list = self.chunks.entry((ino, indx)).or_default();
        list.push(slice);
        u32::try_from(list.len()).unwrap_or(u32::MAX)
    }

    pub(super) fn scan(&self, scan: &Scan) -> Vec<Item> {
        let chunk = |((ino, indx), slices): (&(Ino, u32), &Vec<Slice>)| Item::Chunk {
            ino: *ino,
            indx: *indx,
            slices: slices.clone(),
        };
        let entry = |(name, edge): (&Name, &Edge)| Item::Entry { name: name.clone(), edge: *edge };
        match scan {
            Scan::Entries { parent } => self.edges.get(parent).into_iter().flatten().map(entry).collect(),
            Scan::Sessions => {
                self.sessions.iter().map(|(sid, session)| Item::Session(row(*sid, session))).collect()
            }
            Scan::Sustained { sid } => {
                let of_session = |(holder, _): &&(u64, Ino)| sid.is_none_or(|sid| sid == *holder);
                let held = self.sustained.iter().filter(of_session);
                held.map(|(sid, ino)| Item::Sustained { sid: *sid, ino: *ino }).collect()
            }
            Scan::DeletedFiles => {
                let files = self.deleted_files.iter();
                let item = |((ino, length), deleted_at): (&(Ino, u64), &i64)| Item::DeletedFile {
                    ino: *ino,
                    length: *length,
                    deleted_at: *deleted_at,
                };
                files.map(item).collect()
            }
            Scan::Chunks { ino: Some(ino) } => {
                self.chunks.range((*ino, 0)..=(*ino, u32::MAX)).map(chunk).collect()
            }
            Scan::Chunks { ino: None } => self.chunks.iter().map(chunk).collect(),
            Scan::DelayedSlices => {
                let item = |((id, deleted_at), slices): (&(SliceId, i64), &Vec<(SliceId, u32)>)| {
                    Item::DelayedSlices { id: *id, deleted_at: *deleted_at, slices: slices.clone() }
                };
                self.delayed_slices.iter().map(item).collect()
            }
            Scan::FreedSlices => {
                let freed = self.slice_refs.iter().filter(|(_, refs)| **refs <= 0);
                freed.map(|((id, size), _)| Item::FreedSlice { id: *id, size: *size }).collect()
            }
            Scan::Sides => {
                let side = |(name, value): (&String, &Bytes)| Item::Side {
                    name: name.clone(),
                    value: value.clone(),
                };
                self.sides.iter().map(side).collect()
            }
            Scan::Edges
            | Scan::Parents
            | Scan::SliceRefs
            | Scan::Symlinks
            | Scan::Xattrs
            | Scan::Acls
            | Scan::DirStats
            | Scan::Quotas { .. } => self.scan_all(scan),
            Scan::Nodes => {
                self.nodes.iter().map(|(ino, attr)| Item::Node { ino: *ino, attr: *attr }).collect()
            }
        }
    }

    pub(super) fn allocate(&mut self, sequence: Sequence, count: u64) -> std::ops::Range<u64> {
        let next = self.numbers.entry(sequence).or_insert(if sequence == Sequence::Inode { 2 } else { 1 });
        let first = *next;
        *next += count;
        first..*next
    }

    pub(super) fn claim(&mut self, job: Job, now: i64, gap_sec: i64) -> bool {
        let is_free = self.jobs.get(&job).is_none_or(|last| *last <= now - gap_sec);
        if is_free {
            self.jobs.insert(job, now);
        }
        is_free
    }
}

/// Keeps the locks that `keeps` says; files without any are forgotten.
fn retain<T>(locks: &mut BTreeMap<Ino, BTreeMap<Holder, T>>, keeps: impl Fn(Ino, Holder) -> bool) {
    locks.retain(|ino, holders| {
        holders.retain(|holder, _| keeps(*ino, *holder));
        !holders.is_empty()
    });
}

fn row(sid: u64, (expires_at, info): &(i64, Bytes)) -> SessionRow {
    SessionRow { sid, expires_at: *expires_at, info: info.clone() }
}

/// What the update makes of a row that others may have moved since `was`: fields that differ are set, links
/// move by their difference.
fn merged(row: &Attr, was: &Attr, now: &Attr) -> Attr {
    let mut attr = *row;
    macro_rules! set {
        ($($field:ident),*) => { $(if was.$field != now.$field { attr.$field = now.$field; })* };
    }
    set!(
        flags,
        kind,
        mode,
        uid,
        gid,
        atime,
        mtime,
        ctime,
        length,
        rdev,
        parent,
        access_acl,
        default_acl,
        tier
    );
    attr.nlink = (i64::from(row.nlink) + i64::from(now.nlink) - i64::from(was.nlink)).try_into().unwrap_or(0);
    attr
}

fn unlimited(kind: QuotaKind, key: u64) -> QuotaRow {
    QuotaRow { kind, key, space_max: -1, inodes_max: -1, used: Usage::default() }
}
