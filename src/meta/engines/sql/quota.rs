//! Quotas in their two tables: of directories by inode, of users and groups by kind and number.

use super::rows::{Row, Rows};
use super::statement::{Statement, statement};
use crate::error::Result;
use crate::port::{QuotaKind, QuotaRow};
use crate::types::Usage;

/// Read by [`row`].
pub(super) fn question(kind: QuotaKind, key: u64) -> Statement {
    match kind {
        QuotaKind::Directory => statement!(
            "SELECT max_space, max_inodes, used_space, used_inodes FROM jfs_dir_quota WHERE inode = ?1",
            key
        ),
        QuotaKind::User | QuotaKind::Group => statement!(
            "SELECT max_space, max_inodes, used_space, used_inodes FROM jfs_user_group_quota \
             WHERE qtype = ?1 AND qkey = ?2",
            u64::from(kind as u8),
            key
        ),
    }
}

pub(super) fn row(kind: QuotaKind, key: u64, rows: &mut impl Rows) -> Result<Option<QuotaRow>> {
    let Some(row) = rows.next()? else { return Ok(None) };
    let used = Usage { space: row.int(2)?, inodes: row.int(3)? };
    Ok(Some(QuotaRow { kind, key, space_max: row.int(0)?, inodes_max: row.int(1)?, used }))
}

/// Finds the row if its limits are these, and locks it.
pub(super) fn same_limits(was: &QuotaRow) -> Statement {
    match was.kind {
        QuotaKind::Directory => statement!(
            "SELECT 1 FROM jfs_dir_quota WHERE inode = ?1 AND max_space = ?2 AND max_inodes = ?3 FOR UPDATE",
            was.key,
            was.space_max,
            was.inodes_max
        ),
        QuotaKind::User | QuotaKind::Group => statement!(
            "SELECT 1 FROM jfs_user_group_quota WHERE qtype = ?1 AND qkey = ?2 AND max_space = ?3 \
             AND max_inodes = ?4 FOR UPDATE",
            u64::from(was.kind as u8),
            was.key,
            was.space_max,
            was.inodes_max
        ),
    }
}

pub(super) fn put(kind: QuotaKind, key: u64, space_max: i64, inodes_max: i64) -> Statement {
    match kind {
        QuotaKind::Directory => statement!(
            "INSERT INTO jfs_dir_quota (inode, max_space, max_inodes, used_space, used_inodes) \
             VALUES (?1, ?2, ?3, 0, 0) ON CONFLICT (inode) DO UPDATE SET max_space = excluded.max_space, \
             max_inodes = excluded.max_inodes",
            key,
            space_max,
            inodes_max
        ),
        QuotaKind::User | QuotaKind::Group => statement!(
            "INSERT INTO jfs_user_group_quota (qtype, qkey, max_space, max_inodes, used_space, used_inodes) \
             VALUES (?1, ?2, ?3, ?4, 0, 0) ON CONFLICT (qtype, qkey) DO UPDATE SET \
             max_space = excluded.max_space, max_inodes = excluded.max_inodes",
            u64::from(kind as u8),
            key,
            space_max,
            inodes_max
        ),
    }
}

pub(super) fn set_usage(kind: QuotaKind, key: u64, used: Usage) -> Statement {
    match kind {
        QuotaKind::Directory => statement!(
            "UPDATE jfs_dir_quota SET used_space = ?2, used_inodes = ?3 WHERE inode = ?1",
            key,
            used.space,
            used.inodes
        ),
        QuotaKind::User | QuotaKind::Group => statement!(
            "UPDATE jfs_user_group_quota SET used_space = ?3, used_inodes = ?4 WHERE qtype = ?1 AND qkey = ?2",
            u64::from(kind as u8),
            key,
            used.space,
            used.inodes
        ),
    }
}

pub(super) fn add_usage(kind: QuotaKind, key: u64, delta: Usage) -> Statement {
    match kind {
        QuotaKind::Directory => statement!(
            "UPDATE jfs_dir_quota SET used_space = used_space + ?2, used_inodes = used_inodes + ?3 \
             WHERE inode = ?1",
            key,
            delta.space,
            delta.inodes
        ),
        QuotaKind::User | QuotaKind::Group => statement!(
            "INSERT INTO jfs_user_group_quota (qtype, qkey, max_space, max_inodes, used_space, used_inodes) \
             VALUES (?1, ?2, -1, -1, ?3, ?4) ON CONFLICT (qtype, qkey) DO UPDATE SET \
             used_space = jfs_user_group_quota.used_space + excluded.used_space, \
             used_inodes = jfs_user_group_quota.used_inodes + excluded.used_inodes",
            u64::from(kind as u8),
            key,
            delta.space,
            delta.inodes
        ),
    }
}
