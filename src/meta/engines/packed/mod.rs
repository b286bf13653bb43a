//! Binary records of the engines that store whole values (Redis, key-value stores); format 2.1, 6.4, 8.4, 9.1.
//!
//! All integers are big endian. Writers produce exactly the peer's bytes; readers take every length the
//! peer has ever written and answer anything else with an error, never with a panic: a database may be damaged.

use bytes::Bytes;

use crate::error::{Error, Result};
use crate::lock::{LockKind, RangeLock};
use crate::types::{Attr, CHUNK_BYTES, Edge, Ino, Kind, Slice, SliceId, Time};

pub const EDGE_BYTES: usize = 9;
pub const SLICE_BYTES: usize = 24;
/// One POSIX lock in a holder's record.
pub const RANGE_LOCK_BYTES: usize = 24;
/// A pair of slice id and size, as the lists of delayed slices hold them.
pub const SLICE_PAIR_BYTES: usize = 12;
/// Limits of a quota on Redis: space and inodes.
pub const QUOTA_BYTES: usize = 16;
/// Limits and usage of a quota on key-value engines.
pub const QUOTA_WITH_USAGE_BYTES: usize = 32;

/// Bytes of an attribute record up to and with the parent.
const ATTR_BASE: usize = 71;
/// What an old record without the parent has.
const ATTR_OLD: usize = 63;
const ATTR_ACL: usize = 8;

/// Why a record can't be decoded; the caller adds which record it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PackedError {
    #[error("a record of {0} bytes")]
    Length(usize),
    #[error("node type {0}")]
    Kind(u8),
    #[error("a slice that leaves its chunk (position {pos}, length {len})")]
    BeyondChunk { pos: u32, len: u32 },
    #[error("a lock of type {kind} from {start} to {end}")]
    Lock { kind: u32, start: u64, end: u64 },
    #[error("a slice that uses more bytes than it has (offset {off}, length {len}, size {size})")]
    BeyondSlice { off: u32, len: u32, size: u32 },
}

impl PackedError {
    /// The room's error for the record called `record` (a key, a key and field).
    #[must_use]
    pub fn of(self, record: impl Into<String>) -> Error {
        Error::Corrupt { record: record.into(), cause: self.to_string() }
    }
}

/// A reader over a record whose length was checked before: every `expect` below is that check.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let (head, rest) = self.0.split_first_chunk::<N>().expect("the length of the record was checked");
        self.0 = rest;
        *head
    }

    fn u8(&mut self) -> u8 {
        self.take::<1>()[0]
    }

    fn u16(&mut self) -> u16 {
        u16::from_be_bytes(self.take())
    }

    fn u32(&mut self) -> u32 {
        u32::from_be_bytes(self.take())
    }

    fn u64(&mut self) -> u64 {
        u64::from_be_bytes(self.take())
    }

    fn i64(&mut self) -> i64 {
        i64::from_be_bytes(self.take())
    }

    /// Nanoseconds past a second are carried: a clock somewhere may have written them.
    fn time(&mut self) -> Time {
        let (sec, nsec) = (self.i64(), self.u32());
        Time { sec: sec.saturating_add(i64::from(nsec / 1_000_000_000)), nsec: nsec % 1_000_000_000 }
    }
}

/// The attribute record: 72 bytes, 8 more with ACL ids, 1 more with a tier; the last byte is a spare zero.
#[must_use]
pub fn encode_attr(attr: &Attr) -> Vec<u8> {
    let mut record = Vec::with_capacity(ATTR_BASE + ATTR_ACL + 2);
    record.push(attr.flags);
    record.extend((u16::from(attr.kind.code()) << 12 | attr.mode & 0xFFF).to_be_bytes());
    record.extend(attr.uid.to_be_bytes());
    record.extend(attr.gid.to_be_bytes());
    for time in [attr.atime, attr.mtime, attr.ctime] {
        record.extend(time.sec.to_be_bytes());
        record.extend(time.nsec.to_be_bytes());
    }
    record.extend(attr.nlink.to_be_bytes());
    record.extend(attr.length.to_be_bytes());
    record.extend(attr.rdev.to_be_bytes());
    record.extend(attr.parent.0.to_be_bytes());
    if attr.access_acl != 0 || attr.default_acl != 0 {
        record.extend(attr.access_acl.to_be_bytes());
        record.extend(attr.default_acl.to_be_bytes());
    }
    if attr.tier != 0 {
        record.push(attr.tier);
    }
    record.push(0);
    record
}

