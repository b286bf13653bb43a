//! Long reads in pages. Each page is one statement after the last key of the page before, so a scan never
//! holds a snapshot and never misses a row that stays.

use bytes::Bytes;
use rusqlite::types::Value;

use super::connection::Conn;
use super::read::{int, slices};
use super::rows::{self, NODE_COLUMNS};
use super::side;
use crate::error::{Result, or_damage};
use crate::port::{Item, Scan, SessionRow};
use crate::types::{Ino, Name};

const PAGE_ROWS: usize = 1000;

/// Rows after `after`, and the key to go on from; `None` when this was the last page.
pub(super) fn page(conn: &Conn, scan: &Scan, after: Option<Value>) -> Result<(Vec<Item>, Option<Value>)> {
    // Keys begin below every row.
    let lowest = match scan {
        Scan::Entries { .. } => Value::Blob(Vec::new()),
        Scan::Sides => Value::Text(String::new()),
        _ => Value::Integer(i64::MIN),
    };
    if *scan == Scan::Sides && !side::has_table(conn)? {
        return Ok((Vec::new(), None));
    }
    let after = after.unwrap_or(lowest);
    let query = format!("{} LIMIT {PAGE_ROWS}", query(scan));
    let mut statement = conn.statement(&query)?;
    let mut rows = match filter(scan) {
        Some(key) => statement.query((after, key))?,
        None => statement.query([after])?,
    };
    let mut items = Vec::new();
    let mut last = None;
    while let Some(row) = rows.next()? {
        let key = row.get::<_, Value>(0)?;
        items.push(match or_damage(rows::named(item(scan, row), || name_of(scan, &key)))? {
            Ok(item) => item,
            Err(damage) => match (scan, &key) {
                (Scan::Entries { .. }, Value::Blob(name)) => {
                    Item::DamagedEntry { name: Name::from_record(Bytes::from(name.clone())), damage }
                }
                _ => Item::Damaged(damage),
            },
        });
        last = Some(key);
    }
    if items.len() < PAGE_ROWS {
        last = None;
    }
    Ok((items, last))
}

/// The first column is the key, `?1` the key before, `?2` what [`filter`] gives.
fn query(scan: &Scan) -> String {
    match scan {
        Scan::Entries { .. } => {
            "SELECT name, inode, type FROM jfs_edge WHERE name > ?1 AND parent = ?2 ORDER BY name"
        }
        Scan::Sessions => "SELECT sid, expire, info FROM jfs_session2 WHERE sid > ?1 ORDER BY sid",
        Scan::Sustained { sid: None } => "SELECT id, sid, inode FROM jfs_sustained WHERE id > ?1 ORDER BY id",
        Scan::Sustained { .. } => {
            "SELECT id, sid, inode FROM jfs_sustained WHERE id > ?1 AND sid = ?2 ORDER BY id"
        }
        Scan::DeletedFiles => "SELECT inode, length, expire FROM jfs_delfile WHERE inode > ?1 ORDER BY inode",
        Scan::Chunks { ino: None } => {
            "SELECT id, inode, indx, slices FROM jfs_chunk WHERE id > ?1 ORDER BY id"
        }
        Scan::Chunks { .. } => {
            "SELECT indx, inode, indx, slices FROM jfs_chunk WHERE indx > ?1 AND inode = ?2 ORDER BY indx"
        }
        Scan::DelayedSlices => {
            "SELECT chunkid, deleted, slices FROM jfs_delslices WHERE chunkid > ?1 ORDER BY chunkid"
        }
        Scan::FreedSlices => {
            "SELECT chunkid, size FROM jfs_chunk_ref WHERE chunkid > ?1 AND refs <= 0 ORDER BY chunkid"
        }
        Scan::Sides => "SELECT name, value FROM jfs_rs_record WHERE name > ?1 ORDER BY name",
        Scan::Nodes => {
            return format!(
                "SELECT n.inode, {NODE_COLUMNS} FROM jfs_node n WHERE n.inode > ?1 ORDER BY n.inode"
            );
        }
    }
    .to_owned()
}

fn filter(scan: &Scan) -> Option<i64> {
    match scan {
        Scan::Entries { parent } => Some(int(parent.0)),
        Scan::Sustained { sid } => sid.map(int),
        Scan::Chunks { ino } => ino.map(|ino| int(ino.0)),
        _ => None,
    }
}

/// What a row is called whose own fields don't say it.
fn name_of(scan: &Scan, key: &Value) -> String {
    let what = match scan {
        Scan::Entries { parent } => return format!("edge of inode {parent}"),
        Scan::Sessions => "session",
        Scan::Sustained { .. } => "sustained inode: row",
        Scan::DeletedFiles => "deleted file",
        Scan::Chunks { ino: None } => "chunk: row",
        Scan::Chunks { ino: Some(ino) } => return format!("chunk of inode {ino}"),
        Scan::DelayedSlices => "delayed slices of",
        Scan::FreedSlices => "reference of slice",
        Scan::Nodes => "node",
        Scan::Sides => "side record",
    };
    match key {
        Value::Integer(number) => format!("{what} {number}"),
        _ => what.to_owned(),
    }
}

fn item(scan: &Scan, row: &rusqlite::Row<'_>) -> Result<Item> {
    let number = |at: usize| -> Result<u64> { Ok(row.get::<_, i64>(at)?.cast_unsigned()) };
    Ok(match scan {
        Scan::Entries { parent } => {
            let name = Name::from_record(Bytes::copy_from_slice(rows::bytes(row, 0)?));
            let edge = rows::edge(row, 1, *parent, &name)?;
            Item::Entry { name, edge }
        }
        Scan::Sessions => Item::Session(SessionRow {
            sid: number(0)?,
            expires_at: row.get(1)?,
            info: Bytes::copy_from_slice(rows::bytes(row, 2)?),
        }),
        Scan::Sustained { .. } => Item::Sustained { sid: number(1)?, ino: Ino(number(2)?) },
        Scan::DeletedFiles => {
            Item::DeletedFile { ino: Ino(number(0)?), length: number(1)?, deleted_at: row.get(2)? }
        }
        Scan::Chunks { .. } => {
            let (ino, indx) = (Ino(number(1)?), row.get(2)?);
            Item::Chunk { ino, indx, slices: slices(row, 3, ino, indx)? }
        }
        Scan::DelayedSlices => {
            let id = number(0)?;
            Item::DelayedSlices { id, deleted_at: row.get(1)?, slices: rows::slice_pairs(row, 2, id)? }
        }
        Scan::FreedSlices => Item::FreedSlice { id: number(0)?, size: row.get(1)? },
        Scan::Sides => Item::Side { name: row.get(0)?, value: Bytes::copy_from_slice(rows::bytes(row, 1)?) },
        Scan::Nodes => {
            let ino = Ino(number(0)?);
            let attr = rows::attr(row, 1, ino)?.expect("the type column is not null");
            Item::Node { ino, attr }
        }
    })
}
