//! `FileSystem`: from a spec to a formatted volume, a Secret and StorageClasses.

mod apply;
mod conditions;
mod controller;
mod export;
mod job;
mod observe;
mod plan;
mod seen;

pub use conditions::{ConditionKind, Finding};
pub(crate) use controller::run;
pub use job::{JobInputs, format_spec};
pub use plan::plan;
pub use seen::{
    ClassSeen, ExportSeen, FoundSecret, JobSeen, JobState, Plan, PlanSettings, SecretSeen, Seen, Step,
};
