//! Tests of `k8s` that need no cluster.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed expectation is a failed test, in helpers too"
)]

mod chart;
mod crd;
mod pod;
mod settings;
