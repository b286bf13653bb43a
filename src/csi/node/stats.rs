//! NodeGetVolumeStats: what statfs says of the target, within a deadline.

use nix::sys::statvfs::statvfs;
use std::path::PathBuf;
use std::time::Duration;
use tonic::Status;

use super::{blocking, table};
use crate::pb;
use crate::pb::volume_usage::Unit;

const STATS_TIMEOUT: Duration = Duration::from_secs(5);

pub(super) async fn of_volume(
    request: pb::NodeGetVolumeStatsRequest,
) -> Result<pb::NodeGetVolumeStatsResponse, Status> {
    for (text, name) in [(&request.volume_id, "volume_id"), (&request.volume_path, "volume_path")] {
        if text.is_empty() {
            return Err(Status::invalid_argument(format!("{name} is missing")));
        }
    }
    let path = PathBuf::from(request.volume_path);
    if !table::read()?.at(&path).is_some_and(juicefs_mount::MountEntry::is_juicefs) {
        return Err(Status::not_found(format!(
            "{} is no mount of volume {}",
            path.display(),
            request.volume_id
        )));
    }
    let looked = blocking("statfs", STATS_TIMEOUT, move || {
        statvfs(&path).map_err(|errno| Status::unavailable(format!("statfs {}: {errno}", path.display())))
    });
    Ok(match looked.await {
        Ok(found) => {
            let size = found.fragment_size().cast_signed();
            let count = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
            let (blocks, available) = (count(found.blocks()), count(found.blocks_available()));
            let (files, free) = (count(found.files()), count(found.files_available()));
            let usage = |total: i64, available: i64, unit: Unit| pb::VolumeUsage {
                total,
                available,
                used: total - available,
                unit: unit as i32,
            };
            pb::NodeGetVolumeStatsResponse {
                usage: vec![
                    usage(blocks.saturating_mul(size), available.saturating_mul(size), Unit::Bytes),
                    usage(files, free, Unit::Inodes),
                ],
                volume_condition: Some(pb::VolumeCondition {
                    abnormal: false,
                    message: "the mount answers".into(),
                }),
            }
        }
        Err(status) => pb::NodeGetVolumeStatsResponse {
            usage: Vec::new(),
            volume_condition: Some(pb::VolumeCondition {
                abnormal: true,
                message: status.message().to_owned(),
            }),
        },
    })
}
