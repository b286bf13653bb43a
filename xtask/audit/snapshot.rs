//! A volume's records as they lie, whatever database they came from.

use std::collections::{BTreeMap, BTreeSet};

pub const ROOT: u64 = 1;
pub const TRASH: u64 = 0x7FFF_FFFF_1000_0000;
pub const FILE: u8 = 1;
pub const DIRECTORY: u8 = 2;
pub const SYMLINK: u8 = 3;

#[derive(Clone, Copy, Debug, Default)]
pub struct Node {
    pub kind: u8,
    pub nlink: u32,
    pub length: u64,
    pub parent: u64,
}

impl Node {
    /// The attribute record of format 2.1, as far as the checks need it.
    pub fn parse(record: &[u8]) -> Option<Self> {
        if record.len() < 63 {
            return None;
        }
        let kind = record[1] >> 4;
        let nlink = u32::from_be_bytes(record[47..51].try_into().ok()?);
        let length = u64::from_be_bytes(record[51..59].try_into().ok()?);
        let parent =
            record.get(63..71).map_or(Some(0), |bytes| Some(u64::from_be_bytes(bytes.try_into().ok()?)))?;
        Some(Self { kind, nlink, length, parent })
    }

    pub fn space(&self) -> i64 {
        let length = if self.kind == FILE { self.length.max(1) } else { 1 };
        i64::try_from(length.div_ceil(4096) * 4096).unwrap_or(i64::MAX)
    }
}

#[derive(Clone, Debug)]
pub struct Edge {
    pub parent: u64,
    pub name: Vec<u8>,
    pub ino: u64,
    pub kind: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slice {
    pub pos: u32,
    pub id: u64,
    pub size: u32,
    pub off: u32,
    pub len: u32,
}

impl Slice {
    /// 24 bytes, big endian.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let u32_at = |at: usize| Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
        let id = u64::from_be_bytes(bytes.get(4..12)?.try_into().ok()?);
        (bytes.len() == 24).then_some(())?;
        Some(Self { pos: u32_at(0)?, id, size: u32_at(12)?, off: u32_at(16)?, len: u32_at(20)? })
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DirStat {
    pub length: i64,
    pub space: i64,
    pub inodes: i64,
}

#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    pub nodes: BTreeMap<u64, Node>,
    pub edges: Vec<Edge>,
    pub chunks: BTreeMap<(u64, u32), Vec<Slice>>,
    /// True counts of references; an id that is absent has `implicit_refs`.
    pub refs: BTreeMap<u64, (u32, i64)>,
    /// 1 where a missing record means one reference (Redis), 0 where every slice has a record (SQL).
    pub implicit_refs: i64,
    /// Slices compacted away and kept for the trash, once per record.
    pub delayed: Vec<(u64, u32)>,
    /// Parents of hard-linked files; `None` where the engine derives them from the entries.
    pub parents: Option<BTreeMap<u64, BTreeMap<u64, i64>>>,
    pub symlinks: BTreeMap<u64, Vec<u8>>,
    /// Inodes that have extended attributes.
    pub xattrs: BTreeSet<u64>,
    pub sustained: BTreeSet<u64>,
    pub deleted_files: BTreeSet<u64>,
    pub detached: BTreeSet<u64>,
    pub dir_stats: BTreeMap<u64, DirStat>,
    /// Bytes and inodes that quotas of directories say are used.
    pub dir_quotas: BTreeMap<u64, (i64, i64)>,
    pub used_space: i64,
    pub used_inodes: i64,
    /// The next ids that may be handed out.
    pub next_ino: i64,
    pub next_slice: i64,
    /// Records that could not be decoded.
    pub undecodable: Vec<String>,
}
