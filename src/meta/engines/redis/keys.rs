//! Key names, hash fields and set members, exactly as format 3.2 has them, and their way back.
//!
//! Standalone servers have no key prefix; a cluster will need one here and nowhere else.

use crate::lock::Holder;
use crate::port::QuotaKind;
use crate::types::{Ino, SliceId};

pub(super) const SETTING: &str = "setting";
pub(super) const ALL_SESSIONS: &str = "allSessions";
pub(super) const SESSION_INFOS: &str = "sessionInfos";
pub(super) const DELETED_FILES: &str = "delfiles";
pub(super) const DELAYED_SLICES: &str = "delSlices";
pub(super) const SLICE_REFS: &str = "sliceRef";
/// Lines of the change log, the oldest first; the number of the last is in [`LOG_LAST`].
pub(super) const LOG: &str = "txnLog";
pub(super) const LOG_LAST: &str = "txnLastLog";
/// Side records (decisions 21); no other client reads it.
pub(super) const SIDES: &str = "Xrs";
pub(super) const USED_SPACE: &str = "usedSpace";
pub(super) const TOTAL_INODES: &str = "totalInodes";
/// Of all children, the order the three statistics travel in everywhere here: length, space, inodes.
pub(super) const DIR_STATS: [&str; 3] = ["dirDataLength", "dirUsedSpace", "dirUsedInodes"];
pub(super) const DIR_QUOTAS: [&str; 3] = ["dirQuota", "dirQuotaUsedSpace", "dirQuotaUsedInodes"];

pub(super) const ACL: &str = "acl";
/// The number of the last ACL.
pub(super) const ACL_MAX: &str = "aclMaxId";

/// Limits, used space and used inodes of the quotas of a kind.
pub(super) fn quotas(kind: QuotaKind) -> [&'static str; 3] {
    match kind {
        QuotaKind::Directory => DIR_QUOTAS,
        QuotaKind::User => ["userQuota", "userQuotaUsedSpace", "userQuotaUsedInodes"],
        QuotaKind::Group => ["groupQuota", "groupQuotaUsedSpace", "groupQuotaUsedInodes"],
    }
}

pub(super) fn node(ino: Ino) -> String {
    format!("i{ino}")
}

pub(super) fn directory(ino: Ino) -> String {
    format!("d{ino}")
}

pub(super) fn parents(ino: Ino) -> String {
    format!("p{ino}")
}

pub(super) fn chunk(ino: Ino, indx: u32) -> String {
    format!("c{ino}_{indx}")
}

pub(super) fn symlink(ino: Ino) -> String {
    format!("s{ino}")
}

pub(super) fn xattrs(ino: Ino) -> String {
    format!("x{ino}")
}

pub(super) fn sustained(sid: u64) -> String {
    format!("session{sid}")
}

pub(super) fn locked(sid: u64) -> String {
    format!("locked{sid}")
}

pub(super) fn flocks(ino: Ino) -> String {
    format!("lockf{ino}")
}

pub(super) fn range_locks(ino: Ino) -> String {
    format!("lockp{ino}")
}

/// Field of both lock hashes.
pub(super) fn holder(holder: Holder) -> String {
    format!("{}_{:016X}", holder.sid, holder.owner)
}

/// Member of `delfiles`.
pub(super) fn deleted_file(ino: Ino, length: u64) -> String {
    format!("{ino}:{length}")
}

/// Field of `sliceRef`.
pub(super) fn slice_ref(id: SliceId, size: u32) -> String {
    format!("k{id}_{size}")
}

/// Marker of one transaction connection (decisions 20). No other client reads a key that begins so.
pub(super) fn marker(client: &str, slot: usize) -> String {
    format!("Xop.{client}.{slot}")
}

