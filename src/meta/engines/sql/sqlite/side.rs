//! Side records (decisions 21) have a table of their own, which stock clients do not know. It is made with the first
//! record.

use super::connection::Conn;
use super::schema;
use crate::engines::sql::statement::statement;
use crate::error::Result;

pub(super) fn has_table(conn: &Conn) -> Result<bool> {
    schema::has_object(&conn.db, &conn.sql("jfs_rs_record"))
}

/// Must run inside a write transaction.
pub(super) fn make_table(conn: &Conn) -> Result<()> {
    conn.execute(&statement!(
        "CREATE TABLE IF NOT EXISTS jfs_rs_record (name TEXT PRIMARY KEY NOT NULL, value BLOB NOT NULL)"
    ))?;
    Ok(())
}
