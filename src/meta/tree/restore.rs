//! What lies in the trash goes back: below the directory it was removed from, where that lies in the same hour, and
//! back into the tree if asked for.

use std::collections::HashSet;

use futures::{StreamExt, stream};
use juicefs_base::Errno;

use super::TreeProgress;
use crate::error::{Error, Result};
use crate::meta::Meta;
use crate::request::RenameFlags;
use crate::types::{Caller, Entry, Ino, Kind, Name};

/// What became of the entries of an hour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    pub restored: u64,
    /// Left where they are: their directory does not lie in this hour, and they were not to be put back.
    pub skipped: u64,
    /// Refused, each with a warning that names it.
    pub failed: u64,
}

/// An entry of the trash and where it came from.
struct Trashed {
    entry: Name,
    parent: Ino,
    name: Name,
}

impl Meta {
    /// Rebuilds the trees of what was removed in an hour (`2026-11-21-22`, UTC), and with `put_back` moves
    /// them to where they were. Nothing is replaced.
    ///
    /// # Errors
    /// ENOENT for an hour that is not there; EROFS.
    pub async fn restore_hour(
        &self,
        hour: &str,
        put_back: bool,
        threads: usize,
        progress: &TreeProgress,
    ) -> Result<Restored> {
        self.check_writable()?;
        let caller = Caller::internal();
        let hour_name = Name::new(hour.as_bytes().to_vec())?;
        let found = self.ask(|engine| engine.lookup(Ino::TRASH, &hour_name)).await?;
        let (edge, _) = found.ok_or(Errno::ENOENT)?;
        let entries = self.readdir(&caller, edge.ino, false).await?;
        let directories: HashSet<Ino> = entries
            .iter()
            .filter(|entry| entry.edge.kind == Kind::Directory)
            .map(|entry| entry.edge.ino)
            .collect();
        let mut sum = Restored::default();
        let mut movable = Vec::new();
        for entry in entries {
            match Trashed::of(&entry) {
                Some(trashed) if put_back || directories.contains(&trashed.parent) => movable.push(trashed),
                Some(_) => sum.skipped += 1,
                None => {
                    tracing::warn!("restore {}: its name does not say where it was", entry.name);
                    sum.failed += 1;
                }
            }
        }
        let caller = &caller;
        let mut moves = stream::iter(movable)
            .map(|Trashed { entry, parent, name }| async move {
                let how = RenameFlags(RenameFlags::NOREPLACE.0 | RenameFlags::RESTORE.0);
                (self.rename(caller, edge.ino, &entry, parent, &name, how).await, entry)
            })
            .buffer_unordered(threads.max(1));
        while let Some((outcome, entry)) = moves.next().await {
            progress.add(1, 0);
            match outcome {
                Ok(_) => sum.restored += 1,
                Err(error) => {
                    let why = match error {
                        Error::Errno(Errno::EEXIST) => "target already exists".to_owned(),
                        Error::Errno(Errno::ENOENT) => "the directory it was in is gone".to_owned(),
                        error => error.to_string(),
                    };
                    tracing::warn!("restore {entry}: {why}");
                    sum.failed += 1;
                }
            }
        }
        Ok(sum)
    }
}

impl Trashed {
    /// `<parent>-<ino>-<name>` taken apart.
    fn of(entry: &Entry) -> Option<Self> {
        let mut parts = entry.name.as_bytes().splitn(3, |&byte| byte == b'-');
        let (parent, _, name) = (parts.next()?, parts.next()?, parts.next()?);
        let parent = Ino(std::str::from_utf8(parent).ok()?.parse().ok()?);
        Some(Self { entry: entry.name.clone(), parent, name: Name::new(name.to_vec()).ok()? })
    }
}
