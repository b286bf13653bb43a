//! The vectors are format 17.1 and 17.2, bytes that the peer wrote.

use proptest::prelude::*;

use super::*;

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

const REGULAR: &str = "0011ed0000000000000000000000006b02201d1ae79b9b000000006b02201d1b30b929000000006b02201d1b3633db00000001000000000000600000000000000000000000000100";
const LINKED_WITH_ACL: &str = "0011bc0000000000000000000000006b021fe12cbb16c2000000006b021fe12cc2766d000000006b0220001a4bc442000000020000000000000006000000000000000000000000000000010000000000";
const CHAR_DEVICE: &str = "0061a40000000000000000000000006b021fe12e29901f000000006b021fe12e29901f000000006b021fe12e29901f00000001000000000000000000000501000000000000000100";
const TRASH_HOUR: &str = "00216d0000000000000000000000006b02200019e3be36000000006b02200019e3be36000000006b02200019e3be36000000020000000000001000000000007fffffff1000000000";
const TIERED: &str = "0011a40000000000000000000000006b02211a04c210bb000000006b02211a04c6bce9000000006b02211a04d4688a00000001000000000000000c0000000000000000000004010200";

#[test]
fn golden_attributes_decode_and_encode_to_the_same_bytes() {
    for (hex, length) in
        [(REGULAR, 72), (LINKED_WITH_ACL, 80), (CHAR_DEVICE, 72), (TRASH_HOUR, 72), (TIERED, 73)]
    {
        let record = bytes(hex);
        assert_eq!(record.len(), length);
        let attr = decode_attr(&record).unwrap();
        assert_eq!(encode_attr(&attr), record, "{attr:?}");
    }
}

#[test]
fn golden_attributes_mean_what_the_format_says() {
    let regular = decode_attr(&bytes(REGULAR)).unwrap();
    assert_eq!((regular.kind, regular.mode, regular.nlink), (Kind::File, 0o755, 1));
    assert_eq!((regular.length, regular.parent), (24576, Ino::ROOT));
    let linked = decode_attr(&bytes(LINKED_WITH_ACL)).unwrap();
    assert_eq!((linked.mode, linked.nlink, linked.length), (0o674, 2, 6));
    assert_eq!((linked.parent, linked.access_acl, linked.default_acl), (Ino(0), 1, 0));
    let device = decode_attr(&bytes(CHAR_DEVICE)).unwrap();
    assert_eq!((device.kind, device.rdev, device.mode), (Kind::CharDevice, 0x501, 0o644));
    let hour = decode_attr(&bytes(TRASH_HOUR)).unwrap();
    assert_eq!((hour.kind, hour.mode, hour.parent), (Kind::Directory, 0o555, Ino::TRASH));
    let tiered = decode_attr(&bytes(TIERED)).unwrap();
    assert_eq!((tiered.tier, tiered.length, tiered.parent), (2, 12, Ino(1025)));
}

#[test]
fn records_of_older_and_other_writers_are_read() {
    let full = bytes(REGULAR);
    let attr = decode_attr(&full).unwrap();
    assert_eq!(decode_attr(&full[..71]).unwrap(), attr, "no spare byte");
    let orphan = Attr { parent: Ino(0), ..attr };
    assert_eq!(decode_attr(&full[..63]).unwrap(), orphan, "no parent");
    assert_eq!(decode_attr(&[&full[..63], &[0]].concat()).unwrap(), orphan);
    let both = Attr { access_acl: 1, tier: 1, ..attr };
    let record = encode_attr(&both);
    assert_eq!(record.len(), 81);
    assert_eq!(record[71..], bytes("00000001 00000000 01 00"));
    assert_eq!(decode_attr(&record).unwrap(), both);
    assert_eq!(decode_attr(&record[..80]).unwrap(), both, "tier without the spare byte");
    assert_eq!(decode_attr(&full[..62]), Err(PackedError::Length(62)));
    assert_eq!(decode_attr(&[]), Err(PackedError::Length(0)));
}

