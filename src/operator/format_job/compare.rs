//! A volume that is there already, against what was asked for.

use super::{FormatReport, FormatSpec};
use juicefs_k8s::crd::status::FormatOutcome;
use juicefs_volume::{Format, MetaUrl};

/// Compares, writes nothing. What may never change is a conflict, the rest is drift.
pub(super) fn with_existing(spec: &FormatSpec, found: &Format, url: &MetaUrl) -> FormatReport {
    let uuid = Some(found.uuid.clone());
    if let Some(expected) = spec.uuid.as_ref().filter(|expected| **expected != found.uuid) {
        let message = format!(
            "{url} holds the volume {} ({}), not {expected}; nothing was written",
            found.uuid, found.name
        );
        return FormatReport { uuid, ..FormatReport::new(FormatOutcome::Conflict, message) };
    }
    if let Some(sentence) = found.unsupported() {
        let message = format!("{url} holds a volume that can only be mounted read-only here: {sentence}");
        return FormatReport { uuid, ..FormatReport::new(FormatOutcome::Conflict, message) };
    }
    let kept = [
        ("volumeName", found.name.clone(), spec.volume_name.clone()),
        ("storage.type", found.storage.clone(), spec.storage.clone()),
        ("storage.bucket", bucket(&found.bucket), bucket(&spec.bucket)),
        ("format.blockSizeKiB", found.block_size_kib.to_string(), spec.block_size_kib.to_string()),
        ("format.compression", compression(&found.compression), compression(&spec.compression)),
        ("format.hashPrefix", found.hash_prefix.to_string(), spec.hash_prefix.to_string()),
    ];
    let conflicts = differences(kept);
    if !conflicts.is_empty() {
        let message = format!(
            "{url} already holds the volume {} with other settings: {}; nothing was written. Correct the FileSystem, or \
             use another database",
            found.name,
            conflicts.join(", ")
        );
        return FormatReport { uuid, ..FormatReport::new(FormatOutcome::Conflict, message) };
    }
    let mut drift = differences([
        ("format.trashDays", found.trash_days.to_string(), spec.trash_days.to_string()),
        ("format.capacity in bytes", limit(found.capacity), limit(spec.capacity_bytes)),
        ("format.inodes", limit(found.inodes), limit(spec.inodes)),
    ]);
    // A log that somebody else keeps is no drift.
    if spec.change_log && !found.change_log {
        drift.push("format.changeLog is false in the volume, true in the FileSystem".to_owned());
    }
    let message = format!("volume {} is in {url}", found.name);
    FormatReport { uuid, drift, ..FormatReport::new(FormatOutcome::Unchanged, message) }
}

fn differences<const N: usize>(fields: [(&str, String, String); N]) -> Vec<String> {
    let differing = fields.into_iter().filter(|(_, found, wanted)| found != wanted);
    differing
        .map(|(name, found, wanted)| format!("{name} is {found} in the volume, {wanted} in the FileSystem"))
        .collect()
}

fn bucket(url: &str) -> String {
    url.trim_end_matches('/').to_owned()
}

fn compression(name: &str) -> String {
    if name.is_empty() { "none".into() } else { name.to_lowercase() }
}

fn limit(number: u64) -> String {
    if number == 0 { "unlimited".into() } else { number.to_string() }
}
