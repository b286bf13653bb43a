//! Mirrors: another database that follows a volume by its change log.
//!
//! A follower takes the log as a list of inodes and names that changed and copies their state (decisions 11), each
//! batch in one transaction with the cursor. So a mirror is always equal to its source at some version, whatever
//! happens to the follower.

mod addresses;
mod apply;
mod create;
mod dirty;
mod error;
mod follower;
mod heartbeats;
mod reconcile;
mod status;

pub use addresses::Addresses;
pub use create::{NewMirror, create, drop_mirror};
pub use error::{Error, Result};
pub use follower::{Follower, Turn};
pub use juicefs_meta::mirror::State;
pub use reconcile::{Difference, check};
pub use status::{MirrorStatus, status};
