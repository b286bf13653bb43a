//! Blocks compared byte for byte, some or all, and whose files they are.

use std::collections::BTreeMap;

use futures::{StreamExt, TryStreamExt};
use juicefs_chunk::layout::BlockId;
use juicefs_meta::port::{Engine, Get, Got, Hold, Item, Scan};
use juicefs_meta::types::Ino;
use juicefs_object::StoreExt;
use serde::Serialize;

use crate::blocks::BlockCopier;
use crate::error::Result;

/// Directories above a file, at most: records that go in a circle have no path.
const DEPTH_MAX: usize = 4096;
/// Blocks read together.
const AT_ONCE: usize = 8;

/// What was compared, and what is not the same.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SampleReport {
    pub blocks: u64,
    pub differences: Vec<BlockDifference>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BlockDifference {
    pub path: String,
    pub key: String,
    pub what: &'static str,
}

/// Compares at most `blocks_max` blocks of the mirror's files, spread evenly over all of them, with the source's.
///
/// # Errors
/// As the engine's and the stores'.
pub async fn check_blocks(
    mirror: &dyn Engine,
    copier: &BlockCopier,
    blocks_max: usize,
) -> Result<SampleReport> {
    let sample = sample(mirror, copier, blocks_max).await?;
    let mut report = SampleReport { blocks: sample.len() as u64, ..SampleReport::default() };
    let mut compared = futures::stream::iter(sample)
        .map(|(block, ino)| async move { compare(copier, block).await.map(|what| (block, ino, what)) })
        .buffer_unordered(AT_ONCE);
    let mut found = Vec::new();
    while let Some((block, ino, what)) = compared.try_next().await? {
        if let Some(what) = what {
            found.push((block, ino, what));
        }
    }
    found.sort_by_key(|(block, ..)| *block);
    for (block, ino, what) in found {
        let path = path_of(mirror, ino).await?;
        report.differences.push(BlockDifference { path, key: copier.layout().key(block), what });
    }
    Ok(report)
}

async fn compare(copier: &BlockCopier, block: BlockId) -> Result<Option<&'static str>> {
    let key = copier.layout().key(block);
    let (near, far) = (copier.to().get_if_exists(&key).await?, copier.from().get_if_exists(&key).await?);
    Ok(match (near, far) {
        (Some(near), Some(far)) if near == far => None,
        (Some(_), Some(_)) => Some("the bytes are not the same"),
        (None, Some(_)) => Some("the mirror's bucket lacks it"),
        (Some(_), None) => Some("the source's bucket lacks it"),
        (None, None) => Some("both buckets lack it"),
    })
}

/// Every n-th block, n doubling whenever there are too many.
async fn sample(mirror: &dyn Engine, copier: &BlockCopier, blocks_max: usize) -> Result<Vec<(BlockId, Ino)>> {
    let (mut kept, mut stride, mut seen) = (Vec::new(), 1_usize, 0_usize);
    let mut known = BTreeMap::new();
    let mut chunks = mirror.scan(Scan::Chunks { ino: None });
    while let Some(item) = chunks.try_next().await? {
        let Item::Chunk { ino, slices, .. } = item else { continue };
        for slice in slices.iter().filter(|slice| slice.id > 0) {
            for block in copier.layout().blocks(slice.id, slice.size) {
                seen += 1;
                if seen % stride != 0 || known.insert(block, ino).is_some() {
                    continue;
                }
                kept.push((block, ino));
                if kept.len() > blocks_max.max(1) {
                    stride *= 2;
                    kept = kept.into_iter().skip(1).step_by(2).collect();
                    known = kept.iter().copied().collect();
                }
            }
        }
    }
    kept.truncate(blocks_max);
    Ok(kept)
}

/// Where a node is; its number where no name leads to it.
pub(crate) async fn path_of(engine: &dyn Engine, ino: Ino) -> Result<String> {
    let (mut at, mut names) = (ino, Vec::new());
    while at != Ino::ROOT {
        let got = engine.read(&[Get::Node { ino: at, hold: Hold::Peek }, Get::Parents { ino: at }]).await?;
        let parent = match &got[..] {
            [Got::Node(Some(attr)), _] if attr.parent.0 != 0 => attr.parent,
            [Got::Node(Some(_)), Got::Parents(parents)] if !parents.is_empty() => parents[0].0,
            _ => return Ok(format!("inode {ino}")),
        };
        let Some(name) = name_in(engine, parent, at).await?.filter(|_| names.len() < DEPTH_MAX) else {
            return Ok(format!("inode {ino}"));
        };
        names.push(name);
        at = parent;
    }
    names.reverse();
    Ok(format!("/{}", names.join("/")))
}

async fn name_in(engine: &dyn Engine, parent: Ino, ino: Ino) -> Result<Option<String>> {
    let mut entries = engine.scan(Scan::Entries { parent });
    while let Some(item) = entries.try_next().await? {
        if let Item::Entry { name, edge } = item
            && edge.ino == ino
        {
            return Ok(Some(name.to_string()));
        }
    }
    Ok(None)
}
