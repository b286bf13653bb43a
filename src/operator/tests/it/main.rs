//! Tests of the operator that need no cluster.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed expectation is a failed test, in helpers too"
)]

mod format_job;
mod mirror;
mod plan;
mod world;
