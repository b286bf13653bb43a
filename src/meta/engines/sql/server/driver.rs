//! What a database server of the family must be able to do: one flush of statements, in one of three ways.
//! Everything above says what to send; a driver knows the wire, the server's words and its errors.

use std::future::Future;

use crate::engines::sql::rows::{Row, Rows, corrupt};
use crate::engines::sql::schema::Wording;
use crate::engines::sql::statement::{Statement, Value};
use crate::error::{Error, Result};

/// What a statement must do for its transaction to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::engines::sql) enum Demand {
    Any,
    /// Change, or find and lock, exactly one row.
    One,
    /// Find nothing.
    None,
}

#[derive(Clone, Debug, PartialEq)]
pub(in crate::engines::sql) struct Command {
    pub(in crate::engines::sql) statement: Statement,
    pub(in crate::engines::sql) demand: Demand,
}

impl Command {
    pub(in crate::engines::sql) fn any(statement: Statement) -> Self {
        Self { statement, demand: Demand::Any }
    }

    pub(in crate::engines::sql) fn one(statement: Statement) -> Self {
        Self { statement, demand: Demand::One }
    }

    pub(in crate::engines::sql) fn none(statement: Statement) -> Self {
        Self { statement, demand: Demand::None }
    }
}

/// How the statements of a flush belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engines::sql) enum Mode {
    /// Each for itself.
    Alone,
    /// All see one moment; they only read.
    Snapshot,
    /// All or nothing.
    Transaction,
}

/// A column of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::engines::sql) enum Cell {
    Null,
    Int(i64),
    Text(Vec<u8>),
    Bytes(Vec<u8>),
}

/// The rows that a statement returned.
pub(in crate::engines::sql) type Table = Vec<Vec<Cell>>;

impl Row for &Vec<Cell> {
    fn maybe_int(&self, at: usize) -> Result<Option<i64>> {
        match self.get(at) {
            Some(Cell::Int(number)) => Ok(Some(*number)),
            Some(Cell::Null) => Ok(None),
            Some(Cell::Text(_) | Cell::Bytes(_)) => Err(corrupt("bytes where a number belongs")),
            None => Err(corrupt("a column is missing")),
        }
    }

    fn bytes(&self, at: usize) -> Result<&[u8]> {
        match self.get(at) {
            Some(Cell::Text(bytes) | Cell::Bytes(bytes)) => Ok(bytes),
            Some(Cell::Null) => Ok(&[]),
            Some(Cell::Int(_)) => Err(corrupt("a number where bytes belong")),
            None => Err(corrupt("a column is missing")),
        }
    }

    fn key(&self, at: usize) -> Result<Value> {
        match self.get(at) {
            Some(Cell::Int(number)) => Ok(Value::Int(*number)),
            Some(Cell::Text(text)) => Ok(Value::Text(text.clone())),
            Some(Cell::Bytes(bytes)) => Ok(Value::Bytes(bytes.clone())),
            Some(Cell::Null) | None => Err(corrupt("a key that is neither number nor bytes")),
        }
    }
}

/// Rows of an answer, one after the other.
pub(in crate::engines::sql) struct Read<'t>(std::slice::Iter<'t, Vec<Cell>>);

impl<'t> Read<'t> {
    pub(in crate::engines::sql) fn new(table: &'t Table) -> Self {
        Self(table.iter())
    }
}

impl Rows for Read<'_> {
    fn next(&mut self) -> Result<Option<impl Row>> {
        Ok(self.0.next())
    }
}

/// The number in a row's first column.
pub(in crate::engines::sql) fn number(table: &Table) -> Result<Option<i64>> {
    match table.first() {
        Some(row) => row.maybe_int(0),
        None => Ok(None),
    }
}

/// Why a flush did not do what it was to do.
#[derive(Debug)]
pub(in crate::engines::sql) enum Failure {
    /// No connection could be made or the flush was not sent: nothing happened.
    Before(Error),
    /// The connection broke or fell silent: what was sent may have been done.
    Lost(String),
    /// The server refused; a transaction did nothing.
    Refused {
        /// Which command of the flush, when it was one.
        at: Option<usize>,
        refusal: Refusal,
    },
}

#[derive(Debug)]
pub(in crate::engines::sql) enum Refusal {
    /// Somebody else was there: a demand that was not met, a deadlock, a lock that took too long.
    Conflict,
    /// A row that must be new is there.
    Duplicate,
    /// A table that is not there.
    NoTable(String),
    /// The right to do this is missing.
    NotAllowed(String),
    Other(Error),
}

impl Failure {
    /// For callers with nothing to add; `Lost` means unavailable, so only for what did not write.
    pub(in crate::engines::sql) fn plain(self) -> Error {
        match self {
            Self::Before(error) => error,
            Self::Lost(why) => Error::Unavailable(why),
            Self::Refused { refusal, .. } => refusal.plain(),
        }
    }
}

impl Refusal {
    pub(in crate::engines::sql) fn plain(self) -> Error {
        match self {
            Self::Conflict | Self::Duplicate => Error::Conflict,
            Self::NoTable(why) => Error::NotFormatted(format!(
                "the database holds no volume ({why}): run `juicefs format` first, or check table_prefix and search_path"
            )),
            Self::NotAllowed(why) => Error::Engine(why),
            Self::Other(error) => error,
        }
    }
}

pub(in crate::engines::sql) type Flushed = std::result::Result<Vec<Table>, Failure>;

/// What differs between the servers beside the wire.
#[derive(Clone, Copy, Debug)]
pub(in crate::engines::sql) struct Dialect {
    /// As users and metrics see it.
    pub(in crate::engines::sql) name: &'static str,
    pub(in crate::engines::sql) wording: Wording,
    /// Types of the columns of our own tables.
    pub(in crate::engines::sql) side_name: &'static str,
    pub(in crate::engines::sql) side_value: &'static str,
    /// Names of tables, of indexes, and of the columns of one table (`?1`) in the volume's schema.
    pub(in crate::engines::sql) list_tables: &'static str,
    pub(in crate::engines::sql) list_indexes: &'static str,
    pub(in crate::engines::sql) list_columns: &'static str,
    /// Records of a chunk's list that fit its column.
    pub(in crate::engines::sql) slices_max: u32,
    /// Two numbers that grow: what has begun before the second is over when the first has reached it.
    pub(in crate::engines::sql) horizon: &'static str,
    /// Whether the second is a clock's milliseconds.
    pub(in crate::engines::sql) horizon_is_time: bool,
    /// Lets a table's row numbers go on behind `?1`, where the server does not do so by itself.
    pub(in crate::engines::sql) skip_acls: Option<&'static str>,
}

/// A database server's protocol.
pub(in crate::engines::sql) trait Driver: Send + Sync + 'static {
    /// A connection; dropped, it is closed.
    type Link: Send;

    fn dialect(&self) -> &'static Dialect;

    /// `jfs_` or `jfs_P_`.
    fn prefix(&self) -> &str;

    /// Host and database, for sentences.
    fn place(&self) -> &str;

    /// # Errors
    /// `Unavailable` where a later try may succeed, `Engine` where the address or the server must be changed.
    fn connect(&self) -> impl Future<Output = Result<Self::Link>> + Send;

    /// False for a connection known to be broken.
    fn is_usable(&self, link: &Self::Link) -> bool;

    /// One flush; the answers in order. A connection is not used again after `Failure::Lost`, nor when this was
    /// dropped before its end.
    fn flush(
        &self,
        link: &mut Self::Link,
        mode: Mode,
        commands: &[Command],
    ) -> impl Future<Output = Flushed> + Send;
}
