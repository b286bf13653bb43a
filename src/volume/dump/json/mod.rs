//! The JSON document (format 12.1): setting, counters, what is sustained or deleted, quotas, then the tree.

mod text;
mod tree;

use std::fmt::Write;

use futures::TryStreamExt;
use juicefs_meta::format::Format;
use juicefs_meta::port::{Counters, Engine, Get, Got, Hold, Item, QuotaKind, Scan};
use juicefs_meta::{Attr, Ino, Name};

pub(crate) use text::{kind_of, unescaped};

use super::DumpRequest;
use super::output::Output;
use crate::error::{Error, Result};
use crate::progress::Progress;
use tree::Trees;

/// Writes the document; returns how many entries had to be left out.
pub(super) async fn write(
    engine: &dyn Engine,
    format: &Format,
    request: &DumpRequest,
    out: &mut Output,
    progress: &dyn Progress,
) -> Result<u64> {
    let top = top(engine, request.subdir.as_deref()).await?;
    let counters = engine.counters().await?;
    let stored =
        if request.keep_secrets { format.to_text() } else { format.without_store_secrets().to_text() };
    out.put(format!("{{\n  \"Setting\": {},\n", text::indented(&stored, 1)).as_bytes()).await?;
    let has_log = format.change_log && engine.limits().has_change_log;
    let log_last = if has_log { engine.read_log(u64::MAX, 0).await?.last } else { 0 };
    out.put(counters_text(&counters, log_last).as_bytes()).await?;
    sustained(engine, out).await?;
    deleted_files(engine, out).await?;
    for (title, kind) in
        [("Quotas", QuotaKind::Directory), ("UserQuotas", QuotaKind::User), ("GroupQuotas", QuotaKind::Group)]
    {
        if kind == QuotaKind::Directory || request.subdir.is_none() {
            quotas(engine, title, kind, out).await?;
        }
    }
    let total = u64::try_from(counters.usage.inodes).ok();
    progress.begin("entries", total.filter(|_| request.subdir.is_none()));
    let mut trees = Trees::new(engine, progress).await?;
    trees.write(out, "FSTree", top.0, top.1).await?;
    if !request.skip_trash
        && request.subdir.is_none()
        && let Some(trash) = node(engine, Ino::TRASH).await?
    {
        out.put(b",\n").await?;
        trees.write(out, "Trash", Ino::TRASH, trash).await?;
    }
    out.put(b"\n}\n").await?;
    Ok(trees.left_out)
}

async fn node(engine: &dyn Engine, ino: Ino) -> Result<Option<Attr>> {
    match engine.read(&[Get::Node { ino, hold: Hold::Peek }]).await?.into_iter().next() {
        Some(Got::Node(attr)) => Ok(attr),
        _ => Ok(None),
    }
}

/// The directory that the tree begins with.
async fn top(engine: &dyn Engine, subdir: Option<&str>) -> Result<(Ino, Attr)> {
    let missing = |path: &str| Error::BadRequest(format!("{path}: no such directory in the volume"));
    let mut ino = Ino::ROOT;
    let path = subdir.unwrap_or("/");
    for part in path.split('/').filter(|part| !part.is_empty()) {
        let name = Name::new(part.as_bytes().to_vec()).map_err(|_| missing(path))?;
        let found = engine.lookup(ino, &name).await?;
        ino = found.ok_or_else(|| missing(path))?.0.ino;
    }
    let attr = node(engine, ino).await?.ok_or_else(|| missing(path))?;
    if attr.kind != juicefs_meta::Kind::Directory {
        return Err(Error::BadRequest(format!("{path} is not a directory: a dump begins with one")));
    }
    Ok((ino, attr))
}

