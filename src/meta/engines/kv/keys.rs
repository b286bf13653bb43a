//! Keys and the smallest values, exactly as format 5.2 has them, and their way back. Inodes in keys are little endian,
//! counters too; everything else is big endian (trap 4).

use super::store::{Key, Range};
use crate::lock::Holder;
use crate::port::{Job, QuotaKind, Sequence};
use crate::types::{Ino, Name, SliceId};

pub(super) const SETTING: &[u8] = b"setting";
pub(super) const USED_SPACE: &str = "usedSpace";
pub(super) const TOTAL_INODES: &str = "totalInodes";
/// The number of the last ACL.
pub(super) const ACL_MAX: &str = "aclMaxId";

/// Side records (decisions 21); the peer has other keys below `X`.
pub(super) const SIDES: &[u8] = b"Xrs";
/// Markers of commits (decisions 20).
pub(super) const MARKERS: &[u8] = b"Xop";

/// What an inode has a key of, by the letter behind the inode.
pub(super) mod part {
    pub(in crate::engines::kv) const NODE: u8 = b'I';
    pub(in crate::engines::kv) const EDGE: u8 = b'D';
    pub(in crate::engines::kv) const PARENT: u8 = b'P';
    pub(in crate::engines::kv) const CHUNK: u8 = b'C';
    pub(in crate::engines::kv) const SYMLINK: u8 = b'S';
    pub(in crate::engines::kv) const XATTR: u8 = b'X';
}

/// Bytes of `A`, an inode and a letter.
const OF_INODE: usize = 10;

fn of_inode(ino: Ino, letter: u8, rest: &[u8]) -> Key {
    let mut key = Vec::with_capacity(OF_INODE + rest.len());
    key.push(b'A');
    key.extend(ino.0.to_le_bytes());
    key.push(letter);
    key.extend(rest);
    key
}

fn joined(letters: &[u8], parts: &[&[u8]]) -> Key {
    let mut key = letters.to_vec();
    parts.iter().for_each(|part| key.extend(*part));
    key
}

/// All keys of an inode that begin with a letter.
pub(super) fn all_of(ino: Ino, letter: u8) -> Range {
    Range::prefix(of_inode(ino, letter, &[]))
}

/// Every key of every inode.
pub(super) fn of_inodes() -> Range {
    Range::prefix(b"A".to_vec())
}

pub(super) fn node(ino: Ino) -> Key {
    of_inode(ino, part::NODE, &[])
}

pub(super) fn edge(parent: Ino, name: &Name) -> Key {
    of_inode(parent, part::EDGE, name.as_bytes())
}

pub(super) fn parent(ino: Ino, parent: Ino) -> Key {
    of_inode(ino, part::PARENT, &parent.0.to_le_bytes())
}

pub(super) fn chunk(ino: Ino, indx: u32) -> Key {
    of_inode(ino, part::CHUNK, &indx.to_be_bytes())
}

pub(super) fn chunks(ino: Ino, first: u32, last: u32) -> Range {
    let to = match last.checked_add(1) {
        Some(end) => chunk(ino, end),
        None => all_of(ino, part::CHUNK).to,
    };
    Range { from: chunk(ino, first), to }
}

pub(super) fn symlink(ino: Ino) -> Key {
    of_inode(ino, part::SYMLINK, &[])
}

pub(super) fn xattr(ino: Ino, name: &[u8]) -> Key {
    of_inode(ino, part::XATTR, name)
}

pub(super) fn deleted_file(ino: Ino, length: u64) -> Key {
    joined(b"D", &[&ino.0.to_le_bytes(), &length.to_be_bytes()])
}

pub(super) fn flocks(ino: Ino) -> Key {
    joined(b"F", &[&ino.0.to_le_bytes()])
}

pub(super) fn range_locks(ino: Ino) -> Key {
    joined(b"P", &[&ino.0.to_le_bytes()])
}

pub(super) fn slice_ref(id: SliceId, size: u32) -> Key {
    joined(b"K", &[&id.to_be_bytes(), &size.to_be_bytes()])
}

