//! What the operator says about a `Mirror`. Only the operator writes it, by server-side apply on `/status`.

use super::status::Condition;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// State of the mirror as the operator last saw it.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct MirrorStatus {
    /// The generation that everything below belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// One word for people, computed from the conditions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<MirrorPhase>,
    /// The volume that it copies: `<namespace>/<name>` of a `FileSystem`, or an address without its password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// UUID of that volume.
    #[serde(rename = "sourceUUID", skip_serializing_if = "Option::is_none")]
    pub source_uuid: Option<String>,
    /// Name of the mirror.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume_name: Option<String>,
    /// Version of the source's change log up to which everything is applied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub applied_version: Option<i64>,
    /// Newest version at the source; nothing when it does not answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_version: Option<i64>,
    /// Changes that the source has and the mirror has yet to apply.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub versions_behind: Option<i64>,
    /// Age of the oldest change that is not applied, such as `0.4s`; nothing when the source does not answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lag: Option<String>,
    /// Name of the exported Secret in this namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exported_secret: Option<String>,
    /// Names of the StorageClasses that this mirror has.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub storage_classes: Vec<String>,
    /// Ready, Bootstrapped, SourceReachable, Following, CaughtUp, Promoted, SecretExported, StorageClassesReady.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "super::schema::conditions")]
    pub conditions: Vec<Condition>,
}

/// One word for people.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq, JsonSchema)]
pub enum MirrorPhase {
    /// Something that it needs is missing.
    Pending,
    /// The volume is copied for the first time, or again after history was lost.
    Bootstrapping,
    /// It follows and is not far behind.
    Following,
    /// It is being made a volume of its own.
    Promoting,
    /// It is a volume of its own.
    Promoted,
    /// It can be read and is further behind than it may be, or nobody can tell.
    Stale,
    /// Something is wrong that waiting does not mend; the condition Ready says what.
    Failed,
    /// `spec.suspend` is set.
    Suspended,
}
