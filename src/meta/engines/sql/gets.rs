//! Every [`Get`] as a statement, its rows as an answer, and whether an answer still holds.

use bytes::Bytes;

use super::quota;
use super::rows::{self, NODE_COLUMNS, Row, Rows};
use super::statement::{Statement, Value, statement};
use crate::engines::packed;
use crate::error::{Error, Result};
use crate::lock::{Holder, LockKind, RangeLock};
use crate::port::{Found, Get, Got, Hold, SessionRow};
use crate::types::{Attr, DirStat, Ino, Kind, Name};

/// The question's statement; `None` when nothing needs to be asked.
pub(super) fn question(get: &Get) -> Option<Statement> {
    Some(match get {
        Get::Node { ino, .. } => node(*ino),
        Get::Edge { parent, name, .. } => {
            statement!("SELECT inode, type FROM jfs_edge WHERE parent = ?1 AND name = ?2", *parent, name)
        }
        Get::HasChildren { ino } => statement!("SELECT 1 FROM jfs_edge WHERE parent = ?1 LIMIT 1", *ino),
        Get::Parents { ino } => statement!(
            "SELECT parent, count(*) FROM jfs_edge WHERE inode = ?1 GROUP BY parent ORDER BY parent",
            *ino
        ),
        Get::Symlink { ino } => statement!("SELECT target FROM jfs_symlink WHERE inode = ?1", *ino),
        Get::Xattr { ino, name, .. } => statement!(
            "SELECT value FROM jfs_xattr WHERE inode = ?1 AND name = ?2",
            *ino,
            Value::Text(name.to_vec())
        ),
        Get::XattrNames { ino } => {
            statement!("SELECT name FROM jfs_xattr WHERE inode = ?1", *ino)
        }
        Get::Chunk { ino, indx, .. } => {
            statement!("SELECT slices FROM jfs_chunk WHERE inode = ?1 AND indx = ?2", *ino, *indx)
        }
        Get::AppendTarget { .. } => return None,
        Get::Chunks { ino, first, last } => statement!(
            "SELECT indx FROM jfs_chunk WHERE inode = ?1 AND indx BETWEEN ?2 AND ?3 ORDER BY indx",
            *ino,
            u64::from(*first),
            u64::from(*last)
        ),
        Get::DirStat { ino } => statement!(
            "SELECT data_length, used_space, used_inodes FROM jfs_dir_stats WHERE inode = ?1",
            *ino
        ),
        Get::Quota { kind, key } => quota::question(*kind, *key),
        Get::Session { sid } => statement!("SELECT expire, info FROM jfs_session2 WHERE sid = ?1", *sid),
        Get::OtherSession { sid, at } => {
            statement!("SELECT 1 FROM jfs_session2 WHERE expire >= ?1 AND sid <> ?2 LIMIT 1", *at, *sid)
        }
        Get::DeletedFile { ino, length } => {
            statement!("SELECT 1 FROM jfs_delfile WHERE inode = ?1 AND length = ?2", *ino, *length)
        }
        Get::Sustained { sid, ino } => {
            statement!("SELECT 1 FROM jfs_sustained WHERE sid = ?1 AND inode = ?2", *sid, *ino)
        }
        Get::Flocks { ino } => {
            statement!("SELECT sid, owner, ltype FROM jfs_flock WHERE inode = ?1", *ino)
        }
        Get::RangeLocks { ino } => {
            statement!("SELECT sid, owner, records FROM jfs_plock WHERE inode = ?1", *ino)
        }
        Get::Side { name } => {
            statement!("SELECT value FROM jfs_rs_record WHERE name = ?1", &name[..])
        }
        Get::DelayedSlices { id, deleted_at } => statement!(
            "SELECT slices FROM jfs_delslices WHERE chunkid = ?1 AND deleted = ?2",
            *id,
            *deleted_at
        ),
    })
}

