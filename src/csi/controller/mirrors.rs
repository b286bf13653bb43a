//! Volumes on a mirror: directories that are there already, found and never made (kubernetes.md 7.4). What decides is
//! the mirror's own side record, not any object of Kubernetes.

use juicefs_k8s::labels;
use juicefs_meta::Time;
use juicefs_meta::mirror::MirrorRecord;
use std::collections::BTreeMap;
use tonic::Status;

use super::{Volume, is_reader};
use crate::pb::VolumeCapability;

/// Value of [`labels::MIRROR_ACCESS`] by which a class takes claims that ask for more than a mirror gives.
const COERCE: &str = "coerce";

/// Refuses what a mirror never gives: writing, unless the class (or the volume) says that reading is meant.
pub(crate) fn check_access(
    mirror: &MirrorRecord,
    capabilities: &[VolumeCapability],
    own: &BTreeMap<String, String>,
) -> Result<(), Status> {
    let is_coerced = match own.get(labels::MIRROR_ACCESS).map(String::as_str) {
        None | Some("") => false,
        Some(COERCE) => true,
        Some(other) => {
            return Err(Status::invalid_argument(format!(
                "{} is {other:?}: the only value that is known is {COERCE}",
                labels::MIRROR_ACCESS
            )));
        }
    };
    if is_coerced || capabilities.iter().all(is_reader) {
        return Ok(());
    }
    Err(Status::invalid_argument(format!(
        "{} is a mirror and can only be read: ask for ReadOnlyMany, or set {}: {COERCE} on the class for \
         applications that ask for more than they use",
        mirror.display_name,
        labels::MIRROR_ACCESS
    )))
}

/// The sentence for a class that would make a directory for each claim.
pub(crate) fn needs_path(mirror: &MirrorRecord) -> Status {
    Status::invalid_argument(format!(
        "{} is a mirror, in which nothing is ever made: set pathPattern or subPath to a directory of the source",
        mirror.display_name
    ))
}

/// The directory at `path`, which must be there.
pub(crate) async fn find(volume: &Volume, mirror: &MirrorRecord, path: &str) -> Result<(), Status> {
    match volume.find(path).await? {
        Some(_) => Ok(()),
        None => Err(Status::not_found(missing(mirror, path, Time::now().unix_ms()))),
    }
}

/// Why there is no directory, and how far the mirror is: the caller asks again by itself until it arrives.
fn missing(mirror: &MirrorRecord, path: &str, now_ms: i64) -> String {
    let name = &mirror.display_name;
    let age_ms = now_ms.saturating_sub(mirror.cursor_ms).max(0);
    let position = if mirror.cursor_ms == 0 {
        format!("it has applied version {} of its source", mirror.cursor)
    } else {
        let (seconds, tenths) = (age_ms / 1000, age_ms % 1000 / 100);
        format!(
            "it has applied version {} of its source, whose change was made {seconds}.{tenths} s ago",
            mirror.cursor
        )
    };
    format!(
        "directory {path} is not in mirror {name} ({position}): make it at the source, and this goes on by itself \
         when it has arrived"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pb::volume_capability::access_mode::Mode;
    use crate::pb::volume_capability::{AccessMode, AccessType, MountVolume};
    use juicefs_meta::mirror::State;

    pub(super) fn record() -> MirrorRecord {
        serde_json::from_value(serde_json::json!({
            "v": 1, "source_uuid": "u", "display_name": "near", "epoch": "e", "source": "redis://far/1",
            "state": State::Following, "cursor": 42, "cursor_ms": 10_000,
        }))
        .expect("a record")
    }

    fn capability(mode: Mode) -> VolumeCapability {
        VolumeCapability {
            access_mode: Some(AccessMode { mode: mode as i32 }),
            access_type: Some(AccessType::Mount(MountVolume::default())),
        }
    }

    #[test]
    fn writers_are_refused_unless_the_class_coerces_them() {
        let own = |value: &str| BTreeMap::from([(labels::MIRROR_ACCESS.to_owned(), value.to_owned())]);
        let check = |modes: &[Mode], own: &BTreeMap<String, String>| {
            let asked: Vec<VolumeCapability> = modes.iter().map(|mode| capability(*mode)).collect();
            check_access(&record(), &asked, own).map_err(|status| status.message().to_owned())
        };
        for reader in [Mode::MultiNodeReaderOnly, Mode::SingleNodeReaderOnly] {
            check(&[reader], &BTreeMap::new()).expect("only reads");
        }
        for writer in [
            Mode::MultiNodeMultiWriter,
            Mode::SingleNodeWriter,
            Mode::SingleNodeSingleWriter,
            Mode::MultiNodeSingleWriter,
        ] {
            let told = check(&[Mode::MultiNodeReaderOnly, writer], &BTreeMap::new()).expect_err("writes");
            assert!(told.contains("near is a mirror") && told.contains("ReadOnlyMany"), "{told}");
            check(&[writer], &own("coerce")).expect("coerced");
        }
        let told = check(&[Mode::MultiNodeReaderOnly], &own("coerced")).expect_err("a typo");
        assert!(told.contains("\"coerced\""), "{told}");
    }

    #[test]
    fn a_missing_directory_is_told_with_the_position_of_the_mirror() {
        let told = missing(&record(), "a/b", 13_456);
        for part in ["directory a/b", "mirror near", "version 42", "3.4 s ago"] {
            assert!(told.contains(part), "{told}");
        }
        let fresh = MirrorRecord { cursor: 0, cursor_ms: 0, ..record() };
        assert!(!missing(&fresh, "a/b", 13_456).contains("ago"));
    }
}