#[test]
fn golden_edges_slices_quotas_and_acls_hold() {
    let edge = Edge { ino: Ino(1025), kind: Kind::Directory };
    assert_eq!(encode_edge(edge).to_vec(), bytes("02 0000000000000401"));
    assert_eq!(decode_edge(&encode_edge(edge)), Ok(edge));
    let data = Slice { pos: 0, id: 8, size: 3000, off: 0, len: 3000 };
    let hole = Slice { pos: 2, id: 0, size: 0, off: 0, len: 98 };
    let data_record = bytes("00000000 0000000000000008 00000BB8 00000000 00000BB8");
    let hole_record = bytes("00000002 0000000000000000 00000000 00000000 00000062");
    assert_eq!(encode_slice(data).to_vec(), data_record);
    assert_eq!(encode_slice(hole).to_vec(), hole_record);
    assert_eq!(decode_slices(&[data_record, hole_record].concat()), Ok(vec![data, hole]));
    assert_eq!(encode_slices(&[data, hole]).len(), 2 * SLICE_BYTES);
    let quota = QuotaRecord { space_max: 1 << 30, inodes_max: 100, used: None };
    assert_eq!(encode_quota(&quota), bytes("0000000040000000 0000000000000064"));
    let kv = bytes("ffffffffffffffff 000000000000000a 0000000000002000 0000000000000002");
    let with_usage = QuotaRecord { space_max: -1, inodes_max: 10, used: Some((8192, 2)) };
    assert_eq!(decode_quota(&kv), Ok(with_usage));
    assert_eq!(encode_quota(&with_usage), kv);
    let rule = bytes("0006 0004 0007 0004 00000001 000003e9 0007 00000000");
    let acl = decode_acl(&rule).unwrap();
    assert_eq!((acl.owner, acl.group, acl.mask, acl.other), (6, 4, 7, 4));
    assert_eq!((&acl.named_users, acl.named_groups.len()), (&vec![(1001, 7)], 0));
    assert_eq!(encode_acl(&acl).to_vec(), rule);
    let pairs = vec![(9, 4096), (15, 100)];
    assert_eq!(decode_slice_pairs(&encode_slice_pairs(&pairs)), Ok(pairs));
}

#[test]
fn slices_outside_their_chunk_or_themselves_are_refused() {
    let slice = Slice { pos: 1 << 26, id: 3, size: 10, off: 0, len: 1 };
    assert!(matches!(decode_slice(&encode_slice(slice)), Err(PackedError::BeyondChunk { .. })));
    let slice = Slice { pos: 0, id: 3, size: 10, off: 5, len: 6 };
    assert!(matches!(decode_slice(&encode_slice(slice)), Err(PackedError::BeyondSlice { .. })));
    let hole = Slice { pos: 0, id: 0, size: 0, off: 0, len: 1 << 26 };
    assert_eq!(decode_slice(&encode_slice(hole)), Ok(hole));
}

fn any_time() -> impl Strategy<Value = Time> {
    (any::<i64>(), 0u32..1_000_000_000).prop_map(|(sec, nsec)| Time { sec, nsec })
}

prop_compose! {
    fn any_attr()(
        (flags, code, mode, uid, gid) in (any::<u8>(), 1u8..=7, 0u16..0o10000, any::<u32>(), any::<u32>()),
        (atime, mtime, ctime) in (any_time(), any_time(), any_time()),
        (nlink, length, rdev, parent) in (any::<u32>(), any::<u64>(), any::<u32>(), any::<u64>()),
        (access_acl, default_acl, tier) in (0u32..3, 0u32..3, 0u8..4),
    ) -> Attr {
        Attr {
            flags, kind: Kind::from_code(code).unwrap(), mode, uid, gid, atime, mtime, ctime, nlink, length, rdev,
            parent: Ino(parent), access_acl, default_acl, tier,
        }
    }
}

proptest! {
    #[test]
    fn every_attribute_survives_the_record(attr in any_attr()) {
        let record = encode_attr(&attr);
        prop_assert!([72, 73, 80, 81].contains(&record.len()));
        prop_assert_eq!(record.last(), Some(&0));
        prop_assert_eq!(decode_attr(&record).unwrap(), attr);
    }

    #[test]
    fn hostile_bytes_give_errors_only(record in prop::collection::vec(any::<u8>(), 0..120)) {
        let _ = decode_attr(&record);
        let _ = decode_edge(&record);
        let _ = decode_slices(&record);
        let _ = decode_slice_pairs(&record);
        let _ = decode_quota(&record);
        if let Ok(acl) = decode_acl(&record) {
            prop_assert_eq!(encode_acl(&acl).to_vec(), record);
        }
    }
}

#[test]
fn golden_locks_decode_and_encode_to_the_same_bytes() {
    let record = bytes(
        "0000000100005d990000000000000005000000000000000e0000000000005d990000000000000032000000000000003b",
    );
    let locks = decode_range_locks(&record).unwrap();
    let lock = |kind, start, end| RangeLock { kind, pid: 0x5d99, start, end };
    assert_eq!(locks, [lock(LockKind::Exclusive, 5, 14), lock(LockKind::Shared, 50, 59)]);
    assert_eq!(encode_range_locks(&locks), record);
    assert_eq!(decode_range_locks(&[]), Ok(Vec::new()));
    assert_eq!(decode_range_locks(&record[..25]), Err(PackedError::Length(25)));
    let unlock = bytes("0000000200005d990000000000000005000000000000000e");
    assert_eq!(decode_range_locks(&unlock), Err(PackedError::Lock { kind: 2, start: 5, end: 14 }));
    let backwards = bytes("0000000100005d990000000000000005000000000000000400");
    assert_eq!(decode_range_locks(&backwards[..24]), Err(PackedError::Lock { kind: 1, start: 5, end: 4 }));
}