/// # Errors
/// A length that no client writes, an unknown node type.
pub fn decode_attr(record: &[u8]) -> Result<Attr, PackedError> {
    let after_base = match record.len() {
        // Without parent, with or without the spare byte.
        63 | 64 => None,
        // After the parent: nothing, the spare byte or a tier, tier and spare; the same behind ACL ids.
        71..=73 => Some(0),
        79..=81 => Some(ATTR_ACL),
        other => return Err(PackedError::Length(other)),
    };
    let mut fields = Fields(record);
    let flags = fields.u8();
    let type_and_mode = fields.u16();
    let type_code = (type_and_mode >> 12) as u8;
    let mut attr = Attr {
        flags,
        kind: Kind::from_code(type_code).ok_or(PackedError::Kind(type_code))?,
        mode: type_and_mode & 0xFFF,
        uid: fields.u32(),
        gid: fields.u32(),
        atime: fields.time(),
        mtime: fields.time(),
        ctime: fields.time(),
        nlink: fields.u32(),
        length: fields.u64(),
        rdev: fields.u32(),
        parent: Ino(0),
        access_acl: 0,
        default_acl: 0,
        tier: 0,
    };
    debug_assert_eq!(record.len() - fields.0.len(), ATTR_OLD);
    let Some(acl_bytes) = after_base else { return Ok(attr) };
    attr.parent = Ino(fields.u64());
    if acl_bytes > 0 {
        attr.access_acl = fields.u32();
        attr.default_acl = fields.u32();
    }
    attr.tier = fields.0.first().copied().unwrap_or(0);
    Ok(attr)
}

#[must_use]
pub fn encode_edge(edge: Edge) -> [u8; EDGE_BYTES] {
    let mut record = [0; EDGE_BYTES];
    record[0] = edge.kind.code();
    record[1..].copy_from_slice(&edge.ino.0.to_be_bytes());
    record
}

/// # Errors
/// Not 9 bytes, an unknown node type.
pub fn decode_edge(record: &[u8]) -> Result<Edge, PackedError> {
    if record.len() != EDGE_BYTES {
        return Err(PackedError::Length(record.len()));
    }
    let mut fields = Fields(record);
    let code = fields.u8();
    let kind = Kind::from_code(code).ok_or(PackedError::Kind(code))?;
    Ok(Edge { ino: Ino(fields.u64()), kind })
}

#[must_use]
pub fn encode_slice(slice: Slice) -> [u8; SLICE_BYTES] {
    let mut record = [0; SLICE_BYTES];
    record[..4].copy_from_slice(&slice.pos.to_be_bytes());
    record[4..12].copy_from_slice(&slice.id.to_be_bytes());
    record[12..16].copy_from_slice(&slice.size.to_be_bytes());
    record[16..20].copy_from_slice(&slice.off.to_be_bytes());
    record[20..].copy_from_slice(&slice.len.to_be_bytes());
    record
}

/// # Errors
/// Not 24 bytes, a slice outside its chunk or outside of itself: readers may then add without overflow.
pub fn decode_slice(record: &[u8]) -> Result<Slice, PackedError> {
    if record.len() != SLICE_BYTES {
        return Err(PackedError::Length(record.len()));
    }
    let mut fields = Fields(record);
    let slice = Slice {
        pos: fields.u32(),
        id: fields.u64(),
        size: fields.u32(),
        off: fields.u32(),
        len: fields.u32(),
    };
    let Slice { pos, id, size, off, len } = slice;
    if u64::from(pos) + u64::from(len) > CHUNK_BYTES {
        return Err(PackedError::BeyondChunk { pos, len });
    }
    if id != 0 && u64::from(off) + u64::from(len) > u64::from(size) {
        return Err(PackedError::BeyondSlice { off, len, size });
    }
    Ok(slice)
}

/// A chunk's list where it is one value (SQL, key-value engines).
///
/// # Errors
/// As [`decode_slice`], or a length that is not a multiple of 24.
pub fn decode_slices(record: &[u8]) -> Result<Vec<Slice>, PackedError> {
    if !record.len().is_multiple_of(SLICE_BYTES) {
        return Err(PackedError::Length(record.len()));
    }
    record.chunks_exact(SLICE_BYTES).map(decode_slice).collect()
}

#[must_use]
pub fn encode_slices(slices: &[Slice]) -> Vec<u8> {
    slices.iter().flat_map(|&slice| encode_slice(slice)).collect()
}

/// A holder's POSIX locks (format 3.3).
#[must_use]
pub fn encode_range_locks(locks: &[RangeLock]) -> Vec<u8> {
    let mut record = Vec::with_capacity(locks.len() * RANGE_LOCK_BYTES);
    for lock in locks {
        record.extend(u32::from(lock.kind == LockKind::Exclusive).to_be_bytes());
        record.extend(lock.pid.to_be_bytes());
        record.extend(lock.start.to_be_bytes());
        record.extend(lock.end.to_be_bytes());
    }
    record
}

/// # Errors
/// A length that is not a multiple of 24, a lock that is neither for reading nor for writing or ends before it begins.
pub fn decode_range_locks(record: &[u8]) -> Result<Vec<RangeLock>, PackedError> {
    if !record.len().is_multiple_of(RANGE_LOCK_BYTES) {
        return Err(PackedError::Length(record.len()));
    }
    let lock = |bytes| {
        let mut fields = Fields(bytes);
        let (kind, pid, start, end) = (fields.u32(), fields.u32(), fields.u64(), fields.u64());
        let lock = |kind| RangeLock { kind, pid, start, end };
        match kind {
            0 if start <= end => Ok(lock(LockKind::Shared)),
            1 if start <= end => Ok(lock(LockKind::Exclusive)),
            _ => Err(PackedError::Lock { kind, start, end }),
        }
    };
    record.chunks_exact(RANGE_LOCK_BYTES).map(lock).collect()
}

