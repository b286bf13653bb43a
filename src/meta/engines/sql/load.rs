//! Rows of another database as inserts into an empty one.

use bytes::Bytes;

use super::changes::insert_node;
use super::counters;
use super::statement::{Statement, Value, statement};
use crate::engines::packed;
use crate::error::{Error, Result};
use crate::port::{Counters, Item, QuotaKind};

/// Tables of which each must be empty before a load.
pub(super) const TABLES: &[&str] =
    &["jfs_setting", "jfs_counter", "jfs_node", "jfs_edge", "jfs_chunk", "jfs_session2"];

/// The statement that inserts a row; none for what the family keeps elsewhere.
#[expect(clippy::too_many_lines, reason = "one arm for each row")]
pub(super) fn insert(item: &Item) -> Result<Option<Statement>> {
    Ok(Some(match item {
        Item::Node { ino, attr } => insert_node(*ino, attr),
        Item::Edge { parent, name, edge } => statement!(
            "INSERT INTO jfs_edge (parent, name, inode, type) VALUES (?1, ?2, ?3, ?4)",
            *parent,
            name,
            edge.ino,
            edge.kind.code()
        ),
        // Edges are the parents here.
        Item::Parent { .. } => return Ok(None),
        Item::Chunk { ino, indx, slices } => statement!(
            "INSERT INTO jfs_chunk (inode, indx, slices) VALUES (?1, ?2, ?3)",
            *ino,
            *indx,
            packed::encode_slices(slices)
        ),
        Item::SliceRefs { id, size, refs } => statement!(
            "INSERT INTO jfs_chunk_ref (chunkid, size, refs) VALUES (?1, ?2, ?3) \
             ON CONFLICT (chunkid) DO UPDATE SET refs = excluded.refs",
            *id,
            *size,
            *refs
        ),
        Item::Symlink { ino, target } => {
            statement!("INSERT INTO jfs_symlink (inode, target) VALUES (?1, ?2)", *ino, &target[..])
        }
        Item::Xattr { ino, name, value } => Statement {
            text: "INSERT INTO jfs_xattr (inode, name, value) VALUES (?1, ?2, ?3)".into(),
            values: vec![Value::from(*ino), Value::Text(name.to_vec()), Value::Bytes(value.to_vec())],
        },
        Item::Acl { id, rule } => statement!(
            "INSERT INTO jfs_acl (id, owner, \"group\", mask, other, named_users, named_groups) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            *id,
            rule.owner,
            rule.group,
            rule.mask,
            rule.other,
            packed::encode_named(&rule.named_users),
            packed::encode_named(&rule.named_groups)
        ),
        Item::DirStat { ino, stat } => statement!(
            "INSERT INTO jfs_dir_stats (inode, data_length, used_space, used_inodes) VALUES (?1, ?2, ?3, ?4)",
            *ino,
            stat.length,
            stat.space,
            stat.inodes
        ),
        Item::Quota(row) if row.kind == QuotaKind::Directory => statement!(
            "INSERT INTO jfs_dir_quota (inode, max_space, max_inodes, used_space, used_inodes) \
             VALUES (?1, ?2, ?3, ?4, ?5)",
            row.key,
            row.space_max,
            row.inodes_max,
            row.used.space,
            row.used.inodes
        ),
        Item::Quota(row) => statement!(
            "INSERT INTO jfs_user_group_quota (qtype, qkey, max_space, max_inodes, used_space, used_inodes) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            row.kind as u8,
            row.key,
            row.space_max,
            row.inodes_max,
            row.used.space,
            row.used.inodes
        ),
        Item::Sustained { sid, ino } => {
            statement!("INSERT INTO jfs_sustained (sid, inode) VALUES (?1, ?2)", *sid, *ino)
        }
        Item::DeletedFile { ino, length, deleted_at } => statement!(
            "INSERT INTO jfs_delfile (inode, length, expire) VALUES (?1, ?2, ?3)",
            *ino,
            *length,
            *deleted_at
        ),
        Item::DelayedSlices { id, deleted_at, slices } => statement!(
            "INSERT INTO jfs_delslices (chunkid, deleted, slices) VALUES (?1, ?2, ?3)",
            *id,
            *deleted_at,
            packed::encode_slice_pairs(slices)
        ),
        Item::Entry { .. }
        | Item::Session(_)
        | Item::FreedSlice { .. }
        | Item::Side { .. }
        | Item::Damaged(_)
        | Item::DamagedEntry { .. } => return Err(item.not_loaded()),
    }))
}

/// The counters and the setting, in the order they are written.
pub(super) fn finish(setting: &str, numbers: &Counters) -> Vec<Statement> {
    let rows = numbers.named().into_iter().chain([("nextCleanupSlices", 0)]);
    let mut statements: Vec<Statement> = rows.map(counters::insert).collect();
    statements.push(statement!("INSERT INTO jfs_setting (name, value) VALUES ('format', ?1)", setting));
    statements
}

/// Why a database in which something is can't be loaded into.
pub(super) fn taken(setting: Option<&str>) -> Error {
    Error::Engine(match setting {
        Some(_) => "the database holds a volume already".to_owned(),
        None => {
            "the database is not empty: it holds rows of a load that did not end; remove it first".to_owned()
        }
    })
}

/// A rule from its columns; the two lists have no counts.
pub(super) fn acl(columns: [u32; 4], users: &[u8], groups: &[u8]) -> Result<packed::AclRecord, String> {
    let bits = |value: u32| u16::try_from(value).map_err(|_| format!("permission bits {value}"));
    let named = |list: &[u8]| packed::decode_named(list).map_err(|cause| cause.to_string());
    Ok(packed::AclRecord {
        owner: bits(columns[0])?,
        group: bits(columns[1])?,
        mask: bits(columns[2])?,
        other: bits(columns[3])?,
        named_users: named(users)?,
        named_groups: named(groups)?,
    })
}

/// A column's bytes as the port has them.
pub(super) fn owned(bytes: &[u8]) -> Bytes {
    Bytes::copy_from_slice(bytes)
}
