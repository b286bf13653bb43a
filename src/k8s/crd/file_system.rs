//! `FileSystem`: a volume that the operator formats and offers as a Secret and StorageClasses.
//!
//! The rules in the schema refuse what can be known to be wrong without looking at anything else. Each rule has a
//! sentence, because people read it in the answer of `kubectl apply`.

use super::status::FileSystemStatus;
use kube::{CustomResource, KubeSchema, ResourceExt};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A JuiceFS volume: where its metadata and its objects are, how it is formatted, and how pods get at it.
#[derive(CustomResource, KubeSchema, Clone, Debug, Deserialize, Serialize, PartialEq)]
#[kube(
    group = "juicefs.rs",
    version = "v1alpha1",
    kind = "FileSystem",
    plural = "filesystems",
    singular = "filesystem",
    shortname = "jfs",
    category = "juicefs",
    namespaced,
    status = "FileSystemStatus",
    derive = "PartialEq",
    doc = "A JuiceFS volume: where its metadata and its objects are, how it is formatted, and how pods get at it",
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Storage", type_ = "string", json_path = ".spec.storage.type"),
    printcolumn(name = "UUID", type_ = "string", json_path = ".status.uuid", priority = 1),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].message", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("self.metadata.name.size() <= 63").message("metadata.name must be at most 63 characters: it is a label on what is made for it"),
    validation = Rule::new("has(self.spec.volumeName) || self.metadata.name.matches('^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$')").message("metadata.name is no volume name (3 to 63 of a-z, 0-9 and -); set spec.volumeName"),
)]
#[x_kube(
    validation = Rule::new("has(self.volumeName) == has(oldSelf.volumeName) && (!has(self.volumeName) || self.volumeName == oldSelf.volumeName)").message("volumeName cannot change: objects in the bucket carry it").reason(Reason::FieldValueForbidden)
)]
#[serde(rename_all = "camelCase")]
pub struct FileSystemSpec {
    /// Name of the volume and prefix of its objects. The name of this object if left out. Cannot change.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 3, max = 63), regex(pattern = "^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$"))]
    pub volume_name: Option<String>,
    /// The metadata engine.
    pub meta: MetaSpec,
    /// The object storage.
    pub storage: StorageSpec,
    /// Settings of the volume, used when it is formatted.
    #[serde(default)]
    pub format: FormatSpec,
    /// StorageClasses made for this file system. They are cluster wide: a class of the same name that belongs to
    /// somebody else is left alone and shows as a condition.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub storage_classes: Vec<StorageClassSpec>,
    /// A Secret in this namespace with the keys that the CSI driver reads, for static volumes and classes written by
    /// hand. With `storageClasses` and without this, it is called `<name>-csi`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_export: Option<SecretExport>,
    /// Other namespaces whose objects (mirrors, replications) may name this file system. Claims are not meant: whoever
    /// may use a StorageClass may make claims of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 64),
        inner(length(min = 1, max = 63), regex(pattern = "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"))
    )]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub allowed_namespaces: Vec<String>,
    /// What happens to the volume when this object is deleted.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
    /// Do nothing until it is unset.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub suspend: bool,
}

