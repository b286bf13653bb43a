//! Every [`Change`] as statements. A row count that is off is a conflict: somebody else was there first.

use super::quota;
use super::rows::split_time;
use super::statement::{Expect, Plan, Statement, Step, Value, statement};
use crate::engines::packed;
use crate::lock::LockKind;
use crate::port::Change;
use crate::types::{Attr, DirStat, Ino, Kind, Slice};

/// Creates or replaces.
pub(super) const PUT_SIDE: &str = "INSERT INTO jfs_rs_record (name, value) VALUES (?1, ?2) \
                                   ON CONFLICT (name) DO UPDATE SET value = excluded.value";

impl Plan {
    /// The statements of `changes` in order.
    pub(super) fn of(changes: &[Change]) -> Self {
        let mut plan = Self::default();
        for change in changes {
            plan.add(change);
        }
        plan
    }

    #[expect(clippy::too_many_lines, reason = "one arm for each change")]
    fn add(&mut self, change: &Change) {
        match change {
            Change::InsertNode { ino, attr } => self.any(insert_node(*ino, attr)),
            Change::UpdateNode { ino, was, now } => self.one(update_node(*ino, was, now)),
            Change::DeleteNode { ino } => self.one(statement!("DELETE FROM jfs_node WHERE inode = ?1", *ino)),
            Change::InsertEdge { parent, name, edge } => self.any(statement!(
                "INSERT INTO jfs_edge (parent, name, inode, type) VALUES (?1, ?2, ?3, ?4)",
                *parent,
                name,
                edge.ino,
                edge.kind.code()
            )),
            Change::UpdateEdge { parent, name, was, now } => self.one(statement!(
                "UPDATE jfs_edge SET inode = ?5, type = ?6 \
                 WHERE parent = ?1 AND name = ?2 AND inode = ?3 AND type = ?4",
                *parent,
                name,
                was.ino,
                was.kind.code(),
                now.ino,
                now.kind.code()
            )),
            Change::DeleteEdge { parent, name, was } => self.one(statement!(
                "DELETE FROM jfs_edge WHERE parent = ?1 AND name = ?2 AND inode = ?3 AND type = ?4",
                *parent,
                name,
                was.ino,
                was.kind.code()
            )),
            // Edges are the parents here.
            Change::AddParentRef { .. } | Change::DeleteParentRefs { .. } => {}
            Change::InsertSymlink { ino, target } => self.any(statement!(
                "INSERT INTO jfs_symlink (inode, target) VALUES (?1, ?2)",
                *ino,
                &target[..]
            )),
            Change::DeleteSymlink { ino } => {
                self.any(statement!("DELETE FROM jfs_symlink WHERE inode = ?1", *ino));
            }
            Change::SetXattr { ino, name, value } => self.any(statement!(
                "INSERT INTO jfs_xattr (inode, name, value) VALUES (?1, ?2, ?3) \
                 ON CONFLICT (inode, name) DO UPDATE SET value = excluded.value",
                *ino,
                Value::Text(name.to_vec()),
                &value[..]
            )),
            Change::DeleteXattr { ino, name } => self.any(statement!(
                "DELETE FROM jfs_xattr WHERE inode = ?1 AND name = ?2",
                *ino,
                Value::Text(name.to_vec())
            )),
            Change::DeleteXattrs { ino } => {
                self.any(statement!("DELETE FROM jfs_xattr WHERE inode = ?1", *ino));
            }
            Change::AppendSlice { ino, indx, slice, only_existing } => {
                self.expect(Expect::Appended, append(*ino, *indx, *slice, *only_existing));
            }
            Change::DeleteChunk { ino, indx } => {
                self.one(statement!("DELETE FROM jfs_chunk WHERE inode = ?1 AND indx = ?2", *ino, *indx));
            }
            // What was read is still how the list begins; what came behind it stays.
            Change::ReplaceSlices { ino, indx, was, now } => self.one(statement!(
                "UPDATE jfs_chunk SET slices = CAST(?4 || substr(CAST(slices AS BLOB), CAST(?6 AS INTEGER)) AS BLOB) \
                 WHERE inode = ?1 AND indx = ?2 AND substr(CAST(slices AS BLOB), 1, CAST(?5 AS INTEGER)) = ?3",
                *ino,
                *indx,
                packed::encode_slices(was),
                packed::encode_slices(now),
                (was.len() * packed::SLICE_BYTES) as u64,
                (was.len() * packed::SLICE_BYTES + 1) as u64
            )),
            Change::InsertDelayedSlices { id, deleted_at, slices } => self.any(statement!(
                "INSERT INTO jfs_delslices (chunkid, deleted, slices) VALUES (?1, ?2, ?3)",
                *id,
                *deleted_at,
                packed::encode_slice_pairs(slices)
            )),
            Change::DeleteDelayedSlices { id, deleted_at } => self.one(statement!(
                "DELETE FROM jfs_delslices WHERE chunkid = ?1 AND deleted = ?2",
                *id,
                *deleted_at
            )),
            Change::Mirror(row) => self.mirror(row),
            Change::Log(line) => self.steps.push(Step::Log(line.clone())),
            Change::PutSide { name, value } => {
                self.has_sides = true;
                self.any(statement!(PUT_SIDE, &name[..], &value[..]));
            }
            Change::DeleteSide { name } => {
                self.has_sides = true;
                self.any(statement!("DELETE FROM jfs_rs_record WHERE name = ?1", &name[..]));
            }
            // A hole has no references.
            Change::TrackSlice { id: 0, .. } | Change::ShareSlice { id: 0, .. } | Change::ReleaseSlice { id: 0, .. } => {}
            Change::TrackSlice { id, size } => self.expect(
                Expect::Tracked { id: *id },
                statement!(
                    "INSERT INTO jfs_chunk_ref (chunkid, size, refs) VALUES (?1, ?2, 1)",
                    *id,
                    *size
                ),
            ),
            Change::ShareSlice { id, size } => self.one(statement!(
                "UPDATE jfs_chunk_ref SET refs = refs + 1 WHERE chunkid = ?1 AND size = ?2",
                *id,
                *size
            )),
            Change::ReleaseSlice { id, size } => self.expect(
                Expect::Released { id: *id, size: *size },
                statement!(
                    "UPDATE jfs_chunk_ref SET refs = refs - 1 WHERE chunkid = ?1 AND size = ?2 RETURNING refs",
                    *id,
                    *size
                ),
            ),
            Change::ForgetSlice { id, size } => self.any(statement!(
                "DELETE FROM jfs_chunk_ref WHERE chunkid = ?1 AND size = ?2 AND refs <= 0",
                *id,
                *size
            )),
            Change::AddUsage { space, inodes } => {
                self.usage.space += space;
                self.usage.inodes += inodes;
            }
            Change::InsertDirStat { ino } => self.any(set_stat(*ino, DirStat::default())),
            Change::SetDirStat { ino, stat } => self.any(set_stat(*ino, *stat)),
            Change::AddDirStat { ino, delta } => self.any(statement!(
                "UPDATE jfs_dir_stats SET data_length = data_length + ?2, used_space = used_space + ?3, \
                 used_inodes = used_inodes + ?4 WHERE inode = ?1",
                *ino,
                delta.length,
                delta.space,
                delta.inodes
            )),
            Change::DeleteDirRecords { ino } => {
                self.any(statement!("DELETE FROM jfs_dir_stats WHERE inode = ?1", *ino));
                self.any(delete_quota(*ino));
            }
            Change::DeleteDirQuota { ino } => self.any(delete_quota(*ino)),
            Change::PutQuota { kind, key, space_max, inodes_max } => {
                self.any(quota::put(*kind, *key, *space_max, *inodes_max));
            }
            Change::SetQuotaUsage { kind, key, used } => self.any(quota::set_usage(*kind, *key, *used)),
            Change::AddQuotaUsage { kind, key, delta } => self.any(quota::add_usage(*kind, *key, *delta)),
            Change::InsertSustained { sid, ino } => self.any(statement!(
                "INSERT INTO jfs_sustained (sid, inode) VALUES (?1, ?2) ON CONFLICT (sid, inode) DO NOTHING",
                *sid,
                *ino
            )),
            Change::DeleteSustained { sid, ino } => {
                self.any(statement!("DELETE FROM jfs_sustained WHERE sid = ?1 AND inode = ?2", *sid, *ino));
            }
            Change::InsertDeletedFile { ino, length, deleted_at } => self.any(statement!(
                "INSERT INTO jfs_delfile (inode, length, expire) VALUES (?1, ?2, ?3) \
                 ON CONFLICT (inode) DO UPDATE SET length = excluded.length, expire = excluded.expire",
                *ino,
                *length,
                *deleted_at
            )),
            Change::DeleteDeletedFile { ino, length } => self.any(statement!(
                "DELETE FROM jfs_delfile WHERE inode = ?1 AND length = ?2",
                *ino,
                *length
            )),
            Change::PutSession { sid, expires_at, info } => self.any(statement!(
                "INSERT INTO jfs_session2 (sid, expire, info) VALUES (?1, ?2, ?3) \
                 ON CONFLICT (sid) DO UPDATE SET expire = excluded.expire",
                *sid,
                *expires_at,
                &info[..]
            )),
            Change::DeleteSession { sid } => {
                self.any(statement!("DELETE FROM jfs_session2 WHERE sid = ?1", *sid));
            }
            Change::SetFlock { ino, holder, kind } => self.any(statement!(
                "INSERT INTO jfs_flock (inode, sid, owner, ltype) VALUES (?1, ?2, ?3, ?4) \
                 ON CONFLICT (inode, sid, owner) DO UPDATE SET ltype = excluded.ltype",
                *ino,
                holder.sid,
                holder.owner,
                if *kind == LockKind::Shared { b'R' } else { b'W' }
            )),
            Change::DeleteFlock { ino, holder, .. } => self.any(statement!(
                "DELETE FROM jfs_flock WHERE inode = ?1 AND sid = ?2 AND owner = ?3",
                *ino,
                holder.sid,
                holder.owner
            )),
            Change::SetRangeLocks { ino, holder, locks } => self.any(statement!(
                "INSERT INTO jfs_plock (inode, sid, owner, records) VALUES (?1, ?2, ?3, ?4) \
                 ON CONFLICT (inode, sid, owner) DO UPDATE SET records = excluded.records",
                *ino,
                holder.sid,
                holder.owner,
                packed::encode_range_locks(locks)
            )),
            Change::DeleteRangeLocks { ino, holder, .. } => self.any(statement!(
                "DELETE FROM jfs_plock WHERE inode = ?1 AND sid = ?2 AND owner = ?3",
                *ino,
                holder.sid,
                holder.owner
            )),
            Change::DeleteLocks { sid } => {
                self.any(statement!("DELETE FROM jfs_flock WHERE sid = ?1", *sid));
                self.any(statement!("DELETE FROM jfs_plock WHERE sid = ?1", *sid));
            }
        }
    }
}

