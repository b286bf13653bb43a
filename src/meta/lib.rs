//! The name space of a volume: one semantics over many databases.

pub mod change_log;
mod cleanup;
#[cfg(test)]
mod conformance;
pub mod engines;
pub mod error;
mod etcd_url;
mod expiry;
pub mod format;
mod kept;
pub mod lock;
mod locks;
mod meta;
pub mod mirror;
mod numbers;
mod open_cache;
mod open_files;
mod ops;
pub mod overlay;
pub mod port;
mod quotas;
pub mod replication;
pub mod request;
mod rules;
mod server_url;
mod session;
pub mod trash;
pub mod tree;
pub mod txn;
pub mod types;
pub mod url;
mod usage;

pub use error::{Damage, Error, Result};
pub use format::Format;
pub use lock::{Holder, Interrupted, LOCK_END_MAX, LockKind, Patience, RangeLock, RangeRequest};
pub use locks::{LockLostSink, LostLock};
pub use meta::{FreedSliceSink, Meta};
pub use ops::quota::OwnersUsage;
pub use ops::write_many::SLICES_MAX;
pub use request::{
    AtimeMode, MetaOptions, NewNode, OpenFlags, RenameFlags, SetAttr, SetTime, SliceWrite, SlicesDone,
    StatFs, WriteDone, XattrMode,
};
pub use rules::{Compaction, plan_compaction};
pub use session::{SessionInfo, VolumeGoneSink};
pub use types::{Attr, Caller, DirStat, Edge, Entry, Ino, Kind, Name, Slice, SliceId, Time, Usage};
pub use url::{MetaUrl, RedisUrl, SqliteUrl};