/// Where the metadata is.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[x_kube(
    validation = Rule::new("has(self.url) || has(self.secretRef)").message("meta needs a url, or a secretRef to a Secret that holds it under the key metaurl").reason(Reason::FieldValueRequired),
    validation = Rule::new("!has(self.engine) || !has(self.url) || self.url.startsWith(self.engine + '://')").message("engine must be the scheme of url"),
    validation = Rule::new("has(self.engine) == has(oldSelf.engine) && (!has(self.engine) || self.engine == oldSelf.engine)").message("meta.engine cannot change").reason(Reason::FieldValueForbidden),
    validation = Rule::new("!has(self.url) || !has(oldSelf.url) || self.url.split('://')[0] == oldSelf.url.split('://')[0]").message("the scheme of meta.url cannot change: another engine is another volume").reason(Reason::FieldValueForbidden)
)]
#[serde(rename_all = "camelCase")]
pub struct MetaSpec {
    /// The scheme of the URL, if said at all: a guard against a Secret that holds something else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub engine: Option<MetaEngine>,
    /// URL of the metadata engine, without a password.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    #[x_kube(
        validation = Rule::new("self.matches('^(redis|rediss|postgres|mysql)://')").message("url must begin with redis://, rediss://, postgres:// or mysql://; sqlite3, unix sockets and directories are refused because no pod reaches them, and etcd, tikv and fdb are not supported yet"),
        validation = Rule::new("!self.matches('://[^@]*:[^@]*@') && !self.matches('[?&]password=')").message("url must not contain a password; put it into a Secret and name it in secretRef")
    )]
    pub url: Option<String>,
    /// The Secret with the password, or with the whole URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<MetaSecretRef>,
}

/// Schemes that a pod can reach and that this client has; MariaDB has MySQL's.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MetaEngine {
    Redis,
    Rediss,
    Postgres,
    Mysql,
}

impl MetaEngine {
    /// The URL's scheme.
    #[must_use]
    pub fn scheme(self) -> &'static str {
        match self {
            Self::Redis => "redis",
            Self::Rediss => "rediss",
            Self::Postgres => "postgres",
            Self::Mysql => "mysql",
        }
    }
}

/// A key of a Secret in this namespace.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MetaSecretRef {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The key: by default `meta-password` if `url` is set, else `metaurl`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub key: Option<String>,
}

/// Where the objects are.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct StorageSpec {
    /// Type of the object storage, as `juicefs format --storage` takes it: `s3`, `minio`, ... Cannot change.
    #[serde(rename = "type")]
    #[schemars(length(min = 1, max = 32), regex(pattern = "^[a-z0-9]+$"))]
    #[x_kube(
        validation = Rule::new("!(self in ['file', 'sqlite3', 'mem'])").message("file, sqlite3 and mem are refused: no pod reaches another machine's directory"),
        validation = Rule::new("self == oldSelf").message("storage.type cannot change").reason(Reason::FieldValueForbidden)
    )]
    pub kind: String,
    /// URL of the bucket, as `juicefs format --bucket` takes it. Cannot change.
    #[schemars(length(min = 1, max = 1024))]
    #[x_kube(
        validation = Rule::new("self == oldSelf").message("storage.bucket cannot change: the volume's objects are there").reason(Reason::FieldValueForbidden),
        validation = Rule::new("!self.matches('://[^/@]*:[^/@]*@')").message("bucket must not contain credentials; put them into a Secret and name it in secretRef")
    )]
    pub bucket: String,
    /// The Secret with keys `access-key`, `secret-key` and, if need be, `session-token`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<LocalSecretRef>,
    /// Storage class of new objects in the bucket (not a Kubernetes class).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub storage_class: Option<String>,
}

