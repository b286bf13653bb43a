//! `Mirror`: a read-only copy of a volume's metadata in another database, which follows the volume.
//!
//! What a mirror *is* is told by the side record in its own database; this object only has it made and followed.

use super::file_system::{DeletionPolicy, LocalSecretRef, MetaSpec, SecretExport, StorageClassSpec};
use super::mirror_status::MirrorStatus;
use kube::{CustomResource, KubeSchema, ResourceExt};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A read-only copy of a JuiceFS volume in another database, with a name and credentials of its own.
#[derive(CustomResource, KubeSchema, Clone, Debug, Deserialize, Serialize, PartialEq)]
#[kube(
    group = "juicefs.rs",
    version = "v1alpha1",
    kind = "Mirror",
    plural = "mirrors",
    singular = "mirror",
    shortname = "jfsm",
    category = "juicefs",
    namespaced,
    status = "MirrorStatus",
    derive = "PartialEq",
    doc = "A read-only copy of a JuiceFS volume in another database, with a name and credentials of its own",
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Lag", type_ = "string", json_path = ".status.lag"),
    printcolumn(name = "Version", type_ = "integer", json_path = ".status.appliedVersion"),
    printcolumn(name = "Behind", type_ = "integer", json_path = ".status.versionsBehind"),
    printcolumn(name = "Source", type_ = "string", json_path = ".status.source", priority = 1),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].message", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("self.metadata.name.size() <= 54").message("metadata.name must be at most 54 characters: names of what is made for it are made of it"),
    validation = Rule::new("has(self.spec.volumeName) || self.metadata.name.matches('^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$')").message("metadata.name is no volume name (3 to 63 of a-z, 0-9 and -); set spec.volumeName"),
)]
#[x_kube(
    validation = Rule::new("has(self.volumeName) == has(oldSelf.volumeName) && (!has(self.volumeName) || self.volumeName == oldSelf.volumeName)").message("volumeName cannot change: the mirror's database carries it").reason(Reason::FieldValueForbidden),
    validation = Rule::new("!oldSelf.promotion.requested || self.promotion.requested").message("promotion.requested cannot be taken back").reason(Reason::FieldValueForbidden)
)]
#[serde(rename_all = "camelCase")]
pub struct MirrorSpec {
    /// The volume to copy. Cannot change.
    #[x_kube(validation = Rule::new("self == oldSelf").message("sourceRef cannot change: a mirror of another volume is another mirror").reason(Reason::FieldValueForbidden))]
    pub source_ref: SourceRef,
    /// Name of the mirror; another one than the volume's. The name of this object if left out. Cannot change.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 3, max = 63), regex(pattern = "^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$"))]
    pub volume_name: Option<String>,
    /// The mirror's own metadata engine: an empty database.
    pub meta: MetaSpec,
    /// Where the mirror reads data from.
    #[serde(default)]
    pub object_storage: ObjectStorageSpec,
    /// How it follows.
    #[serde(default)]
    pub sync: SyncSpec,
    /// Making it a volume of its own.
    #[serde(default)]
    pub promotion: PromotionSpec,
    /// StorageClasses made for this mirror. Each says by `pathPattern`, or by the parameter `subPath`, which directory
    /// of the source its volumes are: nothing is ever made in a mirror.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub storage_classes: Vec<StorageClassSpec>,
    /// A Secret in this namespace with the keys that the CSI driver reads. With `storageClasses` and without this, it is
    /// called `<name>-csi`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_export: Option<SecretExport>,
    /// What happens to the mirror's database when this object is deleted.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
    /// Stop following until it is unset. The mirror can be read as it is.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub suspend: bool,
}

/// The volume to copy: a `FileSystem`, or one that this cluster does not manage.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[x_kube(
    validation = Rule::new("has(self.fileSystemRef) != has(self.external)").message("sourceRef needs either fileSystemRef or external").reason(Reason::FieldValueRequired)
)]
#[serde(rename_all = "camelCase")]
pub struct SourceRef {
    /// A `FileSystem` of this cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file_system_ref: Option<FileSystemRef>,
    /// Any other volume.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external: Option<ExternalSource>,
}

/// A `FileSystem`, which must allow this namespace if it is in another one.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FileSystemRef {
    /// Name of the `FileSystem`.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Its namespace; this object's own if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub namespace: Option<String>,
}

/// A volume that no `FileSystem` of this cluster is for.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExternalSource {
    /// Name of the volume.
    #[schemars(length(min = 3, max = 63), regex(pattern = "^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$"))]
    pub volume_name: String,
    /// The volume's metadata engine.
    pub meta: MetaSpec,
    /// The Secret with keys `access-key`, `secret-key` and, if need be, `session-token` for the volume's bucket; what the
    /// volume's own setting says if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage_secret_ref: Option<LocalSecretRef>,
}

