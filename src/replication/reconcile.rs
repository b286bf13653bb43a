//! The whole of a volume, row by row: copied into its mirror, or only compared.
//!
//! Nothing is locked: rows may change while they are read. Who copies follows the change log from a version before
//! the copy began, who compares looks at a difference twice.

use std::collections::HashSet;

use futures::TryStreamExt;
use juicefs_meta::mirror::{MirrorRecord, State};
use juicefs_meta::port::{Change, Engine, Get, Got, Hold, Item, Scan};
use juicefs_meta::types::{Attr, CHUNK_BYTES, Ino, Kind};
use serde::Serialize;

use crate::apply::{commit, rows};
use crate::error::Result;
use crate::sample;

/// Rows read, compared and written together.
const AT_ONCE: usize = 256;

/// Differences whose paths are looked for.
const PATHS_MAX: usize = 100;

/// A row that is not the same at the mirror.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Such as `node 5` or `chunk 0 of inode 7`.
    pub row: String,
    /// Where it is, at the source or else at the mirror.
    pub path: String,
    pub source: String,
    pub mirror: String,
}

/// Both sides of every row that may exist, a batch at a time.
struct Walk<'a> {
    source: &'a dyn Engine,
    mirror: &'a dyn Engine,
    gets: Vec<Get>,
    /// What is not the same at the mirror.
    found: Vec<(Get, Got, Got)>,
}

impl<'a> Walk<'a> {
    fn new(source: &'a dyn Engine, mirror: &'a dyn Engine) -> Self {
        Self { source, mirror, gets: Vec::new(), found: Vec::new() }
    }

    async fn ask(&mut self, get: Get) -> Result<()> {
        self.gets.push(get);
        if self.gets.len() >= AT_ONCE { self.compare().await } else { Ok(()) }
    }

    async fn compare(&mut self) -> Result<()> {
        let gets = std::mem::take(&mut self.gets);
        if gets.is_empty() {
            return Ok(());
        }
        let there = self.source.read(&gets).await?;
        let here = self.mirror.read(&gets).await?;
        let rows = gets.into_iter().zip(there.into_iter().zip(here));
        let different = rows.filter(|(_, (there, here))| sorted(there) != sorted(here));
        self.found.extend(different.map(|(get, (there, here))| (get, there, here)));
        Ok(())
    }

    /// All that belongs to a node but its entries.
    async fn ask_about(&mut self, ino: Ino, attr: &Attr) -> Result<()> {
        self.ask(Get::Node { ino, hold: Hold::Peek }).await?;
        match attr.kind {
            Kind::Symlink => self.ask(Get::Symlink { ino }).await?,
            Kind::Directory => {}
            _ if attr.parent.0 == 0 => self.ask(Get::Parents { ino }).await?,
            _ => {}
        }
        for engine in [self.source, self.mirror] {
            let got = engine.read(&[Get::XattrNames { ino }]).await?;
            if let Some(Got::Names(names)) = got.into_iter().next() {
                for name in names {
                    self.ask(Get::Xattr { ino, name, hold: Hold::Peek }).await?;
                }
            }
        }
        Ok(())
    }

    async fn ask_entries(&mut self, engine: &dyn Engine, parent: Ino) -> Result<Vec<Ino>> {
        let mut children = Vec::new();
        let mut entries = engine.scan(Scan::Entries { parent });
        while let Some(item) = entries.try_next().await? {
            if let Item::Entry { name, edge } = item {
                children.push(edge.ino);
                self.ask(Get::Edge { parent, name, hold: Hold::Peek }).await?;
            }
        }
        Ok(children)
    }

    async fn ask_chunks(&mut self, engine: &dyn Engine) -> Result<()> {
        let mut chunks = engine.scan(Scan::Chunks { ino: None });
        while let Some(item) = chunks.try_next().await? {
            if let Item::Chunk { ino, indx, .. } = item {
                self.ask(Get::Chunk { ino, indx, hold: Hold::Peek }).await?;
            }
        }
        Ok(())
    }
}

/// Parents come in any order.
fn sorted(got: &Got) -> Got {
    match got {
        Got::Parents(parents) => {
            let mut parents = parents.clone();
            parents.sort_unstable();
            Got::Parents(parents)
        }
        other => other.clone(),
    }
}

/// Writes what differs as the source has it; answers how many rows.
async fn write(walk: &mut Walk<'_>, record: &MirrorRecord) -> Result<u64> {
    walk.compare().await?;
    let mut written = 0;
    for part in std::mem::take(&mut walk.found).chunks(AT_ONCE) {
        let (gets, answers): (Vec<_>, Vec<_>) =
            part.iter().map(|(get, there, _)| (get.clone(), there.clone())).unzip();
        let changes: Vec<Change> = rows(&gets, answers);
        written += changes.len() as u64;
        commit(walk.mirror, record, record, changes).await?;
    }
    Ok(written)
}

