//! What a key-value database does for the engine: reads of keys and ranges, and commits that depend on what was read.
//!
//! Keys here are without the volume's prefix, which a driver puts before them. A *version* is what a driver tells the
//! states of one key apart by; a *moment* orders versions of all keys. A driver for a database that reads from
//! snapshots answers with the snapshot's moment.

use bytes::Bytes;
use futures::future::BoxFuture;

use crate::error::Result;

pub(super) type Key = Vec<u8>;

/// The version of a key that is not there.
pub(super) const ABSENT: i64 = 0;

/// Keys from `from` up to `to`, which is not one of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) from: Key,
    pub(super) to: Key,
}

impl Range {
    /// All keys that begin with `prefix`, which must have a byte below 0xFF.
    pub(super) fn prefix(prefix: Key) -> Self {
        let mut to = prefix.clone();
        while to.last() == Some(&u8::MAX) {
            to.pop();
        }
        if let Some(last) = to.last_mut() {
            *last += 1;
        }
        Self { from: prefix, to }
    }

    /// What is left of the range behind `key`.
    pub(super) fn after(&self, key: &[u8]) -> Self {
        let mut from = key.to_vec();
        from.push(0);
        Self { from, to: self.to.clone() }
    }

    pub(super) fn contains(&self, key: &[u8]) -> bool {
        key >= &self.from[..] && key < &self.to[..]
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    Key(Key),
    Range {
        range: Range,
        /// 0 = all.
        records_max: usize,
        /// Values come empty.
        keys_only: bool,
    },
}

impl Ask {
    pub(super) fn all(range: Range) -> Self {
        Self::Range { range, records_max: 0, keys_only: false }
    }

    pub(super) fn keys(range: Range) -> Self {
        Self::Range { range, records_max: 0, keys_only: true }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) key: Key,
    pub(super) value: Bytes,
    pub(super) version: i64,
}

/// The answer to one [`Ask`], in the order of the keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) records: Vec<Record>,
    /// `records_max` cut it short.
    pub(super) has_more: bool,
    /// No version of these keys up to here was missed.
    pub(super) moment: i64,
}

/// What must be true at the commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Check {
    /// The key is as it was at `moment`. `or_gone`: if somebody has deleted it since, its write may be left out
    /// instead, which lets a driver commit more at a time than its database compares.
    Unchanged {
        version: i64,
        moment: i64,
        or_gone: bool,
    },
    Present,
    Absent,
    Equals(Bytes),
}

/// One commit; a key is written once, and no key of a cleared range is.
#[derive(Clone, Debug, Default)]
pub(super) struct Batch {
    pub(super) checks: Vec<(Key, Check)>,
    /// No key of these ranges may be there.
    pub(super) empty: Vec<Range>,
    /// `None` deletes.
    pub(super) writes: Vec<(Key, Option<Bytes>)>,
    pub(super) cleared: Vec<Range>,
}

/// A database with a place for one volume.
pub(super) trait Store: Send + Sync + 'static {
    /// As users and metrics see it.
    fn name(&self) -> &'static str;

    /// For sentences; without secrets.
    fn place(&self) -> String;

    /// One flush; all at one moment as long as there are not very many.
    fn read<'a>(&'a self, asks: &'a [Ask]) -> BoxFuture<'a, Result<Vec<Found>>>;

    /// All of the batch or nothing, exactly once.
    ///
    /// # Errors
    /// `Conflict` when a check fails. `InDoubt` only when the database stayed away until the driver's deadline.
    fn commit(&self, batch: Batch) -> BoxFuture<'_, Result<()>>;

    /// Puts records in no transaction with one another; may be said twice.
    fn fill<'a>(&'a self, records: &'a [(Key, Bytes)]) -> BoxFuture<'a, Result<()>>;

    /// Removes everything that there is in the place, our own records too.
    fn clear(&self) -> BoxFuture<'_, Result<()>>;

    /// Checks, and writes, that one commit takes of any kind; in larger ones checks are [`Check::Unchanged`].
    fn checks_max(&self) -> usize;

    /// Slices that a chunk's value may hold.
    fn slices_max(&self) -> u32;
}
