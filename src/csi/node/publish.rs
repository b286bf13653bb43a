//! NodePublishVolume: a running mount pod, a kernel mount it serves, a bind to the target.

use juicefs_k8s::events::Note;
use juicefs_k8s::pod::{self, MountPod};
use juicefs_k8s::settings::{VolumeSettings, secret_map};
use juicefs_k8s::{POD_UID, labels};
use juicefs_mount::{Broker, MountOptions, MountSecrets, MountSettings, StoreVariables};
use k8s_openapi::api::core::v1::{ObjectReference, Pod};
use kube::ResourceExt;
use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sys::statvfs::statvfs;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tonic::Status;

use super::unpublish::unbind;
use super::{Node, blocking, cache, table};
use crate::controller::{RECORDS, Volume, check_capabilities, is_exclusive, is_reader, mirrors};
use crate::pb::volume_capability::AccessType;
use crate::{pb, status};

/// The kubelet waits two minutes; an answer comes before.
const OFFER_TIMEOUT: Duration = Duration::from_secs(60);
const CALL_TIMEOUT: Duration = Duration::from_secs(20);
const SOCKET_TIMEOUT: Duration = Duration::from_secs(20);
/// The kubelet looks often; a mount that does not answer at once is asked again next time.
const STAT_TIMEOUT: Duration = Duration::from_secs(5);
const MOUNT_LOST: &str = "the mount process of this volume ended and its mount with it; it is mounted anew, and containers of this pod see that once they are started again";
/// Upstream's mode for a directory that a mount makes.
const DIRECTORY_MODE: u16 = 0o777;

/// A request, read.
struct Wanted {
    id: String,
    target: PathBuf,
    settings: VolumeSettings,
    /// Nobody may write to the volume: then its mount, which all pods of the node share, is read-only too.
    read_only_volume: bool,
    /// This pod may not.
    read_only_target: bool,
    /// One pod at a time (ReadWriteOncePod).
    exclusive: bool,
    capability: pb::VolumeCapability,
    context: HashMap<String, String>,
}

impl Node {
    pub(super) async fn publish(&self, request: pb::NodePublishVolumeRequest) -> Result<(), Status> {
        let wanted = read(request)?;
        let _held = self.locks.take(&wanted.id)?;
        // The kubelet comes again and again with what is published already.
        if self.is_published(&wanted).await? {
            return Ok(());
        }
        if let Err(status) = self.publish_new(&wanted).await {
            self.tell(&wanted, &Note::warning("MountFailed", "Mount", status.message())).await;
            return Err(status);
        }
        Ok(())
    }

    /// Whether the target has the volume. A target whose mount process is gone is taken away first: what runs there sees
    /// errors until it is started again, and then gets the new mount.
    async fn is_published(&self, wanted: &Wanted) -> Result<bool, Status> {
        let target = wanted.target.clone();
        let found = blocking("looking at the target", CALL_TIMEOUT, move || {
            Ok(table::read()?.at(&target).is_some_and(juicefs_mount::MountEntry::is_juicefs))
        });
        if !found.await? {
            return Ok(false);
        }
        let target = wanted.target.clone();
        let looked = blocking("looking at the mount", STAT_TIMEOUT, move || match statvfs(&target) {
            Err(Errno::ENOTCONN | Errno::ECONNABORTED) => Ok(false),
            // Slow is not gone.
            _ => Ok(true),
        });
        if looked.await.unwrap_or(true) {
            return Ok(true);
        }
        let target = wanted.target.clone();
        blocking("taking a dead mount away", CALL_TIMEOUT, move || unbind(&target)).await?;
        self.tell(wanted, &Note::warning("MountLost", "Mount", MOUNT_LOST)).await;
        Ok(false)
    }

