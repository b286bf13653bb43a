//! DeleteVolume: one rename takes the directory away; removing it file by file follows in the background.

use juicefs_k8s::settings::sub_path;
use k8s_openapi::api::core::v1::PersistentVolume;
use kube::Api;
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
        volume.check_writable()?;
        let path = match volume.record(&id).await? {
            Some(record) => Some(record.path),
            None => self.adopted_path(&id).await?,
        };
        let Some(path) = path else {
            tracing::info!(id, "nothing to remove: no record and no volume of that name");
            return Ok(());
        };
        if let Some(other) =
            volume.other_records(&id).await?.into_iter().find(|record| record.overlaps(&path))
        {
            tracing::info!(id, path, other = other.path, "the directory stays: another volume lies there");
        } else {
            volume.retire(&id, &path).await?;
        }
        volume.remove_record(&id).await?;
        purge_in_background(volume, settings);
        Ok(())
    }

    /// The path of a volume that upstream provisioned: its PersistentVolume tells.
    async fn adopted_path(&self, id: &str) -> Result<Option<String>, Status> {
        let Some(kubernetes) = &self.kubernetes else { return Ok(None) };
        let volumes: Api<PersistentVolume> = Api::all(kubernetes.clone());
        let found = volumes.get_opt(id).await;
        let Some(found) =
            found.map_err(|error| Status::unavailable(format!("PersistentVolume {id}: {error}")))?
        else {
            return Ok(None);
        };
        let provisioned = found.metadata.annotations.as_ref().is_some_and(|annotations| {
            annotations
                .get("pv.kubernetes.io/provisioned-by")
                .is_some_and(|by| by == juicefs_k8s::DRIVER_NAME)
        });
        let source = found.spec.and_then(|spec| spec.csi).filter(|csi| csi.volume_handle == id);
        let path = source.and_then(|csi| csi.volume_attributes?.get("subPath").cloned());
        match path {
            Some(path) if provisioned => {
                let path = sub_path(&path).map_err(|error| Status::invalid_argument(error.to_string()))?;
                self.check_alone(&volumes, id, &path).await?;
                Ok(Some(path))
            }
            _ => Ok(None),
        }
    }

    /// No other PersistentVolume of ours may equal, contain or lie in `path`.
    async fn check_alone(&self, volumes: &Api<PersistentVolume>, id: &str, path: &str) -> Result<(), Status> {
        let all = volumes.list(&kube::api::ListParams::default()).await;
        let all = all.map_err(|error| Status::unavailable(format!("PersistentVolumes: {error}")))?;
        for other in all.items {
            let Some(csi) = other.spec.and_then(|spec| spec.csi) else { continue };
            let is_ours = csi.driver == juicefs_k8s::DRIVER_NAME && csi.volume_handle != id;
            let sub_path = csi.volume_attributes.and_then(|attributes| attributes.get("subPath").cloned());
            let Some(sub_path) = sub_path.filter(|_| is_ours) else { continue };
            let record = super::records::VolumeRecord {
                v: 1,
                path: sub_path.trim_matches('/').to_owned(),
                inode: 0,
                capacity: 0,
                cluster: String::new(),
            };
            if record.overlaps(path) {
                return Err(Status::failed_precondition(format!(
                    "directory {path} of {id} is shared with volume {}: remove that one first",
                    csi.volume_handle
                )));
            }
        }
        Ok(())
    }
}

/// One purge at a time per call; what it does not finish, the next DeleteVolume does.
fn purge_in_background(volume: Volume, settings: juicefs_k8s::settings::VolumeSettings) {
    tokio::spawn(async move {
        match volume.purge().await {
            Ok(removed) => {
                tracing::info!(volume = settings.secret.volume_name, removed, "removed what was deleted")
            }
            Err(error) => {
                tracing::warn!("removing what was deleted stopped, the next deletion goes on: {error}")
            }
        }
    });
}
