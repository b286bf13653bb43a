//! What belongs to the volume as a whole: setting, counters, job claims, foreign records.

use std::ops::Range;

use rusqlite::{OptionalExtension, params};

use super::connection::Conn;
use super::{execute, log, schema};
use crate::engines::sql::changes::insert_node;
use crate::engines::sql::statement::Statement;
use crate::engines::sql::{counters, load};
use crate::error::{Error, Result};
use crate::port::{Counters, Job, NewVolume, Sequence};
use crate::types::{Attr, Ino, Usage};

pub(super) fn setting(conn: &Conn) -> Result<Option<String>> {
    if !schema::has_setting_table(conn)? {
        return Ok(None);
    }
    let mut statement = conn.statement("SELECT value FROM jfs_setting WHERE name = 'format'")?;
    Ok(statement.query_row([], |row| row.get(0)).optional()?)
}

/// Adds tables and columns that the release which made this database did not have.
pub(super) fn complete_schema(conn: &Conn) -> Result<()> {
    if setting(conn)?.is_none() || schema::is_complete(conn)? {
        return Ok(());
    }
    conn.write(schema::create)
}

pub(super) fn create(conn: &Conn, volume: &NewVolume) -> Result<()> {
    conn.write(|conn| {
        schema::create(conn)?;
        if setting(conn)?.is_some() {
            return Err(Error::Engine("the database holds a volume already".to_owned()));
        }
        conn.statement("INSERT INTO jfs_setting (name, value) VALUES ('format', ?1)")?
            .execute([&volume.setting])?;
        for counter in counters::fresh() {
            conn.execute(&counter)?;
        }
        conn.execute(&insert_node(Ino::ROOT, &volume.root))?;
        if let Some(trash) = &volume.trash {
            conn.execute(&insert_node(Ino::TRASH, trash))?;
        }
        Ok(())
    })
}

pub(super) fn update_setting(
    conn: &Conn,
    text: &str,
    trash: Option<&Attr>,
    reset_dir_stats: bool,
) -> Result<()> {
    conn.write(|conn| {
        let rows =
            conn.statement("UPDATE jfs_setting SET value = ?1 WHERE name = 'format'")?.execute([text])?;
        if rows == 0 {
            return Err(Error::NotFormatted(
                "the database holds no volume: run `juicefs format` first".to_owned(),
            ));
        }
        if reset_dir_stats {
            conn.statement("DELETE FROM jfs_dir_stats")?.execute([])?;
        }
        if let Some(trash) = trash
            && execute::node(conn, Ino::TRASH)?.is_none()
        {
            conn.execute(&insert_node(Ino::TRASH, trash))?;
        }
        Ok(())
    })
}

pub(super) fn allocate(
    conn: &Conn,
    sequence: Sequence,
    count: u64,
    line: Option<&str>,
) -> Result<Range<u64>> {
    let (name, holds_next) = (sequence.counter(), counters::holds_next(sequence));
    let count =
        i64::try_from(count).map_err(|_| Error::Engine(format!("{count} numbers of {name} at once")))?;
    conn.write(|conn| {
        let was = match counter(conn, name)? {
            Some(value) => value,
            None if holds_next => {
                return Err(Error::NotFormatted(format!("the database has no counter {name}")));
            }
            None => 0,
        };
        set_counter(conn, name, was + count)?;
        line.map_or(Ok(()), |line| log::append(conn, line))?;
        let first = if holds_next { was } else { was + 1 };
        Ok(first.cast_unsigned()..(first + count).cast_unsigned())
    })
}

pub(super) fn claim(conn: &Conn, job: Job, now: i64, gap_sec: i64, line: Option<&str>) -> Result<bool> {
    let name = job.counter();
    // Most clients lose most claims: look before locking.
    if counter(conn, name)?.unwrap_or(0) > now - gap_sec {
        return Ok(false);
    }
    conn.write(|conn| {
        if counter(conn, name)?.unwrap_or(0) > now - gap_sec {
            return Ok(false);
        }
        set_counter(conn, name, now)?;
        line.map_or(Ok(()), |line| log::append(conn, line))?;
        Ok(true)
    })
}

pub(super) fn usage(conn: &Conn) -> Result<Usage> {
    Ok(Usage {
        space: counter(conn, "usedSpace")?.unwrap_or(0),
        inodes: counter(conn, "totalInodes")?.unwrap_or(0),
    })
}

fn counter(conn: &Conn, name: &str) -> Result<Option<i64>> {
    let mut statement = conn.statement("SELECT value FROM jfs_counter WHERE name = ?1")?;
    Ok(statement.query_row([name], |row| row.get(0)).optional()?)
}

fn set_counter(conn: &Conn, name: &str, value: i64) -> Result<()> {
    conn.statement(
        "INSERT INTO jfs_counter (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
    )?
    .execute(params![name, value])?;
    Ok(())
}

pub(super) fn foreign_records(conn: &Conn) -> Result<Vec<&'static str>> {
    let mut found = Vec::new();
    for (name, query) in [("ACL", "SELECT 1 FROM jfs_acl LIMIT 1")] {
        if conn.statement(query)?.exists([])? {
            found.push(name);
        }
    }
    Ok(found)
}

pub(super) fn counters(conn: &Conn) -> Result<Counters> {
    let mut values = [0; 6];
    for (value, (name, _)) in values.iter_mut().zip(Counters::default().named()) {
        *value = counter(conn, name)?.unwrap_or(0);
    }
    Ok(counters::of_values(values))
}

/// Makes the tables of a database in which nothing is.
pub(super) fn start_load(conn: &Conn) -> Result<()> {
    conn.write(|conn| {
        schema::create(conn)?;
        for table in load::TABLES {
            if conn.statement(&format!("SELECT 1 FROM {table} LIMIT 1"))?.exists([])? {
                return Err(load::taken(setting(conn)?.as_deref()));
            }
        }
        Ok(())
    })
}

/// Inserts in one transaction.
pub(super) fn load<'a>(conn: &Conn, inserts: impl IntoIterator<Item = &'a Statement>) -> Result<()> {
    conn.write(|conn| {
        for insert in inserts {
            conn.execute(insert)?;
        }
        Ok(())
    })
}
