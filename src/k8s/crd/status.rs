//! What the operator says about a `FileSystem`. Only the operator writes it, by server-side apply on `/status`.

pub use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// State of the file system as the operator last saw it.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct FileSystemStatus {
    /// The generation that everything below belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// One word for people, computed from the conditions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// UUID of the volume, once it was formatted or found. Another UUID under the same URL is refused from then on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
    /// Name of the volume, which is the prefix of its objects in the bucket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume_name: Option<String>,
    /// The newest format Job.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_format_job: Option<FormatJobStatus>,
    /// Name of the exported Secret in this namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exported_secret: Option<String>,
    /// Names of the StorageClasses that this file system has.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub storage_classes: Vec<String>,
    /// Ready, Formatted, MetadataReachable, ObjectStorageReachable, ConfigInSync, SecretExported, StorageClassesReady.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "super::schema::conditions")]
    pub conditions: Vec<Condition>,
}

/// One word for people.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq, JsonSchema)]
pub enum Phase {
    /// Something that it needs is missing.
    Pending,
    /// The format Job runs.
    Formatting,
    /// Volumes can be made and mounted.
    Ready,
    /// Something is wrong that waiting does not mend; the condition Ready says what.
    Failed,
    /// `spec.suspend` is set.
    Suspended,
    /// It was deleted and is being cleaned up.
    Deleting,
}

/// How a format Job went.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct FormatJobStatus {
    /// Name of the Job; it ends in the hash of what went in.
    pub name: String,
    /// When it began.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::schema::time")]
    pub start_time: Option<Time>,
    /// When it was done.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::schema::time")]
    pub completion_time: Option<Time>,
    /// What came of it; nothing while it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<FormatOutcome>,
}

/// What came of a format Job. The same words stand in its termination message.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum FormatOutcome {
    /// A new volume was made.
    Created,
    /// The volume was there, with these settings.
    Unchanged,
    /// Another volume is there, or one with other settings. Nothing was written.
    Conflict,
    /// It could not be done; the message says why.
    Failed,
}
