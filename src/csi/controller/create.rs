//! CreateVolume: the directory and its record.

use juicefs_k8s::events::Note;
use juicefs_k8s::labels;
use juicefs_k8s::settings::{PodSettings, Resources, VolumeSettings, sub_path};
use juicefs_mount::MountOptions;
use std::collections::HashMap;
use tonic::Status;

use super::claim::ClaimSeen;
use super::neighbours::was_made_for;
use super::records::VolumeRecord;
use super::volumes::Unlimited;
use super::{Controller, Volume, check_capabilities, is_reader, mirrors, new_settings};
use crate::pb::volume_capability::AccessType;
use crate::{pb, status};

/// Upstream's mode for a provisioned directory.
const DIRECTORY_MODE: u16 = 0o777;
/// What the interface lets a volume's context have.
const CONTEXT_BYTES_MAX: usize = 4096;

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
        let asked = Asked::read(self, &request).await?;
        let capacity = request.capacity_range.map_or(0, |range| range.required_bytes);
        let path = &asked.path;

        let _held = self.locks.take(&request.name)?;
        let volume = Volume::open(&asked.settings.secret).await?;
        if let Some(mirror) = &volume.mirror {
            if !asked.is_named {
                return Err(mirrors::needs_path(mirror));
            }
            mirrors::check_access(mirror, &request.volume_capabilities, &asked.settings.attributes.own)?;
            mirrors::find(&volume, mirror, path).await?;
            self.tell_owner(&asked, capacity, None).await;
            let mirror = (labels::MIRROR.to_owned(), mirror.display_name.clone());
            return asked.answer(request.name, capacity, &volume, Some(mirror));
        }
        if !asked.is_named && request.volume_capabilities.iter().all(is_reader) {
            return Err(Status::invalid_argument(
                "a new directory that nobody may write is of no use: ask for a writable access mode or set pathPattern",
            ));
        }
        volume.check_writable()?;
        let _place = self.take_place(&volume, path).await?;
        match volume.record(&request.name).await? {
            Some(record) if record.capacity == capacity && record.path == *path => {}
            Some(record) => {
                return Err(Status::already_exists(format!(
                    "volume {} is there with {} bytes at {}, asked for are {capacity} at {path}",
                    request.name, record.capacity, record.path
                )));
            }
            None => {
                let (inode, is_new) = volume.make_path(path, DIRECTORY_MODE).await?;
                // What is called like the volume was made for it, by a call that did not get to its end.
                let made = is_new
                    || !asked.is_named
                    || was_made_for(&volume.other_records(&request.name).await?, path);
                let record = VolumeRecord {
                    v: VolumeRecord::VERSION,
                    path: path.clone(),
                    inode: inode.0,
                    capacity,
                    cluster: self.cluster.clone(),
                    made,
                };
                // Before the record: a call that breaks off here is made again, and sets it again.
                let unlimited = volume.limit(inode, capacity, made).await?;
                volume.write_record(&request.name, &record).await?;
                volume.write_statistics().await;
                self.tell_owner(&asked, capacity, unlimited).await;
            }
        }
        let answer = asked.answer(request.name, capacity, &volume, None);
        self.purges.start(volume);
        answer
    }

    /// What the claim's owner should know: a capacity that nothing limits, and settings without effect.
    async fn tell_owner(&self, asked: &Asked, capacity: i64, unlimited: Option<Unlimited>) {
        if let Some(why) = unlimited {
            let text = format!("the capacity of {capacity} bytes is not enforced: {why}");
            self.tell(&asked.claim, &Note::warning("CapacityNotEnforced", "Provision", text)).await;
        }
        if !asked.findings.is_empty() {
            let note = Note::warning("SettingIgnored", "Provision", asked.findings.join("; "));
            self.tell(&asked.claim, &note).await;
        }
    }
}

/// A request, read.
struct Asked {
    settings: VolumeSettings,
    claim: ClaimSeen,
    /// Below the mount option `subdir`, as upstream's nodes expect it in the volume's attributes.
    sub_path: String,
    /// From the root of the file system.
    path: String,
    /// The class says which directory; else each volume has one that is called like it.
    is_named: bool,
    context: HashMap<String, String>,
    findings: Vec<String>,
}

