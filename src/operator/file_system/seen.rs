//! What `plan` looks at and what it answers: plain data, without a client.

use crate::format_job::FormatReport;
use crate::step::Step;
use crate::surroundings::{ClassSeen, ExportSeen, SecretSeen};
use juicefs_k8s::crd::FileSystemStatus;
use juicefs_k8s::events::Note;
use k8s_openapi::jiff::Timestamp;
use std::time::Duration;

/// What the operator was told.
#[derive(Clone, Debug)]
pub struct PlanSettings {
    pub image: String,
    pub image_pull_policy: String,
    /// `<namespace>/<name>` of file systems that may make the cluster's default class.
    pub default_class_owners: Vec<String>,
}

/// What was seen of a file system's surroundings.
#[derive(Clone, Debug)]
pub struct Seen {
    pub now: Timestamp,
    /// The operator has no rights in the namespace.
    pub forbidden: bool,
    /// Nothing if the spec names none.
    pub meta_secret: Option<SecretSeen>,
    pub storage_secret: Option<SecretSeen>,
    /// Format Jobs of this file system.
    pub jobs: Vec<JobSeen>,
    pub export: ExportSeen,
    /// Classes that are ours, or have a name that the spec wants.
    pub classes: Vec<ClassSeen>,
}

/// A format Job.
#[derive(Clone, Debug)]
pub struct JobSeen {
    pub name: String,
    pub state: JobState,
    pub start: Option<Timestamp>,
    /// When it ended.
    pub end: Option<Timestamp>,
    /// The newest report of one of its pods.
    pub report: Option<FormatReport>,
    /// Why no pod runs, or why the Job was given up.
    pub trouble: Option<String>,
}

/// How far a Job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobState {
    Active,
    Succeeded,
    Failed,
}

/// Everything to do now, in order, and what to say.
#[derive(Clone, Debug)]
pub struct Plan {
    pub steps: Vec<Step>,
    /// Nothing if the object is going away.
    pub status: Option<FileSystemStatus>,
    pub notes: Vec<Note>,
    pub again: Duration,
}
