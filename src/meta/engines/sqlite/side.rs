//! Side records (decisions 21) have a table of their own, which stock clients do not know. It is made with the first
//! record.

use bytes::Bytes;
use rusqlite::params;

use super::connection::Conn;
use super::rows;
use super::schema;
use crate::error::Result;

const TABLE: &str =
    "CREATE TABLE IF NOT EXISTS jfs_rs_record (name TEXT PRIMARY KEY NOT NULL, value BLOB NOT NULL)";

pub(super) fn has_table(conn: &Conn) -> Result<bool> {
    schema::has_object(&conn.db, &conn.sql("jfs_rs_record"))
}

pub(super) fn get(conn: &Conn, name: &str) -> Result<Option<Bytes>> {
    if !has_table(conn)? {
        return Ok(None);
    }
    let mut statement = conn.statement("SELECT value FROM jfs_rs_record WHERE name = ?1")?;
    let mut rows = statement.query([name])?;
    rows.next()?.map(|row| rows::bytes(row, 0).map(Bytes::copy_from_slice)).transpose()
}

/// Must run inside a write transaction.
pub(super) fn put(conn: &Conn, name: &str, value: &[u8]) -> Result<()> {
    conn.statement(TABLE)?.execute([])?;
    conn.statement(
        "INSERT INTO jfs_rs_record (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
    )?
    .execute(params![name, value])?;
    Ok(())
}

/// Must run inside a write transaction.
pub(super) fn delete(conn: &Conn, name: &str) -> Result<()> {
    if has_table(conn)? {
        conn.statement("DELETE FROM jfs_rs_record WHERE name = ?1")?.execute([name])?;
    }
    Ok(())
}
