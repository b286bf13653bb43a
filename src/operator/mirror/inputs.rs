//! What a follower and the exported Secret are made of: both addresses, and what opens the bucket. No client.

use super::buckets::BucketFile;
use super::seen::{Seen, SourceSeen};
use crate::file_system::JobInputs;
use crate::file_system::export::{complete_url, content, store_keys};
use crate::surroundings::{FoundSecret, Lacking, SecretSeen, meta_secret};
use juicefs_base::{ExposeSecret, SecretString};
use juicefs_k8s::crd::{FileSystem, Mirror};
use juicefs_k8s::name::hash_of;
use juicefs_k8s::settings::{SecretMap, without_password};
use juicefs_replication::Addresses;
use kube::ResourceExt;

/// Everything that was found for a mirror.
pub(super) struct Inputs {
    pub addresses: Addresses,
    /// What the exported Secret says of the bucket.
    store: SecretMap,
    /// The mirror's own, if it has one.
    bucket: Option<BucketFile>,
    /// Changes with every change of what the follower is started with; says nothing of it.
    pub version: String,
    /// The source for people.
    pub source: String,
    /// As [`juicefs_k8s::crd::FileSystemStatus`] has it.
    pub source_uuid: Option<String>,
}

impl Inputs {
    /// # Errors
    /// What is missing, or not allowed.
    pub(super) fn find(mirror: &Mirror, seen: &Seen) -> Result<Self, Lacking> {
        let own = meta_secret(&mirror.spec.meta, seen.meta_secret.as_ref())?;
        let mirror_url = complete_url(&mirror.spec.meta, own);
        let version_of = |secret: Option<(&FoundSecret, &str)>| {
            secret.map(|(found, key)| format!("{} {} {key}", found.name, found.version)).unwrap_or_default()
        };
        let (source, store, source_version, name, source_uuid) = match &seen.source {
            SourceSeen::Missing => return Err(missing(mirror)),
            SourceSeen::FileSystem { object, meta_secret: meta, storage_secret } => {
                check_allowed(mirror, object)?;
                let uuid = object.status.as_ref().and_then(|status| status.uuid.clone());
                let Some(uuid) = uuid else {
                    let sentence =
                        format!("{} has no volume yet: kubectl describe jfs tells why", full_name(object));
                    return Err(("SourceNotReady", sentence));
                };
                let meta = meta_secret(&object.spec.meta, meta.as_ref())?;
                let storage = storage_secret.as_ref().map(SecretSeen::found).transpose()?;
                let mut data = content(object, &JobInputs { meta, storage });
                let url = data.remove("metaurl").unwrap_or_default();
                data.remove("name");
                (url, data, version_of(meta), object.volume_name(), Some((uuid, full_name(object))))
            }
            SourceSeen::External { meta_secret: meta, storage_secret } => {
                let Some(external) = &mirror.spec.source_ref.external else { return Err(missing(mirror)) };
                let meta = meta_secret(&external.meta, meta.as_ref())?;
                let storage = storage_secret.as_ref().map(SecretSeen::found).transpose()?;
                let store = storage.map(store_keys).unwrap_or_default();
                let url = complete_url(&external.meta, meta);
                (url, store, version_of(meta), external.volume_name.clone(), None)
            }
        };
        if name == mirror.volume_name() {
            let sentence =
                format!("the mirror is called {name} like its source; set another spec.volumeName");
            return Err(("BadSpec", sentence));
        }
        let (bucket, bucket_version) = own_bucket(mirror, seen)?;
        let store = match &bucket {
            None => store,
            Some(bucket) => SecretMap::from(
                [
                    ("storage", &bucket.storage),
                    ("bucket", &bucket.bucket),
                    ("access-key", &bucket.access_key),
                    ("secret-key", &bucket.secret_key),
                ]
                .map(|(key, value)| (key.to_owned(), value.as_str().into())),
            ),
        };
        let told = |url: &SecretString| without_password(url.expose_secret());
        let version = hash_of(
            &[&told(&source), &told(&mirror_url), &source_version, &version_of(own), &bucket_version],
            16,
        );
        let (source_uuid, shown) = match source_uuid {
            Some((uuid, shown)) => (Some(uuid), shown),
            None => (None, told(&source)),
        };
        let addresses = Addresses { source, mirror: mirror_url };
        Ok(Self { addresses, store, bucket, version, source: shown, source_uuid })
    }

    /// Content of the exported Secret.
    pub(super) fn export(&self, mirror: &Mirror) -> SecretMap {
        let mut data = self.store.clone();
        data.insert("name".to_owned(), mirror.volume_name().into());
        data.insert("metaurl".to_owned(), self.addresses.mirror.clone());
        data
    }

    /// Content of the Secret that the follower is started with.
    pub(super) fn follower_secret(&self) -> SecretMap {
        let mut data = SecretMap::from([
            ("source-url".to_owned(), self.addresses.source.clone()),
            ("mirror-url".to_owned(), self.addresses.mirror.clone()),
        ]);
        data.extend(self.bucket.as_ref().map(|bucket| ("bucket".to_owned(), bucket.to_secret())));
        data
    }
}

/// The mirror's own bucket with what opens it, and a text that changes with the Secrets.
fn own_bucket(mirror: &Mirror, seen: &Seen) -> Result<(Option<BucketFile>, String), Lacking> {
    let Some(spec) = &mirror.spec.object_storage.dedicated else { return Ok((None, String::new())) };
    let of = |secret: &Option<SecretSeen>| -> Result<(String, String, String), Lacking> {
        let Some(found) = secret.as_ref().map(SecretSeen::found).transpose()? else {
            return Ok(Default::default());
        };
        let keys = store_keys(found);
        let key = |name: &str| keys.get(name).map(|key| key.expose_secret().to_owned()).unwrap_or_default();
        Ok((key("access-key"), key("secret-key"), format!("{} {}", found.name, found.version)))
    };
    let (access_key, secret_key, version) = of(&seen.bucket_secret)?;
    let (source_access_key, source_secret_key, source_version) = of(&seen.bucket_source_secret)?;
    let file = BucketFile {
        storage: spec.kind.clone(),
        bucket: spec.bucket.clone(),
        access_key,
        secret_key,
        source_access_key,
        source_secret_key,
        data_first: spec.data_first,
    };
    Ok((Some(file), format!("{} {version} {source_version}", spec.bucket)))
}

fn missing(mirror: &Mirror) -> Lacking {
    let (namespace, name) = mirror.source_file_system().unwrap_or_default();
    (
        "SourceMissing",
        format!("FileSystem {namespace}/{name} is not there; make it, and this goes on by itself"),
    )
}

fn full_name(object: &FileSystem) -> String {
    format!("{}/{}", object.namespace().unwrap_or_default(), object.name_any())
}

/// Credentials of the source reach the mirror's namespace: the source's owner says to whom.
fn check_allowed(mirror: &Mirror, source: &FileSystem) -> Result<(), Lacking> {
    let namespace = mirror.namespace().unwrap_or_default();
    if source.namespace().unwrap_or_default() == namespace
        || source.spec.allowed_namespaces.contains(&namespace)
    {
        return Ok(());
    }
    let sentence = format!(
        "FileSystem {} may not be named from namespace {namespace}; its owner can add that to its allowedNamespaces",
        full_name(source)
    );
    Err(("SourceNotAllowed", sentence))
}
