//! Values that only key-value databases hold whole, and the errors of those that can't be decoded.

use bytes::Bytes;

use super::keys;
use crate::engines::packed::{self, QuotaRecord};
use crate::error::{Error, Result};
use crate::lock::{Holder, LockKind, RangeLock};
use crate::port::{QuotaKind, QuotaRow};
use crate::types::{Attr, DirStat, Edge, Slice, SliceId, Usage};

/// Session, owner and letter.
const FLOCK_BYTES: usize = 17;
/// Session, owner and the length of what follows.
const RANGE_LOCKS_HEAD: usize = 20;

pub(super) fn corrupt(key: &[u8], cause: impl Into<String>) -> Error {
    Error::Corrupt { record: keys::show(key), cause: cause.into() }
}

fn length(key: &[u8], value: &[u8]) -> Error {
    corrupt(key, format!("a record of {} bytes", value.len()))
}

pub(super) fn attr(key: &[u8], value: &[u8]) -> Result<Attr> {
    packed::decode_attr(value).map_err(|cause| cause.of(keys::show(key)))
}

pub(super) fn edge(key: &[u8], value: &[u8]) -> Result<Edge> {
    packed::decode_edge(value).map_err(|cause| cause.of(keys::show(key)))
}

pub(super) fn slices(key: &[u8], value: &[u8]) -> Result<Vec<Slice>> {
    packed::decode_slices(value).map_err(|cause| cause.of(keys::show(key)))
}

pub(super) fn slice_pairs(key: &[u8], value: &[u8]) -> Result<Vec<(SliceId, u32)>> {
    packed::decode_slice_pairs(value).map_err(|cause| cause.of(keys::show(key)))
}

/// A time or an amount outside of counters.
pub(super) fn big_endian(key: &[u8], value: &[u8]) -> Result<i64> {
    value.try_into().map(i64::from_be_bytes).map_err(|_| length(key, value))
}

/// A counter, a count of names, the references beyond the first.
pub(super) fn little_endian(key: &[u8], value: &[u8]) -> Result<i64> {
    value.try_into().map(i64::from_le_bytes).map_err(|_| length(key, value))
}

pub(super) fn count(number: i64) -> Bytes {
    Bytes::copy_from_slice(&number.to_le_bytes())
}

pub(super) fn seconds(number: i64) -> Bytes {
    Bytes::copy_from_slice(&number.to_be_bytes())
}

pub(super) fn dir_stat(key: &[u8], value: &[u8]) -> Result<DirStat> {
    let Ok(bytes) = <[u8; 24]>::try_from(value) else { return Err(length(key, value)) };
    let number = |at: usize| i64::from_be_bytes(std::array::from_fn(|nth| bytes[at + nth]));
    Ok(DirStat { length: number(0), space: number(8), inodes: number(16) })
}

pub(super) fn encode_dir_stat(stat: DirStat) -> Bytes {
    [stat.length, stat.space, stat.inodes].map(i64::to_be_bytes).concat().into()
}

pub(super) fn quota(kind: QuotaKind, number: u64, key: &[u8], value: &[u8]) -> Result<QuotaRow> {
    let record = packed::decode_quota(value).map_err(|cause| cause.of(keys::show(key)))?;
    let Some((space, inodes)) = record.used else { return Err(length(key, value)) };
    let QuotaRecord { space_max, inodes_max, .. } = record;
    Ok(QuotaRow { kind, key: number, space_max, inodes_max, used: Usage { space, inodes } })
}

pub(super) fn encode_quota(row: &QuotaRow) -> Bytes {
    let used = Some((row.used.space, row.used.inodes));
    packed::encode_quota(&QuotaRecord { space_max: row.space_max, inodes_max: row.inodes_max, used }).into()
}

