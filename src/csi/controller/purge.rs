//! What removed volumes left: `/.juicefs-csi/deleted/`, taken away file by file in the background.
//!
//! One purge works on a file system at a time; a call that comes meanwhile has it look once more. The state is the
//! directory itself, so whatever a purge does not finish, the next call's does.

use juicefs_base::Errno;
use juicefs_base::sync::Mutex;
use juicefs_meta::{Ino, Kind, Name};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use super::Volume;
use super::records::{DELETED, RECORDS};

/// A directory that does not get empty is listed this often.
const LISTS_MAX: u32 = 3;

/// File systems that are being purged, by UUID, each with whether to look once more.
#[derive(Clone, Debug, Default)]
pub(super) struct Purges {
    at_work: Arc<Mutex<HashMap<String, bool>>>,
}

impl Purges {
    /// Sees to it that everything that waits now will be removed.
    pub(super) fn start(&self, volume: Volume) {
        let (uuid, name) = (volume.meta.format().uuid.clone(), volume.meta.format().name.clone());
        match self.at_work.lock().entry(uuid.clone()) {
            Entry::Occupied(mut again) => {
                again.insert(true);
                return;
            }
            Entry::Vacant(free) => {
                free.insert(false);
            }
        }
        let purges = self.clone();
        tokio::spawn(async move {
            loop {
                let purged = volume.purge().await;
                volume.write_statistics().await;
                match purged {
                    Ok(0) => {}
                    Ok(removed) => tracing::info!(volume = name, removed, "removed what was deleted"),
                    Err(error) => {
                        tracing::warn!(
                            volume = name,
                            "removing what was deleted stopped, the next call goes on: {error}"
                        );
                        purges.at_work.lock().remove(&uuid);
                        return;
                    }
                }
                let mut at_work = purges.at_work.lock();
                match at_work.get_mut(&uuid) {
                    Some(again) if *again => *again = false,
                    _ => {
                        at_work.remove(&uuid);
                        return;
                    }
                }
            }
        });
    }
}

/// A directory on the way down.
struct Level {
    folder: Ino,
    /// What it is called, and where; the first one stays.
    way: Option<(Ino, Name)>,
    /// Directories in it that are still there.
    below: Vec<(Ino, Name)>,
    times_listed: u32,
}

impl Volume {
    /// Removes what waits in `deleted/`, so that files go through the trash as any others. How many entries went.
    pub(super) async fn purge(&self) -> Result<u64, juicefs_meta::Error> {
        let Some(own) = self.purge_child(Ino::ROOT, RECORDS).await? else { return Ok(0) };
        let Some(deleted) = self.purge_child(own, DELETED).await? else { return Ok(0) };
        let mut removed = 0;
        let mut levels = vec![Level { folder: deleted, way: None, below: Vec::new(), times_listed: 0 }];
        while let Some(level) = levels.last_mut() {
            if let Some((ino, name)) = level.below.pop() {
                let way = Some((level.folder, name));
                levels.push(Level { folder: ino, way, below: Vec::new(), times_listed: 0 });
                continue;
            }
            if level.times_listed == 0 {
                removed += self.empty(level).await?;
                continue;
            }
            let Some((parent, name)) = level.way.clone() else { return Ok(removed) };
            match self.meta.rmdir(&self.caller, parent, &name).await {
                // Somebody is still writing there. Once more; then it is left to the next purge.
                Err(error) if error.errno() == Errno::ENOTEMPTY && level.times_listed < LISTS_MAX => {
                    removed += self.empty(level).await?;
                    continue;
                }
                Err(error) if error.errno() == Errno::ENOTEMPTY => {
                    tracing::warn!(name = %name, "a removed directory is still being written to; it stays for now");
                }
                gone => {
                    ignore_missing(gone)?;
                    removed += 1;
                }
            }
            levels.pop();
        }
        Ok(removed)
    }

    /// Unlinks the files of a directory and notes the directories in it.
    async fn empty(&self, level: &mut Level) -> Result<u64, juicefs_meta::Error> {
        level.times_listed += 1;
        let mut removed = 0;
        for entry in self.meta.readdir(&self.caller, level.folder, false).await? {
            if entry.edge.kind == Kind::Directory {
                level.below.push((entry.edge.ino, entry.name));
            } else {
                ignore_missing(self.meta.unlink(&self.caller, level.folder, &entry.name).await)?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    async fn purge_child(&self, parent: Ino, name: &str) -> Result<Option<Ino>, juicefs_meta::Error> {
        let Ok(name) = Name::new(name.as_bytes().to_vec()) else { return Ok(None) };
        match self.meta.lookup(&self.caller, parent, &name).await {
            Ok((ino, _)) => Ok(Some(ino)),
            Err(error) if error.errno() == Errno::ENOENT => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn ignore_missing(result: Result<(), juicefs_meta::Error>) -> Result<(), juicefs_meta::Error> {
    match result {
        Err(error) if error.errno() == Errno::ENOENT => Ok(()),
        other => other,
    }
}
