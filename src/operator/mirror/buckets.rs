//! The bucket of a mirror's own: how the follower is told of it, and how it opens it. The description is a key of the
//! follower's Secret, as it has keys in it.

use juicefs_base::SecretString;
use juicefs_replication::{Addresses, BlockCopier, OwnBucket, Store};
use juicefs_volume::{Format, StorageAccess};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

use crate::format_job::mask::Mask;

/// Blocks that are brought at the same time.
const COPIED_AT_ONCE: usize = 16;
/// Whoever is asked for an object that any bucket of a volume has.
const PROBE_KEY: &str = "juicefs_uuid";

/// A bucket as the follower is told.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct BucketFile {
    pub storage: String,
    pub bucket: String,
    pub access_key: String,
    pub secret_key: String,
    /// By which the source's bucket is read; its own setting's if empty.
    pub source_access_key: String,
    pub source_secret_key: String,
    pub data_first: bool,
}

impl BucketFile {
    pub(super) fn to_secret(&self) -> SecretString {
        serde_json::to_string(self).unwrap_or_default().into()
    }

    /// Its secrets are hidden from now on. The error shows nothing of the text.
    pub(super) fn read(text: &str, mask: &mut Mask) -> Result<Self, String> {
        let file: Self = serde_json::from_str(text)
            .map_err(|_| "the description of the bucket can't be read".to_owned())?;
        for secret in [&file.secret_key, &file.source_secret_key] {
            mask.add(secret);
        }
        Ok(file)
    }

    /// Both buckets, open, for a mirror that is to be made.
    pub(super) async fn open(&self, addresses: &Addresses) -> Result<OwnBucket, String> {
        let source = addresses.source_setting().await.map_err(|error| error.to_string())?;
        let source = source.decrypted().map_err(|error| error.to_string())?;
        let setting = Format {
            storage: self.storage.clone(),
            bucket: self.bucket.clone(),
            access_key: self.access_key.clone(),
            secret_key: self.secret_key.as_str().into(),
            session_token: SecretString::default(),
            shards: 0,
            ..source.clone()
        };
        let source_setting = (!self.source_access_key.is_empty()).then(|| Format {
            access_key: self.source_access_key.clone(),
            secret_key: self.source_secret_key.as_str().into(),
            session_token: SecretString::default(),
            ..source.clone()
        });
        let near = stored_bytes(&setting).await?;
        let far = stored_bytes(source_setting.as_ref().unwrap_or(&source)).await?;
        Ok(OwnBucket { setting, source_setting, is_data_first: self.data_first, near, far })
    }
}

/// What brings blocks to a mirror that has a bucket of its own.
pub(super) async fn copier(addresses: &Addresses) -> Result<Option<Arc<BlockCopier>>, String> {
    let (own, source) = addresses.settings().await.map_err(|error| error.to_string())?;
    let Some(source) = source else { return Ok(None) };
    let (near, far) = (stored_bytes(&own).await?, stored_bytes(&source).await?);
    Ok(Some(Arc::new(BlockCopier::new(far, near, &own, COPIED_AT_ONCE))))
}

/// What tells a promotion which blocks are there, and brings what the source's bucket still has if that answers.
pub(super) async fn last_copier(addresses: &Addresses) -> Result<Arc<BlockCopier>, String> {
    if let Some(copier) = copier(addresses).await? {
        match copier.from().get(PROBE_KEY, None).await {
            Err(error) if !error.is_not_found() => {
                tracing::warn!(%error, "the source's bucket does not answer: what is not in the mirror's is lost");
            }
            _ => return Ok(copier),
        }
    }
    let (own, _) = addresses.settings().await.map_err(|error| error.to_string())?;
    let near = stored_bytes(&own).await?;
    Ok(Arc::new(BlockCopier::new(near.clone(), near, &own, COPIED_AT_ONCE)))
}

/// A store whose objects are neither opened nor sealed.
async fn stored_bytes(setting: &Format) -> Result<Arc<dyn Store>, String> {
    let setting = Format { encrypt_key: SecretString::default(), ..setting.clone() };
    juicefs_volume::open_store(&setting, &StorageAccess::default()).await.map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use juicefs_base::ExposeSecret;

    #[test]
    fn the_description_of_a_bucket_is_read_back_and_its_secrets_are_hidden() {
        let file =
            BucketFile { bucket: "http://s3/b".into(), secret_key: "c4n4ry".into(), ..BucketFile::default() };
        let mut mask = Mask::default();
        let read = BucketFile::read(file.to_secret().expose_secret(), &mut mask).expect("read");
        assert_eq!((read.bucket.as_str(), read.secret_key.as_str()), ("http://s3/b", "c4n4ry"));
        assert!(!mask.hide("it is c4n4ry").contains("c4n4ry"));
        assert!(!BucketFile::read("c4n4ry", &mut mask).expect_err("no JSON").contains("c4n4ry"));
    }
}
