//! Tests of the operator that need no cluster.

#![allow(clippy::unwrap_used, reason = "a failed expectation is a failed test, in helpers too")]

mod format_job;
mod plan;
mod world;