pub(super) fn delayed_slices(id: SliceId, deleted_at: i64) -> Key {
    joined(b"L", &[&deleted_at.to_be_bytes(), &id.to_be_bytes()])
}

pub(super) fn session_expiry(sid: u64) -> Key {
    joined(b"SE", &[&sid.to_be_bytes()])
}

pub(super) fn session_expiries() -> Range {
    Range::prefix(b"SE".to_vec())
}

pub(super) fn session_info(sid: u64) -> Key {
    joined(b"SI", &[&sid.to_be_bytes()])
}

pub(super) fn sustained(sid: u64, ino: Ino) -> Key {
    joined(b"SS", &[&sid.to_be_bytes(), &ino.0.to_le_bytes()])
}

pub(super) fn sustained_by(sid: Option<u64>) -> Range {
    let of_one = sid.map(u64::to_be_bytes);
    Range::prefix(joined(b"SS", &[of_one.as_ref().map_or(&[], |sid| &sid[..])]))
}

pub(super) fn dir_stat(ino: Ino) -> Key {
    joined(b"U", &[&ino.0.to_le_bytes()])
}

fn quota_letters(kind: QuotaKind) -> &'static [u8] {
    match kind {
        QuotaKind::Directory => b"QD",
        QuotaKind::User => b"QU",
        QuotaKind::Group => b"QG",
    }
}

/// Directories by inode, so little endian; users and groups big endian.
pub(super) fn quota(kind: QuotaKind, key: u64) -> Key {
    let number = if kind == QuotaKind::Directory { key.to_le_bytes() } else { key.to_be_bytes() };
    joined(quota_letters(kind), &[&number])
}

pub(super) fn quotas(kind: QuotaKind) -> Range {
    Range::prefix(quota_letters(kind).to_vec())
}

pub(super) fn acl(id: u32) -> Key {
    joined(b"R", &[&id.to_be_bytes()])
}

pub(super) fn side(name: &str) -> Key {
    joined(SIDES, &[name.as_bytes()])
}

pub(super) fn counter(name: &str) -> Key {
    joined(b"C", &[name.as_bytes()])
}

pub(super) fn sequence(sequence: Sequence) -> Key {
    counter(sequence.counter())
}

pub(super) fn job(job: Job) -> Key {
    counter(job.counter())
}

/// For sentences.
pub(super) fn show(key: &[u8]) -> String {
    format!("key {}", key.escape_ascii())
}

/// The last `N` bytes of a key that has nothing else behind `letters`.
fn rest<'k, const N: usize>(key: &'k [u8], letters: &[u8]) -> Option<&'k [u8; N]> {
    key.strip_prefix(letters)?.try_into().ok()
}

fn two<const A: usize, const B: usize>(key: &[u8], letters: &[u8]) -> Option<([u8; A], [u8; B])> {
    let key = key.strip_prefix(letters)?;
    let (first, second) = key.split_first_chunk::<A>()?;
    Some((*first, second.try_into().ok()?))
}

/// Inode, letter and what stands behind it.
pub(super) fn parse_of_inode(key: &[u8]) -> Option<(Ino, u8, &[u8])> {
    let (ino, rest) = key.strip_prefix(b"A")?.split_first_chunk::<8>()?;
    let (letter, rest) = rest.split_first()?;
    Some((Ino(u64::from_le_bytes(*ino)), *letter, rest))
}

pub(super) fn parse_indx(rest: &[u8]) -> Option<u32> {
    rest.try_into().ok().map(u32::from_be_bytes)
}

pub(super) fn parse_parent(rest: &[u8]) -> Option<Ino> {
    rest.try_into().ok().map(u64::from_le_bytes).map(Ino)
}

pub(super) fn parse_deleted_file(key: &[u8]) -> Option<(Ino, u64)> {
    let (ino, length) = two::<8, 8>(key, b"D")?;
    Some((Ino(u64::from_le_bytes(ino)), u64::from_be_bytes(length)))
}

pub(super) fn parse_slice_ref(key: &[u8]) -> Option<(SliceId, u32)> {
    let (id, size) = two::<8, 4>(key, b"K")?;
    Some((u64::from_be_bytes(id), u32::from_be_bytes(size)))
}

