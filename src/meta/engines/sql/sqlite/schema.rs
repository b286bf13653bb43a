//! The tables, letter for letter as the peer makes them: its schema check alters whatever looks different.

use rusqlite::Connection;

use super::connection::{Conn, sqlite_error};
use crate::error::{Error, Result};

/// In the peer's order; `jfs_` stands for the volume's table prefix.
const STATEMENTS: &[&str] = &[
    "CREATE TABLE `jfs_setting` (`name` TEXT PRIMARY KEY NOT NULL, `value` TEXT NOT NULL)",
    "CREATE TABLE `jfs_counter` (`name` TEXT PRIMARY KEY NOT NULL, `value` INTEGER NOT NULL)",
    "CREATE TABLE `jfs_edge` (`id` INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, `parent` INTEGER NOT NULL, `name` BLOB NOT NULL, `inode` INTEGER NOT NULL, `type` INTEGER NOT NULL)",
    "CREATE UNIQUE INDEX `UQE_jfs_edge_edge` ON `jfs_edge` (`parent`,`name`)",
    "CREATE INDEX `IDX_jfs_edge_inode` ON `jfs_edge` (`inode`)",
    "CREATE TABLE `jfs_node` (`inode` INTEGER PRIMARY KEY NOT NULL, `type` INTEGER NOT NULL, `flags` INTEGER NOT NULL, `mode` INTEGER NOT NULL, `uid` INTEGER NOT NULL, `gid` INTEGER NOT NULL, `atime` INTEGER NOT NULL, `mtime` INTEGER NOT NULL, `ctime` INTEGER NOT NULL, `atimensec` INTEGER DEFAULT 0 NOT NULL, `mtimensec` INTEGER DEFAULT 0 NOT NULL, `ctimensec` INTEGER DEFAULT 0 NOT NULL, `nlink` INTEGER NOT NULL, `length` INTEGER NOT NULL, `rdev` INTEGER NULL, `parent` INTEGER NULL, `access_acl_id` INTEGER NULL, `default_acl_id` INTEGER NULL, `tier_id` INTEGER NULL)",
    "CREATE TABLE `jfs_symlink` (`inode` INTEGER PRIMARY KEY NOT NULL, `target` BLOB NOT NULL)",
    "CREATE TABLE `jfs_xattr` (`id` INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, `inode` INTEGER NOT NULL, `name` TEXT NOT NULL, `value` BLOB NOT NULL)",
    "CREATE UNIQUE INDEX `UQE_jfs_xattr_name` ON `jfs_xattr` (`inode`,`name`)",
    "CREATE TABLE `jfs_chunk` (`id` INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, `inode` INTEGER NOT NULL, `indx` INTEGER NOT NULL, `slices` BLOB NOT NULL)",
    "CREATE UNIQUE INDEX `UQE_jfs_chunk_chunk` ON `jfs_chunk` (`inode`,`indx`)",
    "CREATE TABLE `jfs_chunk_ref` (`chunkid` INTEGER PRIMARY KEY NOT NULL, `size` INTEGER NOT NULL, `refs` INTEGER NOT NULL)",
    "CREATE INDEX `IDX_jfs_chunk_ref_refs` ON `jfs_chunk_ref` (`refs`)",
    "CREATE TABLE `jfs_delslices` (`chunkid` INTEGER PRIMARY KEY NOT NULL, `deleted` INTEGER NOT NULL, `slices` BLOB NOT NULL)",
    "CREATE TABLE `jfs_session2` (`sid` INTEGER PRIMARY KEY NOT NULL, `expire` INTEGER NOT NULL, `info` BLOB NULL)",
    "CREATE TABLE `jfs_sustained` (`id` INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, `sid` INTEGER NOT NULL, `inode` INTEGER NOT NULL)",
    "CREATE UNIQUE INDEX `UQE_jfs_sustained_sustained` ON `jfs_sustained` (`sid`,`inode`)",
    "CREATE TABLE `jfs_delfile` (`inode` INTEGER PRIMARY KEY NOT NULL, `length` INTEGER NOT NULL, `expire` INTEGER NOT NULL)",
    "CREATE TABLE `jfs_flock` (`id` INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, `inode` INTEGER NOT NULL, `sid` INTEGER NOT NULL, `owner` INTEGER NOT NULL, `ltype` INTEGER NOT NULL)",
    "CREATE UNIQUE INDEX `UQE_jfs_flock_flock` ON `jfs_flock` (`inode`,`sid`,`owner`)",
    "CREATE TABLE `jfs_plock` (`id` INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, `inode` INTEGER NOT NULL, `sid` INTEGER NOT NULL, `owner` INTEGER NOT NULL, `records` BLOB NOT NULL)",
    "CREATE UNIQUE INDEX `UQE_jfs_plock_plock` ON `jfs_plock` (`inode`,`sid`,`owner`)",
    "CREATE TABLE `jfs_dir_quota` (`inode` INTEGER PRIMARY KEY NOT NULL, `max_space` INTEGER NOT NULL, `max_inodes` INTEGER NOT NULL, `used_space` INTEGER NOT NULL, `used_inodes` INTEGER NOT NULL)",
    "CREATE TABLE `jfs_user_group_quota` (`qtype` INTEGER NOT NULL, `qkey` INTEGER NOT NULL, `max_space` INTEGER NOT NULL, `max_inodes` INTEGER NOT NULL, `used_space` INTEGER NOT NULL, `used_inodes` INTEGER NOT NULL, PRIMARY KEY ( `qtype`,`qkey` ))",
    "CREATE TABLE `jfs_dir_stats` (`inode` INTEGER PRIMARY KEY NOT NULL, `data_length` INTEGER NOT NULL, `used_space` INTEGER NOT NULL, `used_inodes` INTEGER NOT NULL)",
    "CREATE TABLE `jfs_detached_node` (`inode` INTEGER PRIMARY KEY NOT NULL, `added` INTEGER NOT NULL)",
    "CREATE TABLE `jfs_acl` (`id` INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, `owner` INTEGER NULL, `group` INTEGER NULL, `mask` INTEGER NULL, `other` INTEGER NULL, `named_users` BLOB NULL, `named_groups` BLOB NULL)",
    "CREATE TABLE `jfs_delegation_token` (`id` INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, `token` BLOB NULL)",
    "CREATE TABLE `jfs_change_log` (`id` INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, `entry` TEXT NOT NULL)",
];

