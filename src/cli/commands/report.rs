//! `gc` and `fsck`: work that ends in a report.

use anyhow::Context;
use std::process::ExitCode;

use super::{meta_url, say, storage_access};
use crate::args::{FsckArgs, GcArgs};
use crate::environment::{self, Environment};
use crate::progress::Bars;
use juicefs_volume::{CompactedNow, GcRequest};

pub(super) async fn gc(args: GcArgs, environment: &Environment) -> anyhow::Result<ExitCode> {
    let url = meta_url(&args.meta_url, environment)?;
    let bars = Bars::on_terminal();
    let request = GcRequest {
        delete: args.delete,
        compact: args.compact,
        threads: args.threads,
        skipped_age: environment::gc_skipped_age(),
    };
    let report = juicefs_volume::gc(&url, &storage_access(environment), &request, bars.as_ref()).await?;
    drop(bars);
    if args.json {
        say(&serde_json::to_string_pretty(&report).context("report")?);
        return Ok(ExitCode::SUCCESS);
    }
    if args.compact {
        let CompactedNow { chunks, slices, bytes } = report.compacted_now;
        tracing::info!("Compacted {chunks} chunks ({slices} slices, {bytes} bytes).");
    }
    tracing::info!("using {} slices ({} bytes)", report.slices.count, report.slices.bytes);
    if args.compact || args.delete {
        tracing::info!("Deleted {} pending slices", report.removed.slices);
    }
    tracing::info!(
        "scanned {} objects, {} valid, {} pending delete ({} bytes), {} compacted ({} bytes), {} leaked ({} bytes), \
         {} delslices ({} bytes), {} delfiles ({} bytes), {} skipped ({} bytes)",
        report.scanned.count,
        report.valid.count,
        report.pending.count,
        report.pending.bytes,
        report.compacted.count,
        report.compacted.bytes,
        report.leaked.count,
        report.leaked.bytes,
        report.delayed_slices.count,
        report.delayed_slices.bytes,
        report.deleted_files.count,
        report.deleted_files.bytes,
        report.skipped.count,
        report.skipped.bytes,
    );
    for key in &report.leaked_keys {
        tracing::info!("leaked: {key}");
    }
    match (args.delete, report.leaked.count) {
        (true, leaked) if report.removed.objects < leaked => anyhow::bail!(
            "{} of {leaked} leaked objects could not be deleted: run gc again, or see what the store answers above",
            leaked - report.removed.objects
        ),
        (false, 1..) => tracing::info!("Please add `--delete` to clean leaked objects"),
        _ => {}
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn fsck(args: FsckArgs, environment: &Environment) -> anyhow::Result<ExitCode> {
    let url = meta_url(&args.meta_url, environment)?;
    let bars = Bars::on_terminal();
    let report = juicefs_volume::fsck(&url, &storage_access(environment), bars.as_ref()).await?;
    drop(bars);
    if args.json {
        say(&serde_json::to_string_pretty(&report).context("report")?);
    } else {
        tracing::info!("Found {} blocks ({} bytes)", report.blocks_found, report.bytes_found);
        tracing::info!("Used by {} slices ({} bytes)", report.slices, report.slice_bytes);
        for file in &report.broken {
            tracing::error!("inode {} is broken: {} is lost", file.inode, file.lost_key);
        }
        for damaged in &report.damaged {
            tracing::error!("record {} is damaged: {}", damaged.record, damaged.cause);
        }
    }
    if report.is_clean() {
        return Ok(ExitCode::SUCCESS);
    }
    let mut found = Vec::new();
    if report.damaged_records > 0 {
        let records = report.damaged_records;
        found.push(format!("{records} records are damaged: restore them from a backup of the database"));
    }
    if report.lost_blocks > 0 {
        let (blocks, bytes) = (report.lost_blocks, report.lost_bytes);
        found.push(format!(
            "{blocks} blocks ({bytes} bytes) are lost: restore them from a copy of the bucket"
        ));
    }
    anyhow::bail!(found.join("; "))
}
