//! Real FUSE mounts: SQLite and a local directory below, plain system calls above. Needs root and /dev/fuse.

#![allow(clippy::unwrap_used, reason = "test code outside of #[test] functions")]

mod daemon;
mod files;
mod keeper;
mod pod;
mod support;
