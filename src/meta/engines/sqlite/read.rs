//! Answers to [`Get`]s from one connection, and whether an answer still holds.

use bytes::Bytes;
use rusqlite::OptionalExtension;

use super::connection::Conn;
use super::rows::{self, NODE_COLUMNS};
use super::side;
use crate::engines::packed;
use crate::error::Result;
use crate::port::{Get, Got, Hold, SessionRow};
use crate::types::{Attr, DirStat, Edge, Ino, Kind, Name, Slice};

/// All answers from one snapshot.
pub(super) fn answers(conn: &Conn, gets: &[Get]) -> Result<Vec<Got>> {
    if gets.len() < 2 {
        return gets.iter().map(|get| answer(conn, get)).collect();
    }
    conn.run("BEGIN")?;
    let got = gets.iter().map(|get| answer(conn, get)).collect();
    conn.run("COMMIT")?;
    got
}

pub(super) fn answer(conn: &Conn, get: &Get) -> Result<Got> {
    Ok(match get {
        Get::Node { ino, .. } => Got::Node(node(conn, *ino)?),
        Get::Edge { parent, name, .. } => Got::Edge(edge(conn, *parent, name)?),
        Get::HasChildren { ino } => {
            Got::Flag(exists(conn, "SELECT 1 FROM jfs_edge WHERE parent = ?1 LIMIT 1", &[int(ino.0)])?)
        }
        Get::Parents { ino } => Got::Parents(parents(conn, *ino)?),
        Get::Symlink { ino } => {
            let mut statement = conn.statement("SELECT target FROM jfs_symlink WHERE inode = ?1")?;
            let mut rows = statement.query([int(ino.0)])?;
            Got::Bytes(rows.next()?.map(|row| rows::bytes(row, 0).map(Bytes::copy_from_slice)).transpose()?)
        }
        Get::Xattr { ino, name, .. } => {
            let mut statement =
                conn.statement("SELECT value FROM jfs_xattr WHERE inode = ?1 AND name = ?2")?;
            let mut rows = statement.query(rusqlite::params![int(ino.0), Text(name)])?;
            let value = rows.next()?.map(|row| rows::bytes(row, 0).map(Bytes::copy_from_slice)).transpose();
            Got::Bytes(rows::named(value, || format!("xattr {} of inode {ino}", name.escape_ascii()))?)
        }
        Get::XattrNames { ino } => {
            let mut statement =
                conn.statement("SELECT name FROM jfs_xattr WHERE inode = ?1 ORDER BY name")?;
            let mut rows = statement.query([int(ino.0)])?;
            let mut names = Vec::new();
            while let Some(row) = rows.next()? {
                let name = rows::bytes(row, 0).map(Bytes::copy_from_slice);
                names.push(rows::named(name, || format!("xattr of inode {ino}"))?);
            }
            Got::Names(names)
        }
        Get::Chunk { ino, indx, .. } => Got::Slices(chunk(conn, *ino, *indx)?),
        Get::AppendTarget { .. } => Got::Ready,
        Get::Chunks { ino, first, last } => {
            let mut statement = conn.statement(
                "SELECT indx FROM jfs_chunk WHERE inode = ?1 AND indx BETWEEN ?2 AND ?3 ORDER BY indx",
            )?;
            let found =
                statement.query_map([int(ino.0), i64::from(*first), i64::from(*last)], |row| row.get(0))?;
            Got::Indexes(found.collect::<rusqlite::Result<_>>()?)
        }
        Get::DirStat { ino } => {
            let mut statement = conn.statement(
                "SELECT data_length, used_space, used_inodes FROM jfs_dir_stats WHERE inode = ?1",
            )?;
            let stat = statement.query_row([int(ino.0)], |row| {
                Ok(DirStat { length: row.get(0)?, space: row.get(1)?, inodes: row.get(2)? })
            });
            Got::DirStat(stat.optional()?)
        }
        Get::Session { sid } => {
            let mut statement = conn.statement("SELECT expire, info FROM jfs_session2 WHERE sid = ?1")?;
            let mut rows = statement.query([int(*sid)])?;
            let row = rows.next()?;
            Got::Session(match row {
                None => None,
                Some(row) => Some(SessionRow {
                    sid: *sid,
                    expires_at: row.get(0)?,
                    info: Bytes::copy_from_slice(rows::bytes(row, 1)?),
                }),
            })
        }
        Get::DeletedFile { ino, length } => Got::Flag(exists(
            conn,
            "SELECT 1 FROM jfs_delfile WHERE inode = ?1 AND length = ?2",
            &[int(ino.0), int(*length)],
        )?),
        Get::Side { name } => Got::Bytes(side::get(conn, name)?),
        Get::Sustained { sid, ino } => Got::Flag(exists(
            conn,
            "SELECT 1 FROM jfs_sustained WHERE sid = ?1 AND inode = ?2",
            &[int(*sid), int(ino.0)],
        )?),
        Get::DelayedSlices { id, deleted_at } => {
            let mut statement =
                conn.statement("SELECT slices FROM jfs_delslices WHERE chunkid = ?1 AND deleted = ?2")?;
            let mut rows = statement.query([int(*id), *deleted_at])?;
            Got::SlicePairs(rows.next()?.map(|row| rows::slice_pairs(row, 0, *id)).transpose()?)
        }
    })
}

