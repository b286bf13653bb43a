//! `compact`, `info`, `rmr`, `summary`: what is asked of a running mount, ours or the peer's.

use anyhow::{Context, bail};
use juicefs_vfs::control::protocol::Message;
use serde_json::Value;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::say;
use crate::args::{CompactArgs, InfoArgs, RmrArgs, SummaryArgs};
use crate::control::{Answer, Control};
use crate::progress::Bars;
use crate::table::{bytes_in_full, bytes_in_short, table};

/// Runs one message, drawing the first of its progress numbers, and gives the document of its answer.
pub(super) fn ask(control: &mut Control, stage: &str, message: &Message) -> anyhow::Result<Value> {
    let bars = Bars::on_terminal();
    bars.begin(stage, None);
    let mut told = 0;
    let answer = control.ask(message, |count, _| {
        bars.advance(count.saturating_sub(told));
        told = told.max(count);
    })?;
    Ok(match answer {
        Answer::Json(document) => document,
        Answer::Done => Value::Null,
    })
}

pub(super) fn compact(args: &CompactArgs) -> anyhow::Result<ExitCode> {
    for path in &args.paths {
        let whole = path.canonicalize().with_context(|| format!("compact {}", path.display()))?;
        let ino = whole.metadata().with_context(|| format!("compact {}", path.display()))?.ino();
        let message = Message::Compact { ino, threads: args.threads };
        ask(&mut Control::of(&whole)?, "chunks", &message)
            .with_context(|| format!("compact [{ino}:{:?}]", whole.display().to_string()))?;
        tracing::info!("compact [{ino}:{:?}] success.", whole.display().to_string());
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn rmr(args: &RmrArgs) -> anyhow::Result<ExitCode> {
    if args.skip_trash && !nix::unistd::geteuid().is_root() {
        bail!("only root may remove without the trash: leave --skip-trash out");
    }
    for path in &args.paths {
        remove(path, args).with_context(|| format!("RMR {:?}", path.display().to_string()))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn remove(path: &Path, args: &RmrArgs) -> anyhow::Result<()> {
    // The name itself, also where it is a link to elsewhere.
    path.symlink_metadata()?;
    let name: &OsStr = path.file_name().context("it has no name: name the directory from above it")?;
    let above = match path.parent() {
        Some(above) if !above.as_os_str().is_empty() => above.canonicalize()?,
        _ => std::env::current_dir()?,
    };
    let mut control = Control::of(&above)?;
    if control.root == above.join(name) {
        bail!("it is the mount itself: name what is in it");
    }
    let message = Message::Remove {
        parent: above.metadata()?.ino(),
        name: name.as_bytes().to_vec(),
        skip_trash: args.skip_trash,
        threads: args.threads,
    };
    ask(&mut control, "removed", &message).map(drop)
}

pub(super) fn info(args: &InfoArgs) -> anyhow::Result<ExitCode> {
    for path in &args.paths {
        let (mut control, ino) = if args.inode {
            let ino = path.parse().with_context(|| format!("{path:?} is no inode"))?;
            (Control::of(&std::env::current_dir()?)?, ino)
        } else {
            let place = PathBuf::from(path);
            let ino = place.symlink_metadata().with_context(|| format!("lookup inode for {path}"))?.ino();
            let above = match place.parent() {
                Some(above) if place.is_symlink() && !above.as_os_str().is_empty() => above.to_owned(),
                _ if place.is_symlink() => std::env::current_dir()?,
                _ => place,
            };
            (Control::of(&above)?, ino)
        };
        let message = Message::Info { ino, recursive: args.recursive, raw: args.raw, strict: args.strict };
        let document = ask(&mut control, "nodes", &message).with_context(|| format!("info {path}"))?;
        if args.json {
            say(&document.to_string());
            continue;
        }
        if document["Failed"] == true {
            bail!("info {path}: {}", document["Reason"].as_str().unwrap_or_default());
        }
        say(&format!("{path} :\n{}", info_text(&document)));
    }
    Ok(ExitCode::SUCCESS)
}

fn info_text(document: &Value) -> String {
    let number = |value: &Value| value.as_u64().unwrap_or(0);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let sum = &document["Summary"];
    let mut lines = vec![
        format!("  inode: {}", number(&document["Ino"])),
        format!("  files: {}", number(&sum["Files"])),
        format!("   dirs: {}", number(&sum["Dirs"])),
        format!(" length: {}", bytes_in_full(number(&sum["Length"]))),
        format!("   size: {}", bytes_in_full(number(&sum["Size"]))),
    ];
    let paths: Vec<String> = document["Paths"].as_array().into_iter().flatten().map(text).collect();
    match &paths[..] {
        [] => lines.push("   path: unknown".to_owned()),
        [path] => lines.push(format!("   path: {path}")),
        paths => {
            lines.push("  paths:".to_owned());
            lines.extend(paths.iter().map(|path| format!("\t{path}")));
        }
    }
    let tier = &document["Tier"];
    lines.push(format!(
        "   tier: {}->{} {}",
        number(&tier["ID"]),
        text(&tier["StorageClass"]),
        text(&tier["Tag"])
    ));
    let cells = |row: &Value, fields: &[&str]| -> Vec<String> {
        fields
            .iter()
            .map(|field| row[*field].as_str().map_or_else(|| row[*field].to_string(), str::to_owned))
            .collect()
    };
    if let Some(chunks) = document["Chunks"].as_array().filter(|rows| !rows.is_empty()) {
        let rows: Vec<_> =
            chunks.iter().map(|row| cells(row, &["ChunkIndex", "Id", "Size", "Off", "Len"])).collect();
        lines.push(" chunks:".to_owned());
        let head = ["chunkIndex", "sliceId", "size", "offset", "length"];
        lines.push(table(&head, 0, &rows).trim_end().to_owned());
    }
    if let Some(objects) = document["Objects"].as_array().filter(|rows| !rows.is_empty()) {
        let (mut chunk, mut pos, mut rows) = (u64::MAX, 0, Vec::new());
        for object in objects {
            if number(&object["ChunkIndex"]) != chunk {
                chunk = number(&object["ChunkIndex"]);
                pos = chunk << 26;
            }
            let mut row = cells(object, &["ChunkIndex", "Key", "Size", "Off", "Len"]);
            row.push(pos.to_string());
            pos += number(&object["Len"]);
            rows.push(row);
        }
        lines.push(" objects:".to_owned());
        let head = ["chunkIndex", "objectName", "size", "offset", "length", "pos"];
        lines.push(table(&head, 0, &rows).trim_end().to_owned());
    }
    let list = |field: &str| document[field].as_array().filter(|rows| !rows.is_empty());
    if let Some(locks) = list("FLocks") {
        let rows: Vec<_> = locks.iter().map(|row| cells(row, &["Sid", "Owner", "Type"])).collect();
        lines.push(" flocks:".to_owned());
        lines.push(table(&["Sid", "Owner", "Type"], 1, &rows).trim_end().to_owned());
    }
    if let Some(locks) = list("PLocks") {
        let head = ["Sid", "Owner", "Type", "Pid", "Start", "End"];
        let row = |lock: &Value| {
            let mut row = cells(lock, &head);
            // `F_RDLCK` is 0.
            row[2] = if number(&lock["Type"]) == 0 { "R" } else { "W" }.to_owned();
            row
        };
        let rows: Vec<_> = locks.iter().map(row).collect();
        lines.push(" plocks:".to_owned());
        lines.push(table(&head, 1, &rows).trim_end().to_owned());
    }
    lines.join("\n")
}

pub(super) fn summary(args: &SummaryArgs) -> anyhow::Result<ExitCode> {
    let path = args.path.canonicalize().with_context(|| format!("summary {}", args.path.display()))?;
    let ino = path.metadata().with_context(|| format!("summary {}", args.path.display()))?.ino();
    let message = Message::Summary { ino, depth: args.depth, top: args.entries, strict: args.strict };
    let document = ask(&mut Control::of(&path)?, "nodes", &message)
        .with_context(|| format!("summary {}", path.display()))?;
    let errno = document["Errno"].as_i64().and_then(|errno| i32::try_from(errno).ok()).unwrap_or(0);
    if errno != 0 {
        let cause = std::io::Error::from_raw_os_error(errno);
        return Err(cause).with_context(|| format!("summary {}", path.display()));
    }
    if args.json {
        say(&document["Tree"].to_string());
        return Ok(ExitCode::SUCCESS);
    }
    let mut rows = Vec::new();
    add_rows(&document["Tree"], args.csv, &mut rows);
    if args.csv {
        say("PATH,SIZE,DIRS,FILES");
        rows.iter().for_each(|row| say(&row.join(",")));
    } else {
        say(table(&["PATH", "SIZE", "DIRS", "FILES"], 1, &rows).trim_end());
    }
    Ok(ExitCode::SUCCESS)
}

fn add_rows(node: &Value, in_bytes: bool, rows: &mut Vec<Vec<String>>) {
    const DIRECTORY: u64 = 2;
    let number = |field: &str| node[field].as_u64().unwrap_or(0);
    let path = node["Path"].as_str().unwrap_or_default();
    // The top is called so whatever it is.
    let slash = if path.is_empty() || number("Type") == DIRECTORY { "/" } else { "" };
    let size = if in_bytes { number("Size").to_string() } else { bytes_in_short(number("Size")) };
    rows.push(vec![format!("{path}{slash}"), size, number("Dirs").to_string(), number("Files").to_string()]);
    node["Children"].as_array().into_iter().flatten().for_each(|child| add_rows(child, in_bytes, rows));
}
