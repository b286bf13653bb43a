//! `destroy`: a volume's objects and records go, for good.

use futures::{StreamExt, TryStreamExt};
use juicefs_meta::engines;
use juicefs_meta::port::{Item, Scan};
use juicefs_meta::replication;
use juicefs_meta::types::Usage;
use juicefs_meta::url::MetaUrl;
use juicefs_object::Store;
use serde_json::Value;
use std::collections::BTreeSet;

use crate::error::{Error, Result};
use crate::format::now;
use crate::progress::Progress;
use crate::storage::{StorageAccess, load_format, open_both, open_store};

/// Deletions at the same time.
const DELETIONS_AT_ONCE: usize = 50;
/// Listings until one is empty; a client that is still writing is not waited for.
const ROUNDS_MAX: u32 = 5;

/// A volume that somebody wants destroyed.
#[derive(Clone, Debug)]
pub struct Doomed {
    pub name: String,
    pub uuid: String,
    /// Where its objects are.
    pub store: String,
    pub usage: Usage,
    /// Who uses it now: number, host, mount point.
    pub sessions: Vec<(u64, String, String)>,
}

/// What would go.
///
/// # Errors
/// An engine or store that can't be opened, a database without a volume.
pub async fn doomed(url: &MetaUrl, access: &StorageAccess) -> Result<Doomed> {
    let engine = engines::open(url).await?;
    let format = load_format(engine.as_ref()).await?;
    let store = open_store(&format, access).await?;
    let mut sessions = Vec::new();
    let mut rows = engine.scan(Scan::Sessions);
    while let Some(item) = rows.try_next().await? {
        if let Item::Session(row) = item
            && row.expires_at > now().sec
        {
            let info: Value = serde_json::from_slice(&row.info).unwrap_or_default();
            let text = |field: &str| info[field].as_str().unwrap_or_default().to_owned();
            sessions.push((row.sid, text("HostName"), text("MountPoint")));
        }
    }
    drop(rows);
    let usage = engine.usage().await?;
    Ok(Doomed { name: format.name, uuid: format.uuid, store: store.to_string(), usage, sessions })
}

/// Deletes every object of the volume `uuid`, then every record; returns the number of objects. When an object can't be
/// deleted the records stay, so that it can be tried again.
///
/// # Errors
/// Another volume than `uuid`; an engine or store that does not answer; objects that stay.
pub async fn destroy(
    url: &MetaUrl,
    access: &StorageAccess,
    uuid: &str,
    progress: &dyn Progress,
) -> Result<u64> {
    let engine = engines::open(url).await?;
    let format = load_format(engine.as_ref()).await?;
    if format.uuid != uuid {
        return Err(Error::BadRequest(format!("UUID {uuid:?} != expected {:?}", format.uuid)));
    }
    let mut stores = vec![(open_store(&format, access).await?, format.storage.clone())];
    if let Some(record) = replication::read(engine.as_ref(), &format).await? {
        stores.push((open_both(&format, &record, access).await?.second, record.storage2));
    }
    progress.begin("objects", None);
    let mut deleted = 0;
    for (store, storage) in &stores {
        deleted += delete_objects(&**store, storage == "file", progress).await?;
    }
    engine.destroy_volume().await?;
    Ok(deleted)
}

/// Empties a bucket; gives how many objects went.
async fn delete_objects(store: &dyn Store, has_folders: bool, progress: &dyn Progress) -> Result<u64> {
    let mut deleted = 0;
    let mut folders = BTreeSet::new();
    for _ in 0..ROUNDS_MAX {
        let mut deletions = store
            .list("", "")
            .try_filter(|object| std::future::ready(!object.is_prefix))
            .map_ok(|object| async move { store.delete(&object.key).await.map(|()| object.key) })
            .try_buffer_unordered(DELETIONS_AT_ONCE)
            .boxed();
        let mut of_round = 0;
        while let Some(key) = deletions.try_next().await? {
            note_folders(&key, &mut folders);
            of_round += 1;
            progress.advance(1);
        }
        deleted += of_round;
        if of_round == 0 {
            break;
        }
    }
    // Elsewhere a folder is there as long as something is in it.
    if has_folders {
        // What is inside comes first; the last is the volume's own.
        for folder in folders.into_iter().rev() {
            store.delete(&folder).await?;
        }
        store.delete("").await?;
    }
    Ok(deleted)
}

/// The folders above an object, as keys.
fn note_folders(key: &str, folders: &mut BTreeSet<String>) {
    for (at, _) in key.rmatch_indices('/') {
        if !folders.insert(key[..=at].to_owned()) {
            break;
        }
    }
}
