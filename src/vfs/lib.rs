//! Files over metadata and slices: open handles, reading and writing, listings, what the kernel may remember.
//!
//! [`Vfs`] is the door: one async call per operation of the file system. Below it, [`core`] holds what reading
//! and writing share, [`files`] the state of each file, [`dirty`], [`writer`] and [`commit`] the way of written bytes into
//! slices and into the metadata, [`reader`] the way back. Nothing here knows FUSE.

mod access_log;
mod answer;
mod background;
mod commit;
mod config;
pub mod control;
mod core;
mod directory;
mod dirty;
mod error;
mod files;
mod flusher;
mod guarded;
mod handles;
mod invalidate;
mod lists;
mod ops;
mod readahead;
mod reader;
mod special;
mod stale_paths;
mod told;
mod vfs;
mod writer;

pub use access_log::AccessLog;
pub use answer::{Attributes, Created, Found, Line, Opened};
pub use background::compaction::Compacted;
pub use config::VfsConfig;
pub use error::{Error, Result};
pub use invalidate::Invalidate;
pub use juicefs_meta::types::flags as node_flags;
pub use ops::seek::Seek;
pub use special::{ACCESS_LOG, CONTROL};
pub use vfs::Vfs;

/// Numbers that callers of [`Vfs`] need, from the rooms below.
pub use juicefs_base::metrics::Metrics;
/// The nouns of the name space that the kernel's edge speaks; it does not import the room itself.
pub use juicefs_meta::request::{
    NewNode, OpenFlags, RangeCopy, RenameFlags, SetAttr, SetTime, StatFs, XattrMode,
};
pub use juicefs_meta::{
    Attr, Caller, Ino, Interrupted, Kind, LockKind, Name, Patience, RangeLock, RangeRequest, Time,
};
