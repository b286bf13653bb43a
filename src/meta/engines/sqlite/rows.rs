//! What a row of `node` holds, and back. Times are microseconds plus 0..=999 nanoseconds; the mode column has
//! no type bits.

use rusqlite::Row;
use rusqlite::types::ValueRef;

use crate::engines::packed;
use crate::error::{Error, Result};
use crate::types::{Attr, Edge, Ino, Kind, Name, SliceId, Time};

/// Columns in the order [`attr`] reads them; `n.` names the table.
pub(super) const NODE_COLUMNS: &str = "n.type, n.flags, n.mode, n.uid, n.gid, n.atime, n.mtime, n.ctime, n.atimensec, \
     n.mtimensec, n.ctimensec, n.nlink, n.length, n.rdev, n.parent, n.access_acl_id, n.default_acl_id, n.tier_id";

/// A record whose name its reader has yet to say.
pub(super) const ROW: &str = "sqlite row";

pub(super) fn split_time(time: Time) -> (i64, i64) {
    let micros = time.sec.saturating_mul(1_000_000).saturating_add(i64::from(time.nsec / 1000));
    (micros, i64::from(time.nsec % 1000))
}

pub(super) fn join_time(micros: i64, nanos: i64) -> Time {
    let below_second = micros.rem_euclid(1_000_000) * 1000 + nanos.clamp(0, 999);
    Time { sec: micros.div_euclid(1_000_000), nsec: u32::try_from(below_second).expect("below a second") }
}

/// The attributes whose columns begin at `at`; `None` when an outer join found no node.
pub(super) fn attr(row: &Row<'_>, at: usize, ino: Ino) -> Result<Option<Attr>> {
    named(columns_of_node(row, at, ino), || format!("node {ino}"))
}

fn columns_of_node(row: &Row<'_>, at: usize, ino: Ino) -> Result<Option<Attr>> {
    if matches!(row.get_ref(at)?, ValueRef::Null) {
        return Ok(None);
    }
    let corrupt = |cause: String| Error::Corrupt { record: format!("node {ino}"), cause };
    let number = |index: usize| -> Result<i64> { Ok(row.get::<_, Option<i64>>(at + index)?.unwrap_or(0)) };
    let code = number(0)?;
    let kind =
        u8::try_from(code).ok().and_then(Kind::from_code).ok_or_else(|| corrupt(format!("type {code}")))?;
    let small = |index: usize, what: &str| -> Result<u32> {
        let value = number(index)?;
        // 32-bit columns of other families are signed.
        u32::try_from(value)
            .or_else(|_| i32::try_from(value).map(i32::cast_unsigned))
            .map_err(|_| corrupt(format!("{what} {value}")))
    };
    Ok(Some(Attr {
        flags: u8::try_from(number(1)?).map_err(|_| corrupt("flags beyond a byte".to_owned()))?,
        kind,
        mode: (number(2)? & 0o7777) as u16,
        uid: small(3, "uid")?,
        gid: small(4, "gid")?,
        atime: join_time(number(5)?, number(8)?),
        mtime: join_time(number(6)?, number(9)?),
        ctime: join_time(number(7)?, number(10)?),
        nlink: small(11, "nlink")?,
        length: number(12)?.cast_unsigned(),
        rdev: small(13, "rdev")?,
        parent: Ino(number(14)?.cast_unsigned()),
        access_acl: small(15, "access_acl_id")?,
        default_acl: small(16, "default_acl_id")?,
        tier: u8::try_from(number(17)?).map_err(|_| corrupt("tier beyond a byte".to_owned()))?,
    }))
}

/// The entry whose columns `inode` and `type` begin at `at`.
pub(super) fn edge(row: &Row<'_>, at: usize, parent: Ino, name: &Name) -> Result<Edge> {
    let columns = || -> Result<(i64, i64)> { Ok((row.get(at)?, row.get(at + 1)?)) };
    let record = || format!("edge {name} of inode {parent}");
    let (ino, code) = named(columns(), record)?;
    let kind = u8::try_from(code).ok().and_then(Kind::from_code);
    let kind = kind.ok_or_else(|| Error::Corrupt { record: record(), cause: format!("type {code}") })?;
    Ok(Edge { ino: Ino(ino.cast_unsigned()), kind })
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

/// The bytes of a column, whatever SQLite calls their type: a blob that was appended to is text to it.
pub(super) fn bytes<'a>(row: &'a Row<'_>, at: usize) -> Result<&'a [u8]> {
    match row.get_ref(at)? {
        ValueRef::Blob(bytes) | ValueRef::Text(bytes) => Ok(bytes),
        ValueRef::Null => Ok(&[]),
        _ => Err(Error::Corrupt { record: ROW.to_owned(), cause: "a number where bytes belong".to_owned() }),
    }
}

/// The delayed slices that `id` took the place of.
pub(super) fn slice_pairs(row: &Row<'_>, at: usize, id: SliceId) -> Result<Vec<(SliceId, u32)>> {
    packed::decode_slice_pairs(bytes(row, at)?).map_err(|cause| cause.of(format!("delayed slices of {id}")))
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
