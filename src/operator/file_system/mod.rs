//! `FileSystem`: from a spec to a formatted volume, a Secret and StorageClasses.

mod controller;
pub(crate) mod export;
pub(crate) mod job;
mod observe;
pub(crate) mod plan;
mod seen;

pub use crate::conditions::{ConditionKind, Finding};
pub use crate::step::Step;
pub use crate::surroundings::{ClassSeen, ExportSeen, FoundSecret, SecretSeen};
pub(crate) use controller::run;
pub use job::{JobInputs, format_spec};
pub(crate) use observe::{JOB_NAME, job_state};
pub use plan::plan;
pub use seen::{JobSeen, JobState, Plan, PlanSettings, Seen};