    async fn publish_new(&self, wanted: &Wanted) -> Result<(), Status> {
        if wanted.exclusive {
            self.check_alone(wanted).await?;
        }
        let (mut mount_settings, cache_name) = self.mount_settings(wanted).await?;
        let roots = cache::roots(&mount_settings.options.cache_dirs, &self.settings.cache_roots)?;
        for root in roots.clone() {
            let cache_name = cache_name.clone();
            blocking("preparing the cache", CALL_TIMEOUT, move || cache::prepare(&root, &cache_name)).await?;
        }
        mount_settings.options.cache_dirs =
            if roots.is_empty() { vec![PathBuf::from("memory")] } else { roots.clone() };
        let read_only = wanted.read_only_target || mount_settings.options.read_only;
        let running = self.mount_pod(wanted, &cache_name, &roots).await?;
        let mounted = self.kernel_mount(wanted, mount_settings, &running).await?;
        let target = wanted.target.clone();
        blocking("binding the target", CALL_TIMEOUT, move || bind(&mounted, &target, read_only)).await
    }

    /// Another target of this volume is another pod's.
    async fn check_alone(&self, wanted: &Wanted) -> Result<(), Status> {
        let (kubelet_dir, id) = (self.settings.kubelet_dir.clone(), wanted.id.clone());
        let users = blocking("reading the mount table", CALL_TIMEOUT, move || {
            let table = table::read()?;
            let mounts = table::mounts_of(&table, &kubelet_dir, &id);
            Ok(mounts.into_iter().map(|mount| table::users_of(&table, mount, &kubelet_dir)).sum::<usize>())
        });
        if users.await? == 0 {
            return Ok(());
        }
        Err(Status::failed_precondition(format!(
            "volume {} is for one pod at a time, and another pod of this node has it",
            wanted.id
        )))
    }

    /// What the mount process is told, and the name of the volume's cache directory.
    async fn mount_settings(&self, wanted: &Wanted) -> Result<(MountSettings, String), Status> {
        let secret = &wanted.settings.secret;
        let volume = Volume::open(secret).await?;
        if let Some(mirror) = volume.mirror.as_ref().filter(|_| !wanted.read_only_target) {
            let asked = std::slice::from_ref(&wanted.capability);
            mirrors::check_access(mirror, asked, &wanted.settings.attributes.own)?;
        }
        let format = volume.meta.format();
        let mut options = MountOptions {
            version: juicefs_meta::format::SESSION_VERSION.to_owned(),
            volume_name: format.name.clone(),
            hidden_name: Some(RECORDS.to_owned()),
            storage: secret.storage.clone().filter(|storage| *storage != format.storage),
            bucket: secret.bucket.clone().filter(|bucket| *bucket != format.bucket),
            ..MountOptions::default()
        };
        let mut found: Vec<String> = Vec::new();
        if !wanted.settings.findings.is_empty() {
            found.push(wanted.settings.findings.to_string());
        }
        for (name, value) in wanted.settings.options.client_options() {
            match options.set(name, value.unwrap_or_default()) {
                Ok(_) => {}
                Err(error @ juicefs_mount::flags::FlagError::BadValue { .. }) => {
                    return Err(Status::invalid_argument(error.to_string()));
                }
                Err(error) => found.push(error.to_string()),
            }
        }
        for (name, value) in wanted.settings.options.kernel_options() {
            let word = value.map_or_else(|| name.to_owned(), |value| format!("{name}={value}"));
            if matches!(name, "suid" | "dev") {
                found.push(format!("mount option {name} has no effect: mounts of pods are nosuid and nodev"));
                continue;
            }
            options.fuse_options.push(word);
            if let Err(error) = options.fuse(&format.name) {
                options.fuse_options.pop();
                found.push(error.to_string());
            }
        }
        if !found.is_empty() {
            self.tell(wanted, &Note::warning("SettingIgnored", "Mount", found.join("; "))).await;
        }
        // A mount pod has its own address: whoever collects metrics comes from outside.
        options.metrics.get_or_insert_with(|| format!("0.0.0.0:{}", pod::METRICS_PORT));
        options.read_only |= wanted.read_only_volume || volume.mirror.is_some();
        let path = wanted.settings.directory(wanted.settings.attributes.sub_path.as_deref());
        options.subdir = None;
        if let Some(path) = path.map_err(|error| status::of_settings(&error))? {
            if let Some(mirror) = &volume.mirror {
                mirrors::find(&volume, mirror, &path).await?;
            } else if volume.find(&path).await?.is_none() {
                if wanted.read_only_target {
                    return Err(Status::not_found(format!(
                        "directory {path} is not in volume {}",
                        format.name
                    )));
                }
                volume.check_writable()?;
                volume.make_path(&path, DIRECTORY_MODE).await?;
                volume.write_statistics().await;
            }
            options.subdir = Some(format!("/{path}"));
        }
        let secrets = MountSecrets {
            meta_url: secret.complete_meta_url(),
            access_key: secret.access_key.clone(),
            secret_key: secret.secret_key.clone(),
            session_token: secret.session_token.clone(),
            variables: StoreVariables::collect(|name| secret.env(name).cloned()),
        };
        let mirror = volume.mirror.as_ref().map(|mirror| mirror.display_name.as_str());
        Ok((MountSettings { secrets, options }, juicefs_mount::cache_name(&format.uuid, mirror)))
    }