/// The answer in the rows of [`question`].
pub(super) fn answer(get: &Get, rows: &mut impl Rows) -> Result<Got> {
    Ok(match get {
        Get::Node { ino, .. } => Got::Node(match rows.next()? {
            Some(row) => rows::attr(&row, 0, *ino)?,
            None => None,
        }),
        Get::Edge { parent, name, .. } => {
            Got::Edge(rows.next()?.map(|row| rows::edge(&row, 0, *parent, name)).transpose()?)
        }
        Get::HasChildren { .. }
        | Get::OtherSession { .. }
        | Get::DeletedFile { .. }
        | Get::Sustained { .. } => Got::Flag(rows.next()?.is_some()),
        Get::Parents { .. } => {
            let mut parents = Vec::new();
            while let Some(row) = rows.next()? {
                parents.push((Ino(row.number(0)?), row.int(1)?));
            }
            Got::Parents(parents)
        }
        Get::Symlink { ino } => {
            Got::Bytes(rows::named(first_bytes(rows), || format!("target of symlink {ino}"))?)
        }
        Get::Xattr { ino, name, .. } => Got::Bytes(rows::named(first_bytes(rows), || {
            format!("xattr {} of inode {ino}", name.escape_ascii())
        })?),
        Get::Side { name } => Got::Bytes(rows::named(first_bytes(rows), || format!("side record {name}"))?),
        Get::XattrNames { ino } => {
            let mut names = Vec::new();
            while let Some(row) = rows.next()? {
                let name = rows::named(row.bytes(0), || format!("xattr of inode {ino}"))?;
                names.push(Bytes::copy_from_slice(name));
            }
            // Databases sort text by their own rules.
            names.sort_unstable();
            Got::Names(names)
        }
        Get::Flocks { ino } => Got::Flocks(flocks(*ino, rows)?),
        Get::RangeLocks { ino } => Got::RangeLocks(range_locks(*ino, rows)?),
        Get::DelayedSlices { id, .. } => {
            Got::SlicePairs(rows.next()?.map(|row| rows::slice_pairs(&row, 0, *id)).transpose()?)
        }
        Get::Chunk { ino, indx, .. } => Got::Slices(match rows.next()? {
            Some(row) => rows::slices(&row, 0, *ino, *indx)?,
            None => Vec::new(),
        }),
        Get::AppendTarget { .. } => Got::Ready,
        Get::Chunks { .. } => {
            let mut indexes = Vec::new();
            while let Some(row) = rows.next()? {
                indexes.push(row.small(0, "indx")?);
            }
            Got::Indexes(indexes)
        }
        Get::DirStat { .. } => Got::DirStat(match rows.next()? {
            Some(row) => Some(DirStat { length: row.int(0)?, space: row.int(1)?, inodes: row.int(2)? }),
            None => None,
        }),
        Get::Quota { kind, key } => Got::Quota(quota::row(*kind, *key, rows)?),
        Get::Session { sid } => Got::Session(match rows.next()? {
            Some(row) => {
                let info = Bytes::copy_from_slice(row.bytes(1)?);
                Some(SessionRow { sid: *sid, expires_at: row.int(0)?, info })
            }
            None => None,
        }),
    })
}

fn flocks(ino: Ino, rows: &mut impl Rows) -> Result<Vec<(Holder, LockKind)>> {
    let mut locks = Vec::new();
    while let Some(row) = rows.next()? {
        let kind = match row.int(2)? {
            82 => LockKind::Shared,
            87 => LockKind::Exclusive,
            other => {
                let record = format!("flock of inode {ino}");
                return Err(Error::Corrupt { record, cause: format!("type {other}") });
            }
        };
        locks.push((holder(&row)?, kind));
    }
    locks.sort_unstable_by_key(|(holder, _)| *holder);
    Ok(locks)
}

fn range_locks(ino: Ino, rows: &mut impl Rows) -> Result<Vec<(Holder, Vec<RangeLock>)>> {
    let record = || format!("plock of inode {ino}");
    let mut locks = Vec::new();
    while let Some(row) = rows.next()? {
        let bytes = rows::named(row.bytes(2), record)?;
        locks.push((holder(&row)?, packed::decode_range_locks(bytes).map_err(|cause| cause.of(record()))?));
    }
    locks.sort_unstable_by_key(|(holder, _)| *holder);
    Ok(locks)
}

/// Columns `sid` and `owner`; the owner's 64 bits are a signed number there.
fn holder(row: &impl Row) -> Result<Holder> {
    Ok(Holder { sid: row.number(0)?, owner: row.number(1)? })
}

fn first_bytes(rows: &mut impl Rows) -> Result<Option<Bytes>> {
    rows.next()?.map(|row| row.bytes(0).map(Bytes::copy_from_slice)).transpose()
}

/// A touched directory may have been moved by amounts that commute with ours; anything else must be equal.
pub(super) fn still_holds(get: &Get, was: &Got, now: &Got) -> bool {
    match (get, was, now) {
        (Get::Node { hold: Hold::Touch, .. }, Got::Node(Some(was)), Got::Node(Some(now)))
            if was.kind == Kind::Directory =>
        {
            Attr { nlink: was.nlink, atime: was.atime, mtime: was.mtime, ctime: was.ctime, ..*now } == *was
        }
        (Get::Quota { .. }, Got::Quota(Some(was)), Got::Quota(Some(now))) => {
            (was.space_max, was.inodes_max) == (now.space_max, now.inodes_max)
        }
        _ => was == now,
    }
}

/// Read by [`rows::attr`].
pub(super) fn node(ino: Ino) -> Statement {
    statement!(concat!("SELECT ", NODE_COLUMNS!(), " FROM jfs_node n WHERE n.inode = ?1"), ino)
}

/// The entry and its node by one join.
pub(super) fn lookup(parent: Ino, name: &Name) -> Statement {
    statement!(
        concat!(
            "SELECT e.inode, e.type, ",
            NODE_COLUMNS!(),
            " FROM jfs_edge e LEFT JOIN jfs_node n ON n.inode = e.inode WHERE e.parent = ?1 AND e.name = ?2"
        ),
        parent,
        name
    )
}

/// What [`lookup`] found.
pub(super) fn found(parent: Ino, name: &Name, rows: &mut impl Rows) -> Result<Found> {
    let Some(row) = rows.next()? else { return Ok(None) };
    let edge = rows::edge(&row, 0, parent, name)?;
    Ok(Some((edge, rows::attr(&row, 2, edge.ino)?)))
}
