//! `Mirror`: from a spec to a database that follows a volume, a Secret and StorageClasses.
//!
//! A Deployment of one pod copies and follows, a Job promotes ([`follower`]); what the mirror is and how far stands in its own database,
//! which the operator reads.

mod buckets;
mod controller;
mod deployment;
pub mod follower;
mod inputs;
mod observe;
mod plan;
mod seen;

pub(crate) use controller::run;
pub use plan::plan;
pub use seen::{DatabaseSeen, DeploymentSeen, Plan, Position, PromotionSeen, Seen, SourceSeen};
