//! Rows of any database, and what they hold. Times are microseconds plus 0..=999 nanoseconds; the mode column has
//! no type bits.

use super::statement::Value;
use crate::engines::packed;
use crate::error::{Error, Result};
use crate::types::{Attr, Edge, Ino, Kind, Name, Slice, SliceId, Time};

/// Columns in the order [`attr`] reads them; `n.` names the table.
macro_rules! node_columns {
    () => {
        "n.type, n.flags, n.mode, n.uid, n.gid, n.atime, n.mtime, n.ctime, n.atimensec, n.mtimensec, n.ctimensec, \
         n.nlink, n.length, n.rdev, n.parent, n.access_acl_id, n.default_acl_id, n.tier_id"
    };
}
pub(super) use node_columns as NODE_COLUMNS;

/// A record whose name its reader has yet to say.
pub(super) const ROW: &str = "row";

/// A row as its database gives it. A column of another type is `Corrupt` with the record [`ROW`].
pub(super) trait Row {
    fn maybe_int(&self, at: usize) -> Result<Option<i64>>;

    /// Bytes or text; nothing is empty.
    fn bytes(&self, at: usize) -> Result<&[u8]>;

    /// The column as a key to go on from.
    fn key(&self, at: usize) -> Result<Value>;

    fn int(&self, at: usize) -> Result<i64> {
        self.maybe_int(at)?.ok_or_else(|| corrupt("nothing where a number belongs"))
    }

    /// A 64-bit pattern.
    fn number(&self, at: usize) -> Result<u64> {
        self.int(at).map(i64::cast_unsigned)
    }

    /// 32 bits; 0 where there is nothing.
    fn small(&self, at: usize, what: &str) -> Result<u32> {
        let value = self.maybe_int(at)?.unwrap_or(0);
        // 32-bit columns of other databases are signed.
        u32::try_from(value)
            .or_else(|_| i32::try_from(value).map(i32::cast_unsigned))
            .map_err(|_| corrupt(&format!("{what} {value}")))
    }
}

/// Rows one after the other.
pub(super) trait Rows {
    fn next(&mut self) -> Result<Option<impl Row>>;
}

pub(super) fn corrupt(cause: &str) -> Error {
    Error::Corrupt { record: ROW.to_owned(), cause: cause.to_owned() }
}

pub(super) fn split_time(time: Time) -> (i64, i64) {
    let micros = time.sec.saturating_mul(1_000_000).saturating_add(i64::from(time.nsec / 1000));
    (micros, i64::from(time.nsec % 1000))
}

pub(super) fn join_time(micros: i64, nanos: i64) -> Time {
    let below_second = micros.rem_euclid(1_000_000) * 1000 + nanos.clamp(0, 999);
    Time { sec: micros.div_euclid(1_000_000), nsec: u32::try_from(below_second).expect("below a second") }
}

/// The attributes whose columns begin at `at`; `None` when an outer join found no node.
pub(super) fn attr(row: &impl Row, at: usize, ino: Ino) -> Result<Option<Attr>> {
    named(columns_of_node(row, at), || format!("node {ino}"))
}

fn columns_of_node(row: &impl Row, at: usize) -> Result<Option<Attr>> {
    let Some(code) = row.maybe_int(at)? else { return Ok(None) };
    let kind = u8::try_from(code).ok().and_then(Kind::from_code);
    let kind = kind.ok_or_else(|| corrupt(&format!("type {code}")))?;
    let number = |index: usize| -> Result<i64> { Ok(row.maybe_int(at + index)?.unwrap_or(0)) };
    Ok(Some(Attr {
        flags: u8::try_from(number(1)?).map_err(|_| corrupt("flags beyond a byte"))?,
        kind,
        mode: (number(2)? & 0o7777) as u16,
        uid: row.small(at + 3, "uid")?,
        gid: row.small(at + 4, "gid")?,
        atime: join_time(number(5)?, number(8)?),
        mtime: join_time(number(6)?, number(9)?),
        ctime: join_time(number(7)?, number(10)?),
        nlink: row.small(at + 11, "nlink")?,
        length: number(12)?.cast_unsigned(),
        rdev: row.small(at + 13, "rdev")?,
        parent: Ino(number(14)?.cast_unsigned()),
        access_acl: row.small(at + 15, "access_acl_id")?,
        default_acl: row.small(at + 16, "default_acl_id")?,
        tier: u8::try_from(number(17)?).map_err(|_| corrupt("tier beyond a byte"))?,
    }))
}

/// The entry whose columns `inode` and `type` begin at `at`.
pub(super) fn edge(row: &impl Row, at: usize, parent: Ino, name: &Name) -> Result<Edge> {
    let columns = || -> Result<(u64, i64)> { Ok((row.number(at)?, row.int(at + 1)?)) };
    let record = || format!("edge {name} of inode {parent}");
    let (ino, code) = named(columns(), record)?;
    let kind = u8::try_from(code).ok().and_then(Kind::from_code);
    let kind = kind.ok_or_else(|| Error::Corrupt { record: record(), cause: format!("type {code}") })?;
    Ok(Edge { ino: Ino(ino), kind })
}

/// A chunk's list.
pub(super) fn slices(row: &impl Row, at: usize, ino: Ino, indx: u32) -> Result<Vec<Slice>> {
    let record = || format!("chunk {indx} of inode {ino}");
    let bytes = named(row.bytes(at), record)?;
    packed::decode_slices(bytes).map_err(|cause| cause.of(record()))
}

/// The delayed slices that `id` took the place of.
pub(super) fn slice_pairs(row: &impl Row, at: usize, id: SliceId) -> Result<Vec<(SliceId, u32)>> {
    let record = || format!("delayed slices of {id}");
    let bytes = named(row.bytes(at), record)?;
    packed::decode_slice_pairs(bytes).map_err(|cause| cause.of(record()))
}

/// A node whose type column is empty.
pub(super) fn untyped(ino: Ino) -> Error {
    named::<()>(Err(corrupt("no type")), || format!("node {ino}")).expect_err("just made")
}

/// Says which row it was that has a column of the wrong type.
pub(super) fn named<T>(read: Result<T>, record: impl FnOnce() -> String) -> Result<T> {
    read.map_err(|error| match error {
        Error::Corrupt { record: unnamed, cause } if unnamed == ROW => {
            Error::Corrupt { record: record(), cause }
        }
        other => other,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_survive_their_columns() {
        for (sec, nsec) in
            [(0, 0), (1, 999_999_999), (-1, 1), (-2_208_988_800, 123_456_789), (4_000_000_000, 1000)]
        {
            let time = Time { sec, nsec };
            let (micros, nanos) = split_time(time);
            assert_eq!(join_time(micros, nanos), time);
        }
    }
}
