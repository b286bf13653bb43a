//! What `fsck` found.

use juicefs_meta::Damage;
use serde::Serialize;

/// Broken files and damaged records that a report names at most.
pub(super) const NAMED_MAX: usize = 1000;

#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FsckReport {
    pub blocks_found: u64,
    pub bytes_found: u64,
    pub slices: u64,
    pub slice_bytes: u64,
    pub lost_blocks: u64,
    pub lost_bytes: u64,
    pub broken_files: u64,
    /// The first [`NAMED_MAX`] broken files, by inode.
    pub broken: Vec<BrokenFile>,
    pub damaged_records: u64,
    /// The first [`NAMED_MAX`] records that can't be decoded.
    pub damaged: Vec<DamagedRecord>,
    /// Looked at below the path that was asked for.
    pub checked_nodes: u64,
    /// Nodes that are wrong and were not repaired.
    pub wrong_nodes: u64,
    pub repaired_nodes: u64,
}

impl FsckReport {
    /// Whether nothing is lost, nothing damaged and nothing wrong, or not any more.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.lost_blocks == 0 && self.damaged_records == 0 && self.wrong_nodes == 0
    }

    pub(super) fn add_damage(&mut self, Damage { record, cause }: Damage) {
        self.damaged_records += 1;
        if self.damaged.len() < NAMED_MAX {
            self.damaged.push(DamagedRecord { record, cause });
        }
    }
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DamagedRecord {
    pub record: String,
    pub cause: String,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BrokenFile {
    pub inode: u64,
    /// One of its paths; `inode:N` for a file without a name.
    pub path: String,
    pub lost_blocks: u64,
    pub lost_bytes: u64,
    /// The first that was found to be lost, below `chunks/`.
    pub lost_key: String,
}
