//! How a slice is split into blocks and what each block's object is called. Pure.

use std::fmt::Write as _;

/// The window of a file that slices never cross.
pub const CHUNK_BYTES: u32 = 64 << 20;

/// One block of a slice: its object's name without the directories.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlockId {
    /// The slice's id.
    pub id: u64,
    /// Which block of the slice, from 0.
    pub indx: u32,
    /// Uncompressed bytes of this block.
    pub size: u32,
}

/// The naming scheme of a volume.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// Bytes of every block but a slice's last.
    pub block_bytes: u32,
    /// Whether directories are spread by `id % 256` (the setting's `HashPrefix`).
    pub hash_prefix: bool,
}

impl Layout {
    /// How many blocks a slice of `size` bytes has.
    #[must_use]
    pub fn block_count(&self, size: u32) -> u32 {
        size.div_ceil(self.block_bytes)
    }

    /// Block `indx` of slice `id` whose whole size is `size`. `indx` must be below the block count.
    #[must_use]
    pub fn block(&self, id: u64, size: u32, indx: u32) -> BlockId {
        let start = u64::from(indx) * u64::from(self.block_bytes);
        let rest = u64::from(size).saturating_sub(start).min(u64::from(self.block_bytes));
        BlockId { id, indx, size: u32::try_from(rest).unwrap_or(self.block_bytes) }
    }

    /// Every block of a slice, first to last.
    pub fn blocks(&self, id: u64, size: u32) -> impl Iterator<Item = BlockId> + use<> {
        let layout = *self;
        (0..layout.block_count(size)).map(move |indx| layout.block(id, size, indx))
    }

    /// The object keys of every block of a slice, relative to the volume's prefix.
    pub fn block_keys(&self, id: u64, size: u32) -> impl Iterator<Item = String> + use<> {
        let layout = *self;
        layout.blocks(id, size).map(move |block| layout.key(block))
    }

    /// The object's key relative to the volume's prefix: `chunks/0/4/4097_0_12`. The cache uses the same below `raw/`.
    #[must_use]
    pub fn key(&self, block: BlockId) -> String {
        let mut key = String::with_capacity(48);
        let BlockId { id, indx, size } = block;
        let written = if self.hash_prefix {
            write!(key, "chunks/{:02X}/{}/{id}_{indx}_{size}", id % 256, id / 1_000_000)
        } else {
            write!(key, "chunks/{}/{}/{id}_{indx}_{size}", id / 1_000_000, id / 1000)
        };
        debug_assert!(written.is_ok(), "writing into a String can't fail");
        key
    }

    /// The block that `key` (as [`Self::key`] writes it) names, or `None` for anything else: another scheme, leading
    /// zeros, a size above the block size, a short block that can't be the slice's last.
    #[must_use]
    pub fn parse(&self, key: &str) -> Option<BlockId> {
        let block = parse_name(key.rsplit_once('/')?.1)?;
        (block.size > 0 && block.size <= self.block_bytes && self.key(block) == key).then_some(block)
    }
}

/// The block that a bare name `<id>_<indx>_<size>` stands for, whatever its directory.
#[must_use]
pub fn parse_name(name: &str) -> Option<BlockId> {
    let mut parts = name.split('_');
    let block = BlockId {
        id: parts.next()?.parse().ok()?,
        indx: parts.next()?.parse().ok()?,
        size: parts.next()?.parse().ok()?,
    };
    (parts.next().is_none() && block.id > 0).then_some(block)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Layout = Layout { block_bytes: 4 << 20, hash_prefix: false };
    const HASHED: Layout = Layout { block_bytes: 4 << 20, hash_prefix: true };

    #[test]
    fn names_are_those_of_the_peer() {
        assert_eq!(PLAIN.key(BlockId { id: 4097, indx: 0, size: 12 }), "chunks/0/4/4097_0_12");
        assert_eq!(
            PLAIN.key(BlockId { id: 12_345_678, indx: 15, size: 4_194_304 }),
            "chunks/12/12345/12345678_15_4194304"
        );
        assert_eq!(HASHED.key(BlockId { id: 1, indx: 0, size: 4_194_304 }), "chunks/01/0/1_0_4194304");
        assert_eq!(HASHED.key(BlockId { id: 2_000_255, indx: 3, size: 7 }), "chunks/7F/2/2000255_3_7");
    }

    #[test]
    fn the_last_block_carries_the_rest_and_a_whole_multiple_has_no_extra_block() {
        let sizes = |size| PLAIN.blocks(1, size).map(|b| b.size).collect::<Vec<_>>();
        assert_eq!(sizes(0), [0; 0]);
        assert_eq!(sizes(1), [1]);
        assert_eq!(sizes(4 << 20), [4 << 20]);
        assert_eq!(sizes((8 << 20) + 5), [4 << 20, 4 << 20, 5]);
        assert_eq!(PLAIN.block_keys(9, 64 << 20).count(), 16);
        let small = Layout { block_bytes: 65536, hash_prefix: false };
        assert_eq!(
            small.block_keys(1, 100_000).collect::<Vec<_>>(),
            ["chunks/0/0/1_0_65536", "chunks/0/0/1_1_34464"]
        );
    }

    #[test]
    fn only_what_key_writes_parses() {
        for layout in [PLAIN, HASHED] {
            for block in layout.blocks(987_654_321, 5 << 20) {
                assert_eq!(layout.parse(&layout.key(block)), Some(block));
            }
        }
        for wrong in [
            "chunks/0/0/1_0",
            "chunks/0/0/1_0_4_5",
            "chunks/0/0/01_0_4",
            "chunks/0/1/1_0_4",
            "chunks/0/0/1_0_0",
            "chunks/0/0/1_0_4194305",
            "1_0_4",
            "chunks/01/0/1_0_4",
            "chunks/0/0/0_0_4",
            "chunks/0/0/1_0_4.tmp",
        ] {
            assert_eq!(PLAIN.parse(wrong), None, "{wrong}");
        }
    }
}