    async fn mount_pod(&self, wanted: &Wanted, cache_name: &str, roots: &[PathBuf]) -> Result<Pod, Status> {
        let hash = wanted.settings.sharing_hash(&wanted.id);
        let object = MountPod {
            namespace: &self.settings.namespace,
            node: &self.settings.serve.instance,
            image: &self.settings.mount_image,
            image_pull_policy: &self.settings.mount_image_pull_policy,
            volume_id: &wanted.id,
            settings_hash: &hash,
            cache_name,
            cache_roots: roots,
            settings: &wanted.settings.attributes.pod,
            priority_class: &self.settings.mount_priority_class,
            owner: None,
        };
        self.running_pod(&object.build()).await
    }

    /// The kernel mount that `running` serves, made if it is not there. Its path.
    async fn kernel_mount(
        &self,
        wanted: &Wanted,
        mut settings: MountSettings,
        running: &Pod,
    ) -> Result<PathBuf, Status> {
        let uid = running.uid().unwrap_or_default();
        let path = table::mount_path(&self.settings.kubelet_dir, &wanted.id, &uid);
        let socket = pod::socket_on_host(&self.settings.kubelet_dir, &uid);
        let id = wanted.id.clone();
        settings.options.mountpoint.clone_from(&path);
        let made = path.clone();
        let deadline = OFFER_TIMEOUT + SOCKET_TIMEOUT + CALL_TIMEOUT;
        blocking("mounting", deadline, move || {
            let worker = u32::try_from(POD_UID).unwrap_or(u32::MAX);
            let broker = connect(&socket, worker)?;
            let is_mounted = table::read()?.at(&made).is_some();
            let is_served = broker.list(CALL_TIMEOUT).map_err(|error| mount_failed(&error))?.contains(&id);
            if is_mounted && is_served {
                return Ok(());
            }
            if is_mounted {
                // Its process has gone and a new one runs in the same pod: what is there answers nobody any more.
                nix::mount::umount2(&made, nix::mount::MntFlags::MNT_DETACH)
                    .map_err(|errno| Status::unavailable(format!("{}: {errno}", made.display())))?;
            }
            std::fs::create_dir_all(&made)
                .map_err(|error| Status::unavailable(format!("{}: {error}", made.display())))?;
            broker.offer(&id, &settings, OFFER_TIMEOUT).map(drop).map_err(|error| mount_failed(&error))
        })
        .await?;
        Ok(path)
    }

