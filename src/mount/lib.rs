//! From settings to a served mount, and back: assembling the rooms below, daemons, unmounting, and the two
//! sides of a mount pod.

mod background;
mod backups;
mod broker;
mod config_file;
mod error;
pub mod flags;
mod keeper;
pub mod messages;
mod metrics;
mod mirror_store;
pub mod mountinfo;
mod mountpoint;
mod pod_worker;
mod process;
mod run;
mod sealed;
mod settings;
mod store_follower;
mod twice;
mod umount;
mod worker;

pub use background::default_log;
pub use broker::{Broker, Brokered};
pub use error::{Error, Result};
pub use juicefs_object::StoreVariables;
pub use keeper::run_mount_pod;
pub use mountinfo::{MountEntry, Mountinfo};
pub use pod_worker::{PodWorker, run_pod_worker};
pub use run::{run_background, run_foreground};
pub use settings::{MountOptions, MountSecrets, MountSettings, cache_name, default_cache_dir};
pub use umount::{UmountOptions, umount};
pub use worker::OpenVolume;
