//! `warmup`: blocks of files into the cache of a mount, out of it, or looked for.

use anyhow::{Context, bail};
use juicefs_vfs::control::protocol::{CacheAction, Message};
use serde_json::Value;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::say;
use super::tools::ask;
use crate::args::WarmupArgs;
use crate::control::Control;
use crate::table::{bytes_in_short, table};

/// Paths of one message: a body has 1 MiB at most.
const PATHS_MAX: usize = 1000;
const PATHS_BYTES_MAX: usize = 512 << 10;

/// Sums over all answers.
#[derive(Default)]
struct Found {
    files: u64,
    bytes: u64,
    missing_bytes: u64,
    locations: BTreeMap<String, u64>,
}

pub(super) fn run(args: &WarmupArgs) -> anyhow::Result<ExitCode> {
    if args.evict && args.check {
        bail!("--check and --evict can't be used together");
    }
    let mut paths = args.paths.clone();
    if let Some(list) = &args.file {
        let text = std::fs::read(list).with_context(|| format!("Failed to open file {}", list.display()))?;
        let lines = text.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii);
        paths
            .extend(lines.filter(|line| !line.is_empty()).map(|line| PathBuf::from(OsStr::from_bytes(line))));
    }
    let Some(first) = paths.first() else {
        tracing::info!("no path");
        return Ok(ExitCode::SUCCESS);
    };
    if args.threads == 0 {
        tracing::warn!("threads should be larger than 0, reset it to 1");
    }
    let mut control = Control::of(first).context("open control file")?;
    let (mut found, mut targets, mut bytes) = (Found::default(), Vec::new(), 0);
    for path in &paths {
        let Some(target) = target(&control.root, path)? else { continue };
        bytes += target.len() + 1;
        targets.push(target);
        if targets.len() == PATHS_MAX || bytes > PATHS_BYTES_MAX {
            found.add(&send(&mut control, std::mem::take(&mut targets), args)?);
            bytes = 0;
        }
    }
    if !targets.is_empty() {
        found.add(&send(&mut control, targets, args)?);
    }
    if !args.background {
        found.tell(args);
    }
    Ok(ExitCode::SUCCESS)
}

/// The path below the mount's root; `None` for one that lies elsewhere.
fn target(root: &Path, path: &Path) -> anyhow::Result<Option<Vec<u8>>> {
    let whole = path.canonicalize().with_context(|| format!("{}", path.display()))?;
    let Ok(below) = whole.strip_prefix(root) else {
        tracing::warn!("path {} is not under the mount point {}: left out", path.display(), root.display());
        return Ok(None);
    };
    if below.as_os_str().as_bytes().contains(&b'\n') {
        bail!(
            "{:?} can't be named in a list of paths: name the directory it is in",
            path.display().to_string()
        );
    }
    Ok(Some([b"/", below.as_os_str().as_bytes()].concat()))
}

fn send(control: &mut Control, targets: Vec<Vec<u8>>, args: &WarmupArgs) -> anyhow::Result<Value> {
    let action = match (args.evict, args.check) {
        (true, _) => CacheAction::Evict,
        (_, true) => CacheAction::Check,
        _ => CacheAction::Warm,
    };
    let count = targets.len();
    let in_background = args.background;
    let document = ask(
        control,
        word(args),
        &Message::Cache { targets, threads: args.threads.max(1), in_background, action },
    )
    .with_context(|| format!("{} of {count} paths", word(args)))?;
    if in_background {
        tracing::info!("{} for {count} paths in background", word(args));
    }
    Ok(document)
}

fn word(args: &WarmupArgs) -> &'static str {
    match (args.evict, args.check) {
        (true, _) => "evict cache",
        (_, true) => "check cache",
        _ => "warmup cache",
    }
}

impl Found {
    fn add(&mut self, document: &Value) {
        let number = |field: &str| document[field].as_u64().unwrap_or(0);
        self.files += number("FileCount");
        self.bytes += number("TotalBytes");
        self.missing_bytes += number("MissBytes");
        for (location, bytes) in document["Locations"].as_object().into_iter().flatten() {
            *self.locations.entry(location.clone()).or_default() += bytes.as_u64().unwrap_or(0);
        }
    }

    fn tell(&self, args: &WarmupArgs) {
        let (files, all) = (self.files, bytes_in_short(self.bytes));
        if !args.check {
            return tracing::info!("{}: {files} files ({all} bytes)", word(args));
        }
        let percent = |bytes: u64| bytes as f64 * 100.0 / self.bytes.max(1) as f64;
        let rows: Vec<_> = self
            .locations
            .iter()
            .map(|(location, bytes)| {
                vec![location.clone(), bytes_in_short(*bytes), format!("{:.1}%", percent(*bytes))]
            })
            .collect();
        if !rows.is_empty() {
            say(table(&["Location", "Size", "Percentage"], 1, &rows).trim_end());
        }
        let cached = self.bytes.saturating_sub(self.missing_bytes);
        tracing::info!(
            "check cache: {files} files checked, {} of {all} ({:.1}%) cached",
            bytes_in_short(cached),
            percent(cached)
        );
    }
}