/// Decimal number without sign, blank or leading zero: what the writers of keys produce.
pub(super) fn number<T: std::str::FromStr>(digits: &[u8]) -> Option<T> {
    let canonical = match digits {
        [b'0'] => true,
        [b'1'..=b'9', rest @ ..] => rest.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    if !canonical {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Decimal number, possibly negative.
pub(super) fn signed(digits: &[u8]) -> Option<i64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn pair<A: std::str::FromStr, B: std::str::FromStr>(text: &[u8], separator: u8) -> Option<(A, B)> {
    let at = text.iter().position(|&byte| byte == separator)?;
    Some((number(&text[..at])?, number(&text[at + 1..])?))
}

pub(super) fn parse_node(key: &[u8]) -> Option<Ino> {
    number(key.strip_prefix(b"i")?).map(Ino)
}

pub(super) fn parse_directory(key: &[u8]) -> Option<Ino> {
    number(key.strip_prefix(b"d")?).map(Ino)
}

pub(super) fn parse_parents(key: &[u8]) -> Option<Ino> {
    number(key.strip_prefix(b"p")?).map(Ino)
}

pub(super) fn parse_symlink(key: &[u8]) -> Option<Ino> {
    number(key.strip_prefix(b"s")?).map(Ino)
}

pub(super) fn parse_xattrs(key: &[u8]) -> Option<Ino> {
    number(key.strip_prefix(b"x")?).map(Ino)
}

pub(super) fn parse_chunk(key: &[u8]) -> Option<(Ino, u32)> {
    pair(key.strip_prefix(b"c")?, b'_').map(|(ino, indx)| (Ino(ino), indx))
}

pub(super) fn parse_sustained(key: &[u8]) -> Option<u64> {
    number(key.strip_prefix(b"session")?)
}

pub(super) fn parse_deleted_file(member: &[u8]) -> Option<(Ino, u64)> {
    pair(member, b':').map(|(ino, length)| (Ino(ino), length))
}

pub(super) fn parse_slice_ref(field: &[u8]) -> Option<(SliceId, u32)> {
    pair(field.strip_prefix(b"k")?, b'_')
}

/// Field of both lock hashes.
pub(super) fn parse_holder(field: &[u8]) -> Option<Holder> {
    let at = field.iter().position(|&byte| byte == b'_')?;
    let digits = std::str::from_utf8(&field[at + 1..]).ok().filter(|digits| !digits.starts_with('+'))?;
    Some(Holder { sid: number(&field[..at])?, owner: u64::from_str_radix(digits, 16).ok()? })
}

/// Field of `delSlices`: slice id and unix seconds.
pub(super) fn delayed(id: SliceId, deleted_at: i64) -> String {
    format!("{id}_{deleted_at}")
}

pub(super) fn parse_delayed(field: &[u8]) -> Option<(SliceId, i64)> {
    pair(field, b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_there_and_back() {
        assert_eq!(parse_node(node(Ino::TRASH).as_bytes()), Some(Ino(9_223_372_032_828_243_968)));
        assert_eq!(parse_chunk(chunk(Ino(14), 3).as_bytes()), Some((Ino(14), 3)));
        assert_eq!(parse_sustained(sustained(7).as_bytes()), Some(7));
        assert_eq!(parse_deleted_file(deleted_file(Ino(5), 0).as_bytes()), Some((Ino(5), 0)));
        assert_eq!(parse_slice_ref(slice_ref(9, 4096).as_bytes()), Some((9, 4096)));
        let lock = Holder { sid: 1, owner: 0x414C_3DDE_FE02_3F66 };
        assert_eq!(holder(lock), "1_414C3DDEFE023F66");
        assert_eq!(parse_holder(holder(lock).as_bytes()), Some(lock));
        assert_eq!(holder(Holder { owner: 0xAA, ..lock }), "1_00000000000000AA");
        assert_eq!((parse_holder(b"1"), parse_holder(b"x_1"), parse_holder(b"1_+1")), (None, None, None));
        assert_eq!(parse_delayed(b"16_1795301406"), Some((16, 1_795_301_406)));
    }

    #[test]
    fn keys_of_others_are_nobodys() {
        for key in ["i", "i01", "i-1", "i+1", "i1x", "c1", "c1_", "c_1", "sessionInfos", "Xop.a.1", "setting"]
        {
            let key = key.as_bytes();
            assert_eq!(parse_node(key), None);
            assert_eq!(parse_chunk(key), None);
            assert_eq!(parse_sustained(key), None);
        }
    }
}
