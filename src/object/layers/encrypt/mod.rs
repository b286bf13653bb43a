//! Objects that only the holder of the volume's private key can read (format 6.10).
//!
//! Every object has a data key of its own, wrapped with the volume's RSA key. The layer is outside of the retries: an
//! object is sealed once, however often it is sent, and one that can't be opened is an answer, not an outage.

mod envelope;
mod pem;

pub use envelope::VolumeKey;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use juicefs_base::SecretString;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use tokio::sync::Semaphore;

use crate::error::{Error, Result};
use crate::store::{Key, Limits, Listed, Store};

/// What a volume's setting and the environment say about its key.
#[derive(Clone, Debug, Default)]
pub struct Encryption {
    /// PEM text of an RSA private key, itself encrypted or not.
    pub key: SecretString,
    /// `aes256gcm-rsa` (also when empty) or `chacha20-rsa`.
    pub algorithm: String,
    /// Opens an encrypted `key` (`JFS_RSA_PASSPHRASE`).
    pub passphrase: Option<SecretString>,
}

/// The body of one object as it lies in the bucket.
///
/// # Errors
/// [`Error::BadSpec`] for a key that can't be opened, [`Error::Damaged`] for what is not sealed for it.
pub fn unsealed(encryption: &Encryption, sealed: Bytes, key: &Key) -> Result<Bytes> {
    let damaged = |cause| Error::Damaged { store: "a file".to_owned(), key: key.to_owned(), cause };
    VolumeKey::open_pem(encryption)?.open(sealed).map_err(damaged)
}

/// A store that seals what is put and opens what is got. Sizes in listings are those of the sealed objects.
#[derive(Debug)]
pub struct Encrypted {
    inner: Arc<dyn Store>,
    key: Arc<VolumeKey>,
    /// As many objects are sealed or opened at once as there are cores.
    turns: Semaphore,
}

impl Encrypted {
    #[must_use]
    pub fn new(inner: Arc<dyn Store>, key: VolumeKey) -> Self {
        let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        Self { inner, key: Arc::new(key), turns: Semaphore::new(cores) }
    }

    async fn work(
        &self,
        key: &Key,
        body: Bytes,
        work: fn(&VolumeKey, Bytes) -> Result<Bytes, String>,
    ) -> Result<Bytes> {
        let damaged = |cause| Error::Damaged { store: self.inner.to_string(), key: key.to_owned(), cause };
        let _turn = self.turns.acquire().await;
        let volume_key = self.key.clone();
        let done = tokio::task::spawn_blocking(move || work(&volume_key, body)).await;
        done.unwrap_or_else(|panic| Err(panic.to_string())).map_err(damaged)
    }
}

impl fmt::Display for Encrypted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (encrypted)", self.inner)
    }
}

impl Store for Encrypted {
    fn get<'a>(&'a self, key: &'a Key, range: Option<Range<u64>>) -> BoxFuture<'a, Result<Bytes>> {
        Box::pin(async move {
            let sealed = self.inner.get(key, None).await?;
            let body = self.work(key, sealed, |volume_key, sealed| volume_key.open(sealed)).await?;
            let Some(range) = range else { return Ok(body) };
            let wanted = usize::try_from(range.start).ok().zip(usize::try_from(range.end).ok());
            match wanted {
                Some((start, end)) if start <= end && end <= body.len() => Ok(body.slice(start..end)),
                _ => Err(Error::Other {
                    store: self.inner.to_string(),
                    key: key.to_owned(),
                    cause: format!("it has {} bytes, not {}..{}", body.len(), range.start, range.end),
                }),
            }
        })
    }

    fn put<'a>(&'a self, key: &'a Key, body: Bytes) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let sealed = self.work(key, body, |volume_key, body| volume_key.seal(&body)).await?;
            self.inner.put(key, sealed).await
        })
    }

    fn delete<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<()>> {
        self.inner.delete(key)
    }

    fn head<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Listed>> {
        self.inner.head(key)
    }

    fn list<'a>(&'a self, prefix: &'a Key, after: &'a Key) -> BoxStream<'a, Result<Listed>> {
        self.inner.list(prefix, after)
    }

    fn create_bucket(&self) -> BoxFuture<'_, Result<()>> {
        self.inner.create_bucket()
    }

    fn limits(&self) -> Limits {
        Limits { reads_ranges: false, ..self.inner.limits() }
    }
}