/// Slice and unix seconds.
pub(super) fn parse_delayed_slices(key: &[u8]) -> Option<(SliceId, i64)> {
    let (at, id) = two::<8, 8>(key, b"L")?;
    Some((u64::from_be_bytes(id), i64::from_be_bytes(at)))
}

pub(super) fn parse_session(key: &[u8]) -> Option<u64> {
    rest::<8>(key, b"SE").map(|sid| u64::from_be_bytes(*sid))
}

pub(super) fn parse_sustained(key: &[u8]) -> Option<(u64, Ino)> {
    let (sid, ino) = two::<8, 8>(key, b"SS")?;
    Some((u64::from_be_bytes(sid), Ino(u64::from_le_bytes(ino))))
}

pub(super) fn parse_dir_stat(key: &[u8]) -> Option<Ino> {
    rest::<8>(key, b"U").map(|ino| Ino(u64::from_le_bytes(*ino)))
}

pub(super) fn parse_quota(kind: QuotaKind, key: &[u8]) -> Option<u64> {
    let number = *rest::<8>(key, quota_letters(kind))?;
    Some(if kind == QuotaKind::Directory { u64::from_le_bytes(number) } else { u64::from_be_bytes(number) })
}

pub(super) fn parse_acl(key: &[u8]) -> Option<u32> {
    rest::<4>(key, b"R").map(|id| u32::from_be_bytes(*id))
}

/// Part of a lock record.
pub(super) fn holder(bytes: [u8; 16]) -> Holder {
    let number = |at: usize| u64::from_be_bytes(std::array::from_fn(|nth| bytes[at + nth]));
    Holder { sid: number(0), owner: number(8) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(key: &[u8]) -> String {
        use std::fmt::Write;
        key.iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    }

    /// Format 17.2: keys that the peer wrote.
    #[test]
    fn keys_are_the_peers() {
        assert_eq!(hex(&node(Ino(2))), "41020000000000000049");
        assert_eq!(hex(&chunk(Ino(6), 0)), "4106000000000000004300000000");
        assert_eq!(hex(&slice_ref(4, 1000)), "4b0000000000000004000003e8");
        assert_eq!(hex(&dir_stat(Ino(1))), "550100000000000000");
        assert_eq!(hex(&session_expiry(1)), "53450000000000000001");
        assert_eq!(hex(&quota(QuotaKind::Directory, 2)), "51440200000000000000");
        assert_eq!(hex(&quota(QuotaKind::User, 1001)), "515500000000000003e9");
    }

    #[test]
    fn keys_go_there_and_back() {
        let name = Name::new("a").expect("a name");
        assert_eq!(parse_of_inode(&edge(Ino(7), &name)), Some((Ino(7), part::EDGE, &b"a"[..])));
        assert_eq!(parse_of_inode(&node(Ino::TRASH)), Some((Ino::TRASH, part::NODE, &b""[..])));
        assert_eq!(parse_deleted_file(&deleted_file(Ino(5), 9)), Some((Ino(5), 9)));
        assert_eq!(parse_slice_ref(&slice_ref(9, 4096)), Some((9, 4096)));
        assert_eq!(parse_delayed_slices(&delayed_slices(16, 1_795_301_406)), Some((16, 1_795_301_406)));
        assert_eq!(parse_sustained(&sustained(3, Ino(5))), Some((3, Ino(5))));
        assert_eq!(parse_quota(QuotaKind::Directory, &quota(QuotaKind::Directory, 5)), Some(5));
        assert_eq!(parse_quota(QuotaKind::Group, &quota(QuotaKind::Group, 5)), Some(5));
        assert_eq!(parse_quota(QuotaKind::User, &quota(QuotaKind::Group, 5)), None);
        assert_eq!((parse_session(&session_info(3)), parse_dir_stat(b"U1")), (None, None));
        assert!(chunks(Ino(5), 0, u32::MAX).contains(&chunk(Ino(5), u32::MAX)));
        assert!(!chunks(Ino(5), 1, 2).contains(&chunk(Ino(5), 3)));
        assert_eq!(Range::prefix(vec![1, 0xFF]).to, [2]);
    }
}
