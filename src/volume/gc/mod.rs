//! `gc`: what nobody needs any more. Without being told to it only looks.

mod changes;
mod objects;

use juicefs_meta::engines;
use juicefs_meta::url::MetaUrl;
use juicefs_object::StoreExt;
use serde::Serialize;
use std::time::Duration;

use crate::error::Result;
use crate::format::UUID_KEY;
use crate::opened::Opened;
use crate::progress::Progress;
use crate::storage::{StorageAccess, load_own_format, open_store};

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
    pub(crate) fn add(&mut self, bytes: u64) {
        self.count += 1;
        self.bytes += bytes;
    }
}

/// What `gc` may change.
#[derive(Clone, Debug)]
pub struct GcRequest {
    /// What is past its time, refers to nothing or is referred to by nobody goes.
    pub delete: bool,
    /// Lists of chunks are made short.
    pub compact: bool,
    /// Compactions, and deletions, at the same time.
    pub threads: usize,
    /// Objects younger than this are passed over: a writer may be about to commit them (`JFS_GC_SKIPPEDTIME`, 1 h).
    pub skipped_age: Duration,
}

/// What `--compact` made shorter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CompactedNow {
    pub chunks: u64,
    /// Records that one each took the place of.
    pub slices: u64,
    /// That were copied for it.
    pub bytes: u64,
}

/// What was removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Removed {
    pub trash_entries: u64,
    /// Deleted files whose data was still there.
    pub files: u64,
    /// Lists of chunks whose file is gone.
    pub chunks: u64,
    /// Slices without references.
    pub slices: u64,
    /// Leaked objects.
    pub objects: u64,
}

/// What was found, after what was asked for was done.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GcReport {
    /// Slices that files use, and those kept for the trash.
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
    /// Compacted away and past the days of the trash.
    pub delayed_slices: Tally,
    pub deleted_files: Tally,
    /// The first [`NAMED_MAX`] leaked keys.
    pub leaked_keys: Vec<String>,
    pub compacted_now: CompactedNow,
    pub removed: Removed,
}

/// Does what is asked for, then compares every object under `chunks/` with the metadata.
///
/// # Errors
/// An engine or store that does not answer; a record that can't be decoded, as blocks it refers to would be taken
/// for leaked; a volume that this client must not change, if it is to be changed.
pub async fn gc(
    url: &MetaUrl,
    access: &StorageAccess,
    request: &GcRequest,
    progress: &dyn Progress,
) -> Result<GcReport> {
    let mut report = GcReport::default();
    let engine = engines::open(url).await?;
    let format = load_own_format(engine.as_ref(), "gc").await?;
    let store = open_store(&format, access).await?;
    // A bucket that is gone must not look like one without objects.
    store.get_if_exists(UUID_KEY).await?;
    if request.delete || request.compact {
        let opened = Opened::new(url, access, request.threads).await?;
        let made = changes::make(&opened, request, &mut report, progress).await;
        opened.close().await.and(made)?;
    }
    let comparison = objects::Comparison { engine: &*engine, store: &*store, format: &format, request };
    comparison.make(&mut report, progress).await?;
    Ok(report)
}