    /// An Event on the pod that waits for the volume.
    async fn tell(&self, wanted: &Wanted, note: &Note) {
        let from = |key: &str| wanted.context.get(&format!("{}pod.{key}", labels::SIDECAR_PREFIX)).cloned();
        let object = ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Pod".to_owned()),
            name: from("name"),
            namespace: from("namespace"),
            uid: from("uid"),
            ..ObjectReference::default()
        };
        if object.name.is_some() {
            self.events.publish(&object, note).await;
        }
    }
}

fn read(request: pb::NodePublishVolumeRequest) -> Result<Wanted, Status> {
    for (text, name) in [(&request.volume_id, "volume_id"), (&request.target_path, "target_path")] {
        if text.is_empty() {
            return Err(Status::invalid_argument(format!("{name} is missing")));
        }
    }
    let capability =
        request.volume_capability.ok_or_else(|| Status::invalid_argument("volume_capability is missing"))?;
    check_capabilities(std::slice::from_ref(&capability))?;
    let flags = match &capability.access_type {
        Some(AccessType::Mount(mount)) => mount.mount_flags.clone(),
        _ => Vec::new(),
    };
    let context = request.volume_context.clone().into_iter().collect();
    let settings = VolumeSettings::for_existing_volume(&secret_map(request.secrets), &context, &flags)
        .map_err(|error| status::of_settings(&error))?;
    let exclusive = is_exclusive(&capability);
    // A volume that was found in a mirror stays what it was made as, whatever the mirror has become since.
    let of_mirror = settings.attributes.own.contains_key(labels::MIRROR);
    let read_only_volume = is_reader(&capability) || settings.options.read_only() || of_mirror;
    Ok(Wanted {
        id: request.volume_id,
        target: PathBuf::from(request.target_path),
        settings,
        read_only_volume,
        read_only_target: request.readonly || read_only_volume,
        exclusive,
        capability,
        context: request.volume_context,
    })
}

/// The pod is ready before its process listens: the socket is waited for, within bounds.
fn connect(socket: &Path, worker: u32) -> Result<Broker, Status> {
    let deadline = std::time::Instant::now() + SOCKET_TIMEOUT;
    let mut attempt = 0;
    loop {
        match Broker::connect(socket, worker, CALL_TIMEOUT) {
            Ok(broker) => return Ok(broker),
            Err(error) if std::time::Instant::now() > deadline => return Err(mount_failed(&error)),
            Err(_) => std::thread::sleep(juicefs_base::backoff::doubling(
                attempt,
                Duration::from_millis(10),
                Duration::from_millis(300),
            )),
        }
        attempt += 1;
    }
}

fn mount_failed(error: &juicefs_mount::Error) -> Status {
    Status::unavailable(error.to_string())
}

/// Binds `source` to `target` and looks whether it is there.
fn bind(source: &Path, target: &Path, read_only: bool) -> Result<(), Status> {
    let failed = |what: &str, error: &dyn std::fmt::Display| {
        Status::unavailable(format!("{what} {}: {error}", target.display()))
    };
    std::fs::create_dir_all(target).map_err(|error| failed("target", &error))?;
    let none: Option<&str> = None;
    mount(Some(source), target, none, MsFlags::MS_BIND, none).map_err(|errno| failed("binding", &errno))?;
    // A remount sets all flags, so those of the mount itself are said again.
    let mut flags = table::read()?.at(source).map_or(MsFlags::empty(), table::flags_of);
    flags |= MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    if read_only {
        flags |= MsFlags::MS_RDONLY;
    }
    let remounted = mount(none, target, none, flags, none).map_err(|errno| failed("remounting", &errno));
    let is_ours = table::read()?.at(target).is_some_and(juicefs_mount::MountEntry::is_juicefs);
    if remounted.is_err() || !is_ours {
        let _ = nix::mount::umount2(target, nix::mount::MntFlags::MNT_DETACH);
        remounted?;
        return Err(failed("target", &"the mount did not appear"));
    }
    Ok(())
}
