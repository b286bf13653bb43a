//! Every [`Change`] as statements. A row count that is off is a conflict: somebody else was there first.

use rusqlite::types::Value;
use rusqlite::{OptionalExtension, params, params_from_iter};

use super::connection::Conn;
use super::read::{self, Text, int};
use super::rows::split_time;
use super::{log, side};
use crate::engines::packed;
use crate::error::{Error, Result};
use crate::port::{Change, Receipt};
use crate::types::{Attr, DirStat, Ino, Kind, Slice, SliceId, Usage};

/// Makes `changes` in order; the caller commits or rolls back.
pub(super) fn make(conn: &Conn, changes: &[Change]) -> Result<(Receipt, Usage)> {
    let mut receipt = Receipt::default();
    let mut usage = Usage::default();
    for change in changes {
        match change {
            Change::AddUsage { space, inodes } => {
                usage.space += space;
                usage.inodes += inodes;
            }
            Change::AppendSlice { ino, indx, slice, only_existing } => {
                receipt.slices_after_append.push(append(conn, *ino, *indx, *slice, *only_existing)?);
            }
            Change::ReleaseSlice { id, size } => {
                if release(conn, *id, *size)? && !receipt.slices_freed.contains(&(*id, *size)) {
                    receipt.slices_freed.push((*id, *size));
                }
            }
            Change::InsertNode { ino, attr } => insert_node(conn, *ino, attr)?,
            Change::UpdateNode { ino, was, now } => update_node(conn, *ino, was, now)?,
            Change::DeleteNode { ino } => one(delete(conn, "DELETE FROM jfs_node WHERE inode = ?1", ino.0)?)?,
            Change::InsertEdge { .. } | Change::UpdateEdge { .. } | Change::DeleteEdge { .. } => {
                edge(conn, change)?
            }
            // Edges are the parents here.
            Change::AddParentRef { .. } | Change::DeleteParentRefs { .. } => {}
            Change::InsertSymlink { ino, target } => {
                conn.statement("INSERT INTO jfs_symlink (inode, target) VALUES (?1, ?2)")?
                    .execute(params![int(ino.0), &target[..]])?;
            }
            Change::DeleteSymlink { ino } => {
                delete(conn, "DELETE FROM jfs_symlink WHERE inode = ?1", ino.0)?;
            }
            Change::SetXattr { .. } | Change::DeleteXattr { .. } | Change::DeleteXattrs { .. } => {
                xattr(conn, change)?
            }
            Change::DeleteChunk { ino, indx } => {
                let mut statement = conn.statement("DELETE FROM jfs_chunk WHERE inode = ?1 AND indx = ?2")?;
                one(statement.execute(params![int(ino.0), indx])?)?;
            }
            Change::Log(line) => log::append(conn, &line.text(&receipt.slices_after_append))?,
            Change::PutSide { name, value } => side::put(conn, name, value)?,
            Change::DeleteSide { name } => side::delete(conn, name)?,
            Change::ReplaceSlices { ino, indx, was, now } => replace(conn, *ino, *indx, was, now)?,
            Change::InsertDelayedSlices { id, deleted_at, slices } => {
                conn.statement("INSERT INTO jfs_delslices (chunkid, deleted, slices) VALUES (?1, ?2, ?3)")?
                    .execute(params![int(*id), deleted_at, packed::encode_slice_pairs(slices)])?;
            }
            Change::DeleteDelayedSlices { id, deleted_at } => {
                let mut statement =
                    conn.statement("DELETE FROM jfs_delslices WHERE chunkid = ?1 AND deleted = ?2")?;
                one(statement.execute([int(*id), *deleted_at])?)?;
            }
            Change::TrackSlice { id, size } => track(conn, *id, *size)?,
            Change::ForgetSlice { id, size } => {
                conn.statement("DELETE FROM jfs_chunk_ref WHERE chunkid = ?1 AND size = ?2 AND refs <= 0")?
                    .execute(params![int(*id), size])?;
            }
            Change::InsertDirStat { .. }
            | Change::DeleteDirRecords { .. }
            | Change::DeleteDirQuota { .. }
            | Change::AddDirStat { .. }
            | Change::SetDirStat { .. } => directory_record(conn, change)?,
            Change::InsertSustained { .. }
            | Change::DeleteSustained { .. }
            | Change::InsertDeletedFile { .. }
            | Change::DeleteDeletedFile { .. }
            | Change::PutSession { .. }
            | Change::DeleteSession { .. }
            | Change::DeleteLocks { .. } => session_record(conn, change)?,
        }
    }
    Ok((receipt, usage))
}

