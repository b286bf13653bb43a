//! From a volume's setting to its store.

use juicefs_base::ExposeSecret;
use juicefs_meta::format::Format;
use juicefs_meta::port::Engine;
use juicefs_object::{RetryPolicy, Store, StoreSpec};
use std::sync::Arc;

use crate::error::{Error, Result};

/// What the process adds to the setting: its environment's region and its patience.
#[derive(Clone, Debug, Default)]
pub struct StorageAccess {
    /// `AWS_REGION` or `AWS_DEFAULT_REGION`.
    pub region: Option<String>,
    pub retry: RetryPolicy,
}

/// The setting as stored, checked for a version that this client can read.
///
/// # Errors
/// `NotFormatted` naming the command that makes a volume; `Unsupported` for a newer one.
pub async fn load_format(engine: &dyn Engine) -> Result<Format> {
    let Some(text) = engine.setting().await? else {
        return Err(Error::Meta(juicefs_meta::Error::NotFormatted(
            "database is not formatted: run `juicefs format META-URL NAME` first".to_owned(),
        )));
    };
    let format = Format::parse(&text)?;
    format.check_version()?;
    Ok(format)
}

/// The store's own description, secrets opened.
///
/// # Errors
/// A setting whose secrets can't be opened.
pub fn store_spec(format: &Format, access: &StorageAccess) -> Result<StoreSpec> {
    let open = format.decrypted()?;
    let some =
        |secret: &juicefs_base::SecretString| (!secret.expose_secret().is_empty()).then(|| secret.clone());
    Ok(StoreSpec {
        storage: open.storage.clone(),
        bucket: open.bucket.clone(),
        access_key: open.access_key.clone(),
        secret_key: some(&open.secret_key),
        session_token: some(&open.session_token),
        region: access.region.clone(),
        storage_class: open.tiers.get("0").map(|tier| tier.storage_class.clone()).unwrap_or_default(),
    })
}

/// The volume's store, keys below `NAME/`.
///
/// # Errors
/// A storage type or bucket that can't be opened; data that this client can't read (encryption, shards).
pub async fn open_store(format: &Format, access: &StorageAccess) -> Result<Arc<dyn Store>> {
    if let Some(sentence) = format.unreadable() {
        return Err(Error::Meta(juicefs_meta::Error::Unsupported(sentence)));
    }
    let spec = store_spec(format, access)?;
    Ok(juicefs_object::open_volume_store(&spec, &format.name, access.retry).await?)
}