fn counters_text(counters: &Counters, log_last: u64) -> String {
    let mut text = format!(
        "  \"Counters\": {{\n    \"usedSpace\": {},\n    \"usedInodes\": {},\n    \"nextInodes\": {},\n    \
         \"nextChunk\": {},\n    \"nextSession\": {},\n    \"nextTrash\": {}",
        counters.usage.space,
        counters.usage.inodes,
        counters.next_inode,
        counters.next_slice,
        counters.last_session,
        counters.last_trash
    );
    if log_last > 0 {
        let _ = write!(text, ",\n    \"lastChangelog\": {log_last}");
    }
    text.push_str("\n  },\n");
    text
}

/// Writes `title` and a list whose elements come one by one.
struct List {
    is_first: bool,
}

impl List {
    async fn begin(out: &mut Output, title: &str) -> Result<Self> {
        out.put(format!("  \"{title}\": [").as_bytes()).await?;
        Ok(Self { is_first: true })
    }

    async fn add(&mut self, out: &mut Output, element: &str) -> Result<()> {
        let comma = if std::mem::take(&mut self.is_first) { "" } else { "," };
        out.put(format!("{comma}\n    {element}").as_bytes()).await
    }

    async fn end(self, out: &mut Output) -> Result<()> {
        out.put(if self.is_first { b"],\n" } else { b"\n  ],\n" }).await
    }
}

async fn sustained(engine: &dyn Engine, out: &mut Output) -> Result<()> {
    let mut held = Vec::new();
    let mut items = engine.scan(Scan::Sustained { sid: None });
    while let Some(item) = items.try_next().await? {
        match item {
            Item::Sustained { sid, ino } => held.push((sid, ino)),
            Item::Damaged(damage) => tracing::warn!("{damage}; the dump is without it"),
            _ => {}
        }
    }
    held.sort_unstable();
    held.dedup();
    let mut list = List::begin(out, "Sustained").await?;
    for of_session in held.chunk_by(|(one, _), (other, _)| one == other) {
        let inodes: Vec<_> = of_session.iter().map(|(_, ino)| format!("\n        {ino}")).collect();
        let element = format!(
            "{{\n      \"sid\": {},\n      \"inodes\": [{}\n      ]\n    }}",
            of_session[0].0,
            inodes.join(",")
        );
        list.add(out, &element).await?;
    }
    list.end(out).await
}

async fn deleted_files(engine: &dyn Engine, out: &mut Output) -> Result<()> {
    let mut list = List::begin(out, "DelFiles").await?;
    let mut items = engine.scan(Scan::DeletedFiles);
    while let Some(item) = items.try_next().await? {
        match item {
            Item::DeletedFile { ino, length, deleted_at } => {
                let element = format!(
                    "{{\n      \"inode\": {ino},\n      \"length\": {length},\n      \"expire\": {deleted_at}\n    }}"
                );
                list.add(out, &element).await?;
            }
            Item::Damaged(damage) => tracing::warn!("{damage}; the dump is without it"),
            _ => {}
        }
    }
    list.end(out).await
}

/// Limits by key, in the order of the keys' digits; what has no limit is left out, as its usage is counted by a load.
async fn quotas(engine: &dyn Engine, title: &str, kind: QuotaKind, out: &mut Output) -> Result<()> {
    let mut limits = Vec::new();
    let mut items = engine.scan(Scan::Quotas { kind });
    while let Some(item) = items.try_next().await? {
        match item {
            Item::Quota(row) if (row.space_max, row.inodes_max) != (-1, -1) => {
                limits.push((row.key.to_string(), row.space_max, row.inodes_max));
            }
            Item::Damaged(damage) => tracing::warn!("{damage}; the dump is without it"),
            _ => {}
        }
    }
    if limits.is_empty() {
        return Ok(());
    }
    limits.sort_unstable();
    limits.dedup_by(|one, other| one.0 == other.0);
    let lines: Vec<_> = limits
        .iter()
        .map(|(key, space, inodes)| {
            format!("    \"{key}\": {{\n      \"maxSpace\": {space},\n      \"maxInodes\": {inodes}\n    }}")
        })
        .collect();
    out.put(format!("  \"{title}\": {{\n{}\n  }},\n", lines.join(",\n")).as_bytes()).await
}
