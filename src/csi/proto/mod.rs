//! Generated from `proto/` by `cargo xtask generate`; only this room speaks it.

#[allow(clippy::all, clippy::pedantic, clippy::allow_attributes_without_reason, reason = "generated")]
#[rustfmt::skip]
pub mod csi;
#[allow(clippy::all, clippy::pedantic, clippy::allow_attributes_without_reason, reason = "generated")]
#[rustfmt::skip]
pub mod registration;
