//! The operations of a file system, each a method of [`crate::Vfs`], by what they work on.

mod data;
mod dirs;
mod inherited;
pub(crate) mod locks;
mod names;
mod nodes;
pub(crate) mod seek;
mod xattrs;
