//! `gc` as a dry run: objects that no metadata refers to. Nothing is deleted here yet.

use futures::TryStreamExt;
use juicefs_meta::engines;
use juicefs_meta::port::{Engine, Item, Scan};
use juicefs_meta::url::MetaUrl;
use juicefs_object::StoreExt;
use serde::Serialize;
use std::time::Duration;

use crate::blocks::{BlockName, SliceSizes, live_slices};
use crate::error::{Error, Result};
use crate::format::{UUID_KEY, now};
use crate::progress::Progress;
use crate::storage::{StorageAccess, load_format, open_store};

/// Leaked keys that a report names at most.
const NAMED_MAX: usize = 100;

/// Objects and bytes of one sort.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Tally {
    pub count: u64,
    pub bytes: u64,
}

impl Tally {
    fn add(&mut self, bytes: u64) {
        self.count += 1;
        self.bytes += bytes;
    }
}

/// What was found.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GcReport {
    /// Slices that files use.
    pub slices: Tally,
    pub scanned: Tally,
    pub valid: Tally,
    /// Of slices without references or of deleted files, waiting to be removed.
    pub pending: Tally,
    /// Compacted away, kept while trash is on.
    pub compacted: Tally,
    pub leaked: Tally,
    /// Too young to be judged: a writer may be about to commit them.
    pub skipped: Tally,
    pub delayed_slices: Tally,
    pub deleted_files: Tally,
    /// The first [`NAMED_MAX`] leaked keys.
    pub leaked_keys: Vec<String>,
}

/// Compares every object under `chunks/` with the metadata. Objects younger than `skipped_age` are passed over
/// (`JFS_GC_SKIPPEDTIME`, 1 h).
///
/// # Errors
/// An engine or store that does not answer; a record that can't be decoded, as blocks it refers to would be taken
/// for leaked.
pub async fn gc(
    url: &MetaUrl,
    access: &StorageAccess,
    skipped_age: Duration,
    progress: &dyn Progress,
) -> Result<GcReport> {
    let engine = engines::open(url).await?;
    let format = load_format(engine.as_ref()).await?;
    let store = open_store(&format, access).await?;
    let block_bytes = format.block_size_kib * 1024;
    // A bucket that is gone must not look like one without objects.
    store.get_if_exists(UUID_KEY).await?;
    let mut report = GcReport::default();

    // Listed before metadata is read, an object could be committed in between and be counted as leaked; the
    // other way round only objects of the last moments are unknown, and those are passed over by age.
    let live = live_slices(engine.as_ref(), progress).await?;
    for size in live.values() {
        report.slices.add(u64::from(*size));
    }
    let compacted = delayed_slices(engine.as_ref(), &mut report).await?;
    let pending = pending_slices(engine.as_ref(), &mut report).await?;

    progress.begin("objects", None);
    let newest = now().sec - i64::try_from(skipped_age.as_secs()).unwrap_or(i64::MAX);
    let mut objects = store.list("chunks/", "");
    while let Some(object) = objects.try_next().await? {
        if object.is_prefix {
            continue;
        }
        progress.advance(1);
        report.scanned.add(object.size);
        let block = BlockName::parse(&object.key);
        let is_of = |slices: &SliceSizes| {
            block.is_some_and(|block| {
                slices.get(&block.id).is_some_and(|size| block.belongs_to(*size, block_bytes))
            })
        };
        if is_of(&live) {
            report.valid.add(object.size);
        } else if is_of(&compacted) {
            report.compacted.add(object.size);
        } else if is_of(&pending) {
            report.pending.add(object.size);
        } else if object.modified_at > newest {
            report.skipped.add(object.size);
        } else {
            report.leaked.add(object.size);
            if report.leaked_keys.len() < NAMED_MAX {
                report.leaked_keys.push(object.key);
            }
        }
    }
    Ok(report)
}

async fn delayed_slices(engine: &dyn Engine, report: &mut GcReport) -> Result<SliceSizes> {
    let mut compacted = SliceSizes::new();
    let mut items = engine.scan(Scan::DelayedSlices);
    while let Some(item) = items.try_next().await? {
        match item {
            Item::DelayedSlices { slices, .. } => {
                for (id, size) in slices {
                    report.delayed_slices.add(u64::from(size));
                    compacted.insert(id, size);
                }
            }
            Item::Damaged(damage) => return Err(Error::Damaged(damage)),
            _ => {}
        }
    }
    Ok(compacted)
}

/// Slices whose references fell to none; deleted files are counted, their slices are live until removed.
async fn pending_slices(engine: &dyn Engine, report: &mut GcReport) -> Result<SliceSizes> {
    let mut pending = SliceSizes::new();
    let mut items = engine.scan(Scan::FreedSlices);
    while let Some(item) = items.try_next().await? {
        if let Item::FreedSlice { id, size } = item {
            pending.insert(id, size);
        }
    }
    drop(items);
    let mut files = engine.scan(Scan::DeletedFiles);
    while let Some(item) = files.try_next().await? {
        if let Item::DeletedFile { length, .. } = item {
            report.deleted_files.add(length);
        }
    }
    Ok(pending)
}
