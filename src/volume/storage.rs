//! From a volume's setting to its store: the one way, for mounts as for commands.

use juicefs_base::{ExposeSecret, SecretString};
use juicefs_meta::format::Format;
use juicefs_meta::mirror;
use juicefs_meta::port::Engine;
use juicefs_meta::replication::{self, Mode, ReplicationRecord};
use juicefs_object::{
    Debts, RetryPolicy, Side, Sides, Store, StoreSpec, StoreVariables, Traffic, TwinSpec, open_sides,
};
use std::sync::Arc;

use crate::error::{Error, Result};

/// What the process adds to the setting: what its flags and its environment replace, and its patience.
#[derive(Clone, Debug, Default)]
pub struct StorageAccess {
    pub storage: Option<String>,
    pub bucket: Option<String>,
    pub access_key: Option<SecretString>,
    pub secret_key: Option<SecretString>,
    pub session_token: Option<SecretString>,
    pub storage_class: Option<String>,
    pub tag: Option<String>,
    /// `AWS_REGION` or `AWS_DEFAULT_REGION`.
    pub region: Option<String>,
    pub variables: StoreVariables,
    pub retry: RetryPolicy,
    /// Which of two buckets is the near one, for the volume's own word.
    pub flip: Option<bool>,
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
    if let Err(refusal) = format.check_version()
        // Mirrors keep other clients away by their setting.
        && mirror::read(engine, &format).await?.is_none()
    {
        return Err(refusal.into());
    }
    Ok(format)
}

/// [`load_format`] for `what` changes a volume: not a mirror.
///
/// # Errors
/// [`Error::BadRequest`] for a mirror; as [`load_format`].
pub(crate) async fn load_own_format(engine: &dyn Engine, what: &str) -> Result<Format> {
    let format = load_format(engine).await?;
    match mirror::read(engine, &format).await? {
        None => Ok(format),
        Some(record) => Err(Error::BadRequest(format!(
            "{} is a mirror of {}: `{what}` is for the source, `juicefs mirror` for this database",
            record.display_name, record.source
        ))),
    }
}

/// The store's own description, secrets opened.
fn store_spec(format: &Format, access: &StorageAccess) -> Result<StoreSpec> {
    let open = format.decrypted()?;
    let some = |secret: &SecretString| (!secret.expose_secret().is_empty()).then(|| secret.clone());
    let tier = open.tiers.get("0").cloned().unwrap_or_default();
    let access_key = access.access_key.as_ref().map(|key| key.expose_secret().to_owned());
    Ok(StoreSpec {
        storage: access.storage.clone().unwrap_or_else(|| open.storage.clone()),
        bucket: access.bucket.clone().unwrap_or_else(|| open.bucket.clone()),
        access_key: access_key.unwrap_or_else(|| open.access_key.clone()),
        secret_key: access.secret_key.clone().or_else(|| some(&open.secret_key)),
        session_token: access.session_token.clone().or_else(|| some(&open.session_token)),
        region: access.region.clone(),
        storage_class: access.storage_class.clone().unwrap_or(tier.storage_class),
        tag: access.tag.clone().unwrap_or(tier.tag),
        shards: open.shards,
        encrypt_key: some(&open.encrypt_key),
        encrypt_algorithm: open.encrypt_algo.clone(),
        variables: access.variables.clone(),
    })
}

/// The volume's store, keys below `NAME/`.
///
/// # Errors
/// A storage type, bucket or private key that can't be opened.
pub async fn open_store(format: &Format, access: &StorageAccess) -> Result<Arc<dyn Store>> {
    open_metered_store(format, access, Arc::default()).await
}

/// [`open_store`], its requests counted in `traffic`.
///
/// # Errors
/// As [`open_store`].
pub async fn open_metered_store(
    format: &Format,
    access: &StorageAccess,
    traffic: Arc<Traffic>,
) -> Result<Arc<dyn Store>> {
    let spec = store_spec(format, access)?;
    Ok(juicefs_object::open_metered_store(&spec, &format.name, access.retry, traffic).await?)
}

/// The second bucket's description; it has the volume's key, class of objects excepted.
fn second_spec(format: &Format, record: &ReplicationRecord, access: &StorageAccess) -> Result<StoreSpec> {
    let open = format.decrypted()?;
    // As many buckets as the first, where its name has a place for their numbers.
    let shards = if record.bucket2.contains("%d") { open.shards } else { 0 };
    Ok(StoreSpec {
        storage: record.storage2.clone(),
        bucket: record.bucket2.clone(),
        access_key: record.access_key2.clone(),
        secret_key: record.secret_key2(format)?,
        shards,
        encrypt_key: (!open.encrypt_key.expose_secret().is_empty()).then(|| open.encrypt_key.clone()),
        encrypt_algorithm: open.encrypt_algo.clone(),
        variables: access.variables.clone(),
        ..StoreSpec::default()
    })
}

/// Both buckets of a volume that has a second one, objects as they are stored.
pub(crate) async fn open_both(
    format: &Format,
    record: &ReplicationRecord,
    access: &StorageAccess,
) -> Result<Sides> {
    let (first, second) = (store_spec(format, access)?, second_spec(format, record, access)?);
    Ok(open_sides(&first, &second, &format.name, &Arc::default()).await?)
}

/// The volume's store, over both its buckets if it has two; what the far one lacks becomes one of `debts`, or is
/// waited for where there are none.
///
/// # Errors
/// As [`open_store`], for either bucket.
pub async fn open_replicated_store(
    format: &Format,
    record: Option<&ReplicationRecord>,
    access: &StorageAccess,
    traffic: Arc<Traffic>,
    debts: Option<Arc<Debts>>,
) -> Result<Arc<dyn Store>> {
    let Some(record) = record else {
        if let Some(debts) = debts {
            debts.set_sides(None);
        }
        return open_metered_store(format, access, traffic).await;
    };
    let near = if access.flip.unwrap_or(record.flip) { Side::Second } else { Side::First };
    let spec = TwinSpec {
        first: store_spec(format, access)?,
        second: second_spec(format, record, access)?,
        near,
        // Stock clients know the first bucket only (decisions 31).
        acks_both: record.mode == Mode::Sync || near == Side::Second,
        debts,
    };
    Ok(juicefs_object::open_twin_store(spec, &format.name, access.retry, traffic).await?)
}

/// [`open_replicated_store`] for a command, which leaves no debts behind.
pub(crate) async fn open_whole_store(
    engine: &dyn Engine,
    format: &Format,
    access: &StorageAccess,
) -> Result<Arc<dyn Store>> {
    let record = replication::read(engine, format).await?;
    open_replicated_store(format, record.as_ref(), access, Arc::default(), None).await
}