pub(super) fn insert_node(ino: Ino, attr: &Attr) -> Statement {
    let (atime, atimensec) = split_time(attr.atime);
    let (mtime, mtimensec) = split_time(attr.mtime);
    let (ctime, ctimensec) = split_time(attr.ctime);
    statement!(
        "INSERT INTO jfs_node (inode, type, flags, mode, uid, gid, atime, mtime, ctime, atimensec, mtimensec, \
         ctimensec, nlink, length, rdev, parent, access_acl_id, default_acl_id, tier_id) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19)",
        ino,
        attr.kind.code(),
        attr.flags,
        attr.mode,
        attr.uid,
        attr.gid,
        atime,
        mtime,
        ctime,
        atimensec,
        mtimensec,
        ctimensec,
        attr.nlink,
        attr.length,
        attr.rdev,
        attr.parent,
        attr.access_acl,
        attr.default_acl,
        attr.tier,
    )
}

/// Writes what differs. A directory's `nlink` is moved, not set, so that two changes to one parent add up.
fn update_node(ino: Ino, was: &Attr, now: &Attr) -> Statement {
    let mut columns = String::with_capacity(160);
    let mut values: Vec<Value> = vec![ino.into()];
    let mut set = |column: &str, value: Value| {
        use std::fmt::Write;
        values.push(value);
        let separator = if columns.is_empty() { "" } else { ", " };
        let _ = match column {
            "nlink +" => write!(columns, "{separator}nlink = nlink + ?{}", values.len()),
            column => write!(columns, "{separator}{column} = ?{}", values.len()),
        };
    };
    for (column, was, now) in [
        ("flags", Value::from(was.flags), Value::from(now.flags)),
        ("mode", was.mode.into(), now.mode.into()),
        ("uid", was.uid.into(), now.uid.into()),
        ("gid", was.gid.into(), now.gid.into()),
        ("length", was.length.into(), now.length.into()),
        ("rdev", was.rdev.into(), now.rdev.into()),
        ("parent", was.parent.into(), now.parent.into()),
        ("access_acl_id", was.access_acl.into(), now.access_acl.into()),
        ("default_acl_id", was.default_acl.into(), now.default_acl.into()),
        ("tier_id", was.tier.into(), now.tier.into()),
    ] {
        if was != now {
            set(column, now);
        }
    }
    for (columns, was, now) in [
        (["atime", "atimensec"], was.atime, now.atime),
        (["mtime", "mtimensec"], was.mtime, now.mtime),
        (["ctime", "ctimensec"], was.ctime, now.ctime),
    ] {
        if was != now {
            let (micros, nanos) = split_time(now);
            set(columns[0], micros.into());
            set(columns[1], nanos.into());
        }
    }
    if was.nlink != now.nlink {
        match now.kind {
            Kind::Directory => set("nlink +", Value::Int(i64::from(now.nlink) - i64::from(was.nlink))),
            _ => set("nlink", now.nlink.into()),
        }
    }
    if columns.is_empty() {
        // Nothing to write, yet the row must be there.
        columns.push_str("type = type");
    }
    Statement { text: format!("UPDATE jfs_node SET {columns} WHERE inode = ?1").into(), values }
}

