//! What is done to a whole volume: make it, look at it, change its settings, check it.
//!
//! These functions open the metadata engine directly and hold no session; they decide nothing about files.

mod backup;
mod blocks;
mod change_log;
mod config;
mod destroy;
mod doubts;
mod dump;
mod error;
mod find;
mod format;
mod fsck;
mod gc;
mod heal;
mod load;
mod opened;
mod progress;
mod quota;
mod replicate;
mod restore;
mod status;
mod storage;

/// The nouns that callers above need to name; rooms above `volume` do not import `meta`.
pub use juicefs_meta::{Error as MetaError, Format, MetaUrl};
pub use juicefs_object::Error as ObjectError;

pub use backup::{Backup, backup};
pub use change_log::follow_change_log;
pub use config::{SettingChange, SettingDiff, change_settings};
pub use destroy::{Doomed, destroy, doomed};
pub use doubts::doubts;
pub use dump::{DumpRequest, Packing, Target, dump, dump_engine};
pub use error::{Error, Result};
pub use find::find_format;
pub use format::{FormatOutcome, FormatRequest, FormatResult, format};
pub use fsck::{BrokenFile, DamagedRecord, FsckPath, FsckReport, fsck};
pub use gc::{CompactedNow, GcReport, GcRequest, gc};
pub use heal::{HealReport, HealRequest, heal};
pub use load::{Loaded, SegmentStat, Source, load, load_engine, segment_text, segments};
pub use progress::{Progress, Silent};
pub use quota::{
    QuotaLimits, QuotaLine, QuotaOf, check_quota, delete_quota, get_quota, list_quotas, set_quota,
};
pub use replicate::{ReplicationChange, change_replication};
pub use restore::restore;
pub use status::{SessionStatus, Status, status};
pub use storage::{StorageAccess, load_format, open_metered_store, open_replicated_store, open_store};
