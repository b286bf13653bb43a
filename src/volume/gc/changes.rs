//! What `gc` does before it looks: it empties what is past its time, shortens lists, and lets go of what nobody refers
//! to. Each step may be broken off and done again, also by others at the same time.

use futures::{StreamExt, TryStreamExt};
use juicefs_meta::Time;
use juicefs_meta::port::{Item, Scan};
use juicefs_meta::{Damage, Ino, plan_compaction};

use super::{GcReport, GcRequest};
use crate::error::{Error, Result};
use crate::opened::Opened;
use crate::progress::Progress;

/// Rounds that find more slices to delete than before end; those that can't be deleted are found again and again.
const ROUNDS_MAX: u32 = 1000;

pub(super) async fn make(
    opened: &Opened,
    request: &GcRequest,
    report: &mut GcReport,
    progress: &dyn Progress,
) -> Result<()> {
    let meta = &opened.meta;
    let now_sec = Time::now().sec;
    if request.delete {
        let edge = meta.delayed_edge(now_sec);
        progress.begin("trash", None);
        report.removed.trash_entries = meta.empty_trash(edge).await?;
        progress.begin("deleted files", None);
        meta.wait_for_deleted_files().await;
        report.removed.files = meta.clean_deleted_files(now_sec).await?;
        report.removed.chunks = remove_orphans(opened, progress).await?;
        progress.begin("delayed slices", None);
        meta.release_delayed_slices(edge).await?;
    }
    if request.compact {
        compact(opened, request.threads, report, progress).await?;
    }
    progress.begin("pending slices", None);
    report.removed.slices = delete_freed(opened, progress).await?;
    Ok(())
}

/// Lists of files that are gone: on Redis a file that was cut leaves those behind its end.
async fn remove_orphans(opened: &Opened, progress: &dyn Progress) -> Result<u64> {
    progress.begin("chunks of deleted files", None);
    let mut removed = 0;
    let mut chunks = opened.meta.engine().scan(Scan::Chunks { ino: None }).try_chunks(1000);
    while let Some(page) = chunks.try_next().await.map_err(|broken| broken.1)? {
        progress.advance(page.len() as u64);
        let found: Vec<(Ino, u32)> = page
            .into_iter()
            .filter_map(|item| match item {
                Item::Chunk { ino, indx, .. } => Some((ino, indx)),
                _ => None,
            })
            .collect();
        let inos: Vec<Ino> = found.iter().map(|(ino, _)| *ino).collect();
        let nodes = opened.meta.engine().nodes(&inos).await?;
        for ((ino, indx), node) in found.into_iter().zip(nodes) {
            if matches!(node, Ok(None)) && opened.meta.delete_orphan_chunk(ino, indx).await? {
                removed += 1;
            }
        }
    }
    Ok(removed)
}

/// Every list that can be made shorter, `threads` at a time.
async fn compact(
    opened: &Opened,
    threads: usize,
    report: &mut GcReport,
    progress: &dyn Progress,
) -> Result<()> {
    progress.begin("chunks to compact", None);
    let most = opened.meta.compaction_records_max();
    let long = opened.meta.engine().scan(Scan::Chunks { ino: None }).map(|item| match item {
        Ok(Item::Chunk { ino, indx, slices }) => Ok(plan_compaction(&slices, most).map(|_| (ino, indx))),
        Ok(Item::Damaged(Damage { record, cause })) => {
            tracing::warn!("chunk left as it is: record {record} is damaged: {cause}");
            Ok(None)
        }
        Ok(_) => Ok(None),
        Err(error) => Err(Error::from(error)),
    });
    let mut done = long
        .try_filter_map(|chunk| async move { Ok(chunk) })
        .map_ok(|(ino, indx)| async move { Ok((ino, indx, opened.vfs.compact_chunk(ino, indx).await)) })
        .try_buffer_unordered(threads.max(1))
        .boxed();
    while let Some((ino, indx, outcome)) = done.try_next().await? {
        progress.advance(1);
        match outcome {
            Ok(made) if made.records > 0 => {
                report.compacted_now.chunks += 1;
                report.compacted_now.slices += made.records;
                report.compacted_now.bytes += made.bytes;
            }
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(%ino, indx, %error, "a chunk could not be compacted and stays as it is")
            }
        }
    }
    Ok(())
}

/// Deletes the objects of slices without references until no more are found.
async fn delete_freed(opened: &Opened, progress: &dyn Progress) -> Result<u64> {
    let before = opened.vfs.deleted_slices();
    let mut told = 0;
    for _ in 0..ROUNDS_MAX {
        let begun = opened.vfs.deleted_slices();
        let found = opened.meta.find_freed_slices().await?;
        opened.vfs.wait_for_deletions().await;
        let deleted = opened.vfs.deleted_slices();
        progress.advance(deleted - before - told);
        told = deleted - before;
        if found == 0 || deleted == begun {
            break;
        }
    }
    Ok(told)
}
