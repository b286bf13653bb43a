//! What a transaction may do.

use bytes::Bytes;

use super::{LogLine, QuotaKind};
use crate::lock::{Holder, LockKind, RangeLock};
use crate::types::{Attr, DirStat, Edge, Ino, Name, Slice, SliceId, Usage};

/// Every effect a transaction may have, said as intent rather than as bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    InsertNode {
        ino: Ino,
        attr: Attr,
    },
    /// Both values travel: packed engines write `now`, SQL writes what differs, `nlink` of directories as a
    /// delta. No row hit = `Conflict`.
    UpdateNode {
        ino: Ino,
        was: Attr,
        now: Attr,
    },
    DeleteNode {
        ino: Ino,
    },
    /// A name that exists by now is `Conflict`.
    InsertEdge {
        parent: Ino,
        name: Name,
        edge: Edge,
    },
    /// Replaces what the name holds (exchange and rename over a name).
    UpdateEdge {
        parent: Ino,
        name: Name,
        was: Edge,
        now: Edge,
    },
    /// Deletes by full identity; anything else under the name by now is `Conflict`.
    DeleteEdge {
        parent: Ino,
        name: Name,
        was: Edge,
    },
    /// No-op on SQL, where edges are the parents.
    AddParentRef {
        ino: Ino,
        parent: Ino,
        delta: i64,
    },
    /// Forgets all parents of a hard-linked file whose node goes away; no-op on SQL.
    DeleteParentRefs {
        ino: Ino,
    },
    InsertSymlink {
        ino: Ino,
        target: Bytes,
    },
    DeleteSymlink {
        ino: Ino,
    },
    /// Creates or replaces an extended attribute.
    SetXattr {
        ino: Ino,
        name: Bytes,
        value: Bytes,
    },
    DeleteXattr {
        ino: Ino,
        name: Bytes,
    },
    /// All extended attributes of a node that goes away.
    DeleteXattrs {
        ino: Ino,
    },
    /// Appends one record to a chunk's list. `only_existing`: a chunk without a list stays without.
    AppendSlice {
        ino: Ino,
        indx: u32,
        slice: Slice,
        only_existing: bool,
    },
    /// Removes a chunk's list whose content was read with `Guard`; its references are released apart.
    DeleteChunk {
        ino: Ino,
        indx: u32,
    },
    /// Puts `now` in the place of a list's first records, which must still be exactly `was` (else `Conflict`); what
    /// was appended behind them stays. The list was read with `Update`. References move apart.
    ReplaceSlices {
        ino: Ino,
        indx: u32,
        was: Vec<Slice>,
        now: Vec<Slice>,
    },
    /// What a compaction took out of a list while trash is on, keyed by the slice it made: one pair for each record,
    /// and each is one reference to release later.
    InsertDelayedSlices {
        id: SliceId,
        deleted_at: i64,
        slices: Vec<(SliceId, u32)>,
    },
    /// Forgets what was read as `Get::DelayedSlices`; its references are released apart.
    DeleteDelayedSlices {
        id: SliceId,
        deleted_at: i64,
    },
    /// First reference to a new slice: a row of 1 on SQL, nothing elsewhere.
    TrackSlice {
        id: SliceId,
        size: u32,
    },
    /// One reference more to a slice that a held list refers to.
    ShareSlice {
        id: SliceId,
        size: u32,
    },
    /// One reference less; slices without references come back in [`Receipt::slices_freed`].
    ReleaseSlice {
        id: SliceId,
        size: u32,
    },
    /// The objects of a freed slice are gone: its reference row goes too.
    ForgetSlice {
        id: SliceId,
        size: u32,
    },
    /// Volume counters. Redis moves them in the transaction; engines of the format's other families add them
    /// up and write them in [`Engine::flush`].
    AddUsage {
        space: i64,
        inodes: i64,
    },
    /// A fresh directory's zero statistics.
    InsertDirStat {
        ino: Ino,
    },
    /// A removed directory's statistics, quota and quota usage.
    DeleteDirRecords {
        ino: Ino,
    },
    /// The quota and quota usage only, of a directory that moves to the trash.
    DeleteDirQuota {
        ino: Ino,
    },
    /// Limits in bytes and inodes, of a quota that is there or begins with nothing used.
    PutQuota {
        kind: QuotaKind,
        key: u64,
        space_max: i64,
        inodes_max: i64,
    },
    /// What a quota that is there has used.
    SetQuotaUsage {
        kind: QuotaKind,
        key: u64,
        used: Usage,
    },
    /// Moves what a quota has used. That of a directory was read and is there; one of a user or group that is missing
    /// is made without limits.
    AddQuotaUsage {
        kind: QuotaKind,
        key: u64,
        delta: Usage,
    },
    /// Moves existing statistics; missing ones stay missing.
    AddDirStat {
        ino: Ino,
        delta: DirStat,
    },
    SetDirStat {
        ino: Ino,
        stat: DirStat,
    },
    InsertSustained {
        sid: u64,
        ino: Ino,
    },
    DeleteSustained {
        sid: u64,
        ino: Ino,
    },
    /// `length` is the attr's at removal; `deleted_at` unix seconds.
    InsertDeletedFile {
        ino: Ino,
        length: u64,
        deleted_at: i64,
    },
    DeleteDeletedFile {
        ino: Ino,
        length: u64,
    },
    /// Creates or refreshes; `info` is written only when the row is new.
    PutSession {
        sid: u64,
        expires_at: i64,
        info: Bytes,
    },
    DeleteSession {
        sid: u64,
    },
    SetFlock {
        ino: Ino,
        holder: Holder,
        kind: LockKind,
    },
    /// `is_last`: no other holder of this session has a BSD lock on the file (Redis counts files per session).
    DeleteFlock {
        ino: Ino,
        holder: Holder,
        is_last: bool,
    },
    /// All POSIX locks of a holder on a file; never empty.
    SetRangeLocks {
        ino: Ino,
        holder: Holder,
        locks: Vec<RangeLock>,
    },
    DeleteRangeLocks {
        ino: Ino,
        holder: Holder,
        is_last: bool,
    },
    /// All lock records of one session that ends or went stale.
    DeleteLocks {
        sid: u64,
    },
    /// A line at the end of the change log.
    Log(LogLine),
    /// A record of our own that stock clients leave alone (decisions 21); replaces what the name holds.
    PutSide {
        name: String,
        value: Bytes,
    },
    DeleteSide {
        name: String,
    },
    /// A row of another volume, put here as it is there whatever was here before.
    Mirror(Mirrored),
}

