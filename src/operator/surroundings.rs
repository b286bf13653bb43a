//! What is around our resources, as plans look at it: Secrets and StorageClasses. Reads only.

use crate::owner::{Owner, code, owns};
use juicefs_base::ExposeSecret;
use juicefs_k8s::class::belongs_to;
use juicefs_k8s::crd::file_system::{MetaSpec, StorageClassSpec};
use juicefs_k8s::settings::{SecretMap, secret_map};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt};

/// A Secret that the spec names.
#[derive(Clone, Debug)]
pub enum SecretSeen {
    Found(FoundSecret),
    Missing(String),
    /// The operator may not read it.
    Forbidden(String),
}

/// Reason and sentence of a condition: what a person has to make first.
pub(crate) type Lacking = (&'static str, String);

impl SecretSeen {
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn found(&self) -> Result<&FoundSecret, Lacking> {
        match self {
            Self::Found(found) => Ok(found),
            Self::Missing(name) => Err((
                "SecretMissing",
                format!("Secret {name} is not there; make it, and this goes on by itself"),
            )),
            Self::Forbidden(name) => Err((
                "SecretForbidden",
                format!(
                    "the operator may not read Secret {name} in its namespace; add the namespace to the chart's secretNamespaces"
                ),
            )),
        }
    }
}

/// The Secret of a metadata engine and the key that counts.
///
/// # Errors
/// A Secret that is not there, or has no such key.
pub(crate) fn meta_secret<'a>(
    spec: &'a MetaSpec,
    seen: Option<&'a SecretSeen>,
) -> Result<Option<(&'a FoundSecret, &'a str)>, Lacking> {
    let found = seen.map(SecretSeen::found).transpose()?;
    let Some((secret, (_, key))) = found.zip(spec.secret_key()) else { return Ok(None) };
    if secret.data.contains_key(key) {
        return Ok(Some((secret, key)));
    }
    Err(("SecretKeyMissing", format!("Secret {} has no key {key}", secret.name)))
}

/// A Secret's content and version.
#[derive(Clone, Debug)]
pub struct FoundSecret {
    pub name: String,
    /// Changes with every write.
    pub version: String,
    pub data: SecretMap,
    /// Of the metadata Secret: the key holds a password, not the URL.
    pub is_password: bool,
}

/// The object that has the exported Secret's name.
#[derive(Clone, Debug)]
pub enum ExportSeen {
    Absent,
    /// Ours, with this content.
    Ours(SecretMap),
    Foreign,
}

/// A StorageClass.
#[derive(Clone, Debug)]
pub struct ClassSeen {
    pub name: String,
    pub ours: bool,
    pub object: StorageClass,
}

/// A Secret that a spec names.
pub(crate) async fn secret(
    api: &Api<Secret>,
    name: Option<&str>,
    is_password: bool,
) -> Result<Option<SecretSeen>, kube::Error> {
    let Some(name) = name else { return Ok(None) };
    Ok(Some(match api.get_opt(name).await {
        Ok(None) => SecretSeen::Missing(name.to_owned()),
        Ok(Some(found)) => SecretSeen::Found(FoundSecret {
            name: name.to_owned(),
            version: format!(
                "{} {}",
                found.uid().unwrap_or_default(),
                found.resource_version().unwrap_or_default()
            ),
            data: content(found),
            is_password,
        }),
        Err(error) if code(&error) == 403 => SecretSeen::Forbidden(name.to_owned()),
        Err(error) => return Err(error),
    }))
}

/// Values that are no text are left out: none of our keys can have one.
fn content(secret: Secret) -> SecretMap {
    let data = secret.data.unwrap_or_default().into_iter();
    secret_map(data.filter_map(|(key, value)| Some((key, String::from_utf8(value.0).ok()?))))
}

/// What a Secret of the exported one's name is.
pub(crate) fn export<K: Owner>(fs: &K, found: Secret) -> ExportSeen {
    if owns(fs, &found) { ExportSeen::Ours(content(found)) } else { ExportSeen::Foreign }
}

/// StorageClasses that are the owner's, or have a name that it wants.
pub(crate) async fn classes<K: Owner>(
    client: &Client,
    owner: &K,
    wanted: &[StorageClassSpec],
) -> Result<Vec<ClassSeen>, kube::Error> {
    let api: Api<StorageClass> = Api::all(client.clone());
    let (name, namespace) = (owner.name_any(), owner.namespace().unwrap_or_default());
    let all = api.list(&ListParams::default()).await?.items.into_iter();
    let seen = all.map(|object| ClassSeen {
        name: object.name_any(),
        ours: belongs_to(&object.metadata, K::OWNER_KIND, &name, &namespace),
        object,
    });
    let counts = |class: &ClassSeen| class.ours || wanted.iter().any(|spec| spec.name == class.name);
    Ok(seen.filter(counts).collect())
}

/// Whether a Secret need not be written again.
pub(crate) fn same_content(found: &SecretMap, wanted: &SecretMap) -> bool {
    let plain = |map: &SecretMap| -> Vec<(String, String)> {
        map.iter().map(|(key, value)| (key.clone(), value.expose_secret().to_owned())).collect()
    };
    plain(found) == plain(wanted)
}