/// Where a mirror reads data from: the source's bucket if neither is said.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[x_kube(
    validation = Rule::new("!(has(self.shared) && has(self.dedicated))").message("objectStorage is either shared or dedicated"),
    validation = Rule::new("has(self.dedicated) == has(oldSelf.dedicated)").message("objectStorage cannot change between shared and dedicated: that is another mirror").reason(Reason::FieldValueForbidden)
)]
#[serde(rename_all = "camelCase")]
pub struct ObjectStorageSpec {
    /// The source's bucket, which a mirror never writes to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shared: Option<SharedBucket>,
    /// A bucket of the mirror's own, to which the follower brings the blocks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dedicated: Option<DedicatedBucket>,
}

/// The source's bucket.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SharedBucket {}

/// A bucket of the mirror's own. What is not there yet is read from the source's.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct DedicatedBucket {
    /// Type of the object storage: `s3`, `minio`, ... Cannot change.
    #[serde(rename = "type")]
    #[schemars(length(min = 1, max = 32), regex(pattern = "^[a-z0-9]+$"))]
    #[x_kube(
        validation = Rule::new("!(self in ['file', 'sqlite3', 'mem'])").message("file, sqlite3 and mem are refused: no pod reaches another machine's directory"),
        validation = Rule::new("self == oldSelf").message("objectStorage.dedicated.type cannot change").reason(Reason::FieldValueForbidden)
    )]
    pub kind: String,
    /// URL of the bucket. Cannot change.
    #[schemars(length(min = 1, max = 1024))]
    #[x_kube(
        validation = Rule::new("self == oldSelf").message("objectStorage.dedicated.bucket cannot change: the mirror's objects are there").reason(Reason::FieldValueForbidden),
        validation = Rule::new("!self.matches('://[^/@]*:[^/@]*@')").message("bucket must not contain credentials; put them into a Secret and name it in secretRef")
    )]
    pub bucket: String,
    /// The Secret with keys `access-key`, `secret-key` for this bucket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<LocalSecretRef>,
    /// The Secret with keys `access-key`, `secret-key` by which the mirror reads the source's bucket; what the source's own
    /// setting says if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_secret_ref: Option<LocalSecretRef>,
    /// Files show when their blocks are in this bucket, and not before. Cannot change.
    #[x_kube(validation = Rule::new("self == oldSelf").message("objectStorage.dedicated.dataFirst cannot change").reason(Reason::FieldValueForbidden))]
    #[serde(default)]
    pub data_first: bool,
}

/// How a mirror follows.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SyncSpec {
    /// Further behind than this, the condition `CaughtUp` is False; the mirror stays Ready. A duration such as `30s`.
    #[serde(default = "default_max_lag")]
    #[schemars(length(max = 32), regex(pattern = r"^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$"))]
    pub max_lag: String,
}

fn default_max_lag() -> String {
    "30s".into()
}

impl Default for SyncSpec {
    fn default() -> Self {
        Self { max_lag: default_max_lag() }
    }
}

/// Making a mirror a volume of its own.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PromotionSpec {
    /// Promote it. Cannot be taken back.
    #[serde(default)]
    pub requested: bool,
    /// Whether the source must be kept from going on first.
    #[serde(default)]
    pub fence: FencePolicy,
}

/// What a promotion does about its source.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq, JsonSchema)]
pub enum FencePolicy {
    /// Its clients are made to leave and what they wrote is waited for; nothing is promoted while it does not answer.
    #[default]
    Required,
    /// As `Required` if it answers. If it does not, what it has and the mirror has not is lost.
    BestEffort,
}

impl Mirror {
    /// Name of the mirror: what the spec says, else the object's name.
    #[must_use]
    pub fn volume_name(&self) -> String {
        self.spec.volume_name.clone().unwrap_or_else(|| self.name_any())
    }

    /// Name of the exported Secret, if there is to be one.
    #[must_use]
    pub fn exported_secret_name(&self) -> Option<String> {
        match &self.spec.secret_export {
            Some(export) => Some(export.name.clone()),
            None if self.spec.storage_classes.is_empty() => None,
            None => Some(format!("{}-csi", self.name_any())),
        }
    }

    /// Name of the follower's Deployment and of the Secret that it is started with.
    #[must_use]
    pub fn follower_name(&self) -> String {
        format!("{}-follower", self.name_any())
    }

    /// Name of the Job that promotes it.
    #[must_use]
    pub fn promotion_name(&self) -> String {
        format!("{}-promote", self.name_any())
    }

    /// Namespace and name of the `FileSystem` that is its source.
    #[must_use]
    pub fn source_file_system(&self) -> Option<(String, String)> {
        let reference = self.spec.source_ref.file_system_ref.as_ref()?;
        let namespace = reference.namespace.clone().or_else(|| self.namespace()).unwrap_or_default();
        Some((namespace, reference.name.clone()))
    }

    /// How far it may be behind; a duration that can't be read counts as the default.
    #[must_use]
    pub fn max_lag(&self) -> std::time::Duration {
        crate::settings::parse_duration(&self.spec.sync.max_lag).unwrap_or(std::time::Duration::from_secs(30))
    }
}
