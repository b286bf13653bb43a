//! Which blocks a volume should have, and what an object's key says about the block it is.

use futures::TryStreamExt;
use juicefs_meta::SliceId;
use juicefs_meta::port::{Engine, Item, Scan};
use std::collections::HashMap;

use crate::error::{Error, Result};
use crate::progress::Progress;

/// Slices that metadata knows, by id, with their whole sizes.
pub(crate) type SliceSizes = HashMap<SliceId, u32>;

/// Slices that some chunk refers to.
///
/// # Errors
/// A chunk that can't be decoded: what it refers to would look unused.
pub(crate) async fn live_slices(engine: &dyn Engine, progress: &dyn Progress) -> Result<SliceSizes> {
    progress.begin("slices", None);
    let mut live = SliceSizes::new();
    let mut chunks = engine.scan(Scan::Chunks { ino: None });
    while let Some(item) = chunks.try_next().await? {
        match item {
            Item::Chunk { slices, .. } => {
                progress.advance(slices.len() as u64);
                live.extend(slices.iter().filter(|slice| slice.id > 0).map(|slice| (slice.id, slice.size)));
            }
            Item::Damaged(damage) => return Err(Error::Damaged(damage)),
            _ => {}
        }
    }
    Ok(live)
}

/// `chunks/<A>/<B>/<id>_<indx>_<size>` taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BlockName {
    pub id: SliceId,
    pub indx: u32,
    pub bytes: u32,
}

impl BlockName {
    pub(crate) fn parse(key: &str) -> Option<Self> {
        let mut parts = key.strip_prefix("chunks/")?.split('/');
        let (_, _, name) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() {
            return None;
        }
        let mut numbers = name.split('_');
        let block = Self {
            id: numbers.next()?.parse().ok()?,
            indx: numbers.next()?.parse().ok()?,
            bytes: numbers.next()?.parse().ok()?,
        };
        numbers.next().is_none().then_some(block)
    }

    /// Whether a slice of `size` bytes has this block (format 14.2).
    pub(crate) fn belongs_to(&self, size: u32, block_bytes: u32) -> bool {
        let (indx, bytes, block) = (u64::from(self.indx), u64::from(self.bytes), u64::from(block_bytes));
        if self.bytes == block_bytes {
            (indx + 1) * block <= u64::from(size)
        } else {
            indx * block + bytes == u64::from(size)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn block_names_are_read_back_and_anything_else_is_not() {
        let block = BlockName::parse("chunks/0/4/4097_2_12").expect("a block");
        assert_eq!(block, BlockName { id: 4097, indx: 2, bytes: 12 });
        for bad in
            ["chunks/0/4097_0_12", "chunks/0/4/4097_0", "chunks/0/4/4097_0_12_9", "chunks/a/b/c_d_e", "x"]
        {
            assert_eq!(BlockName::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_block_belongs_to_the_slice_whose_size_it_fits() {
        let block = |indx, bytes| BlockName { id: 1, indx, bytes };
        assert!(block(0, 64).belongs_to(100, 64) && block(1, 36).belongs_to(100, 64));
        assert!(!block(1, 64).belongs_to(100, 64) && !block(1, 35).belongs_to(100, 64));
        assert!(block(1, 64).belongs_to(128, 64) && !block(2, 0).belongs_to(129, 64));
    }
}