fn xattr(conn: &Conn, change: &Change) -> Result<()> {
    match change {
        Change::SetXattr { ino, name, value } => {
            conn.statement(
                "INSERT INTO jfs_xattr (inode, name, value) VALUES (?1, ?2, ?3) \
                 ON CONFLICT (inode, name) DO UPDATE SET value = excluded.value",
            )?
            .execute(params![int(ino.0), Text(name), &value[..]])?;
        }
        Change::DeleteXattr { ino, name } => {
            conn.statement("DELETE FROM jfs_xattr WHERE inode = ?1 AND name = ?2")?
                .execute(params![int(ino.0), Text(name)])?;
        }
        Change::DeleteXattrs { ino } => {
            delete(conn, "DELETE FROM jfs_xattr WHERE inode = ?1", ino.0)?;
        }
        _ => unreachable!("not a change of extended attributes"),
    }
    Ok(())
}

fn one(rows: usize) -> Result<()> {
    if rows == 1 { Ok(()) } else { Err(Error::Conflict) }
}

fn delete(conn: &Conn, statement: &str, key: u64) -> Result<usize> {
    Ok(conn.statement(statement)?.execute([int(key)])?)
}

pub(super) fn insert_node(conn: &Conn, ino: Ino, attr: &Attr) -> Result<()> {
    let (atime, atimensec) = split_time(attr.atime);
    let (mtime, mtimensec) = split_time(attr.mtime);
    let (ctime, ctimensec) = split_time(attr.ctime);
    conn.statement(
        "INSERT INTO jfs_node (inode, type, flags, mode, uid, gid, atime, mtime, ctime, atimensec, mtimensec, \
         ctimensec, nlink, length, rdev, parent, access_acl_id, default_acl_id, tier_id) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19)",
    )?
    .execute(params![
        int(ino.0),
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
        int(attr.length),
        attr.rdev,
        int(attr.parent.0),
        attr.access_acl,
        attr.default_acl,
        attr.tier,
    ])?;
    Ok(())
}

/// Writes what differs. A directory's `nlink` is moved, not set, so that two changes to one parent add up.
fn update_node(conn: &Conn, ino: Ino, was: &Attr, now: &Attr) -> Result<()> {
    let mut columns = String::with_capacity(160);
    let mut values: Vec<Value> = vec![Value::Integer(int(ino.0))];
    let mut set = |column: &str, value: i64| {
        use std::fmt::Write;
        values.push(Value::Integer(value));
        let separator = if columns.is_empty() { "" } else { ", " };
        let _ = match column {
            "nlink +" => write!(columns, "{separator}nlink = nlink + ?{}", values.len()),
            column => write!(columns, "{separator}{column} = ?{}", values.len()),
        };
    };
    for (column, was, now) in [
        ("flags", i64::from(was.flags), i64::from(now.flags)),
        ("mode", i64::from(was.mode), i64::from(now.mode)),
        ("uid", i64::from(was.uid), i64::from(now.uid)),
        ("gid", i64::from(was.gid), i64::from(now.gid)),
        ("length", int(was.length), int(now.length)),
        ("rdev", i64::from(was.rdev), i64::from(now.rdev)),
        ("parent", int(was.parent.0), int(now.parent.0)),
        ("access_acl_id", i64::from(was.access_acl), i64::from(now.access_acl)),
        ("default_acl_id", i64::from(was.default_acl), i64::from(now.default_acl)),
        ("tier_id", i64::from(was.tier), i64::from(now.tier)),
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
            set(columns[0], micros);
            set(columns[1], nanos);
        }
    }
    if was.nlink != now.nlink {
        match now.kind {
            Kind::Directory => set("nlink +", i64::from(now.nlink) - i64::from(was.nlink)),
            _ => set("nlink", i64::from(now.nlink)),
        }
    }
    if columns.is_empty() {
        // Nothing to write, yet the row must be there.
        let mut statement = conn.statement("SELECT 1 FROM jfs_node WHERE inode = ?1")?;
        return if statement.exists([int(ino.0)])? { Ok(()) } else { Err(Error::Conflict) };
    }
    let query = format!("UPDATE jfs_node SET {columns} WHERE inode = ?1");
    one(conn.statement(&query)?.execute(params_from_iter(values))?)
}

