//! What a mount decides about files.

use serde_json::{Map, Value};
use std::time::Duration;

/// Settings of a [`crate::Vfs`]; the default is the peer's `mount`.
#[derive(Clone, Debug)]
pub struct VfsConfig {
    /// For how long the kernel may keep attributes (`--attr-cache`).
    pub attr_ttl: Duration,
    /// Names of files (`--entry-cache`).
    pub entry_ttl: Duration,
    /// Names of directories (`--dir-entry-cache`).
    pub dir_entry_ttl: Duration,
    /// Names that do not exist (`--negative-entry-cache`).
    pub negative_ttl: Duration,
    /// Most bytes fetched ahead of one sequential stream (`--max-readahead`); 0 turns readahead off.
    pub readahead_bytes: u64,
    /// Blocks fetched ahead at the same time by the whole mount.
    pub readahead_fetches: usize,
    /// Tries to read bytes whose objects are missing before EIO (`--io-retries`).
    pub io_retries: u32,
    /// Workers that delete the objects of freed slices (`--max-deletes`).
    pub max_deletes: usize,
    /// No change of anything.
    pub read_only: bool,
    /// `.stats` and the others are not listed, but there (`--hide-internal`).
    pub hide_internal: bool,
    /// They are called `.jfs.stats` and so on (`--prefix-internal`).
    pub prefix_internal: bool,
    /// A stored name in the root of the volume that this mount neither shows nor lets anyone make: the CSI driver's
    /// records.
    pub hidden_name: Option<String>,
    /// Shown as `Version` in `.config`.
    pub version: String,
    /// What `.config` says beside the setting, the session and the process. The caller leaves secrets out.
    pub shown: Map<String, Value>,
}

impl Default for VfsConfig {
    fn default() -> Self {
        Self {
            attr_ttl: Duration::from_secs(1),
            entry_ttl: Duration::from_secs(1),
            dir_entry_ttl: Duration::from_secs(1),
            negative_ttl: Duration::ZERO,
            readahead_bytes: 32 << 20,
            readahead_fetches: 16,
            io_retries: 10,
            max_deletes: 10,
            read_only: false,
            hide_internal: false,
            prefix_internal: false,
            hidden_name: None,
            version: juicefs_meta::format::SESSION_VERSION.to_owned(),
            shown: Map::new(),
        }
    }
}
