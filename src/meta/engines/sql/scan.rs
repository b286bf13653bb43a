//! Long reads in pages. Each page is one statement after the last key of the page before, so a scan never
//! holds a snapshot and never misses a row that stays.

use bytes::Bytes;

use super::load;
use super::rows::{self, NODE_COLUMNS, Row, Rows};
use super::statement::{Statement, Value, int};
use crate::error::{Result, or_damage};
use crate::port::{Item, QuotaKind, QuotaRow, Scan, SessionRow};
use crate::types::{DirStat, Ino, Name, Usage};

pub(super) const PAGE_ROWS: usize = 1000;

/// The page of rows after the key `after`.
pub(super) fn page(scan: &Scan, after: Option<Value>) -> Statement {
    // Keys begin below every row.
    let lowest = match scan {
        Scan::Entries { .. } => Value::Bytes(Vec::new()),
        Scan::Sides => Value::Text(Vec::new()),
        _ => Value::Int(i64::MIN),
    };
    let mut values = vec![after.unwrap_or(lowest)];
    values.extend(filter(scan).map(Value::Int));
    Statement { text: query(scan).into(), values }
}

/// What the rows of [`page`] say, and the key to go on from; `None` when this was the last page.
pub(super) fn items(scan: &Scan, rows: &mut impl Rows) -> Result<(Vec<Item>, Option<Value>)> {
    let mut items = Vec::new();
    let mut last = None;
    while let Some(row) = rows.next()? {
        let key = row.key(0)?;
        items.push(match or_damage(rows::named(item(scan, &row), || name_of(scan, &key)))? {
            Ok(item) => item,
            Err(damage) => match (scan, &key) {
                (Scan::Entries { .. }, Value::Bytes(name)) => {
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
fn query(scan: &Scan) -> &'static str {
    macro_rules! page {
        ($($text:expr),+) => {
            concat!($($text),+, " LIMIT 1000")
        };
    }
    match scan {
        Scan::Entries { .. } => {
            page!("SELECT name, inode, type FROM jfs_edge WHERE name > ?1 AND parent = ?2 ORDER BY name")
        }
        Scan::Sessions => page!("SELECT sid, expire, info FROM jfs_session2 WHERE sid > ?1 ORDER BY sid"),
        Scan::Sustained { sid: None } => {
            page!("SELECT id, sid, inode FROM jfs_sustained WHERE id > ?1 ORDER BY id")
        }
        Scan::Sustained { .. } => {
            page!("SELECT id, sid, inode FROM jfs_sustained WHERE id > ?1 AND sid = ?2 ORDER BY id")
        }
        Scan::DeletedFiles => {
            page!("SELECT inode, length, expire FROM jfs_delfile WHERE inode > ?1 ORDER BY inode")
        }
        Scan::Chunks { ino: None } => {
            page!("SELECT id, inode, indx, slices FROM jfs_chunk WHERE id > ?1 ORDER BY id")
        }
        Scan::Chunks { .. } => {
            page!(
                "SELECT indx, inode, indx, slices FROM jfs_chunk WHERE indx > ?1 AND inode = ?2 ORDER BY indx"
            )
        }
        Scan::DelayedSlices => {
            page!("SELECT chunkid, deleted, slices FROM jfs_delslices WHERE chunkid > ?1 ORDER BY chunkid")
        }
        Scan::FreedSlices => {
            page!("SELECT chunkid, size FROM jfs_chunk_ref WHERE chunkid > ?1 AND refs <= 0 ORDER BY chunkid")
        }
        Scan::Sides => page!("SELECT name, value FROM jfs_rs_record WHERE name > ?1 ORDER BY name"),
        Scan::Edges => {
            page!("SELECT id, parent, name, inode, type FROM jfs_edge WHERE id > ?1 ORDER BY id")
        }
        // A page is so many inodes, each with all of its parents.
        Scan::Parents => {
            "SELECT n.inode, coalesce(e.parent, 0), count(e.parent) FROM (SELECT inode FROM jfs_node \
             WHERE inode > ?1 AND parent = 0 ORDER BY inode LIMIT 1000) n \
             LEFT JOIN jfs_edge e ON e.inode = n.inode GROUP BY n.inode, e.parent ORDER BY n.inode, e.parent"
        }
        Scan::SliceRefs => {
            page!("SELECT chunkid, size, refs FROM jfs_chunk_ref WHERE chunkid > ?1 ORDER BY chunkid")
        }
        Scan::Symlinks => page!("SELECT inode, target FROM jfs_symlink WHERE inode > ?1 ORDER BY inode"),
        Scan::Xattrs => page!("SELECT id, inode, name, value FROM jfs_xattr WHERE id > ?1 ORDER BY id"),
        Scan::Acls => {
            page!(
                "SELECT id, owner, \"group\", mask, other, named_users, named_groups FROM jfs_acl \
                 WHERE id > ?1 ORDER BY id"
            )
        }
        Scan::DirStats => {
            page!(
                "SELECT inode, data_length, used_space, used_inodes FROM jfs_dir_stats \
                 WHERE inode > ?1 ORDER BY inode"
            )
        }
        Scan::Quotas { kind: QuotaKind::Directory } => {
            page!(
                "SELECT inode, max_space, max_inodes, used_space, used_inodes FROM jfs_dir_quota \
                 WHERE inode > ?1 ORDER BY inode"
            )
        }
        Scan::Quotas { .. } => {
            page!(
                "SELECT qkey, max_space, max_inodes, used_space, used_inodes FROM jfs_user_group_quota \
                 WHERE qkey > ?1 AND qtype = ?2 ORDER BY qkey"
            )
        }
        Scan::Nodes => {
            page!("SELECT n.inode, ", NODE_COLUMNS!(), " FROM jfs_node n WHERE n.inode > ?1 ORDER BY n.inode")
        }
    }
}

fn filter(scan: &Scan) -> Option<i64> {
    match scan {
        Scan::Entries { parent } => Some(int(parent.0)),
        Scan::Sustained { sid } => sid.map(int),
        Scan::Chunks { ino } => ino.map(|ino| int(ino.0)),
        Scan::Sessions
        | Scan::DeletedFiles
        | Scan::DelayedSlices
        | Scan::FreedSlices
        | Scan::Sides
        | Scan::Nodes
        | Scan::Edges
        | Scan::Parents
        | Scan::SliceRefs
        | Scan::Symlinks
        | Scan::Xattrs
        | Scan::Acls
        | Scan::DirStats
        | Scan::Quotas { kind: QuotaKind::Directory } => None,
        Scan::Quotas { kind } => Some(i64::from(*kind as u8)),
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
        Scan::Edges => "edge: row",
        Scan::Parents => "parents of inode",
        Scan::SliceRefs => "reference of slice",
        Scan::Symlinks => "symlink",
        Scan::Xattrs => "extended attribute: row",
        Scan::Acls => "ACL",
        Scan::DirStats => "statistics of directory",
        Scan::Quotas { .. } => "quota of",
    };
    match key {
        Value::Int(number) => format!("{what} {number}"),
        Value::Small(_) | Value::Text(_) | Value::Bytes(_) => what.to_owned(),
    }
}

fn item(scan: &Scan, row: &impl Row) -> Result<Item> {
    Ok(match scan {
        Scan::Entries { parent } => {
            let name = Name::from_record(Bytes::copy_from_slice(row.bytes(0)?));
            let edge = rows::edge(row, 1, *parent, &name)?;
            Item::Entry { name, edge }
        }
        Scan::Sessions => Item::Session(SessionRow {
            sid: row.number(0)?,
            expires_at: row.int(1)?,
            info: Bytes::copy_from_slice(row.bytes(2)?),
        }),
        Scan::Sustained { .. } => Item::Sustained { sid: row.number(1)?, ino: Ino(row.number(2)?) },
        Scan::DeletedFiles => {
            Item::DeletedFile { ino: Ino(row.number(0)?), length: row.number(1)?, deleted_at: row.int(2)? }
        }
        Scan::Chunks { .. } => {
            let (ino, indx) = (Ino(row.number(1)?), row.small(2, "indx")?);
            Item::Chunk { ino, indx, slices: rows::slices(row, 3, ino, indx)? }
        }
        Scan::DelayedSlices => {
            let id = row.number(0)?;
            Item::DelayedSlices { id, deleted_at: row.int(1)?, slices: rows::slice_pairs(row, 2, id)? }
        }
        Scan::FreedSlices => Item::FreedSlice { id: row.number(0)?, size: row.small(1, "size")? },
        Scan::Sides => Item::Side {
            name: String::from_utf8_lossy(row.bytes(0)?).into_owned(),
            value: Bytes::copy_from_slice(row.bytes(1)?),
        },
        Scan::Edges => {
            let (parent, name) = (Ino(row.number(1)?), Name::from_record(load::owned(row.bytes(2)?)));
            let edge = rows::edge(row, 3, parent, &name)?;
            Item::Edge { parent, name, edge }
        }
        Scan::Parents => {
            Item::Parent { ino: Ino(row.number(0)?), parent: Ino(row.number(1)?), count: row.int(2)? }
        }
        Scan::SliceRefs => {
            Item::SliceRefs { id: row.number(0)?, size: row.small(1, "size")?, refs: row.int(2)? }
        }
        Scan::Symlinks => Item::Symlink { ino: Ino(row.number(0)?), target: load::owned(row.bytes(1)?) },
        Scan::Xattrs => Item::Xattr {
            ino: Ino(row.number(1)?),
            name: load::owned(row.bytes(2)?),
            value: load::owned(row.bytes(3)?),
        },
        Scan::Acls => {
            let mut bits = [0; 4];
            for (at, bits) in bits.iter_mut().enumerate() {
                *bits = row.small(at + 1, "permission bits")?;
            }
            let rule = load::acl(bits, row.bytes(5)?, row.bytes(6)?);
            Item::Acl { id: row.small(0, "id")?, rule: rule.map_err(|cause| rows::corrupt(&cause))? }
        }
        Scan::DirStats => Item::DirStat {
            ino: Ino(row.number(0)?),
            stat: DirStat { length: row.int(1)?, space: row.int(2)?, inodes: row.int(3)? },
        },
        Scan::Quotas { kind } => Item::Quota(QuotaRow {
            kind: *kind,
            key: row.number(0)?,
            space_max: row.int(1)?,
            inodes_max: row.int(2)?,
            used: Usage { space: row.int(3)?, inodes: row.int(4)? },
        }),
        Scan::Nodes => {
            let ino = Ino(row.number(0)?);
            let attr = rows::attr(row, 1, ino)?;
            Item::Node { ino, attr: attr.ok_or_else(|| rows::untyped(ino))? }
        }
    })
}
