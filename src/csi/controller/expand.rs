//! ControllerExpandVolume: the quota of the volume's directory grows, at once for every mount. Nodes have nothing to do.

use std::collections::HashMap;
use tonic::Status;

use super::records::VolumeRecord;
use super::{Controller, Volume, new_settings};
use crate::pb;

impl Controller {
    /// The capacity that the volume has now, bytes.
    pub(super) async fn expand(&self, request: pb::ControllerExpandVolumeRequest) -> Result<i64, Status> {
        let id = request.volume_id;
        if id.is_empty() {
            return Err(Status::invalid_argument("volume_id is missing"));
        }
        let range = request.capacity_range.unwrap_or_default();
        let capacity = range.required_bytes;
        if capacity <= 0 {
            return Err(Status::invalid_argument("capacity_range asks for no bytes"));
        }
        if range.limit_bytes > 0 && range.limit_bytes < capacity {
            return Err(Status::out_of_range(format!(
                "asked for are {capacity} bytes and no more than {}",
                range.limit_bytes
            )));
        }
        if request.secrets.is_empty() {
            return Err(Status::invalid_argument(format!(
                "volume {id}: no Secret, so nothing can be expanded: set csi.storage.k8s.io/controller-expand-secret-name on \
                 the class before the claim is made"
            )));
        }
        let settings = new_settings(request.secrets, &HashMap::new(), &[])?;
        let _held = self.locks.take(&id)?;
        let volume = Volume::open(&settings.secret).await?;
        if let Some(mirror) = &volume.mirror {
            return Err(Status::failed_precondition(format!(
                "{} is a mirror, in which nothing is limited: the capacity of a claim on it says nothing",
                mirror.display_name
            )));
        }
        volume.check_writable()?;
        let record = match volume.record(&id).await? {
            Some(record) => record,
            None => self.adopted(&volume, &id).await?,
        };
        if record.capacity >= capacity {
            return Ok(record.capacity);
        }
        let _place = self.take_place(&volume, &record.path).await?;
        volume.expand(&id, VolumeRecord { capacity, ..record }).await?;
        tracing::info!(id, capacity, "expanded");
        Ok(capacity)
    }

    /// What a record would say of a volume that upstream made. It gets one with this.
    async fn adopted(&self, volume: &Volume, id: &str) -> Result<VolumeRecord, Status> {
        let gone = |what: String| Status::not_found(format!("volume {id}: {what}"));
        let path = self.adopted_path(id).await?.ok_or_else(|| {
            gone("it has no record and no PersistentVolume that was provisioned: `juicefs quota set` limits directories".into())
        })?;
        let inode =
            volume.find(&path).await?.ok_or_else(|| gone(format!("its directory {path} is not there")))?;
        Ok(VolumeRecord {
            v: VolumeRecord::VERSION,
            path,
            inode: inode.0,
            capacity: 0,
            cluster: self.cluster.clone(),
            made: true,
        })
    }
}

impl Volume {
    /// Lets the directory of `record` hold its capacity, and says so in the record.
    pub(super) async fn expand(&self, id: &str, record: VolumeRecord) -> Result<(), Status> {
        let directory = self.find(&record.path).await?.ok_or_else(|| {
            Status::not_found(format!("volume {id}: its directory {} is not there", record.path))
        })?;
        self.limit(directory, record.capacity, record.made).await?;
        // After the quota: a call that breaks off here is made again.
        self.replace_record(id, &record).await?;
        self.write_statistics().await;
        Ok(())
    }
}
