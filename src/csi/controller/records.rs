//! The driver's own records, in the file system they are about (decisions 22): `/.juicefs-csi/volumes/<id>` is a
//! symlink whose target text is the JSON record; a removed volume's directory waits in `/.juicefs-csi/deleted/`.
//! Records are replaced, never changed: clients cache symlink targets.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fmt::Write as _;

/// Directory of the records at the root of the file system, mode 0700.
pub(crate) const RECORDS: &str = ".juicefs-csi";
pub(crate) const VOLUMES: &str = "volumes";
pub(crate) const DELETED: &str = "deleted";
/// A symlink's target may not be longer.
const RECORD_BYTES_MAX: usize = 4095;

/// One provisioned volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct VolumeRecord {
    /// Version of the record.
    pub v: u32,
    /// From inode 1, without a leading slash.
    pub path: String,
    pub inode: u64,
    /// Bytes.
    pub capacity: i64,
    /// UID of the cluster that made it.
    pub cluster: String,
    /// Whether the directory was made for a volume; one that was there before is nobody's to remove.
    #[serde(default = "made")]
    pub made: bool,
}

fn made() -> bool {
    true
}

impl VolumeRecord {
    pub(crate) const VERSION: u32 = 1;

    /// The symlink's target; `None` when the path is too long for it.
    pub(crate) fn to_target(&self) -> Option<String> {
        serde_json::to_string(self).ok().filter(|text| text.len() <= RECORD_BYTES_MAX)
    }

    pub(crate) fn parse(target: &[u8]) -> Option<Self> {
        serde_json::from_slice(target).ok()
    }
}

/// Whether removing one directory would take something of the other away.
pub(crate) fn overlap(one: &str, other: &str) -> bool {
    let lies_in = |inner: &str, outer: &str| {
        inner == outer || inner.strip_prefix(outer).is_some_and(|rest| rest.starts_with('/'))
    };
    lies_in(one, other) || lies_in(other, one)
}

/// The record's name: the id itself when it is a plain name, else its SHA-256.
pub(crate) fn record_name(id: &str) -> String {
    let is_plain = (1..=128).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
        && !matches!(id, "." | "..");
    if is_plain {
        return id.to_owned();
    }
    Sha256::digest(id).iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain_or_hashed() {
        assert_eq!(record_name("pvc-1.a_B"), "pvc-1.a_B");
        for odd in ["", "a/b", "..", "ü", &"x".repeat(129)] {
            assert_eq!(record_name(odd).len(), 64, "{odd}");
        }
    }

    #[test]
    fn overlap_is_by_components() {
        for path in ["a/b", "a", "a/b/c"] {
            assert!(overlap("a/b", path), "{path}");
        }
        for path in ["a/bc", "b", "a/c"] {
            assert!(!overlap("a/b", path), "{path}");
        }
    }

    #[test]
    fn a_record_is_its_target() {
        let record = VolumeRecord {
            v: 1,
            path: "a/b".into(),
            inode: 2,
            capacity: 0,
            cluster: String::new(),
            made: false,
        };
        let target = record.to_target().expect("short");
        assert_eq!(VolumeRecord::parse(target.as_bytes()), Some(record));
        assert_eq!(VolumeRecord::parse(b"nonsense"), None);
        let older = br#"{"v":1,"path":"a","inode":2,"capacity":0,"cluster":""}"#;
        assert!(VolumeRecord::parse(older).expect("as first written").made);
    }
}