/// Whether the answer to `get` must be the same at commit as it was when read.
pub(super) fn is_held(get: &Get) -> bool {
    match get {
        Get::Node { hold, .. }
        | Get::Edge { hold, .. }
        | Get::Chunk { hold, .. }
        | Get::Xattr { hold, .. } => *hold != Hold::Peek,
        Get::HasChildren { .. }
        | Get::Chunks { .. }
        | Get::Session { .. }
        | Get::DeletedFile { .. }
        | Get::Sustained { .. }
        | Get::Side { .. }
        | Get::DelayedSlices { .. } => true,
        Get::Parents { .. }
        | Get::Symlink { .. }
        | Get::XattrNames { .. }
        | Get::AppendTarget { .. }
        | Get::DirStat { .. } => false,
    }
}

/// A touched directory may have been moved by amounts that commute with ours; anything else must be equal.
pub(super) fn still_holds(get: &Get, was: &Got, now: &Got) -> bool {
    match (get, was, now) {
        (Get::Node { hold: Hold::Touch, .. }, Got::Node(Some(was)), Got::Node(Some(now)))
            if was.kind == Kind::Directory =>
        {
            Attr { nlink: was.nlink, atime: was.atime, mtime: was.mtime, ctime: was.ctime, ..*now } == *was
        }
        _ => was == now,
    }
}

pub(super) fn node(conn: &Conn, ino: Ino) -> Result<Option<Attr>> {
    let mut statement = conn.statement(&node_query())?;
    let mut rows = statement.query([int(ino.0)])?;
    rows.next()?.map_or(Ok(None), |row| rows::attr(row, 0, ino))
}

fn node_query() -> String {
    format!("SELECT {NODE_COLUMNS} FROM jfs_node n WHERE n.inode = ?1")
}

fn edge(conn: &Conn, parent: Ino, name: &Name) -> Result<Option<Edge>> {
    let mut statement = conn.statement("SELECT inode, type FROM jfs_edge WHERE parent = ?1 AND name = ?2")?;
    let mut rows = statement.query((int(parent.0), name.as_bytes()))?;
    rows.next()?.map(|row| rows::edge(row, 0, parent, name)).transpose()
}

/// The entry and its node by one join.
pub(super) fn lookup(conn: &Conn, parent: Ino, name: &Name) -> Result<Option<(Edge, Option<Attr>)>> {
    let query = format!(
        "SELECT e.inode, e.type, {NODE_COLUMNS} FROM jfs_edge e LEFT JOIN jfs_node n ON n.inode = e.inode \
         WHERE e.parent = ?1 AND e.name = ?2"
    );
    let mut statement = conn.statement(&query)?;
    let mut rows = statement.query((int(parent.0), name.as_bytes()))?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let edge = rows::edge(row, 0, parent, name)?;
    Ok(Some((edge, rows::attr(row, 2, edge.ino)?)))
}

pub(super) fn chunk(conn: &Conn, ino: Ino, indx: u32) -> Result<Vec<Slice>> {
    let mut statement = conn.statement("SELECT slices FROM jfs_chunk WHERE inode = ?1 AND indx = ?2")?;
    let mut rows = statement.query([int(ino.0), i64::from(indx)])?;
    match rows.next()? {
        Some(row) => slices(row, 0, ino, indx),
        None => Ok(Vec::new()),
    }
}

pub(super) fn slices(row: &rusqlite::Row<'_>, at: usize, ino: Ino, indx: u32) -> Result<Vec<Slice>> {
    let record = || format!("chunk {indx} of inode {ino}");
    let bytes = rows::named(rows::bytes(row, at), record)?;
    packed::decode_slices(bytes).map_err(|cause| cause.of(record()))
}

fn parents(conn: &Conn, ino: Ino) -> Result<Vec<(Ino, i64)>> {
    let mut statement = conn.statement(
        "SELECT parent, count(*) FROM jfs_edge WHERE inode = ?1 GROUP BY parent ORDER BY parent",
    )?;
    let found = statement
        .query_map([int(ino.0)], |row| Ok((Ino(row.get::<_, i64>(0)?.cast_unsigned()), row.get(1)?)))?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}

fn exists(conn: &Conn, query: &str, params: &[i64]) -> Result<bool> {
    let mut statement = conn.statement(query)?;
    Ok(statement.exists(rusqlite::params_from_iter(params))?)
}

/// Bytes that a text column holds, UTF-8 or not.
pub(super) struct Text<'a>(pub(super) &'a [u8]);

impl rusqlite::ToSql for Text<'_> {
    fn to_sql(&self) -> rusqlite::Result<rusqlite::types::ToSqlOutput<'_>> {
        Ok(rusqlite::types::ToSqlOutput::Borrowed(rusqlite::types::ValueRef::Text(self.0)))
    }
}

/// SQLite's integers are signed; 64-bit patterns travel through them.
pub(super) fn int(value: u64) -> i64 {
    value.cast_signed()
}
