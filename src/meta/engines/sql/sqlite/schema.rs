//! The tables, letter for letter as the peer makes them in SQLite.

use rusqlite::Connection;

use super::connection::{Conn, sqlite_error};
use crate::engines::sql::schema::{Column, Kind, LATE_COLUMNS, TABLES, Table, Wording};
use crate::error::{Error, Result};

const WORDING: Wording = Wording { quote: '`', type_of, serial_key: " PRIMARY KEY AUTOINCREMENT" };

fn type_of(kind: Kind) -> String {
    let name = match kind {
        Kind::Serial64 | Kind::Serial32 | Kind::Int64 | Kind::Int32 => "INTEGER",
        Kind::Name | Kind::Text => "TEXT",
        Kind::VarBytes(_) | Kind::Bytes => "BLOB",
    };
    name.to_owned()
}

/// Names of all tables and indexes with the statements that make them, in the peer's order.
fn statements(prefix: &str) -> Vec<(String, String)> {
    let of_table = |table: &Table| {
        let own = (format!("{prefix}{}", table.name), WORDING.table(prefix, table));
        std::iter::once(own).chain(WORDING.indexes(prefix, table))
    };
    TABLES.iter().flat_map(of_table).collect()
}

/// Columns that early releases did not have, with their table.
fn late_columns() -> impl Iterator<Item = (&'static Table, &'static Column)> {
    let nodes = TABLES.iter().filter(|table| table.name == "node");
    nodes.flat_map(|table| {
        let late = table.columns.iter().filter(|column| LATE_COLUMNS.contains(&column.name));
        late.map(move |column| (table, column))
    })
}

/// Makes every table and index that is missing. Must run inside a write transaction.
pub(super) fn create(conn: &Conn) -> Result<()> {
    for (_, statement) in statements(&conn.sql("jfs_")) {
        let missing_only = statement.replacen("CREATE TABLE ", "CREATE TABLE IF NOT EXISTS ", 1).replacen(
            "INDEX ",
            "INDEX IF NOT EXISTS ",
            1,
        );
        conn.db.execute_batch(&missing_only).map_err(|cause| sqlite_error(&cause))?;
    }
    let node = conn.sql("jfs_node");
    for (table, column) in late_columns() {
        if !has_column(&conn.db, &node, column.name)? {
            let column = WORDING.column(table, column);
            conn.db
                .execute_batch(&format!("ALTER TABLE `{node}` ADD {column}"))
                .map_err(|cause| sqlite_error(&cause))?;
        }
    }
    Ok(())
}

/// Drops every table of the volume, those of older releases and our own too. Must run inside a write transaction.
pub(super) fn drop_all(conn: &Conn) -> Result<()> {
    let prefix = conn.sql("jfs_");
    for name in TABLES.iter().map(|table| table.name).chain(["session", "rs_record"]) {
        let table = format!("{prefix}{name}");
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
    for (name, _) in statements(&conn.sql("jfs_")) {
        if !has_object(&conn.db, &name)? {
            return Ok(false);
        }
    }
    for (_, column) in late_columns() {
        if !has_column(&conn.db, &conn.sql("jfs_node"), column.name)? {
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
