//! Statements with their values, and what a commit wants to know of each.

use std::borrow::Cow;

use crate::error::{Error, Result};
use crate::port::{LogLine, Receipt};
use crate::types::{Ino, Name, SliceId, Usage};

/// A value for a placeholder, or the key of a page.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Int(i64),
    /// 32 bits, which databases other than SQLite keep in a signed column.
    Small(u32),
    /// Bytes of a text column, UTF-8 or not.
    Text(Vec<u8>),
    Bytes(Vec<u8>),
}

/// Databases' integers are signed; 64-bit patterns travel through them.
pub(super) fn int(value: u64) -> i64 {
    value.cast_signed()
}

macro_rules! value {
    ($($type:ty, $value:ident => $variant:expr;)+) => {
        $(impl From<$type> for Value {
            fn from($value: $type) -> Self {
                $variant
            }
        })+
    };
}

value! {
    i64, value => Self::Int(value);
    u64, value => Self::Int(int(value));
    u32, value => Self::Small(value);
    u16, value => Self::Int(i64::from(value));
    u8, value => Self::Int(i64::from(value));
    Ino, ino => Self::Int(int(ino.0));
    &Name, name => Self::Bytes(name.as_bytes().to_vec());
    &[u8], bytes => Self::Bytes(bytes.to_vec());
    Vec<u8>, bytes => Self::Bytes(bytes);
    &str, text => Self::Text(text.as_bytes().to_vec());
}

/// One statement; `?1` is the first of its values, `jfs_` stands for the volume's table prefix.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Statement {
    pub(super) text: Cow<'static, str>,
    pub(super) values: Vec<Value>,
}

/// A statement and the values of its placeholders in order.
macro_rules! statement {
    ($text:expr $(, $value:expr)* $(,)?) => {
        $crate::engines::sql::statement::Statement {
            text: $text.into(),
            values: vec![$($crate::engines::sql::statement::Value::from($value)),*],
        }
    };
}
pub(super) use statement;

/// What must be true of a step, and what its receipt tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expect {
    /// Any number of rows.
    Any,
    /// One row, or somebody else was there first.
    One,
    /// Bytes of the list it returns, if there is one.
    Appended,
    /// References that are left, which it returns.
    Released { id: SliceId, size: u32 },
    /// A row that must be new: this slice was handed out to us alone.
    Tracked { id: SliceId },
}

/// A change as the database makes it.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    Run {
        statement: Statement,
        expect: Expect,
    },
    /// A line of the change log, which tells how long the lists are that were appended to before.
    Log(LogLine),
}

impl Step {
    /// The statement that appends `line`.
    pub(super) fn log(line: &str) -> Statement {
        statement!("INSERT INTO jfs_change_log (entry) VALUES (?1)", line)
    }
}

/// All changes of a commit in order.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) steps: Vec<Step>,
    /// Side records are among them; their table is made with the first one.
    pub(super) has_sides: bool,
    /// Moves the counters later, outside the transaction.
    pub(super) usage: Usage,
}

impl Plan {
    pub(super) fn any(&mut self, statement: Statement) {
        self.expect(Expect::Any, statement);
    }

    pub(super) fn one(&mut self, statement: Statement) {
        self.expect(Expect::One, statement);
    }

    pub(super) fn expect(&mut self, expect: Expect, statement: Statement) {
        self.steps.push(Step::Run { statement, expect });
    }
}

impl Expect {
    /// Judges a step that changed `rows` rows and returned `number`.
    ///
    /// # Errors
    /// `Conflict` when a row is missing.
    pub(super) fn settle(self, rows: u64, number: Option<i64>, receipt: &mut Receipt) -> Result<()> {
        match self {
            Self::Any | Self::Tracked { .. } => {}
            Self::One if rows == 1 => {}
            Self::One => return Err(Error::Conflict),
            Self::Appended => {
                let records = number.unwrap_or(0) / crate::engines::packed::SLICE_BYTES as i64;
                receipt.slices_after_append.push(u32::try_from(records).unwrap_or(u32::MAX));
            }
            Self::Released { id, size } => match number {
                None => tracing::warn!(
                    slice = id,
                    size,
                    "a slice has no reference row; its objects stay until gc"
                ),
                Some(..=0) if !receipt.slices_freed.contains(&(id, size)) => {
                    receipt.slices_freed.push((id, size));
                }
                Some(_) => {}
            },
        }
        Ok(())
    }

    /// What a row that is there already means.
    pub(super) fn duplicate(self) -> Error {
        match self {
            // Retrying would find it again.
            Self::Tracked { id } => Error::Engine(format!("slice {id} is in use already")),
            Self::Any | Self::One | Self::Appended | Self::Released { .. } => Error::Conflict,
        }
    }
}