/// A Secret in this namespace.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LocalSecretRef {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// Settings of the volume, with the defaults of `juicefs format`.
#[derive(KubeSchema, Clone, Debug, Deserialize, Serialize, PartialEq)]
#[x_kube(
    validation = Rule::new("has(self.uuid) == has(oldSelf.uuid) && (!has(self.uuid) || self.uuid == oldSelf.uuid)").message("format.uuid cannot change").reason(Reason::FieldValueForbidden)
)]
#[serde(rename_all = "camelCase")]
pub struct FormatSpec {
    /// Size of a block in KiB: a power of two between 64 and 16384. Cannot change.
    #[serde(rename = "blockSizeKiB", default = "default_block_size_kib")]
    #[x_kube(
        validation = Rule::new("self in [64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384]").message("blockSizeKiB must be a power of two between 64 and 16384"),
        validation = Rule::new("self == oldSelf").message("format.blockSizeKiB cannot change").reason(Reason::FieldValueForbidden)
    )]
    pub block_size_kib: i32,
    /// Compression of blocks. Cannot change.
    #[x_kube(validation = Rule::new("self == oldSelf").message("format.compression cannot change").reason(Reason::FieldValueForbidden))]
    #[serde(default)]
    pub compression: Compression,
    /// Spread blocks over directories by hash. Cannot change.
    #[x_kube(validation = Rule::new("self == oldSelf").message("format.hashPrefix cannot change").reason(Reason::FieldValueForbidden))]
    #[serde(default)]
    pub hash_prefix: bool,
    /// Days that deleted files stay in the trash; 0 switches it off.
    #[schemars(range(min = 0, max = 36500))]
    #[serde(default = "default_trash_days")]
    pub trash_days: i32,
    /// Bytes that the volume may hold, such as `100Gi`; no limit if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), regex(pattern = r"^[0-9]+(\.[0-9]+)?(Ki|Mi|Gi|Ti|Pi|k|M|G|T|P)?$"))]
    pub capacity: Option<String>,
    /// Files that the volume may hold; no limit if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub inodes: Option<i64>,
    /// Keep a log of every change of metadata, by which mirrors follow. In a volume that is there already,
    /// `juicefs config --changelog` switches it on.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub change_log: bool,
    /// Adopt only the volume with this UUID, and never make one. Cannot change.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 36, max = 36), regex(pattern = "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"))]
    pub uuid: Option<String>,
}

fn default_block_size_kib() -> i32 {
    4096
}

fn default_trash_days() -> i32 {
    1
}

impl Default for FormatSpec {
    fn default() -> Self {
        Self {
            block_size_kib: default_block_size_kib(),
            compression: Compression::None,
            hash_prefix: false,
            trash_days: default_trash_days(),
            capacity: None,
            inodes: None,
            change_log: false,
            uuid: None,
        }
    }
}

/// Compression of blocks.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    #[default]
    None,
    Lz4,
    Zstd,
}

impl Compression {
    /// As `juicefs format --compress` takes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }
}

/// A StorageClass to make.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct StorageClassSpec {
    /// Name of the class.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$"))]
    pub name: String,
    /// Make it the cluster's default class. Only for file systems that the operator was told about.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub default: bool,
    /// What happens to a volume's directory when its claim is deleted.
    #[serde(default)]
    pub reclaim_policy: ReclaimPolicy,
    /// When volumes are made.
    #[serde(default)]
    pub volume_binding_mode: BindingMode,
    /// Directory of a volume, with upstream's `${.PVC.name}` words; the volume's name if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub path_pattern: Option<String>,
    /// Options of mounts, as `juicefs mount` takes them: `cache-size=10G`, `read-only`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 1024)))]
    pub mount_options: Vec<String>,
    /// Further parameters, with upstream's names: `juicefs/mount-memory-limit`, ...
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub parameters: BTreeMap<String, String>,
    /// Whether claims may ask for more later.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_volume_expansion: bool,
}

/// What happens to a volume's directory when its claim is deleted.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq, JsonSchema)]
pub enum ReclaimPolicy {
    #[default]
    Delete,
    Retain,
}

/// When volumes are made.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq, JsonSchema)]
pub enum BindingMode {
    #[default]
    Immediate,
    WaitForFirstConsumer,
}

/// The Secret to write.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretExport {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$"))]
    pub name: String,
}

/// What happens to the volume when its `FileSystem` is deleted.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq, JsonSchema)]
pub enum DeletionPolicy {
    /// Metadata and objects stay; only the Secret and the classes go.
    #[default]
    Retain,
}

impl FileSystem {
    /// Name of the volume: what the spec says, else the object's name.
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
}

impl MetaSpec {
    /// Secret name and key that the URL or its password is in.
    #[must_use]
    pub fn secret_key(&self) -> Option<(&str, &str)> {
        let reference = self.secret_ref.as_ref()?;
        let default = if self.url.is_some() { "meta-password" } else { "metaurl" };
        Some((&reference.name, reference.key.as_deref().unwrap_or(default)))
    }
}
