//! DeleteVolume: one rename takes the directory away; removing it file by file follows in the background.

use std::collections::HashMap;
use tonic::Status;

use super::{Controller, Volume, new_settings};
use crate::pb;

impl Controller {
    pub(super) async fn delete(&self, request: pb::DeleteVolumeRequest) -> Result<(), Status> {
        let id = request.volume_id;
        if id.is_empty() {
            return Err(Status::invalid_argument("volume_id is missing"));
        }
        if request.secrets.is_empty() {
            return Err(Status::invalid_argument(format!(
                "volume {id}: no Secret, so nothing can be removed: set csi.storage.k8s.io/provisioner-secret-name on the class"
            )));
        }
        let settings = new_settings(request.secrets, &HashMap::new(), &[])?;
        let _held = self.locks.take(&id)?;
        let volume = Volume::open(&settings.secret).await?;
        if let Some(mirror) = &volume.mirror {
            tracing::info!(
                id,
                mirror = mirror.display_name,
                "nothing to remove: nothing was made in a mirror"
            );
            return Ok(());
        }
        volume.check_writable()?;
        let found = match volume.record(&id).await? {
            Some(record) => Some((record.path, record.made)),
            None => self.adopted_path(&id).await?.map(|path| (path, true)),
        };
        let Some((path, made)) = found else {
            tracing::info!(id, "nothing to remove: no record and no volume of that name");
            return Ok(());
        };
        let _place = self.take_place(&volume, &path).await?;
        if !made {
            tracing::info!(id, path, "the directory stays: it was there before any volume");
        } else if let Some(other) = self.neighbour(&volume, &id, &path).await? {
            tracing::info!(id, path, other, "the directory stays: another volume lies there");
        } else {
            volume.retire(&id, &path).await?;
        }
        volume.remove_record(&id).await?;
        volume.write_statistics().await;
        self.purges.start(volume);
        Ok(())
    }
}