fn edge(conn: &Conn, change: &Change) -> Result<()> {
    match change {
        Change::InsertEdge { parent, name, edge } => {
            conn.statement("INSERT INTO jfs_edge (parent, name, inode, type) VALUES (?1, ?2, ?3, ?4)")?
                .execute(params![int(parent.0), name.as_bytes(), int(edge.ino.0), edge.kind.code()])?;
            Ok(())
        }
        Change::UpdateEdge { parent, name, was, now } => one(conn
            .statement(
                "UPDATE jfs_edge SET inode = ?5, type = ?6 WHERE parent = ?1 AND name = ?2 AND inode = ?3 AND type = ?4",
            )?
            .execute(params![
                int(parent.0),
                name.as_bytes(),
                int(was.ino.0),
                was.kind.code(),
                int(now.ino.0),
                now.kind.code()
            ])?),
        Change::DeleteEdge { parent, name, was } => one(conn
            .statement("DELETE FROM jfs_edge WHERE parent = ?1 AND name = ?2 AND inode = ?3 AND type = ?4")?
            .execute(params![int(parent.0), name.as_bytes(), int(was.ino.0), was.kind.code()])?),
        _ => Ok(()),
    }
}

/// The number of records after the append; 0 when there was no list to append to.
fn append(conn: &Conn, ino: Ino, indx: u32, slice: Slice, only_existing: bool) -> Result<u32> {
    let record = packed::encode_slice(slice);
    // Appending makes text of a blob in SQLite's eyes; the cast keeps the column what it is.
    let statement = if only_existing {
        "UPDATE jfs_chunk SET slices = CAST(slices || ?3 AS BLOB) WHERE inode = ?1 AND indx = ?2 \
         RETURNING octet_length(slices)"
    } else {
        "INSERT INTO jfs_chunk (inode, indx, slices) VALUES (?1, ?2, ?3) \
         ON CONFLICT (inode, indx) DO UPDATE SET slices = CAST(jfs_chunk.slices || excluded.slices AS BLOB) \
         RETURNING octet_length(slices)"
    };
    let mut statement = conn.statement(statement)?;
    let mut rows = statement.query(params![int(ino.0), indx, &record[..]])?;
    let length: i64 = rows.next()?.map_or(Ok(0), |row| row.get(0))?;
    // A RETURNING statement is done only when it has been stepped to its end.
    while rows.next()?.is_some() {}
    Ok(u32::try_from(length / packed::SLICE_BYTES as i64).unwrap_or(u32::MAX))
}

fn replace(conn: &Conn, ino: Ino, indx: u32, was: &[Slice], now: &[Slice]) -> Result<()> {
    let list = read::chunk(conn, ino, indx)?;
    let Some(behind) = list.strip_prefix(was) else { return Err(Error::Conflict) };
    let record = packed::encode_slices(&[now, behind].concat());
    let mut statement = conn.statement("UPDATE jfs_chunk SET slices = ?3 WHERE inode = ?1 AND indx = ?2")?;
    one(statement.execute(params![int(ino.0), indx, record])?)
}

fn track(conn: &Conn, id: SliceId, size: u32) -> Result<()> {
    if id == 0 {
        return Ok(());
    }
    let mut statement =
        conn.statement("INSERT INTO jfs_chunk_ref (chunkid, size, refs) VALUES (?1, ?2, 1)")?;
    match statement.execute(params![int(id), size]) {
        Ok(_) => Ok(()),
        // Retrying would find it again: this id was handed out twice.
        Err(cause) if cause.sqlite_error_code() == Some(rusqlite::ErrorCode::ConstraintViolation) => {
            Err(Error::Engine(format!("slice {id} is in use already")))
        }
        Err(cause) => Err(cause.into()),
    }
}

