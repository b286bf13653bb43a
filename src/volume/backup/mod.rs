//! Backups of the metadata in the volume's own bucket, as the peer names and rotates them (format 7.6).

mod mapped;
mod rotation;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use juicefs_meta::port::Engine;
use juicefs_object::{Store, StoreExt};
use std::io::Write;

use crate::dump::{DumpRequest, Packing, Target, dump_engine};
use crate::error::{Error, Result};
use crate::progress::Silent;

/// Where backups are.
const FOLDER: &str = "meta/";

/// What a backup came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backup {
    pub key: String,
    /// Of the object, before any encryption.
    pub bytes: u64,
    /// Old backups that went.
    pub removed: Vec<String>,
    /// Records that could not be read and are not in it.
    pub left_out: u64,
}

/// Dumps the metadata into the bucket and removes backups that the rotation has no place for. The dump goes through a
/// temporary file, so that memory does not grow with the volume.
///
/// # Errors
/// An engine or store that does not answer, no room for the temporary file.
pub async fn backup(
    engine: &dyn Engine,
    store: &dyn Store,
    skip_trash: bool,
    now: Timestamp,
) -> Result<Backup> {
    let file = |cause: std::io::Error| {
        let folder = std::env::temp_dir();
        Error::BadRequest(format!(
            "the temporary file of the metadata backup in {}: {cause}",
            folder.display()
        ))
    };
    let whole = tempfile::tempfile().map_err(file)?;
    let writer = std::io::BufWriter::new(whole.try_clone().map_err(file)?);
    let request = DumpRequest { skip_trash, ..DumpRequest::default() };
    let left_out = dump_engine(engine, &request, Target::writer(writer, Packing::FastGzip), &Silent).await?;
    (&whole).flush().map_err(file)?;
    let body = mapped::bytes(&whole).map_err(file)?;
    let key = format!("{FOLDER}{}", rotation::name(now));
    let bytes = body.len() as u64;
    store.put(&key, body).await?;
    let removed = rotate(store, now).await?;
    Ok(Backup { key, bytes, removed, left_out })
}

/// Removes what the rotation has no place for.
async fn rotate(store: &dyn Store, now: Timestamp) -> Result<Vec<String>> {
    let listed = store.list_all(FOLDER).await?;
    let names: Vec<&str> = listed.iter().filter_map(|object| object.key.strip_prefix(FOLDER)).collect();
    let mut removed = Vec::new();
    for name in rotation::expired(&names, now.to_zoned(TimeZone::UTC).datetime()) {
        let key = format!("{FOLDER}{name}");
        store.delete(&key).await?;
        removed.push(key);
    }
    Ok(removed)
}

#[cfg(test)]
mod tests;
