//! Upstream's Secrets, class parameters, volume attributes and mount options, read into typed settings.
//!
//! Old volumes carry these for ever, so everything that upstream knows is read. What we do not know, or refuse, is
//! reported by name: the caller makes it an error for new volumes and a Warning Event for existing ones.

mod duration;
mod options;
mod parameters;
mod path;
mod secret;
mod template;

pub use duration::parse as parse_duration;
pub use options::MountOptions;
pub use parameters::{PodSettings, Resources, VolumeAttributes};
pub use path::sub_path;
pub use secret::{SecretMap, SecretSettings, secret_map, with_password, without_password};
pub use template::{Claim, NodeFacts, render};

use crate::name::hash_of;
use juicefs_base::ExposeSecret;
use std::collections::BTreeMap;

/// Why settings cannot be used. Messages name the key, never a secret value.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    #[error("the Secret has no key {0:?}; it needs at least name and metaurl")]
    MissingKey(&'static str),
    #[error(
        "the Secret is for the enterprise edition or the cloud service (it has token and no metaurl), which this driver does not serve"
    )]
    Enterprise,
    #[error("the Secret's name {0:?} is no volume name (3 to 63 of a-z, 0-9 and -)")]
    BadVolumeName(String),
    #[error("{key} {what}")]
    BadValue { key: String, what: String },
    #[error("the path {path} {why}")]
    BadPath { path: String, why: &'static str },
    #[error("the path begins with {0}, which is not for volumes: take another name")]
    ReservedPath(&'static str),
    #[error("the pattern has {0}, which is not known here")]
    UnknownTemplate(String),
    #[error("{0}")]
    Unknown(Findings),
}

/// Checks class parameters without a Secret.
///
/// # Errors
/// Values that cannot be read, and keys that are not known.
pub fn check_parameters(parameters: &BTreeMap<String, String>) -> Result<(), Error> {
    let (_, findings) = VolumeAttributes::read(parameters)?;
    if findings.unknown.is_empty() { Ok(()) } else { Err(Error::Unknown(findings)) }
}

/// The directory of a PersistentVolume, from its attributes and mount options alone; `None` is the root.
///
/// # Errors
/// Any [`Error`] but `Unknown`.
pub fn directory_of(
    attributes: &BTreeMap<String, String>,
    mount_flags: &[String],
) -> Result<Option<String>, Error> {
    let (attributes, _) = VolumeAttributes::read(attributes)?;
    directory(&attributes.options(mount_flags), attributes.sub_path.as_deref())
}

fn directory(options: &MountOptions, sub: Option<&str>) -> Result<Option<String>, Error> {
    // `subdir=/` is how people write "the root".
    let above = options.value("subdir").filter(|text| !text.trim_matches('/').is_empty());
    let parts: Vec<&str> = above.into_iter().chain(sub).collect();
    if parts.is_empty() { Ok(None) } else { sub_path(&parts.join("/")).map(Some) }
}

pub(crate) fn bad(key: &str, what: impl Into<String>) -> Error {
    Error::BadValue { key: key.into(), what: what.into() }
}

/// Keys that were not used, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Not known at all.
    pub unknown: Vec<String>,
    /// Known, and refused or without effect here, with the reason.
    pub ignored: Vec<(String, &'static str)>,
}

impl Findings {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.unknown.is_empty() && self.ignored.is_empty()
    }

    pub(crate) fn unknown(&mut self, place: &str, key: &str) {
        self.unknown.push(format!("{place} {key}"));
    }

    pub(crate) fn ignored(&mut self, key: &str, why: &'static str) {
        self.ignored.push((key.to_owned(), why));
    }

    fn extend(&mut self, other: Self) {
        self.unknown.extend(other.unknown);
        self.ignored.extend(other.ignored);
    }
}

impl std::fmt::Display for Findings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut parts = Vec::new();
        if !self.unknown.is_empty() {
            parts.push(format!("not known: {}", self.unknown.join(", ")));
        }
        parts.extend(self.ignored.iter().map(|(key, why)| format!("{key} has no effect: {why}")));
        f.write_str(&parts.join("; "))
    }
}

/// Everything that is known about a volume from its Secret, its attributes and its mount options.
#[derive(Clone, Debug)]
pub struct VolumeSettings {
    /// From the Secret.
    pub secret: SecretSettings,
    /// From class parameters or volume attributes.
    pub attributes: VolumeAttributes,
    /// Options of the mount; later sources won over earlier ones.
    pub options: MountOptions,
    /// What was not used.
    pub findings: Findings,
}

impl VolumeSettings {
    /// Settings of a volume to be made, from CreateVolume.
    ///
    /// # Errors
    /// Any [`Error`]; unknown parameters and options are one of them, ignored ones are only found.
    pub fn for_new_volume(
        secrets: &SecretMap,
        parameters: &BTreeMap<String, String>,
        mount_flags: &[String],
    ) -> Result<Self, Error> {
        let settings = Self::read(secrets, parameters, mount_flags)?;
        if settings.findings.unknown.is_empty() {
            Ok(settings)
        } else {
            Err(Error::Unknown(settings.findings))
        }
    }

    /// Settings of a volume that exists, from NodePublishVolume: `context` is its volume context with what the
    /// kubelet added. Unknown keys are only found.
    ///
    /// # Errors
    /// Any [`Error`] but `Unknown`.
    pub fn for_existing_volume(
        secrets: &SecretMap,
        context: &BTreeMap<String, String>,
        mount_flags: &[String],
    ) -> Result<Self, Error> {
        Self::read(secrets, context, mount_flags)
    }

    fn read(
        secrets: &SecretMap,
        parameters: &BTreeMap<String, String>,
        mount_flags: &[String],
    ) -> Result<Self, Error> {
        let (secret, mut findings) = SecretSettings::read(secrets)?;
        let (attributes, found) = VolumeAttributes::read(parameters)?;
        findings.extend(found);
        let options = attributes.options(mount_flags);
        findings.unknown.extend(options.unknown().map(|name| format!("mount option {name}")));
        Ok(Self { secret, attributes, options, findings })
    }

    /// The volume's directory, from the root of the file system: the mount option `subdir`, then `sub_path` below
    /// it. `None` is the root itself.
    ///
    /// # Errors
    /// `BadPath` and `ReservedPath`.
    pub fn directory(&self, sub_path: Option<&str>) -> Result<Option<String>, Error> {
        directory(&self.options, sub_path)
    }

    /// Volumes with the same hash may share a mount process: the same metadata (without its password), name, options
    /// and `identity` (service account, group, ... or the volume's id where nothing is shared). 63 digits, fit for a
    /// label.
    #[must_use]
    pub fn sharing_hash(&self, identity: &str) -> String {
        let url = without_password(self.secret.meta_url.expose_secret());
        let mut parts = vec![url, self.secret.volume_name.clone(), identity.to_owned()];
        let mut options: Vec<String> =
            self.options.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
        options.sort();
        parts.extend(options);
        hash_of(&parts.iter().map(String::as_str).collect::<Vec<_>>(), 63)
    }
}
