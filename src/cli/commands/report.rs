//! `gc` and `fsck`: work that ends in a report.

use anyhow::Context;
use std::process::ExitCode;

use super::{meta_url, say, storage_access};
use crate::args::{FsckArgs, GcArgs, HealArgs};
use crate::environment::{self, Environment};
use crate::progress::Bars;
use juicefs_volume::{BrokenFile, CompactedNow, FsckPath, FsckReport, GcRequest, HealRequest};

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

pub(super) async fn heal(args: HealArgs, environment: &Environment) -> anyhow::Result<ExitCode> {
    let url = meta_url(&args.meta_url, environment)?;
    let bars = Bars::on_terminal();
    let request = HealRequest {
        dry: args.dry,
        threads: args.threads,
        bandwidth_mbps: i64::from(args.bwlimit),
        skipped_age: environment::gc_skipped_age(),
    };
    let report = juicefs_volume::heal(&url, &storage_access(environment), &request, bars.as_ref()).await?;
    drop(bars);
    if args.json {
        say(&serde_json::to_string_pretty(&report).context("report")?);
    } else {
        tracing::info!(
            "{} live blocks ({} bytes): the first bucket lacked {}, the second {}; copied {} ({} bytes); {} dead, deleted {}; \
             {} too young to be judged",
            report.live.count,
            report.live.bytes,
            report.missing_first.count,
            report.missing_second.count,
            report.copied.count,
            report.copied.bytes,
            report.dead.count,
            report.deleted.count,
            report.skipped.count,
        );
        for key in &report.named {
            tracing::error!("not healed: {key}");
        }
    }
    if report.lost + report.failed > 0 {
        anyhow::bail!(
            "{} blocks are whole in neither bucket, {} could not be copied or deleted: `juicefs fsck` names the files",
            report.lost,
            report.failed
        );
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn fsck(args: FsckArgs, environment: &Environment) -> anyhow::Result<ExitCode> {
    let path = fsck_path(&args)?;
    let url = meta_url(&args.meta_url, environment)?;
    let bars = Bars::on_terminal();
    let report =
        juicefs_volume::fsck(&url, &storage_access(environment), path.as_ref(), bars.as_ref()).await?;
    drop(bars);
    if args.json {
        say(&serde_json::to_string_pretty(&report).context("report")?);
    } else {
        if path.is_some() {
            tracing::info!("Checked {} nodes", report.checked_nodes);
        }
        tracing::info!("Found {} blocks ({} bytes)", report.blocks_found, report.bytes_found);
        tracing::info!("Used by {} slices ({} bytes)", report.slices, report.slice_bytes);
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
    if report.wrong_nodes > 0 {
        found.push("check: some errors occurred, please check the log of fsck".to_owned());
    }
    if report.lost_blocks > 0 {
        found.push(lost_blocks(&report));
    }
    anyhow::bail!(found.join("; "))
}

fn fsck_path(args: &FsckArgs) -> anyhow::Result<Option<FsckPath>> {
    let dir_mode = u16::from_str_radix(&args.repair_dir_mode, 8).ok().filter(|mode| *mode <= 0o7777);
    let dir_mode = dir_mode.with_context(|| {
        format!(
            "invalid repair-dir-mode {:?}: write permissions as an octal number such as 0755",
            args.repair_dir_mode
        )
    })?;
    let Some(path) = args.path.clone().filter(|path| !path.is_empty()) else {
        anyhow::ensure!(!args.repair, "Please provide the path to repair with `--path` option");
        for (name, is_asked) in [("recursive", args.recursive), ("sync-dir-stat", args.sync_dir_stat)] {
            if is_asked {
                tracing::warn!(
                    "--{name} has no effect without `--path`: add `--path /` for the whole volume"
                );
            }
        }
        return Ok(None);
    };
    anyhow::ensure!(
        path.starts_with('/'),
        "file path {path:?} should be the absolute path within JuiceFS: begin it with a slash at the volume's root"
    );
    let FsckArgs { recursive, repair, sync_dir_stat, .. } = *args;
    Ok(Some(FsckPath { path, recursive, repairs: repair, syncs_stats: sync_dir_stat, dir_mode }))
}

/// The next step, then a row for each file as the peer has them.
fn lost_blocks(report: &FsckReport) -> String {
    let mut text = format!(
        "{} objects are lost ({} bytes), {} broken files: restore the objects from a copy of the bucket, or the files \
         from a backup\n{:>13}: PATH",
        report.lost_blocks, report.lost_bytes, report.broken_files, "INODE"
    );
    for BrokenFile { inode, path, .. } in &report.broken {
        text.push_str(&format!("\n{inode:>13}: {path}"));
    }
    let more = report.broken_files.saturating_sub(report.broken.len() as u64);
    if more > 0 {
        text.push_str(&format!("\n{:>13}  and {more} more, which are in the log above", ""));
    }
    text
}