/// In the order of their holders.
pub(super) fn flocks(key: &[u8], value: &[u8]) -> Result<Vec<(Holder, LockKind)>> {
    if !value.len().is_multiple_of(FLOCK_BYTES) {
        return Err(length(key, value));
    }
    let lock = |record: &[u8]| {
        let (holder, letter) = record.split_at(16);
        let holder = keys::holder(holder.try_into().map_err(|_| length(key, value))?);
        match letter {
            b"R" => Ok((holder, LockKind::Shared)),
            b"W" => Ok((holder, LockKind::Exclusive)),
            other => Err(corrupt(key, format!("\"{}\" is no lock", other.escape_ascii()))),
        }
    };
    let mut locks = value.chunks_exact(FLOCK_BYTES).map(lock).collect::<Result<Vec<_>>>()?;
    locks.sort_unstable_by_key(|(holder, _)| *holder);
    Ok(locks)
}

pub(super) fn encode_flocks(locks: &[(Holder, LockKind)]) -> Bytes {
    let mut value = Vec::with_capacity(locks.len() * FLOCK_BYTES);
    for (holder, kind) in locks {
        value.extend(holder.sid.to_be_bytes());
        value.extend(holder.owner.to_be_bytes());
        value.push(if *kind == LockKind::Shared { b'R' } else { b'W' });
    }
    value.into()
}

/// In the order of their holders.
pub(super) fn range_locks(key: &[u8], value: &[u8]) -> Result<Vec<(Holder, Vec<RangeLock>)>> {
    let (mut locks, mut left) = (Vec::new(), value);
    while !left.is_empty() {
        let cut = || length(key, value);
        let (head, rest) = left.split_first_chunk::<RANGE_LOCKS_HEAD>().ok_or_else(cut)?;
        let holder = keys::holder(std::array::from_fn(|at| head[at]));
        let bytes = u32::from_be_bytes(std::array::from_fn(|at| head[16 + at])) as usize;
        let (records, rest) = rest.split_at_checked(bytes).ok_or_else(cut)?;
        let records = packed::decode_range_locks(records).map_err(|cause| cause.of(keys::show(key)))?;
        locks.push((holder, records));
        left = rest;
    }
    locks.sort_unstable_by_key(|(holder, _)| *holder);
    Ok(locks)
}

pub(super) fn encode_range_locks(locks: &[(Holder, Vec<RangeLock>)]) -> Bytes {
    let mut value = Vec::new();
    for (holder, locks) in locks {
        let records = packed::encode_range_locks(locks);
        value.extend(holder.sid.to_be_bytes());
        value.extend(holder.owner.to_be_bytes());
        value.extend((records.len() as u32).to_be_bytes());
        value.extend(records);
    }
    value.into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// A database may hold anything: an error, never a panic.
        #[test]
        fn any_bytes_decode_to_a_value_or_an_error(value in prop::collection::vec(any::<u8>(), 0..80)) {
            let key = b"F";
            let _ = (flocks(key, &value), range_locks(key, &value), dir_stat(key, &value));
            let _ = (quota(QuotaKind::User, 1, key, &value), little_endian(key, &value));
        }

        #[test]
        fn locks_go_there_and_back(holders in prop::collection::btree_map(any::<(u64, u64)>(), any::<bool>(), 0..5)) {
            let kind = |is_shared| if is_shared { LockKind::Shared } else { LockKind::Exclusive };
            let whole: Vec<_> = holders
                .iter()
                .map(|(&(sid, owner), &is_shared)| (Holder { sid, owner }, kind(is_shared)))
                .collect();
            prop_assert_eq!(&flocks(b"F", &encode_flocks(&whole)).unwrap(), &whole);
            let range = |&(holder, kind)| (holder, vec![RangeLock { kind, pid: 7, start: 5, end: 14 }]);
            let ranges: Vec<_> = whole.iter().map(range).collect();
            prop_assert_eq!(range_locks(b"P", &encode_range_locks(&ranges)).unwrap(), ranges);
        }
    }
}
