//! `load`: a dump of either client into an empty database.

mod binary;
mod json;
mod rows;
mod source;
mod stat;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::path::PathBuf;

use juicefs_meta::engines;
use juicefs_meta::port::{Change, Engine};
use juicefs_meta::url::MetaUrl;
use juicefs_meta::{Attr, Ino};
use tokio::sync::mpsc;

pub use source::Source;
pub use stat::{SegmentStat, segment_text, segments};

use crate::error::{Error, Result};
use crate::progress::Progress;
use rows::{Batch, Volume};

/// Batches that may wait for the engine.
const BATCHES_WAITING_MAX: usize = 2;
/// Changes in one transaction.
const CHANGES: usize = 1_000;

/// What was loaded.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    pub name: String,
    /// Secrets that the dump came without.
    pub removed_secrets: Vec<&'static str>,
}

/// Fills the empty database at `url`.
///
/// # Errors
/// A database that holds anything; a document that is wrong, with the place; an engine that does not answer. What was
/// written by then is removed, an SQLite file that was not there before, too.
pub async fn load(url: &MetaUrl, source: Source, is_binary: bool, progress: &dyn Progress) -> Result<Loaded> {
    source.check_kind(is_binary)?;
    let made = NewFile::expected(url);
    let engine = engines::open(url).await?;
    let loaded = load_engine(engine.as_ref(), source, is_binary, progress).await;
    if loaded.is_err() {
        drop(engine);
        made.remove();
    }
    loaded
}

/// The file of a database that is not there yet.
struct NewFile(Option<PathBuf>);

impl NewFile {
    fn expected(url: &MetaUrl) -> Self {
        let MetaUrl::Sqlite(sqlite) = url else { return Self(None) };
        Self((!sqlite.path.exists()).then(|| sqlite.path.clone()))
    }

    fn remove(self) {
        let Some(path) = self.0 else { return };
        for ending in ["-wal", "-shm", "-journal", ""] {
            let mut file = path.clone().into_os_string();
            file.push(ending);
            match std::fs::remove_file(&file) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    tracing::warn!("{} is left behind: {error}", PathBuf::from(file).display());
                }
                _ => {}
            }
        }
    }
}

/// [`load`] for who has the engine open.
///
/// # Errors
/// As [`load`].
pub async fn load_engine(
    engine: &dyn Engine,
    source: Source,
    is_binary: bool,
    progress: &dyn Progress,
) -> Result<Loaded> {
    engine.start_load().await?;
    let loaded = fill(engine, source, is_binary, progress).await;
    // The database was empty, and what is in it by now is no volume; unless somebody has made one meanwhile.
    if loaded.is_err()
        && matches!(engine.setting().await, Ok(None))
        && let Err(error) = engine.destroy_volume().await
    {
        tracing::warn!(
            "what was loaded in part could not be removed: empty the database before the next try: {error}"
        );
    }
    loaded
}

async fn fill(
    engine: &dyn Engine,
    source: Source,
    is_binary: bool,
    progress: &dyn Progress,
) -> Result<Loaded> {
    progress.begin("entries", None);
    let (to, mut batches) = mpsc::channel(BATCHES_WAITING_MAX);
    let reading = tokio::task::spawn_blocking(move || {
        if is_binary { binary::read(source, to) } else { json::read(source, to) }
    });
    while let Some(batch) = batches.recv().await {
        write(engine, &batch).await?;
        progress.advance(batch.entries);
    }
    let read = reading.await.map_err(|cause| Error::BadRequest(format!("the reading thread: {cause}")))?;
    let Volume { format, counters, last_acl } = read?;
    engine.finish_load(&format.to_text(), counters, last_acl).await?;
    engine.sync().await?;
    engine.settle().await?;
    Ok(Loaded { removed_secrets: format.removed_secrets(), name: format.name })
}

async fn write(engine: &dyn Engine, batch: &Batch) -> Result<()> {
    engine.load(&batch.rows).await.map_err(|error| match error {
        juicefs_meta::Error::Conflict => {
            Error::BadDump("a record is there twice (an inode, or a name of a directory)".to_owned())
        }
        other => other.into(),
    })?;
    let share = |(id, size): &(u64, u32)| Change::ShareSlice { id: *id, size: *size };
    let mut changes: Vec<Change> = batch.shared.iter().map(share).collect();
    changes.extend(link_changes(engine, &batch.links).await?);
    for changes in changes.chunks(CHANGES) {
        engine.begin(0).await?.commit(changes).await?;
    }
    Ok(())
}

/// A file with a second name has no parent any more, it has parents that are counted.
async fn link_changes(engine: &dyn Engine, links: &[(Ino, Ino)]) -> Result<Vec<Change>> {
    let mut names: HashMap<Ino, Vec<Ino>> = HashMap::new();
    for (ino, parent) in links {
        names.entry(*ino).or_default().push(*parent);
    }
    let inos: Vec<Ino> = names.keys().copied().collect();
    let mut changes = Vec::new();
    for (ino, was) in inos.iter().zip(engine.nodes(&inos).await?) {
        let was = was.map_err(juicefs_meta::Error::from)?;
        let was = was.ok_or_else(|| Error::BadDump(format!("inode {ino} is gone while it is loaded")))?;
        let parents = &names[ino];
        let more = u32::try_from(parents.len()).unwrap_or(u32::MAX);
        let now = Attr { parent: Ino(0), nlink: was.nlink.saturating_add(more), ..was };
        changes.push(Change::UpdateNode { ino: *ino, was, now });
        let first = (was.parent != Ino(0)).then_some(was.parent);
        for parent in first.iter().chain(parents) {
            changes.push(Change::AddParentRef { ino: *ino, parent: *parent, delta: 1 });
        }
    }
    Ok(changes)
}
