//! The operator: makes what custom resources ask for, says on their status what came of it.
//!
//! One folder per kind. `plan` decides from what was seen, without a client or a clock; `observe` looks; `apply`
//! does. Only the leader of all replicas reconciles; every replica answers `/healthz`.

mod apply;
mod classes;
mod conditions;
pub mod file_system;
pub mod format_job;
mod health;
mod leader;
pub mod mirror;
mod owner;
mod run;
mod step;
mod surroundings;

pub use run::{Error, OperatorSettings, run};

/// Field manager of everything that the operator applies, and name of its Events' source.
pub const MANAGER: &str = "juicefs-operator";
