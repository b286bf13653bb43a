//! Side records (decisions 21) have a table of their own, which stock clients do not know. It is made with the first
//! record.

use super::connection::Conn;
use super::schema;
use crate::error::Result;

pub(super) fn has_table(conn: &Conn) -> Result<bool> {
    schema::has_object(&conn.db, &conn.sql("jfs_rs_record"))
}
