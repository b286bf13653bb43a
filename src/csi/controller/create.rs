//! CreateVolume: the directory and its record.

use juicefs_k8s::events::Note;
use juicefs_k8s::settings::{Claim, VolumeSettings, render, sub_path};
use juicefs_mount::MountOptions;
use k8s_openapi::api::core::v1::ObjectReference;
use std::collections::HashMap;
use tonic::Status;

use super::records::VolumeRecord;
use super::{Controller, Volume, check_capabilities, is_reader, new_settings};
use crate::pb;
use crate::pb::volume_capability::AccessType;

/// Upstream's mode for a provisioned directory.
const DIRECTORY_MODE: u16 = 0o777;

impl Controller {
    pub(super) async fn create(&self, request: pb::CreateVolumeRequest) -> Result<pb::Volume, Status> {
        if request.name.is_empty() {
            return Err(Status::invalid_argument("name is missing"));
        }
        if request.volume_capabilities.is_empty() {
            return Err(Status::invalid_argument("volume_capabilities are missing"));
        }
        if request.volume_content_source.is_some() {
            return Err(Status::invalid_argument("volumes from snapshots or clones are not supported yet"));
        }
        if !request.mutable_parameters.is_empty() {
            return Err(Status::invalid_argument("mutable parameters are not supported yet"));
        }
        check_capabilities(&request.volume_capabilities)?;
        let flags = mount_flags(&request.volume_capabilities);
        let settings = new_settings(request.secrets, &request.parameters, &flags)?;
        check_options(&settings)?;
        let path = volume_path(&settings, &request.name, &request.parameters)?;
        if settings.attributes.path_pattern.is_none() && request.volume_capabilities.iter().all(is_reader) {
            return Err(Status::invalid_argument(
                "a new directory that nobody may write is of no use: ask for a writable access mode or set pathPattern",
            ));
        }
        let capacity = request.capacity_range.map_or(0, |range| range.required_bytes);

        let _held = self.locks.take(&request.name)?;
        let volume = Volume::open(&settings.secret).await?;
        volume.check_writable()?;
        let record = match volume.record(&request.name).await? {
            Some(record) if record.capacity == capacity && record.path == path => record,
            Some(record) => {
                return Err(Status::already_exists(format!(
                    "volume {} is there with {} bytes at {}, asked for are {capacity} at {path}",
                    request.name, record.capacity, record.path
                )));
            }
            None => {
                let ino = volume.make_path(&path, DIRECTORY_MODE).await?;
                let record = VolumeRecord {
                    v: VolumeRecord::VERSION,
                    path: path.clone(),
                    inode: ino.0,
                    capacity,
                    cluster: self.cluster.clone(),
                };
                volume.write_record(&request.name, &record).await?;
                self.tell_capacity(&request.parameters, capacity).await;
                record
            }
        };
        let mut context: HashMap<String, String> = request.parameters;
        context.retain(|key, _| !key.starts_with(juicefs_k8s::labels::SIDECAR_PREFIX));
        context.insert("subPath".to_owned(), record.path);
        context.insert("capacity".to_owned(), capacity.to_string());
        context.insert("juicefs.rs/fs-uuid".to_owned(), volume.meta.format().uuid.clone());
        Ok(pb::Volume {
            capacity_bytes: capacity,
            volume_id: request.name,
            volume_context: context,
            ..pb::Volume::default()
        })
    }

    /// Quotas are not kept yet; the claim's owner is told instead of finding out.
    async fn tell_capacity(&self, parameters: &HashMap<String, String>, capacity: i64) {
        let (Some(events), true) = (&self.events, capacity > 0) else { return };
        let claim = |key: &str| parameters.get(&format!("csi.storage.k8s.io/pvc/{key}")).cloned();
        let (Some(name), Some(namespace)) = (claim("name"), claim("namespace")) else { return };
        let object = ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("PersistentVolumeClaim".to_owned()),
            name: Some(name),
            namespace: Some(namespace),
            ..ObjectReference::default()
        };
        let text = format!(
            "the capacity of {capacity} bytes is not enforced yet: the claim may use the whole file system"
        );
        events.publish(&object, &Note::warning("CapacityNotEnforced", "Provision", text)).await;
    }
}

/// `pathPattern` filled in, else the volume's own name, as upstream.
fn volume_path(
    settings: &VolumeSettings,
    id: &str,
    parameters: &HashMap<String, String>,
) -> Result<String, Status> {
    let Some(pattern) = &settings.attributes.path_pattern else {
        return sub_path(id).map_err(|error| Status::invalid_argument(error.to_string()));
    };
    if ["labels", "annotations", "node"].iter().any(|word| pattern.contains(word)) {
        return Err(Status::invalid_argument(format!(
            "pathPattern {pattern}: labels, annotations and nodes are not supported yet; use ${{.pvc.namespace}} and ${{.pvc.name}}"
        )));
    }
    let from = |key: &str| parameters.get(&format!("csi.storage.k8s.io/pvc/{key}")).cloned();
    let (Some(name), Some(namespace)) = (from("name"), from("namespace")) else {
        return Err(Status::invalid_argument("pathPattern needs the provisioner's --extra-create-metadata"));
    };
    let claim = Claim { name, namespace, ..Claim::default() };
    let path = render(pattern, &claim, None).and_then(|text| sub_path(&text));
    path.map_err(|error| Status::invalid_argument(format!("pathPattern: {error}")))
}

fn mount_flags(capabilities: &[pb::VolumeCapability]) -> Vec<String> {
    let flags = capabilities.iter().filter_map(|capability| match &capability.access_type {
        Some(AccessType::Mount(mount)) => Some(mount.mount_flags.clone()),
        _ => None,
    });
    flags.flatten().collect()
}

/// Options that a mount would refuse are refused now, where the claim's owner sees it.
fn check_options(settings: &VolumeSettings) -> Result<(), Status> {
    let mut options = MountOptions::default();
    for (name, value) in settings.options.client_options() {
        options
            .set(name, value.unwrap_or_default())
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
    }
    Ok(())
}