/// Every node of either side, then every chunk of either side.
async fn walk_all(walk: &mut Walk<'_>, mut after_batch: Option<&MirrorRecord>) -> Result<u64> {
    let mut written = 0;
    let (source, mirror) = (walk.source, walk.mirror);
    for engine in [source, mirror] {
        let mut nodes = engine.scan(Scan::Nodes);
        while let Some(item) = nodes.try_next().await? {
            let Item::Node { ino, attr } = item else { continue };
            walk.ask_about(ino, &attr).await?;
            if attr.kind == Kind::Directory {
                walk.ask_entries(engine, ino).await?;
            }
            if let Some(record) = after_batch.filter(|_| walk.found.len() >= AT_ONCE) {
                written += write(walk, record).await?;
            }
        }
    }
    for engine in [source, mirror] {
        walk.ask_chunks(engine).await?;
    }
    walk.compare().await?;
    if let Some(record) = after_batch.take() {
        written += write(walk, record).await?;
    }
    Ok(written)
}

/// Makes the mirror what the source is; answers how many rows were not the same.
pub(crate) async fn copy(source: &dyn Engine, mirror: &dyn Engine, record: &MirrorRecord) -> Result<u64> {
    let mut walk = Walk::new(source, mirror);
    walk_all(&mut walk, Some(record)).await
}

/// Copies everything from `top` downwards.
pub(crate) async fn copy_subtree(
    source: &dyn Engine,
    mirror: &dyn Engine,
    record: &MirrorRecord,
    top: Ino,
) -> Result<()> {
    let mut walk = Walk::new(source, mirror);
    let (mut todo, mut seen) = (vec![top], HashSet::from([top]));
    while let Some(ino) = todo.pop() {
        let Some(Ok(Some(attr))) = source.nodes(&[ino]).await?.into_iter().next() else { continue };
        walk.ask_about(ino, &attr).await?;
        match attr.kind {
            Kind::Directory => {
                let children = walk.ask_entries(source, ino).await?;
                todo.extend(children.into_iter().filter(|child| seen.insert(*child)));
            }
            Kind::File if attr.length > 0 => {
                let last = u32::try_from((attr.length - 1) / CHUNK_BYTES).unwrap_or(u32::MAX);
                let range = Get::Chunks { ino, first: 0, last };
                for engine in [source, mirror] {
                    if let Some(Got::Indexes(indexes)) =
                        engine.read(std::slice::from_ref(&range)).await?.pop()
                    {
                        for indx in indexes {
                            walk.ask(Get::Chunk { ino, indx, hold: Hold::Peek }).await?;
                        }
                    }
                }
            }
            _ => {}
        }
    }
    write(&mut walk, record).await.map(drop)
}

/// Rows that are not the same although the mirror has applied everything: what differs is looked at until it stays
/// different while nothing happens, at most for `patience`.
///
/// # Errors
/// As the engines'.
pub async fn check(
    source: &dyn Engine,
    mirror: &dyn Engine,
    patience: std::time::Duration,
) -> Result<Vec<Difference>> {
    let begun = std::time::Instant::now();
    let mut walk = Walk::new(source, mirror);
    walk_all(&mut walk, None).await?;
    loop {
        let suspects = std::mem::take(&mut walk.found);
        if suspects.is_empty() {
            return Ok(Vec::new());
        }
        walk.gets = suspects.into_iter().map(|(get, ..)| get).collect();
        walk.compare().await?;
        if begun.elapsed() >= patience {
            let mut told = Vec::new();
            for (nth, (get, there, here)) in walk.found.into_iter().enumerate() {
                told.push(Difference {
                    path: if nth < PATHS_MAX { path_of(source, mirror, &get).await? } else { String::new() },
                    row: name_of(&get),
                    source: format!("{there:?}"),
                    mirror: format!("{here:?}"),
                });
            }
            return Ok(told);
        }
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
}

async fn path_of(source: &dyn Engine, mirror: &dyn Engine, get: &Get) -> Result<String> {
    let (ino, below) = match get {
        Get::Edge { parent, name, .. } => (*parent, format!("/{name}")),
        Get::Node { ino, .. }
        | Get::Chunk { ino, .. }
        | Get::Symlink { ino }
        | Get::Parents { ino }
        | Get::Xattr { ino, .. } => (*ino, String::new()),
        _ => return Ok(String::new()),
    };
    let mut path = sample::path_of(source, ino).await?;
    if !path.starts_with('/') {
        path = sample::path_of(mirror, ino).await?;
    }
    Ok(if path == "/" { format!("{path}{}", below.trim_start_matches('/')) } else { path + &below })
}

fn name_of(get: &Get) -> String {
    match get {
        Get::Node { ino, .. } => format!("node {ino}"),
        Get::Edge { parent, name, .. } => format!("entry {name} of inode {parent}"),
        Get::Chunk { ino, indx, .. } => format!("chunk {indx} of inode {ino}"),
        Get::Symlink { ino } => format!("target of inode {ino}"),
        Get::Parents { ino } => format!("parents of inode {ino}"),
        Get::Xattr { ino, name, .. } => format!("attribute {} of inode {ino}", name.escape_ascii()),
        other => format!("{other:?}"),
    }
}

/// Whether a mirror in this state can be compared at all.
pub(crate) fn is_comparable(state: State) -> bool {
    matches!(state, State::CatchingUp | State::Following)
}
