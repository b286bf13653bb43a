//! Statements on one connection, its rows as they are stepped, and the answers to questions from one snapshot.

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{CachedStatement, ErrorCode, ToSql, params_from_iter};

use super::connection::Conn;
use super::side;
use crate::engines::sql::rows::{self, Row, Rows, corrupt};
use crate::engines::sql::statement::{Expect, Plan, Statement, Step, Value};
use crate::engines::sql::{gets, scan};
use crate::error::{Error, Result};
use crate::port::{Change, Found, Get, Got, Item, Receipt, Scan};
use crate::types::{Attr, Ino, Name, Usage};

impl ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Int(number) => ValueRef::Integer(*number),
            Self::Small(number) => ValueRef::Integer(i64::from(*number)),
            Self::Text(text) => ValueRef::Text(text),
            Self::Bytes(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

impl Row for &rusqlite::Row<'_> {
    fn maybe_int(&self, at: usize) -> Result<Option<i64>> {
        Ok(self.get(at)?)
    }

    /// Whatever SQLite calls their type: a blob that was appended to is text to it.
    fn bytes(&self, at: usize) -> Result<&[u8]> {
        match self.get_ref(at)? {
            ValueRef::Blob(bytes) | ValueRef::Text(bytes) => Ok(bytes),
            ValueRef::Null => Ok(&[]),
            ValueRef::Integer(_) | ValueRef::Real(_) => Err(corrupt("a number where bytes belong")),
        }
    }

    fn key(&self, at: usize) -> Result<Value> {
        Ok(match self.get_ref(at)? {
            ValueRef::Integer(number) => Value::Int(number),
            ValueRef::Text(text) => Value::Text(text.to_vec()),
            ValueRef::Blob(bytes) => Value::Bytes(bytes.to_vec()),
            ValueRef::Null | ValueRef::Real(_) => {
                return Err(corrupt("a key that is neither number nor bytes"));
            }
        })
    }
}

impl Rows for rusqlite::Rows<'_> {
    fn next(&mut self) -> Result<Option<impl Row>> {
        Ok(rusqlite::Rows::next(self)?)
    }
}

impl Conn {
    fn prepare(&self, statement: &Statement) -> Result<CachedStatement<'_>> {
        Ok(self.statement(&statement.text)?)
    }

    /// The number of rows it changed.
    pub(super) fn execute(&self, statement: &Statement) -> Result<usize> {
        Ok(self.prepare(statement)?.execute(params_from_iter(&statement.values))?)
    }

    /// What `read` makes of its rows.
    pub(super) fn query<T>(
        &self,
        statement: &Statement,
        read: impl FnOnce(&mut rusqlite::Rows<'_>) -> Result<T>,
    ) -> Result<T> {
        read(&mut self.prepare(statement)?.query(params_from_iter(&statement.values))?)
    }
}

/// All answers from one snapshot.
pub(super) fn answers(conn: &Conn, gets: &[Get]) -> Result<Vec<Got>> {
    if gets.len() < 2 {
        return gets.iter().map(|get| answer(conn, get)).collect();
    }
    conn.run("BEGIN")?;
    let got = gets.iter().map(|get| answer(conn, get)).collect();
    conn.run("COMMIT")?;
    got
}

/// A page of a scan, and the key to go on from; `None` when this was the last one.
pub(super) fn page(conn: &Conn, scan: &Scan, after: Option<Value>) -> Result<(Vec<Item>, Option<Value>)> {
    if *scan == Scan::Sides && !side::has_table(conn)? {
        return Ok((Vec::new(), None));
    }
    conn.query(&scan::page(scan, after), |rows| scan::items(scan, rows))
}

pub(super) fn answer(conn: &Conn, get: &Get) -> Result<Got> {
    if matches!(get, Get::Side { .. }) && !side::has_table(conn)? {
        return Ok(Got::Bytes(None));
    }
    match gets::question(get) {
        Some(question) => conn.query(&question, |rows| gets::answer(get, rows)),
        None => Ok(Got::Ready),
    }
}

pub(super) fn node(conn: &Conn, ino: Ino) -> Result<Option<Attr>> {
    conn.query(&gets::node(ino), |rows| match rows.next()? {
        Some(row) => rows::attr(&row, 0, ino),
        None => Ok(None),
    })
}

pub(super) fn lookup(conn: &Conn, parent: Ino, name: &Name) -> Result<Found> {
    conn.query(&gets::lookup(parent, name), |rows| gets::found(parent, name, rows))
}

/// Makes `changes` in order; the caller commits or rolls back.
pub(super) fn make(conn: &Conn, changes: &[Change]) -> Result<(Receipt, Usage)> {
    let plan = Plan::of(changes);
    if plan.has_sides {
        side::make_table(conn)?;
    }
    let mut receipt = Receipt::default();
    for step in &plan.steps {
        take(conn, step, &mut receipt)?;
    }
    Ok((receipt, plan.usage))
}

fn take(conn: &Conn, step: &Step, receipt: &mut Receipt) -> Result<()> {
    let (statement, expect) = match step {
        Step::Run { statement, expect } => (statement, expect),
        Step::Log(line) => {
            conn.execute(&Step::log(&line.text(&receipt.slices_after_append)))?;
            return Ok(());
        }
    };
    let number = match expect {
        Expect::Any | Expect::One | Expect::Tracked { .. } => {
            let mut prepared = conn.prepare(statement)?;
            return match prepared.execute(params_from_iter(&statement.values)) {
                Ok(rows) => expect.settle(rows as u64, None, receipt),
                Err(cause) if cause.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => {
                    Err(expect.duplicate())
                }
                Err(cause) => Err(Error::from(cause)),
            };
        }
        Expect::Appended | Expect::Released { .. } => conn.query(statement, |rows| {
            let number = rows.next()?.map(|row| row.get(0)).transpose()?;
            // A RETURNING statement is done only when it has been stepped to its end.
            while rows.next()?.is_some() {}
            Ok(number)
        })?,
    };
    expect.settle(0, number, receipt)
}
