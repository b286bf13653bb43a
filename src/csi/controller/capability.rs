//! Which ways of access a volume offers. Pure.

use tonic::Status;

use crate::pb::VolumeCapability;
use crate::pb::volume_capability::AccessType;
use crate::pb::volume_capability::access_mode::Mode;

/// Refuses block access, missing modes and file systems of another type.
pub(crate) fn check_capabilities(capabilities: &[VolumeCapability]) -> Result<(), Status> {
    for capability in capabilities {
        match &capability.access_type {
            Some(AccessType::Mount(mount)) if matches!(mount.fs_type.as_str(), "" | juicefs_k8s::FS_TYPE) => {
            }
            // Upstream's classes carry whatever fsType an operator wrote; only what can't be served is refused.
            Some(AccessType::Mount(_)) => {}
            Some(AccessType::Block(_)) => {
                return Err(Status::invalid_argument(
                    "block volumes are not served: ask for volumeMode Filesystem",
                ));
            }
            None => return Err(Status::invalid_argument("a capability names no access type")),
        }
        if mode(capability) == Mode::Unknown {
            return Err(Status::invalid_argument("a capability names no access mode"));
        }
    }
    Ok(())
}

/// Whether a capability only reads.
pub(crate) fn is_reader(capability: &VolumeCapability) -> bool {
    matches!(mode(capability), Mode::SingleNodeReaderOnly | Mode::MultiNodeReaderOnly)
}

/// Whether a capability is for one pod at a time.
pub(crate) fn is_exclusive(capability: &VolumeCapability) -> bool {
    mode(capability) == Mode::SingleNodeSingleWriter
}

fn mode(capability: &VolumeCapability) -> Mode {
    capability.access_mode.and_then(|mode| Mode::try_from(mode.mode).ok()).unwrap_or(Mode::Unknown)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pb::volume_capability::{AccessMode, BlockVolume, MountVolume};

    fn mount(mode: Mode) -> VolumeCapability {
        VolumeCapability {
            access_mode: Some(AccessMode { mode: mode as i32 }),
            access_type: Some(AccessType::Mount(MountVolume::default())),
        }
    }

    #[test]
    fn every_mode_of_a_file_system_is_offered_and_blocks_are_not() {
        for mode in [Mode::SingleNodeWriter, Mode::MultiNodeMultiWriter, Mode::SingleNodeSingleWriter] {
            check_capabilities(&[self::mount(mode)]).expect("offered");
        }
        let block = VolumeCapability {
            access_type: Some(AccessType::Block(BlockVolume {})),
            ..mount(Mode::SingleNodeWriter)
        };
        assert!(check_capabilities(&[block]).is_err());
        assert!(check_capabilities(&[mount(Mode::Unknown)]).is_err());
        assert!(check_capabilities(&[VolumeCapability::default()]).is_err());
        assert!(is_reader(&mount(Mode::MultiNodeReaderOnly)) && !is_reader(&mount(Mode::SingleNodeWriter)));
    }
}
