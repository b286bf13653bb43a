//! Who else has a directory: records of volumes, and PersistentVolumes, which may be upstream's or written by hand.

use juicefs_k8s::labels;
use juicefs_k8s::settings::directory_of;
use k8s_openapi::api::core::v1::{CSIPersistentVolumeSource, PersistentVolume};
use kube::Api;
use kube::api::ListParams;
use std::collections::BTreeMap;
use tonic::Status;

use super::records::{VolumeRecord, overlap};
use super::{Controller, Volume};
use crate::status;

/// PersistentVolumes asked for at a time.
const PAGE: u32 = 500;

impl Controller {
    /// A volume other than `id` whose directory is `path`, contains it or lies in it. Volumes of the whole file system
    /// do not count: whoever mounts the root sees volumes come and go.
    pub(super) async fn neighbour(
        &self,
        volume: &Volume,
        id: &str,
        path: &str,
    ) -> Result<Option<String>, Status> {
        let records = volume.other_records(id).await?;
        if let Some(other) = records.into_iter().find(|record| overlap(&record.path, path)) {
            return Ok(Some(other.path));
        }
        let Some(kubernetes) = &self.kubernetes else { return Ok(None) };
        let api: Api<PersistentVolume> = Api::all(kubernetes.clone());
        let uuid = volume.meta.format().uuid.clone();
        let mut page = ListParams::default().limit(PAGE);
        loop {
            let list = api.list(&page).await;
            let list = list.map_err(|error| status::of_kubernetes("PersistentVolumes", "list", &error))?;
            let here = Here { uuid: &uuid, name: &volume.name };
            if let Some(other) = list.items.iter().find_map(|other| overlapping(other, id, path, &here)) {
                return Ok(Some(other));
            }
            match list.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => page = page.continue_token(&token),
                None => return Ok(None),
            }
        }
    }

    /// The directory of a volume that upstream provisioned, which has no record: its PersistentVolume tells.
    pub(super) async fn adopted_path(&self, id: &str) -> Result<Option<String>, Status> {
        let Some(kubernetes) = &self.kubernetes else { return Ok(None) };
        let volumes: Api<PersistentVolume> = Api::all(kubernetes.clone());
        let found = volumes.get_opt(id).await;
        let found = found.map_err(|error| status::of_kubernetes("PersistentVolume", id, &error))?;
        let Some(found) = found else { return Ok(None) };
        let provisioned = found.metadata.annotations.as_ref().is_some_and(|annotations| {
            annotations
                .get("pv.kubernetes.io/provisioned-by")
                .is_some_and(|by| by == juicefs_k8s::DRIVER_NAME)
        });
        if !provisioned || source(&found).is_none_or(|csi| csi.volume_handle != id) {
            return Ok(None);
        }
        if attribute(&found, labels::MIRROR).is_some() {
            // Nothing was made for it, whatever its mirror has become since.
            return Ok(None);
        }
        directory(&found).map_err(|error| status::of_settings(&error))
    }
}

/// The file system that is asked about. A mirror has the UUID of its source.
struct Here<'a> {
    uuid: &'a str,
    name: &'a str,
}

/// Handle and directory of `found`, if it is another volume in the same file system that overlaps `path`. One that
/// does not say which file system it is in could be in this one.
fn overlapping(found: &PersistentVolume, id: &str, path: &str, here: &Here<'_>) -> Option<String> {
    let csi = source(found).filter(|csi| csi.volume_handle != id)?;
    if attribute(found, labels::FILE_SYSTEM_UUID).is_some_and(|other| other != here.uuid)
        || attribute(found, labels::MIRROR).is_some_and(|other| other != here.name)
    {
        return None;
    }
    let other = directory(found).ok().flatten()?;
    overlap(&other, path).then(|| format!("{other} of volume {}", csi.volume_handle))
}

fn attribute<'a>(found: &'a PersistentVolume, key: &str) -> Option<&'a str> {
    source(found)?.volume_attributes.as_ref()?.get(key).map(String::as_str)
}

fn source(found: &PersistentVolume) -> Option<&CSIPersistentVolumeSource> {
    found.spec.as_ref()?.csi.as_ref().filter(|csi| csi.driver == juicefs_k8s::DRIVER_NAME)
}

fn directory(found: &PersistentVolume) -> Result<Option<String>, juicefs_k8s::settings::Error> {
    let attributes: BTreeMap<String, String> =
        source(found).and_then(|csi| csi.volume_attributes.clone()).unwrap_or_default();
    let flags = found.spec.as_ref().and_then(|spec| spec.mount_options.clone()).unwrap_or_default();
    directory_of(&attributes, &flags)
}

/// Whether a directory that was there before `id` came belongs to volumes: one of them was made for it.
pub(super) fn was_made_for(others: &[VolumeRecord], path: &str) -> bool {
    others.iter().any(|other| other.made && other.path == path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::PersistentVolumeSpec;

    fn volume(handle: &str, attributes: &[(&str, &str)], flags: &[&str]) -> PersistentVolume {
        let attributes = attributes.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let csi = CSIPersistentVolumeSource {
            driver: juicefs_k8s::DRIVER_NAME.to_owned(),
            volume_handle: handle.to_owned(),
            volume_attributes: Some(attributes.collect()),
            ..CSIPersistentVolumeSource::default()
        };
        let flags = flags.iter().map(|&flag| flag.to_owned()).collect();
        let spec = PersistentVolumeSpec {
            csi: Some(csi),
            mount_options: Some(flags),
            ..PersistentVolumeSpec::default()
        };
        PersistentVolume { spec: Some(spec), ..PersistentVolume::default() }
    }

    #[test]
    fn a_volume_in_the_way_is_one_of_the_same_file_system_and_place() {
        let is_in_the_way = |found: &PersistentVolume| {
            overlapping(found, "mine", "a/b", &Here { uuid: "u1", name: "data" }).is_some()
        };
        let here = ("juicefs.rs/fs-uuid", "u1");
        assert!(is_in_the_way(&volume("x", &[("subPath", "a/b"), here], &[])));
        assert!(is_in_the_way(&volume("x", &[("subPath", "b/c")], &["subdir=a"])), "it may be in this one");
        assert!(!is_in_the_way(&volume("x", &[("subPath", "a/b"), ("juicefs.rs/fs-uuid", "u2")], &[])));
        assert!(!is_in_the_way(&volume("mine", &[("subPath", "a/b"), here], &[])));
        assert!(!is_in_the_way(&volume("x", &[here], &[])), "the whole file system");
        assert!(!is_in_the_way(&volume("x", &[("subPath", "a/c"), here], &[])));
        let of_mirror = |name| volume("x", &[("subPath", "a/b"), here, ("juicefs.rs/mirror", name)], &[]);
        assert!(!is_in_the_way(&of_mirror("near")), "a mirror is another database");
        assert!(is_in_the_way(&of_mirror("data")), "it was a mirror and is a volume of its own now");
    }
}
