//! From what a volume's setting says to a store that can be used.

use juicefs_base::SecretString;
use std::sync::Arc;

use crate::backends::{dal, file::FileStore, s3, sftp};
use crate::error::{Error, Result};
use crate::layers::encrypt::{Encrypted, Encryption, VolumeKey};
use crate::layers::meter::{Metered, Traffic};
use crate::layers::prefix::Prefixed;
use crate::layers::retry::{RetryPolicy, Retrying};
use crate::layers::shard::{self, Sharded};
use crate::layers::twin::{Debts, Side, Sides, Twin};
use crate::storages;
use crate::store::Store;
use crate::variables::StoreVariables;

/// Where a volume's objects are, as its setting or the command line says it.
#[derive(Clone, Debug, Default)]
pub struct StoreSpec {
    /// `file`, `s3`, or another name that [`open`] knows.
    pub storage: String,
    /// A directory, or a bucket's URL (path-style or virtual-host).
    pub bucket: String,
    /// Empty = the environment's own credentials (instance profile and such).
    pub access_key: String,
    pub secret_key: Option<SecretString>,
    pub session_token: Option<SecretString>,
    /// Overrides the region that the URL tells (`AWS_REGION`).
    pub region: Option<String>,
    /// Class of new objects, the store's default when empty.
    pub storage_class: String,
    /// `key=value` that new objects carry, where the store has tags.
    pub tag: String,
    /// Above 1, `bucket` stands for so many buckets, its `%d` for their numbers.
    pub shards: u32,
    /// The PEM text of the private key of an encrypted volume.
    pub encrypt_key: Option<SecretString>,
    pub encrypt_algorithm: String,
    pub variables: StoreVariables,
}

impl StoreSpec {
    pub(crate) fn warn_of_class(&self) {
        let storage = &self.storage;
        if !self.storage_class.is_empty() {
            tracing::warn!(
                "storage class {} has no effect: storage `{storage}` has none",
                self.storage_class
            );
        }
        if !self.tag.is_empty() {
            tracing::warn!("tag {} has no effect: storage `{storage}` has none", self.tag);
        }
    }

    fn encryption(&self) -> Option<Encryption> {
        Some(Encryption {
            key: self.encrypt_key.clone()?,
            algorithm: self.encrypt_algorithm.clone(),
            passphrase: self.variables.get(StoreVariables::RSA_PASSPHRASE).cloned(),
        })
    }
}

/// The bare backend; with several shards all of them.
///
/// # Errors
/// [`Error::BadSpec`] with a sentence when the type is not supported or the bucket can't be understood.
pub async fn open(spec: &StoreSpec) -> Result<Arc<dyn Store>> {
    if spec.shards <= 1 {
        return open_bucket(spec).await;
    }
    let mut shards = Vec::new();
    for bucket in shard::buckets(&spec.bucket, spec.shards)? {
        shards.push(open_bucket(&StoreSpec { bucket, ..spec.clone() }).await?);
    }
    Ok(Arc::new(Sharded::new(shards, &spec.bucket)))
}

async fn open_bucket(spec: &StoreSpec) -> Result<Arc<dyn Store>> {
    let storage = spec.storage.to_lowercase();
    if s3::NAMES.contains(&storage.as_str()) {
        return Ok(Arc::new(s3::open(spec).await?));
    }
    match storage.as_str() {
        "file" => {
            spec.warn_of_class();
            Ok(Arc::new(FileStore::new(&spec.bucket)?))
        }
        "sftp" => Ok(Arc::new(sftp::open(spec)?)),
        other => match dal::open(spec)? {
            Some(store) => Ok(Arc::new(store)),
            None => Err(Error::BadSpec(storages::refusal(other))),
        },
    }
}

/// The store of one volume: keys are below `NAME/`, every request has a deadline and is retried, objects
/// are sealed where the volume has a key.
///
/// # Errors
/// As [`open`].
pub async fn open_volume_store(
    spec: &StoreSpec,
    volume_name: &str,
    policy: RetryPolicy,
) -> Result<Arc<dyn Store>> {
    open_metered_store(spec, volume_name, policy, Arc::default()).await
}

/// [`open_volume_store`], its requests counted in `traffic`.
///
/// # Errors
/// As [`open`].
pub async fn open_metered_store(
    spec: &StoreSpec,
    volume_name: &str,
    policy: RetryPolicy,
    traffic: Arc<Traffic>,
) -> Result<Arc<dyn Store>> {
    let store = open_bare_store(spec, volume_name, &traffic).await?;
    seal(spec, Arc::new(Retrying::new(store, policy)))
}

/// The two buckets of a volume: see [`Twin`]. Objects are sealed before they part, so that copies are byte for byte.
#[derive(Debug)]
pub struct TwinSpec {
    pub first: StoreSpec,
    pub second: StoreSpec,
    /// The one that reads and writes prefer.
    pub near: Side,
    /// Writes are in both stores when they return.
    pub acks_both: bool,
    /// Who pays what the far store lacks; without anybody every write is in both.
    pub debts: Option<Arc<Debts>>,
}

/// [`open_metered_store`] of a volume with two buckets; its debts are paid between them from now on.
///
/// # Errors
/// As [`open`], for either bucket.
pub async fn open_twin_store(
    spec: TwinSpec,
    volume_name: &str,
    policy: RetryPolicy,
    traffic: Arc<Traffic>,
) -> Result<Arc<dyn Store>> {
    let TwinSpec { first, second, near, acks_both, debts } = spec;
    let sides = open_sides(&first, &second, volume_name, &traffic).await?;
    if let Some(debts) = &debts {
        debts.set_sides(Some(sides.clone()));
    }
    let twin = Twin::new(sides, near, debts, acks_both);
    seal(&first, Arc::new(Retrying::new(Arc::new(twin), policy)))
}

/// Both buckets of a volume as they are, for work that compares them: objects stay sealed, nothing is tried twice.
///
/// # Errors
/// As [`open`], for either bucket.
pub async fn open_sides(
    first: &StoreSpec,
    second: &StoreSpec,
    volume_name: &str,
    traffic: &Arc<Traffic>,
) -> Result<Sides> {
    Ok(Sides {
        first: open_bare_store(first, volume_name, traffic).await?,
        second: open_bare_store(second, volume_name, traffic).await?,
    })
}

async fn open_bare_store(
    spec: &StoreSpec,
    volume_name: &str,
    traffic: &Arc<Traffic>,
) -> Result<Arc<dyn Store>> {
    let prefixed = Prefixed::new(open(spec).await?, format!("{volume_name}/"));
    Ok(Arc::new(Metered::new(Arc::new(prefixed), traffic.clone())))
}

fn seal(spec: &StoreSpec, store: Arc<dyn Store>) -> Result<Arc<dyn Store>> {
    let key = spec.encryption().map(|encryption| VolumeKey::open_pem(&encryption)).transpose()?;
    Ok(match key {
        Some(key) => Arc::new(Encrypted::new(store, key)),
        None => store,
    })
}