impl Asked {
    async fn read(controller: &Controller, request: &pb::CreateVolumeRequest) -> Result<Self, Status> {
        let parameters = &request.parameters;
        let flags = mount_flags(&request.volume_capabilities);
        let patterns: Vec<&str> =
            parameters.values().map(String::as_str).chain(flags.iter().map(String::as_str)).collect();
        let claim = controller.claim(parameters, &patterns).await?;
        let mut context = claim.render_parameters(parameters)?;
        let rendered: Vec<String> =
            flags.iter().map(|flag| claim.render("mountOptions", flag)).collect::<Result<_, _>>()?;
        if rendered != flags {
            context.insert(labels::MOUNT_OPTIONS.to_owned(), rendered.join(","));
        }
        let mut resources = PodSettings::default();
        let ignored = resources.overlay_claim(&claim.claim.annotations);
        let ignored = ignored.map_err(|error| status::of_settings(&error))?;
        let of_pod = claim.claim.annotations.iter().filter(|(key, _)| Resources::is_key(key));
        context.extend(of_pod.map(|(key, value)| (key.clone(), value.clone())));

        let settings = new_settings(request.secrets.clone(), &context, &rendered)?;
        check_options(&settings)?;
        let named = named_path(parameters, &context)?;
        let sub = sub_path(named.map_or(&request.name, |(_, path)| path)).map_err(|error| {
            Status::invalid_argument(match named {
                Some((key, _)) => format!("{key}: {error}"),
                None => error.to_string(),
            })
        })?;
        let path = settings.directory(Some(&sub)).map_err(|error| status::of_settings(&error))?;
        let findings = [&settings.findings, &ignored].into_iter().filter(|found| !found.is_empty());
        let findings = findings.map(ToString::to_string).collect();
        Ok(Self {
            path: path.unwrap_or_else(|| sub.clone()),
            is_named: named.is_some(),
            sub_path: sub,
            settings,
            claim,
            context,
            findings,
        })
    }

    /// What the provisioner writes into the PersistentVolume.
    fn answer(
        self,
        id: String,
        capacity: i64,
        volume: &Volume,
        mirror: Option<(String, String)>,
    ) -> Result<pb::Volume, Status> {
        let mut context = self.context;
        context.insert("subPath".to_owned(), self.sub_path);
        context.insert("capacity".to_owned(), capacity.to_string());
        context.insert(labels::FILE_SYSTEM_UUID.to_owned(), volume.meta.format().uuid.clone());
        context.extend(mirror);
        let context_bytes: usize = context.iter().map(|(key, value)| key.len() + value.len()).sum();
        if context_bytes > CONTEXT_BYTES_MAX {
            return Err(Status::invalid_argument(format!(
                "parameters and path of {context_bytes} bytes are too long: a volume may carry {CONTEXT_BYTES_MAX}"
            )));
        }
        Ok(pb::Volume {
            capacity_bytes: capacity,
            volume_id: id,
            volume_context: context,
            ..pb::Volume::default()
        })
    }
}

/// The directory that the class names, and by which parameter, with words filled in. What was written and is empty
/// now stays: it must not become a directory that nobody asked for.
fn named_path<'a>(
    written: &HashMap<String, String>,
    filled_in: &'a HashMap<String, String>,
) -> Result<Option<(&'static str, &'a str)>, Status> {
    let of = |key: &'static str| {
        let is_written = written.get(key).is_some_and(|text| !text.trim().is_empty());
        filled_in.get(key).filter(|_| is_written).map(|text| (key, text.as_str()))
    };
    match (of("pathPattern"), of("subPath")) {
        (Some(_), Some(_)) => Err(Status::invalid_argument(
            "the class has pathPattern and subPath: either one says where its volumes are",
        )),
        (pattern, sub_path) => Ok(pattern.or(sub_path)),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_names_a_directory_in_one_way_and_an_empty_pattern_stays_one() {
        let map = |entries: &[(&str, &str)]| -> HashMap<String, String> {
            entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
        };
        let of = |written: &[(&str, &str)], filled_in: &[(&str, &str)]| {
            named_path(&map(written), &map(filled_in))
                .map(|found| found.map(|(key, path)| format!("{key}={path}")))
                .map_err(|status| status.message().to_owned())
        };
        assert_eq!(of(&[], &[]), Ok(None));
        assert_eq!(of(&[("pathPattern", " ")], &[("pathPattern", " ")]), Ok(None));
        assert_eq!(of(&[("subPath", "a")], &[("subPath", "a")]), Ok(Some("subPath=a".into())));
        let emptied = of(&[("pathPattern", "${.PVC.labels.x}")], &[("pathPattern", "")]);
        assert_eq!(emptied, Ok(Some("pathPattern=".into())));
        let both = [("pathPattern", "a"), ("subPath", "a")];
        assert!(of(&both, &both).expect_err("both").contains("pathPattern and subPath"));
    }
}