/// A row of a mirror's source; what is `None` is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mirrored {
    /// Without a node its target, extended attributes and parents go, too.
    Node {
        ino: Ino,
        attr: Option<Attr>,
    },
    Edge {
        parent: Ino,
        name: Name,
        edge: Option<Edge>,
    },
    /// The whole list; without records there is none.
    Slices {
        ino: Ino,
        indx: u32,
        slices: Vec<Slice>,
    },
    Symlink {
        ino: Ino,
        target: Bytes,
    },
    /// Parents of a hard-linked file; no-op on SQL, where edges are the parents.
    Parents {
        ino: Ino,
        parents: Vec<(Ino, i64)>,
    },
}

impl Change {
    /// Whether followers of the change log copy what this changes, so that a line must tell of it.
    #[must_use]
    pub fn is_followed(&self) -> bool {
        match self {
            Self::InsertNode { .. }
            | Self::UpdateNode { .. }
            | Self::DeleteNode { .. }
            | Self::InsertEdge { .. }
            | Self::UpdateEdge { .. }
            | Self::DeleteEdge { .. }
            | Self::AddParentRef { .. }
            | Self::DeleteParentRefs { .. }
            | Self::InsertSymlink { .. }
            | Self::DeleteSymlink { .. }
            | Self::SetXattr { .. }
            | Self::DeleteXattr { .. }
            | Self::DeleteXattrs { .. }
            | Self::AppendSlice { .. }
            | Self::DeleteChunk { .. }
            | Self::ReplaceSlices { .. }
            | Self::InsertDelayedSlices { .. }
            | Self::DeleteDelayedSlices { .. }
            | Self::TrackSlice { .. }
            | Self::ShareSlice { .. }
            | Self::ReleaseSlice { .. }
            | Self::ForgetSlice { .. }
            | Self::SetDirStat { .. } => true,
            // Sums, sessions and what follows from told changes.
            Self::AddUsage { .. }
            | Self::InsertDirStat { .. }
            | Self::DeleteDirRecords { .. }
            | Self::DeleteDirQuota { .. }
            | Self::PutQuota { .. }
            | Self::SetQuotaUsage { .. }
            | Self::AddQuotaUsage { .. }
            | Self::AddDirStat { .. }
            | Self::InsertSustained { .. }
            | Self::DeleteSustained { .. }
            | Self::InsertDeletedFile { .. }
            | Self::DeleteDeletedFile { .. }
            | Self::PutSession { .. }
            | Self::DeleteSession { .. }
            | Self::DeleteLocks { .. }
            | Self::SetFlock { .. }
            | Self::DeleteFlock { .. }
            | Self::SetRangeLocks { .. }
            | Self::DeleteRangeLocks { .. }
            | Self::Log(_)
            | Self::PutSide { .. }
            | Self::DeleteSide { .. }
            | Self::Mirror(_) => false,
        }
    }
}
