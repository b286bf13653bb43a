//! Upstream's class parameters, volume attributes and claim annotations. They have the same names in all places.

use super::secret::map_of;
use super::{Error, Findings, MountOptions, bad, duration, path};
use crate::{labels, quantity};
use std::collections::BTreeMap;
use std::time::Duration;

/// What a class's parameters or a volume's attributes say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VolumeAttributes {
    /// `pathPattern`, not yet filled in.
    pub path_pattern: Option<String>,
    /// `subPath`: the volume's directory.
    pub sub_path: Option<String>,
    /// `capacity` in bytes, as the provisioner wrote it.
    pub capacity_bytes: Option<u64>,
    /// `mountOptions`, a comma list.
    pub mount_options: Option<String>,
    /// `juicefs/mount-share-mode`.
    pub share_mode: Option<String>,
    /// How the mount pod is to be.
    pub pod: PodSettings,
    /// Keys under `juicefs.rs/`, unread.
    pub own: BTreeMap<String, String>,
}

/// How a mount pod is to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodSettings {
    pub resources: Resources,
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
    /// How long the pod stays after its last user.
    pub delete_delay: Option<Duration>,
    /// Wipe the cache when the pod goes.
    pub clean_cache: bool,
}

/// Quantities as written; `None` takes the default, `"0"` means without.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    pub cpu_limit: Option<String>,
    pub memory_limit: Option<String>,
    pub cpu_request: Option<String>,
    pub memory_request: Option<String>,
}

impl VolumeAttributes {
    pub(super) fn read(parameters: &BTreeMap<String, String>) -> Result<(Self, Findings), Error> {
        let mut attributes = Self::default();
        let mut findings = Findings::default();
        for (key, value) in parameters {
            attributes.take(key, value.trim(), &mut findings)?;
        }
        Ok((attributes, findings))
    }

    /// Options of the mount: these attributes' own, then the volume's flags, which win. Flags with upstream's words in
    /// them were filled in when the volume was made ([`labels::MOUNT_OPTIONS`]).
    pub(super) fn options(&self, mount_flags: &[String]) -> MountOptions {
        let mut options = MountOptions::parse(self.mount_options.as_deref().unwrap_or_default());
        match self.own.get(labels::MOUNT_OPTIONS) {
            Some(filled_in) if mount_flags.iter().any(|flag| flag.contains("${")) => {
                options.merge(MountOptions::parse(filled_in));
            }
            _ => mount_flags.iter().for_each(|flag| options.merge(MountOptions::parse(flag))),
        }
        options
    }

    fn take(&mut self, key: &str, value: &str, findings: &mut Findings) -> Result<(), Error> {
        if key.starts_with(labels::SIDECAR_PREFIX) || key.starts_with("storage.kubernetes.io/") {
            return Ok(());
        }
        if key.starts_with(labels::OWN_PREFIX) {
            self.own.insert(key.to_owned(), value.to_owned());
            return Ok(());
        }
        if self.pod.take(key, value)? {
            match key {
                "juicefs/mount-delete-delay" => findings.ignored(key, "a mount pod goes with its last user"),
                "juicefs/clean-cache" => findings.ignored(key, "the cache stays, within its size"),
                _ => {}
            }
            return Ok(());
        }
        match key {
            "pathPattern" => self.path_pattern = some(value),
            "subPath" => self.sub_path = some(value).map(|text| path::sub_path(&text)).transpose()?,
            "capacity" => {
                let bytes = quantity::bytes(value).map_err(|error| bad(key, error.to_string()))?;
                self.capacity_bytes = Some(bytes);
            }
            "mountOptions" => self.mount_options = some(value),
            "juicefs/mount-share-mode" => {
                self.share_mode = some(value);
                if !matches!(value, "" | "pv") {
                    findings.ignored(key, "every volume has a mount process of its own");
                }
            }
            "juicefs/controller-quota-set" => {}
            "secretFinalizer" => findings.ignored(key, "Secrets are not guarded by a finalizer"),
            "juicefs/mount-image" => findings.ignored(key, "mount pods run the driver's own image"),
            "juicefs/mount-service-account" => findings.ignored(key, "mount pods have no service account"),
            "juicefs/host-path" => findings.ignored(key, "mount pods get no paths of the host"),
            "juicefs/mount-cache-pvc"
            | "juicefs/mount-cache-emptydir"
            | "juicefs/mount-cache-inline-volume" => {
                findings.ignored(key, "the cache is on the node, below the chart's cacheRoots");
            }
            _ => findings.unknown("parameter", key),
        }
        Ok(())
    }
}

impl PodSettings {
    /// Takes the annotations of a claim: any tenant can write those, so only the four resource keys count.
    ///
    /// # Errors
    /// `BadValue` for a quantity that is none.
    pub fn overlay_claim(&mut self, annotations: &BTreeMap<String, String>) -> Result<Findings, Error> {
        let mut findings = Findings::default();
        for (key, value) in annotations.iter().filter(|(key, _)| key.starts_with(labels::UPSTREAM_PREFIX)) {
            if !self.resources.take(key, value.trim())? {
                findings.ignored(key, "a claim may only set resources of its mount pod");
            }
        }
        Ok(findings)
    }

    fn take(&mut self, key: &str, value: &str) -> Result<bool, Error> {
        match key {
            "juicefs/mount-labels" => self.labels = map_of(key, value)?,
            "juicefs/mount-annotations" => self.annotations = map_of(key, value)?,
            "juicefs/mount-delete-delay" => {
                let delay = duration::parse(value)
                    .ok_or_else(|| bad(key, format!("{value:?} is no duration such as 1m30s")))?;
                self.delete_delay = Some(delay);
            }
            "juicefs/clean-cache" => self.clean_cache = value == "true",
            _ => return self.resources.take(key, value),
        }
        Ok(true)
    }
}

impl Resources {
    /// Whether a claim may say it.
    #[must_use]
    pub fn is_key(key: &str) -> bool {
        const KEYS: &[&str] = &["cpu-limit", "memory-limit", "cpu-request", "memory-request"];
        key.strip_prefix("juicefs/mount-").is_some_and(|rest| KEYS.contains(&rest))
    }

    fn take(&mut self, key: &str, value: &str) -> Result<bool, Error> {
        let (slot, is_cpu) = match key {
            "juicefs/mount-cpu-limit" => (&mut self.cpu_limit, true),
            "juicefs/mount-memory-limit" => (&mut self.memory_limit, false),
            "juicefs/mount-cpu-request" => (&mut self.cpu_request, true),
            "juicefs/mount-memory-request" => (&mut self.memory_request, false),
            _ => return Ok(false),
        };
        let number = if is_cpu { value.strip_suffix('m').unwrap_or(value) } else { value };
        if quantity::bytes(number).is_err() {
            return Err(bad(key, format!("{value:?} is no quantity")));
        }
        *slot = Some(value.to_owned());
        Ok(true)
    }
}

fn some(value: &str) -> Option<String> {
    (!value.is_empty()).then(|| value.to_owned())
}
