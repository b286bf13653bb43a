//! The exported Secret: the keys that upstream's driver and ours read.

use super::job::JobInputs;
use crate::surroundings::FoundSecret;
use juicefs_base::{ExposeSecret, SecretString};
use juicefs_k8s::crd::FileSystem;
use juicefs_k8s::crd::file_system::MetaSpec;
use juicefs_k8s::settings::{SecretMap, with_password};

/// Content of the Secret. The URL is complete with its password, because neither driver looks for it elsewhere.
pub(crate) fn content(fs: &FileSystem, inputs: &JobInputs<'_>) -> SecretMap {
    let mut data = SecretMap::from([
        ("name".to_owned(), fs.volume_name().into()),
        ("storage".to_owned(), fs.spec.storage.kind.as_str().into()),
        ("bucket".to_owned(), fs.spec.storage.bucket.as_str().into()),
        ("metaurl".to_owned(), complete_url(&fs.spec.meta, inputs.meta)),
    ]);
    data.extend(inputs.storage.map(store_keys).unwrap_or_default());
    data
}

/// What opens the bucket, as both drivers read it.
pub(crate) fn store_keys(storage: &FoundSecret) -> SecretMap {
    let mut data = SecretMap::new();
    for key in ["access-key", "secret-key"] {
        if let Some(value) = storage.data.get(key) {
            data.insert(key.to_owned(), trimmed(value));
        }
    }
    if let Some(token) = storage.data.get("session-token") {
        let option = format!("session-token={}", trimmed(token).expose_secret());
        data.insert("format-options".to_owned(), option.into());
    }
    data
}

/// The metadata engine's address with its password.
pub(crate) fn complete_url(meta: &MetaSpec, secret: Option<(&FoundSecret, &str)>) -> SecretString {
    let stored = secret.and_then(|(secret, key)| secret.data.get(key)).map(trimmed);
    match (&meta.url, stored) {
        (Some(url), Some(password)) => with_password(url, &password),
        (Some(url), None) => url.as_str().into(),
        (None, Some(url)) => url,
        (None, None) => SecretString::default(),
    }
}

/// People's Secrets end in line feeds.
fn trimmed(secret: &SecretString) -> SecretString {
    secret.expose_secret().trim().into()
}
