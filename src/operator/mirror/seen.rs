//! What `plan` looks at and what it answers: plain data, without a client.

use crate::file_system::JobState;
use crate::step::Step;
use crate::surroundings::{ClassSeen, ExportSeen, SecretSeen};
use juicefs_k8s::crd::{FileSystem, MirrorStatus};
use juicefs_k8s::events::Note;
use juicefs_replication::State;
use k8s_openapi::jiff::Timestamp;
use std::time::Duration;

/// What was seen of a mirror's surroundings.
#[derive(Clone, Debug)]
pub struct Seen {
    pub now: Timestamp,
    /// The operator has no rights in the namespace.
    pub forbidden: bool,
    /// Of the mirror's own metadata engine; nothing if the spec names none.
    pub meta_secret: Option<SecretSeen>,
    /// Of the mirror's own bucket, and of how it reads the source's; nothing where the spec names none.
    pub bucket_secret: Option<SecretSeen>,
    pub bucket_source_secret: Option<SecretSeen>,
    pub source: SourceSeen,
    /// What has the name of the exported Secret.
    pub export: ExportSeen,
    /// What has the name of the follower's Secret.
    pub follower_secret: ExportSeen,
    pub deployment: DeploymentSeen,
    /// The Job that promotes it.
    pub promotion: Option<PromotionSeen>,
    /// Classes that are ours, or have a name that the spec wants.
    pub classes: Vec<ClassSeen>,
    pub database: DatabaseSeen,
}

/// The volume that is mirrored.
#[derive(Clone, Debug)]
pub enum SourceSeen {
    /// There is no such `FileSystem`.
    Missing,
    FileSystem {
        object: Box<FileSystem>,
        meta_secret: Option<SecretSeen>,
        storage_secret: Option<SecretSeen>,
    },
    External {
        meta_secret: Option<SecretSeen>,
        storage_secret: Option<SecretSeen>,
    },
}

/// The object that has the name of the follower's Deployment.
#[derive(Clone, Debug)]
pub enum DeploymentSeen {
    Absent,
    Ours {
        /// Annotation of its pods: what they were started with.
        inputs: String,
        image: String,
        replicas: i32,
        /// Whether a pod of it runs.
        is_available: bool,
        /// Why none runs, or what the last one said when it ended.
        trouble: Option<String>,
    },
    Foreign,
}

/// The Job that promotes a mirror.
#[derive(Clone, Debug)]
pub struct PromotionSeen {
    pub state: JobState,
    /// When it ended.
    pub end: Option<Timestamp>,
    /// What its last pod left: a report as JSON, or a sentence.
    pub message: Option<String>,
}

/// What the mirror's database holds.
#[derive(Clone, Debug)]
pub enum DatabaseSeen {
    /// Not looked at: something is missing first.
    Unknown,
    /// No mirror: it was not made yet, or something else is there.
    NoMirror,
    /// Why it can't be looked at.
    Unreachable(String),
    Mirror(Position),
}

/// How far a mirror is.
#[derive(Clone, Debug, PartialEq)]
pub struct Position {
    /// As the mirror calls itself.
    pub name: String,
    pub source_uuid: String,
    pub state: State,
    pub version: u64,
    /// Nothing when the source does not answer.
    pub source_version: Option<u64>,
    pub versions_behind: Option<u64>,
    pub seconds_behind: Option<f64>,
    /// Why the source does not answer.
    pub source_error: Option<String>,
}

/// Everything to do now, in order, and what to say.
#[derive(Clone, Debug)]
pub struct Plan {
    pub steps: Vec<Step>,
    /// Nothing if the object is going away.
    pub status: Option<MirrorStatus>,
    pub notes: Vec<Note>,
    pub again: Duration,
}