/// Returns the bytes of the list after the append; no row when there was no list to append to.
fn append(ino: Ino, indx: u32, slice: Slice, only_existing: bool) -> Statement {
    let record = packed::encode_slice(slice);
    // Appending makes text of a blob in SQLite's eyes; the cast keeps the column what it is.
    let text = if only_existing {
        "UPDATE jfs_chunk SET slices = CAST(slices || ?3 AS BLOB) WHERE inode = ?1 AND indx = ?2 \
         RETURNING octet_length(slices)"
    } else {
        "INSERT INTO jfs_chunk (inode, indx, slices) VALUES (?1, ?2, ?3) \
         ON CONFLICT (inode, indx) DO UPDATE SET slices = CAST(jfs_chunk.slices || excluded.slices AS BLOB) \
         RETURNING octet_length(slices)"
    };
    statement!(text, ino, indx, &record[..])
}

fn set_stat(ino: Ino, stat: DirStat) -> Statement {
    statement!(
        "INSERT INTO jfs_dir_stats (inode, data_length, used_space, used_inodes) VALUES (?1, ?2, ?3, ?4) \
         ON CONFLICT (inode) DO UPDATE SET data_length = excluded.data_length, used_space = excluded.used_space, \
         used_inodes = excluded.used_inodes",
        ino,
        stat.length,
        stat.space,
        stat.inodes
    )
}

fn delete_quota(ino: Ino) -> Statement {
    statement!("DELETE FROM jfs_dir_quota WHERE inode = ?1", ino)
}
