//! POSIX rules as pure functions over attributes: who may do what, and what a change makes of a node.

mod access;
mod attributes;
mod compaction;
mod parents;
pub(crate) mod ranges;

pub(crate) use access::{EXECUTE, READ, WRITE, check, check_add, check_remove, check_xattr, permits};
pub(crate) use attributes::{born, changed, without_suid};
pub use compaction::{Compaction, plan as plan_compaction};
pub(crate) use parents::{Touch, moved};
