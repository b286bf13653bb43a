//! From what a volume's setting says to a store that can be used.

use juicefs_base::SecretString;
use std::sync::Arc;

use crate::backends::{file::FileStore, s3};
use crate::error::{Error, Result};
use crate::layers::encrypt::{Encrypted, Encryption, VolumeKey};
use crate::layers::meter::{Metered, Traffic};
use crate::layers::prefix::Prefixed;
use crate::layers::retry::{RetryPolicy, Retrying};
use crate::store::Store;
use crate::variables::StoreVariables;

/// Where a volume's objects are, as its setting or the command line says it.
#[derive(Clone, Debug, Default)]
pub struct StoreSpec {
    /// `file`, `s3`.
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
    /// The PEM text of the private key of an encrypted volume.
    pub encrypt_key: Option<SecretString>,
    pub encrypt_algorithm: String,
    pub variables: StoreVariables,
}

impl StoreSpec {
    fn encryption(&self) -> Option<Encryption> {
        Some(Encryption {
            key: self.encrypt_key.clone()?,
            algorithm: self.encrypt_algorithm.clone(),
            passphrase: self.variables.get(StoreVariables::RSA_PASSPHRASE).cloned(),
        })
    }
}

/// Storage types of the peer that are not here yet, so that the answer is not "unknown".
const PEER_STORAGES: &[&str] = &[
    "azure",
    "b2",
    "bos",
    "bunny",
    "ceph",
    "cifs",
    "cos",
    "dragonfly",
    "eos",
    "etcd",
    "gluster",
    "gs",
    "hdfs",
    "ibmcos",
    "jss",
    "ks3",
    "mem",
    "minio",
    "mysql",
    "nfs",
    "nos",
    "obs",
    "oos",
    "oss",
    "postgres",
    "qingstor",
    "qiniu",
    "redis",
    "scs",
    "sftp",
    "space",
    "speedy",
    "sqlite3",
    "swift",
    "tikv",
    "tos",
    "ufile",
    "wasabi",
    "wasb",
    "webdav",
];

/// The bare backend.
///
/// # Errors
/// [`Error::BadSpec`] with a sentence when the type is not supported or the bucket can't be understood.
pub async fn open(spec: &StoreSpec) -> Result<Arc<dyn Store>> {
    match spec.storage.to_lowercase().as_str() {
        "file" => Ok(Arc::new(FileStore::new(&spec.bucket)?)),
        "s3" => Ok(Arc::new(s3::open(spec).await?)),
        known if PEER_STORAGES.contains(&known) => Err(Error::BadSpec(format!(
            "storage type `{known}` is not supported yet: use `s3` (any S3-compatible endpoint) or `file`"
        ))),
        unknown => Err(Error::BadSpec(format!(
            "unknown storage type `{unknown}`: use `s3` (any S3-compatible endpoint) or `file`"
        ))),
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
    Ok(open_metered_store(spec, volume_name, policy).await?.0)
}

/// [`open_volume_store`] with what its requests come to.
///
/// # Errors
/// As [`open`].
pub async fn open_metered_store(
    spec: &StoreSpec,
    volume_name: &str,
    policy: RetryPolicy,
) -> Result<(Arc<dyn Store>, Arc<Traffic>)> {
    let key = spec.encryption().map(|encryption| VolumeKey::open_pem(&encryption)).transpose()?;
    let backend = open(spec).await?;
    let prefixed = Prefixed::new(backend, format!("{volume_name}/"));
    let (metered, traffic) = Metered::new(Arc::new(prefixed));
    let retrying = Arc::new(Retrying::new(Arc::new(metered), policy));
    let store: Arc<dyn Store> = match key {
        Some(key) => Arc::new(Encrypted::new(retrying, key)),
        None => retrying,
    };
    Ok((store, traffic))
}