/// Compacted-away slices, one pair per record that pointed at them.
///
/// # Errors
/// A length that is not a multiple of 12.
pub fn decode_slice_pairs(record: &[u8]) -> Result<Vec<(SliceId, u32)>, PackedError> {
    if !record.len().is_multiple_of(SLICE_PAIR_BYTES) {
        return Err(PackedError::Length(record.len()));
    }
    let pair = |bytes| {
        let mut fields = Fields(bytes);
        (fields.u64(), fields.u32())
    };
    Ok(record.chunks_exact(SLICE_PAIR_BYTES).map(pair).collect())
}

#[must_use]
pub fn encode_slice_pairs(pairs: &[(SliceId, u32)]) -> Vec<u8> {
    let mut record = Vec::with_capacity(pairs.len() * SLICE_PAIR_BYTES);
    for (id, size) in pairs {
        record.extend(id.to_be_bytes());
        record.extend(size.to_be_bytes());
    }
    record
}

/// Limits of a quota; 0 and below = no limit. Usage is kept apart on Redis.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QuotaRecord {
    pub space_max: i64,
    pub inodes_max: i64,
    /// Space and inodes in use, where the engine keeps them in the same record.
    pub used: Option<(i64, i64)>,
}

#[must_use]
pub fn encode_quota(quota: &QuotaRecord) -> Vec<u8> {
    let mut record = Vec::with_capacity(QUOTA_WITH_USAGE_BYTES);
    record.extend(quota.space_max.to_be_bytes());
    record.extend(quota.inodes_max.to_be_bytes());
    if let Some((space, inodes)) = quota.used {
        record.extend(space.to_be_bytes());
        record.extend(inodes.to_be_bytes());
    }
    record
}

/// # Errors
/// Neither 16 nor 32 bytes.
pub fn decode_quota(record: &[u8]) -> Result<QuotaRecord, PackedError> {
    let mut fields = Fields(record);
    match record.len() {
        QUOTA_BYTES => Ok(QuotaRecord { space_max: fields.i64(), inodes_max: fields.i64(), used: None }),
        QUOTA_WITH_USAGE_BYTES => Ok(QuotaRecord {
            space_max: fields.i64(),
            inodes_max: fields.i64(),
            used: Some((fields.i64(), fields.i64())),
        }),
        other => Err(PackedError::Length(other)),
    }
}

/// A POSIX ACL as stored; 0xFFFF = absent.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AclRecord {
    pub owner: u16,
    pub group: u16,
    pub mask: u16,
    pub other: u16,
    pub named_users: Vec<(u32, u16)>,
    pub named_groups: Vec<(u32, u16)>,
}

#[must_use]
pub fn encode_acl(acl: &AclRecord) -> Bytes {
    let mut record = Vec::with_capacity(16 + 6 * (acl.named_users.len() + acl.named_groups.len()));
    for bits in [acl.owner, acl.group, acl.mask, acl.other] {
        record.extend(bits.to_be_bytes());
    }
    for named in [&acl.named_users, &acl.named_groups] {
        record.extend((named.len() as u32).to_be_bytes());
        record.extend(encode_named(named));
    }
    record.into()
}

/// Named users or groups without their count, as a column of its own holds them.
#[must_use]
pub fn encode_named(named: &[(u32, u16)]) -> Vec<u8> {
    let mut list = Vec::with_capacity(6 * named.len());
    for (id, bits) in named {
        list.extend(id.to_be_bytes());
        list.extend(bits.to_be_bytes());
    }
    list
}

/// # Errors
/// A length that is not a multiple of 6.
pub fn decode_named(list: &[u8]) -> Result<Vec<(u32, u16)>, PackedError> {
    if !list.len().is_multiple_of(6) {
        return Err(PackedError::Length(list.len()));
    }
    let entry = |bytes| {
        let mut fields = Fields(bytes);
        (fields.u32(), fields.u16())
    };
    Ok(list.chunks_exact(6).map(entry).collect())
}

/// # Errors
/// A count that the record's length does not carry, or bytes left over.
pub fn decode_acl(record: &[u8]) -> Result<AclRecord, PackedError> {
    let wrong = PackedError::Length(record.len());
    if record.len() < 12 {
        return Err(wrong);
    }
    let mut fields = Fields(record);
    let [owner, group, mask, other] = [(); 4].map(|()| fields.u16());
    let mut lists = [Vec::new(), Vec::new()];
    for list in &mut lists {
        if fields.0.len() < 4 {
            return Err(wrong);
        }
        let count = fields.u32() as usize;
        // Checked before anything is reserved: the count is the database's word.
        if count > fields.0.len() / 6 {
            return Err(wrong);
        }
        *list = (0..count).map(|_| (fields.u32(), fields.u16())).collect();
    }
    if !fields.0.is_empty() {
        return Err(wrong);
    }
    let [named_users, named_groups] = lists;
    Ok(AclRecord { owner, group, mask, other, named_users, named_groups })
}

#[cfg(test)]
mod tests;
