//! Mirrors: another database that follows a volume by its change log.
//!
//! A follower takes the log as a list of inodes and names that changed and copies their state (decisions 11), each
//! batch in one transaction with the cursor. So a mirror is always equal to its source at some version, whatever
//! happens to the follower. Where it has a bucket of its own, blocks follow the same log. A promotion ends it: the mirror
//! becomes a volume of its own.

mod addresses;
mod apply;
mod blocks;
mod count;
mod create;
mod data;
mod dirty;
mod error;
mod fence;
mod follower;
mod heartbeats;
mod promote;
mod reconcile;
mod sample;
mod status;

pub use addresses::Addresses;
pub use blocks::{BlockCopier, Copied};
pub use create::{NewMirror, OwnBucket, create, drop_mirror};
pub use error::{Error, Result};
pub use follower::{Follower, Turn};
pub use juicefs_meta::mirror::State;
/// What the callers of [`BlockCopier`] and [`OwnBucket`] open.
pub use juicefs_object::Store;
pub use promote::{Fencing, Promoted, Promotion, promote};
pub use reconcile::{Difference, check};
pub use sample::{SampleReport, check_blocks};
pub use status::{MirrorStatus, status};
