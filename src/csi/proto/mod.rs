//! Generated from `proto/` by `cargo xtask generate`; only this room speaks it.

#[allow(clippy::all, clippy::pedantic, missing_docs, clippy::unwrap_used, reason = "generated")]
#[rustfmt::skip]
pub mod csi;
#[allow(clippy::all, clippy::pedantic, missing_docs, clippy::unwrap_used, reason = "generated")]
#[rustfmt::skip]
pub mod registration;