/// Columns that early releases did not have.
const LATE_COLUMNS: &[(&str, &str)] = &[
    ("jfs_node", "`atimensec` INTEGER DEFAULT 0 NOT NULL"),
    ("jfs_node", "`mtimensec` INTEGER DEFAULT 0 NOT NULL"),
    ("jfs_node", "`ctimensec` INTEGER DEFAULT 0 NOT NULL"),
    ("jfs_node", "`access_acl_id` INTEGER NULL"),
    ("jfs_node", "`default_acl_id` INTEGER NULL"),
    ("jfs_node", "`tier_id` INTEGER NULL"),
];

/// Makes every table and index that is missing. Must run inside a write transaction.
pub(super) fn create(conn: &Conn) -> Result<()> {
    for statement in STATEMENTS {
        let statement = conn.sql(statement);
        let missing_only = statement.replacen("CREATE TABLE ", "CREATE TABLE IF NOT EXISTS ", 1).replacen(
            "INDEX ",
            "INDEX IF NOT EXISTS ",
            1,
        );
        conn.db.execute_batch(&missing_only).map_err(|cause| sqlite_error(&cause))?;
    }
    for (table, column) in LATE_COLUMNS {
        let table = conn.sql(table);
        let name = column.split('`').nth(1).expect("the list quotes its names");
        if !has_column(&conn.db, &table, name)? {
            conn.db
                .execute_batch(&format!("ALTER TABLE `{table}` ADD {column}"))
                .map_err(|cause| sqlite_error(&cause))?;
        }
    }
    Ok(())
}

/// Drops every table of the volume, those of older releases and our own too. Must run inside a write transaction.
pub(super) fn drop_all(conn: &Conn) -> Result<()> {
    let made =
        STATEMENTS.iter().filter_map(|statement| statement.strip_prefix("CREATE TABLE `")?.split('`').next());
    for table in made.chain(["jfs_session", "jfs_rs_record"]) {
        let table = conn.sql(table);
        conn.db
            .execute_batch(&format!("DROP TABLE IF EXISTS `{table}`"))
            .map_err(|cause| sqlite_error(&cause))?;
    }
    Ok(())
}

/// Whether a volume's tables exist at all.
pub(super) fn has_setting_table(conn: &Conn) -> Result<bool> {
    has_object(&conn.db, &conn.sql("jfs_setting"))
}

/// Whether every table, index and late column is there. Reads only.
pub(super) fn is_complete(conn: &Conn) -> Result<bool> {
    for statement in STATEMENTS {
        let statement = conn.sql(statement);
        let name = statement.split('`').nth(1).expect("statements quote their names");
        if !has_object(&conn.db, name)? {
            return Ok(false);
        }
    }
    for (table, column) in LATE_COLUMNS {
        let name = column.split('`').nth(1).expect("the list quotes its names");
        if !has_column(&conn.db, &conn.sql(table), name)? {
            return Ok(false);
        }
    }
    Ok(true)
}

pub(super) fn has_object(db: &Connection, name: &str) -> Result<bool> {
    let mut statement = db
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE name = ?1)")
        .map_err(|cause| sqlite_error(&cause))?;
    statement.query_row([name], |row| row.get(0)).map_err(|cause: rusqlite::Error| sqlite_error(&cause))
}

fn has_column(db: &Connection, table: &str, column: &str) -> Result<bool> {
    let mut statement = db
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM pragma_table_info(?1) WHERE name = ?2)")
        .map_err(|cause| sqlite_error(&cause))?;
    let found: std::result::Result<bool, rusqlite::Error> =
        statement.query_row([table, column], |row| row.get(0));
    found.map_err(|cause| Error::Engine(format!("sqlite: {cause}")))
}
