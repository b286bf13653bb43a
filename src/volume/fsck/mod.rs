//! `fsck`: every record can be read, every block that metadata refers to is in the store, and, for a path, directories
//! are what their entries say.

mod lost;
mod report;
mod tree;

use futures::TryStreamExt;
use juicefs_meta::port::{Engine, Item, Scan};
use juicefs_meta::url::MetaUrl;
use juicefs_meta::{Ino, Kind, Meta, MetaOptions, engines};
use std::collections::HashSet;
use std::sync::Arc;

use crate::error::Result;
use crate::opened::open_meta;
use crate::progress::Progress;
use crate::storage::{StorageAccess, load_format, open_store};
use lost::LostBlocks;
pub use report::{BrokenFile, DamagedRecord, FsckReport};

/// What to look at, and what to mend there.
#[derive(Clone, Debug)]
pub struct FsckPath {
    /// Absolute, within the volume.
    pub path: String,
    /// Everything below, too.
    pub recursive: bool,
    /// Make right what is wrong.
    pub repairs: bool,
    /// Count the statistics of every directory, also of those that look right.
    pub syncs_stats: bool,
    /// Of directories whose node is made anew.
    pub dir_mode: u16,
}

/// The whole volume's records and blocks; with `path` the directories and blocks of what lies there only.
///
/// # Errors
/// An engine or store that does not answer, a setting that can't be read, a path that is not there. Lost blocks,
/// directories that are wrong and damaged records are a report, not an error.
pub async fn fsck(
    url: &MetaUrl,
    access: &StorageAccess,
    path: Option<&FsckPath>,
    progress: &dyn Progress,
) -> Result<FsckReport> {
    let engine = engines::open(url).await?;
    let format = load_format(engine.as_ref()).await?;
    let store = open_store(&format, access).await?;
    tracing::info!("Data use {store}");
    let mut report = FsckReport::default();
    let Some(path) = path else {
        // Of a volume too damaged to be opened files are named by their numbers.
        let names = match open_to_read(Arc::clone(&engine)).await {
            Ok(meta) => Some(meta),
            Err(error) => {
                tracing::warn!("files are named by their inodes: {error}");
                None
            }
        };
        check_records(engine.as_ref(), &mut report, progress).await?;
        let mut lost = LostBlocks::new(store, &format, names);
        lost.list_present(&mut report, progress).await?;
        check_slices(engine.as_ref(), &mut lost, &mut report, progress).await?;
        lost.finish(&mut report);
        return Ok(report);
    };
    let meta = if path.repairs { open_meta(url).await? } else { open_to_read(engine).await? };
    let mut lost = LostBlocks::new(store, &format, Some(Arc::clone(&meta)));
    tree::check(&meta, path, &mut lost, &mut report, progress).await?;
    lost.ask(&mut report, progress).await?;
    lost.finish(&mut report);
    Ok(report)
}

async fn open_to_read(engine: Arc<dyn Engine>) -> Result<Arc<Meta>> {
    Ok(Meta::open(engine, MetaOptions { read_only: true, ..MetaOptions::default() }).await?)
}

/// Reads every node and every entry.
async fn check_records(engine: &dyn Engine, report: &mut FsckReport, progress: &dyn Progress) -> Result<()> {
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

/// Looks for the blocks of every slice that a file refers to; files whose data is on its way out are left out.
async fn check_slices(
    engine: &dyn Engine,
    lost: &mut LostBlocks,
    report: &mut FsckReport,
    progress: &dyn Progress,
) -> Result<()> {
    let deleted = deleted_files(engine, report).await?;
    progress.begin("slices", None);
    let mut chunks = engine.scan(Scan::Chunks { ino: None });
    while let Some(item) = chunks.try_next().await? {
        match item {
            Item::Chunk { ino, slices, .. } if !deleted.contains(&ino) => {
                progress.advance(slices.len() as u64);
                lost.look(ino, &slices, report);
            }
            Item::Damaged(damage) => report.add_damage(damage),
            _ => {}
        }
    }
    drop(chunks);
    lost.ask(report, progress).await
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
