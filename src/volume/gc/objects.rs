//! Every object under `chunks/` against what metadata knows.

use futures::{StreamExt, TryStreamExt};
use juicefs_meta::Format;
use juicefs_meta::port::{Engine, Item, Scan};
use juicefs_object::{Listed, Store};

use super::{GcReport, GcRequest, NAMED_MAX};
use crate::blocks::{BlockName, SliceSizes, live_slices};
use crate::error::{Error, Result};
use crate::format::now;
use crate::progress::{Progress, Silent};

/// Objects that are judged together before they are deleted.
const LEAKED_AT_ONCE: usize = 50_000;

/// What metadata refers to, by how.
struct Known {
    live: SliceSizes,
    compacted: SliceSizes,
    pending: SliceSizes,
}

/// What an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Valid,
    Compacted,
    Pending,
    Unknown,
}

impl Known {
    fn of(&self, key: &str, block_bytes: u32) -> Option<Standing> {
        if is_left_unfinished(key) {
            return Some(Standing::Unknown);
        }
        BlockName::parse(key).map(|block| self.standing(block, block_bytes))
    }

    fn standing(&self, block: BlockName, block_bytes: u32) -> Standing {
        let is_of = |slices: &SliceSizes| {
            slices.get(&block.id).is_some_and(|size| block.belongs_to(*size, block_bytes))
        };
        match () {
            () if is_of(&self.live) => Standing::Valid,
            () if is_of(&self.compacted) => Standing::Compacted,
            () if is_of(&self.pending) => Standing::Pending,
            () => Standing::Unknown,
        }
    }
}

/// What is compared with what.
pub(super) struct Comparison<'a> {
    pub engine: &'a dyn Engine,
    pub store: &'a dyn Store,
    pub format: &'a Format,
    pub request: &'a GcRequest,
}

impl Comparison<'_> {
    /// Lists the store and sorts what is there into the report; with `delete` leaked objects go.
    pub(super) async fn make(&self, report: &mut GcReport, progress: &dyn Progress) -> Result<()> {
        let Self { engine, store, format, request } = *self;
        let block_bytes = format.block_size_kib * 1024;
        let edge = now().sec - 24 * 3600 * i64::from(format.trash_days);
        // Listed before metadata is read, an object could be committed in between and be counted as leaked; the
        // other way round only objects of the last moments are unknown, and those are passed over by age.
        let live = live_slices(engine, progress).await?;
        for size in live.values() {
            report.slices.add(u64::from(*size));
        }
        let compacted = delayed_slices(engine, report, edge).await?;
        let pending = pending_slices(engine, report).await?;
        let known = Known { live, compacted, pending };

        progress.begin("objects", None);
        let newest = now().sec - i64::try_from(request.skipped_age.as_secs()).unwrap_or(i64::MAX);
        let mut leaked = Vec::new();
        let mut objects = store.list("chunks/", "");
        while let Some(object) = objects.try_next().await? {
            if object.is_prefix {
                continue;
            }
            progress.advance(1);
            // What is named like neither a block nor a part of one is nobody's here.
            let Some(standing) = known.of(&object.key, block_bytes) else { continue };
            report.scanned.add(object.size);
            match standing {
                Standing::Valid => report.valid.add(object.size),
                Standing::Compacted => report.compacted.add(object.size),
                Standing::Pending => report.pending.add(object.size),
                Standing::Unknown if object.modified_at > newest => report.skipped.add(object.size),
                Standing::Unknown => {
                    report.leaked.add(object.size);
                    if report.leaked_keys.len() < NAMED_MAX {
                        report.leaked_keys.push(object.key.clone());
                    }
                    if request.delete {
                        leaked.push(object);
                    }
                }
            }
            if leaked.len() >= LEAKED_AT_ONCE {
                self.delete(std::mem::take(&mut leaked), report).await?;
            }
        }
        self.delete(leaked, report).await
    }

    /// Deletes what is still unknown: a writer that took long may have committed meanwhile.
    async fn delete(&self, leaked: Vec<Listed>, report: &mut GcReport) -> Result<()> {
        let Self { engine, store, request, .. } = *self;
        let block_bytes = self.format.block_size_kib * 1024;
        if leaked.is_empty() {
            return Ok(());
        }
        let mut now = GcReport::default();
        let known = Known {
            live: live_slices(engine, &Silent).await?,
            compacted: delayed_slices(engine, &mut now, i64::MIN).await?,
            pending: pending_slices(engine, &mut now).await?,
        };
        let is_unknown = |object: &Listed| known.of(&object.key, block_bytes) == Some(Standing::Unknown);
        let mut deletions = futures::stream::iter(leaked.into_iter().filter(is_unknown))
            .map(|object| async move { (store.delete(&object.key).await, object) })
            .buffer_unordered(request.threads.max(1));
        while let Some((outcome, object)) = deletions.next().await {
            match outcome {
                Ok(()) => report.removed.objects += 1,
                Err(error) => tracing::warn!(%error, "leaked object {} stays", object.key),
            }
        }
        Ok(())
    }
}

/// Where objects appear by a rename, one whose writer was killed has this name still: `.jfs.<block>.tmp.<number>`, over
/// SFTP without the `jfs.`, as the peer's.
fn is_left_unfinished(key: &str) -> bool {
    key.rsplit('/').next().is_some_and(|name| name.starts_with('.') && name.contains(".tmp."))
}

/// Slices that compactions took out of files; those from before `edge` are counted as due.
async fn delayed_slices(engine: &dyn Engine, report: &mut GcReport, edge: i64) -> Result<SliceSizes> {
    let mut compacted = SliceSizes::new();
    let mut items = engine.scan(Scan::DelayedSlices);
    while let Some(item) = items.try_next().await? {
        match item {
            Item::DelayedSlices { slices, deleted_at, .. } => {
                for (id, size) in slices {
                    report.slices.add(u64::from(size));
                    if deleted_at < edge {
                        report.delayed_slices.add(u64::from(size));
                    }
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
