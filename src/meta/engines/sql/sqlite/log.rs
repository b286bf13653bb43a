//! Lines of the change log are rows; their version is the row's id, which SQLite never gives twice and, having one
//! writer at a time, gives in the order of the commits.

use bytes::Bytes;
use rusqlite::OptionalExtension;

use super::connection::Conn;
use super::execute;
use crate::engines::sql::rows::Row;
use crate::engines::sql::statement::int;
use crate::error::Result;
use crate::port::{Get, Got, LogPage};

/// Must run inside a write transaction.
pub(super) fn append(conn: &Conn, line: &str) -> Result<()> {
    conn.statement("INSERT INTO jfs_change_log (entry) VALUES (?1)")?.execute([line])?;
    Ok(())
}

pub(super) fn page(conn: &Conn, after: u64, max: usize) -> Result<LogPage> {
    conn.run("BEGIN")?;
    let page = page_of_snapshot(conn, after, max);
    conn.run("COMMIT")?;
    page
}

/// The page and the rows from one snapshot.
pub(super) fn page_and_rows(
    conn: &Conn,
    after: u64,
    max: usize,
    gets: &[Get],
) -> Result<(LogPage, Vec<Got>)> {
    conn.run("BEGIN")?;
    let page = page_of_snapshot(conn, after, max);
    let answers = page.and_then(|page| {
        let answers = gets.iter().map(|get| execute::answer(conn, get)).collect::<Result<_>>()?;
        Ok((page, answers))
    });
    conn.run("COMMIT")?;
    answers
}

fn page_of_snapshot(conn: &Conn, after: u64, max: usize) -> Result<LogPage> {
    let table = conn.sql("jfs_change_log").into_owned();
    let mut statement = conn.statement("SELECT seq FROM sqlite_sequence WHERE name = ?1")?;
    let last: Option<i64> = statement.query_row([table], |row| row.get(0)).optional()?;
    let last = last.unwrap_or(0).cast_unsigned();
    let mut statement = conn.statement("SELECT min(id) FROM jfs_change_log")?;
    let first: Option<i64> = statement.query_row([], |row| row.get(0))?;
    let mut statement =
        conn.statement("SELECT id, entry FROM jfs_change_log WHERE id > ?1 ORDER BY id LIMIT ?2")?;
    let after = i64::try_from(after).unwrap_or(i64::MAX);
    let mut found = statement.query((after, i64::try_from(max).unwrap_or(i64::MAX)))?;
    let mut lines = Vec::new();
    while let Some(row) = found.next()? {
        lines.push((row.get::<_, i64>(0)?.cast_unsigned(), Bytes::copy_from_slice(row.bytes(1)?)));
    }
    Ok(LogPage { lines, first: first.map_or(last + 1, i64::cast_unsigned), last })
}

pub(super) fn trim(conn: &Conn, upto: u64) -> Result<()> {
    conn.write(|conn| {
        conn.statement("DELETE FROM jfs_change_log WHERE id <= ?1")?.execute([int(upto)])?;
        Ok(())
    })
}
