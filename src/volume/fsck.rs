//! `fsck`: every record can be read, and every block that metadata refers to is in the store.

use futures::{StreamExt, TryStreamExt};
use juicefs_chunk::layout::Layout;
use juicefs_meta::engines;
use juicefs_meta::port::{Engine, Item, Scan};
use juicefs_meta::url::MetaUrl;
use juicefs_meta::{Damage, Ino, Kind, SliceId};
use juicefs_object::Store;
use serde::Serialize;
use std::collections::{HashMap, HashSet};

use crate::blocks::BlockName;
use crate::error::Result;
use crate::progress::Progress;
use crate::storage::{StorageAccess, load_format, open_store};

/// Broken files that a report names at most.
const NAMED_MAX: usize = 1000;
/// Requests at once for blocks that a listing did not show.
const HEADS_MAX: usize = 20;

/// What was found.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FsckReport {
    pub blocks_found: u64,
    pub bytes_found: u64,
    pub slices: u64,
    pub slice_bytes: u64,
    pub lost_blocks: u64,
    pub lost_bytes: u64,
    /// The first [`NAMED_MAX`] broken inodes with a key that is lost.
    pub broken: Vec<BrokenFile>,
    pub damaged_records: u64,
    /// The first [`NAMED_MAX`] records that can't be decoded.
    pub damaged: Vec<DamagedRecord>,
}

impl FsckReport {
    /// Whether nothing is lost and nothing is damaged.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.lost_blocks == 0 && self.damaged_records == 0
    }

    fn add_damage(&mut self, Damage { record, cause }: Damage) {
        self.damaged_records += 1;
        if self.damaged.len() < NAMED_MAX {
            self.damaged.push(DamagedRecord { record, cause });
        }
    }
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DamagedRecord {
    pub record: String,
    pub cause: String,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BrokenFile {
    pub inode: u64,
    pub lost_key: String,
}

/// # Errors
/// An engine or store that does not answer, a setting that can't be read. Lost blocks and damaged records are a
/// report, not an error.
pub async fn fsck(url: &MetaUrl, access: &StorageAccess, progress: &dyn Progress) -> Result<FsckReport> {
    let engine = engines::open(url).await?;
    let format = load_format(engine.as_ref()).await?;
    let store = open_store(&format, access).await?;
    let layout = Layout { block_bytes: format.block_size_kib * 1024, hash_prefix: format.hash_prefix };
    let mut report = FsckReport::default();
    check_names(engine.as_ref(), &mut report, progress).await?;
    let present = present_blocks(store.as_ref(), &mut report, progress).await?;
    let deleted = deleted_files(engine.as_ref(), &mut report).await?;

    progress.begin("slices", None);
    let mut checked: HashSet<SliceId> = HashSet::new();
    let mut missing: Vec<(Ino, String, u32)> = Vec::new();
    let mut chunks = engine.scan(Scan::Chunks { ino: None });
    while let Some(item) = chunks.try_next().await? {
        let (ino, slices) = match item {
            Item::Chunk { ino, slices, .. } => (ino, slices),
            Item::Damaged(damage) => {
                report.add_damage(damage);
                continue;
            }
            _ => continue,
        };
        if deleted.contains(&ino) {
            continue;
        }
        for slice in slices.iter().filter(|slice| slice.id > 0) {
            progress.advance(1);
            if !checked.insert(slice.id) {
                continue;
            }
            report.slices += 1;
            report.slice_bytes += u64::from(slice.size);
            let known = present.get(&slice.id).map_or(&[][..], Vec::as_slice);
            for block in layout.blocks(slice.id, slice.size) {
                if !known.contains(&(block.indx, block.size)) {
                    missing.push((ino, layout.key(block), block.size));
                }
            }
        }
    }
    drop(chunks);
    confirm_lost(store.as_ref(), missing, &mut report, progress).await?;
    Ok(report)
}

/// Reads every node and every entry.
async fn check_names(engine: &dyn Engine, report: &mut FsckReport, progress: &dyn Progress) -> Result<()> {
    progress.begin("nodes", None);
    let mut directories = Vec::new();
    let mut nodes = engine.scan(Scan::Nodes);
    while let Some(item) = nodes.try_next().await? {
        progress.advance(1);
        match item {
            Item::Node { ino, attr } if attr.kind == Kind::Directory => directories.push(ino),
            Item::Damaged(damage) => report.add_damage(damage),
            _ => {}
        }
    }
    drop(nodes);
    progress.begin("directories", Some(directories.len() as u64));
    for parent in directories {
        let mut entries = engine.scan(Scan::Entries { parent });
        while let Some(item) = entries.try_next().await? {
            if let Item::DamagedEntry { damage, .. } | Item::Damaged(damage) = item {
                report.add_damage(damage);
            }
        }
        progress.advance(1);
    }
    Ok(())
}

type Present = HashMap<SliceId, Vec<(u32, u32)>>;

async fn present_blocks(
    store: &dyn Store,
    report: &mut FsckReport,
    progress: &dyn Progress,
) -> Result<Present> {
    progress.begin("blocks", None);
    let mut present = Present::new();
    let mut objects = store.list("chunks/", "");
    while let Some(object) = objects.try_next().await? {
        if let Some(name) = BlockName::parse(&object.key) {
            progress.advance(1);
            report.blocks_found += 1;
            report.bytes_found += object.size;
            present.entry(name.id).or_default().push((name.indx, name.bytes));
        }
    }
    Ok(present)
}

async fn deleted_files(engine: &dyn Engine, report: &mut FsckReport) -> Result<HashSet<Ino>> {
    let mut deleted = HashSet::new();
    let mut files = engine.scan(Scan::DeletedFiles);
    while let Some(item) = files.try_next().await? {
        match item {
            Item::DeletedFile { ino, .. } => drop(deleted.insert(ino)),
            Item::Damaged(damage) => report.add_damage(damage),
            _ => {}
        }
    }
    Ok(deleted)
}

/// A block may have come after the listing: only a HEAD that finds nothing makes it lost.
async fn confirm_lost(
    store: &dyn Store,
    missing: Vec<(Ino, String, u32)>,
    report: &mut FsckReport,
    progress: &dyn Progress,
) -> Result<()> {
    progress.begin("missing blocks", Some(missing.len() as u64));
    let mut heads = futures::stream::iter(missing)
        .map(|(ino, key, bytes)| async move {
            let found = store.head(&key).await;
            (ino, key, bytes, found)
        })
        .buffer_unordered(HEADS_MAX);
    while let Some((ino, key, bytes, found)) = heads.next().await {
        progress.advance(1);
        match found {
            Ok(_) => {}
            Err(error) if error.is_not_found() => {
                report.lost_blocks += 1;
                report.lost_bytes += u64::from(bytes);
                if report.broken.len() < NAMED_MAX {
                    report.broken.push(BrokenFile { inode: ino.0, lost_key: key });
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