/// True when no reference is left.
fn release(conn: &Conn, id: SliceId, size: u32) -> Result<bool> {
    if id == 0 {
        return Ok(false);
    }
    let mut statement =
        conn.statement("UPDATE jfs_chunk_ref SET refs = refs - 1 WHERE chunkid = ?1 AND size = ?2")?;
    if statement.execute(params![int(id), size])? == 0 {
        tracing::warn!(slice = id, size, "a slice has no reference row; its objects stay until gc");
        return Ok(false);
    }
    let mut statement = conn.statement("SELECT refs FROM jfs_chunk_ref WHERE chunkid = ?1")?;
    let refs: Option<i64> = statement.query_row([int(id)], |row| row.get(0)).optional()?;
    Ok(refs.is_some_and(|refs| refs <= 0))
}

fn directory_record(conn: &Conn, change: &Change) -> Result<()> {
    match change {
        Change::InsertDirStat { ino } => set_stat(conn, *ino, DirStat::default()),
        Change::SetDirStat { ino, stat } => set_stat(conn, *ino, *stat),
        Change::AddDirStat { ino, delta } => {
            conn.statement(
                "UPDATE jfs_dir_stats SET data_length = data_length + ?2, used_space = used_space + ?3, \
                 used_inodes = used_inodes + ?4 WHERE inode = ?1",
            )?
            .execute(params![int(ino.0), delta.length, delta.space, delta.inodes])?;
            Ok(())
        }
        Change::DeleteDirRecords { ino } => {
            delete(conn, "DELETE FROM jfs_dir_stats WHERE inode = ?1", ino.0)?;
            delete(conn, "DELETE FROM jfs_dir_quota WHERE inode = ?1", ino.0)?;
            Ok(())
        }
        Change::DeleteDirQuota { ino } => {
            delete(conn, "DELETE FROM jfs_dir_quota WHERE inode = ?1", ino.0)?;
            Ok(())
        }
        _ => Ok(()),
    }
}

fn set_stat(conn: &Conn, ino: Ino, stat: DirStat) -> Result<()> {
    conn.statement(
        "INSERT INTO jfs_dir_stats (inode, data_length, used_space, used_inodes) VALUES (?1, ?2, ?3, ?4) \
         ON CONFLICT (inode) DO UPDATE SET data_length = excluded.data_length, used_space = excluded.used_space, \
         used_inodes = excluded.used_inodes",
    )?
    .execute(params![int(ino.0), stat.length, stat.space, stat.inodes])?;
    Ok(())
}

fn session_record(conn: &Conn, change: &Change) -> Result<()> {
    match change {
        Change::InsertSustained { sid, ino } => {
            conn.statement(
                "INSERT INTO jfs_sustained (sid, inode) VALUES (?1, ?2) ON CONFLICT (sid, inode) DO NOTHING",
            )?
            .execute(params![int(*sid), int(ino.0)])?;
        }
        Change::DeleteSustained { sid, ino } => {
            conn.statement("DELETE FROM jfs_sustained WHERE sid = ?1 AND inode = ?2")?
                .execute(params![int(*sid), int(ino.0)])?;
        }
        Change::InsertDeletedFile { ino, length, deleted_at } => {
            conn.statement(
                "INSERT INTO jfs_delfile (inode, length, expire) VALUES (?1, ?2, ?3) \
                 ON CONFLICT (inode) DO UPDATE SET length = excluded.length, expire = excluded.expire",
            )?
            .execute(params![int(ino.0), int(*length), deleted_at])?;
        }
        Change::DeleteDeletedFile { ino, length } => {
            conn.statement("DELETE FROM jfs_delfile WHERE inode = ?1 AND length = ?2")?
                .execute(params![int(ino.0), int(*length)])?;
        }
        Change::PutSession { sid, expires_at, info } => {
            conn.statement(
                "INSERT INTO jfs_session2 (sid, expire, info) VALUES (?1, ?2, ?3) \
                 ON CONFLICT (sid) DO UPDATE SET expire = excluded.expire",
            )?
            .execute(params![int(*sid), expires_at, &info[..]])?;
        }
        Change::DeleteSession { sid } => {
            delete(conn, "DELETE FROM jfs_session2 WHERE sid = ?1", *sid)?;
        }
        Change::DeleteLocks { sid } => {
            delete(conn, "DELETE FROM jfs_flock WHERE sid = ?1", *sid)?;
            delete(conn, "DELETE FROM jfs_plock WHERE sid = ?1", *sid)?;
        }
        _ => {}
    }
    Ok(())
}
