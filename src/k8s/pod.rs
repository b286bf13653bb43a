//! Mount pods: unprivileged, without a token, without a secret. The node plugin passes them an open FUSE descriptor
//! and their settings over a socket in an emptyDir, which it reaches through the kubelet's directory.
//!
//! A mount pod's whole object is fit to be read by anyone who may read pods.

use crate::name::{self, label_value, object_name};
use crate::settings::PodSettings;
use crate::{POD_UID, labels};
use k8s_openapi::api::core::v1::{
    Capabilities, Container, ContainerPort, EmptyDirVolumeSource, HostPathVolumeSource, Pod,
    PodSecurityContext, PodSpec, ResourceRequirements, SeccompProfile, SecurityContext, Toleration, Volume,
    VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Volume and directory of the socket, inside the pod.
const SOCKET_VOLUME: &str = "comm";
/// The socket, inside the pod.
pub const SOCKET_PATH: &str = "/comm/mount.sock";
/// The container that serves the mount.
pub const CONTAINER: &str = "jfs-mount";
/// Where the mount's metrics are served, as upstream has it.
pub const METRICS_PORT: i32 = 9567;
/// A pod that was asked to end flushes what was written first; object storage may be slow.
const GRACE_S: i64 = 300;
/// Requests are small so that a mount pod always fits beside its applications; limits are upstream's.
const CPU_REQUEST: &str = "100m";
const MEMORY_REQUEST: &str = "256Mi";
const CPU_LIMIT: &str = "5000m";
const MEMORY_LIMIT: &str = "5Gi";

/// What a mount pod is made from. Nothing in here is secret.
#[derive(Clone, Debug)]
pub struct MountPod<'a> {
    /// Where mount pods live: the driver's own namespace.
    pub namespace: &'a str,
    pub node: &'a str,
    pub image: &'a str,
    pub image_pull_policy: &'a str,
    /// Id of the volume, or of the group of volumes that share the pod.
    pub volume_id: &'a str,
    /// [`crate::settings::VolumeSettings::sharing_hash`]
    pub settings_hash: &'a str,
    /// Name of the volume's cache directory: its UUID, and the name of a mirror.
    pub cache_name: &'a str,
    /// Cache roots on the node. `<root>/<cache name>` must be there, owned by [`POD_UID`].
    pub cache_roots: &'a [PathBuf],
    pub settings: &'a PodSettings,
    /// Empty for none.
    pub priority_class: &'a str,
    /// What takes the pod along when it goes (the node plugin's DaemonSet).
    pub owner: Option<OwnerReference>,
}

impl MountPod<'_> {
    /// `juicefs-<node>-<volume id>-<hash>`: the same settings give the same name, so that making it twice is one pod.
    #[must_use]
    pub fn name(&self) -> String {
        let hash = name::hash_of(&[self.settings_hash, self.image, self.volume_id], 8);
        object_name(&format!("juicefs-{}-{}", self.node, self.volume_id), &hash, name::NAME_MAX)
    }

    /// The whole object.
    #[must_use]
    pub fn build(&self) -> Pod {
        let mut pod_labels = self.settings.labels.clone();
        pod_labels.extend([
            (labels::APP_NAME.to_owned(), labels::MOUNT_POD_APP.to_owned()),
            (labels::MANAGED_BY.to_owned(), "juicefs-csi-node".to_owned()),
            (labels::VOLUME_ID.to_owned(), label_value(self.volume_id)),
            (labels::SETTINGS_HASH.to_owned(), label_value(self.settings_hash)),
        ]);
        let mut annotations = self.settings.annotations.clone();
        annotations.extend([
            (labels::VOLUME_UUID.to_owned(), self.cache_name.to_owned()),
            (labels::UNIQUE_ID.to_owned(), self.volume_id.to_owned()),
            ("cluster-autoscaler.kubernetes.io/safe-to-evict".to_owned(), "true".to_owned()),
        ]);
        if let Some(delay) = self.settings.delete_delay {
            annotations.insert(labels::DELETE_DELAY.to_owned(), format!("{}s", delay.as_secs()));
        }
        Pod {
            metadata: ObjectMeta {
                name: Some(self.name()),
                namespace: Some(self.namespace.to_owned()),
                labels: Some(pod_labels),
                annotations: Some(annotations),
                owner_references: self.owner.clone().map(|owner| vec![owner]),
                ..ObjectMeta::default()
            },
            spec: Some(PodSpec {
                node_name: Some(self.node.to_owned()),
                restart_policy: Some("OnFailure".into()),
                termination_grace_period_seconds: Some(GRACE_S),
                automount_service_account_token: Some(false),
                enable_service_links: Some(false),
                priority_class_name: (!self.priority_class.is_empty())
                    .then(|| self.priority_class.to_owned()),
                tolerations: Some(vec![Toleration {
                    operator: Some("Exists".into()),
                    ..Toleration::default()
                }]),
                security_context: Some(PodSecurityContext {
                    run_as_non_root: Some(true),
                    run_as_user: Some(POD_UID),
                    run_as_group: Some(POD_UID),
                    fs_group: Some(POD_UID),
                    seccomp_profile: Some(runtime_default()),
                    ..PodSecurityContext::default()
                }),
                containers: vec![self.container()],
                volumes: Some(self.volumes()),
                ..PodSpec::default()
            }),
            status: None,
        }
    }

    fn container(&self) -> Container {
        let mut mounts = vec![VolumeMount {
            name: SOCKET_VOLUME.into(),
            mount_path: "/comm".into(),
            ..VolumeMount::default()
        }];
        for (index, path) in self.cache_dirs().iter().enumerate() {
            mounts.push(VolumeMount {
                name: format!("cachedir-{index}"),
                mount_path: path.display().to_string(),
                ..VolumeMount::default()
            });
        }
        Container {
            name: CONTAINER.into(),
            image: Some(self.image.to_owned()),
            image_pull_policy: Some(self.image_pull_policy.to_owned()),
            command: Some(vec!["juicefs".into(), "mount-pod".into(), "--socket".into(), SOCKET_PATH.into()]),
            resources: Some(self.resources()),
            security_context: Some(unprivileged()),
            termination_message_policy: Some("FallbackToLogsOnError".into()),
            ports: Some(vec![ContainerPort {
                name: Some("metrics".into()),
                container_port: METRICS_PORT,
                ..ContainerPort::default()
            }]),
            volume_mounts: Some(mounts),
            ..Container::default()
        }
    }

    fn volumes(&self) -> Vec<Volume> {
        let socket =
            EmptyDirVolumeSource { medium: Some("Memory".into()), size_limit: Some(Quantity("1Mi".into())) };
        let mut volumes =
            vec![Volume { name: SOCKET_VOLUME.into(), empty_dir: Some(socket), ..Volume::default() }];
        for (index, path) in self.cache_dirs().iter().enumerate() {
            let host =
                HostPathVolumeSource { path: path.display().to_string(), type_: Some("Directory".into()) };
            volumes.push(Volume {
                name: format!("cachedir-{index}"),
                host_path: Some(host),
                ..Volume::default()
            });
        }
        volumes
    }

    /// `<root>/<cache name>` of each cache root: the pod sees no other volume's cache.
    fn cache_dirs(&self) -> Vec<PathBuf> {
        self.cache_roots.iter().map(|root| root.join(self.cache_name)).collect()
    }

    fn resources(&self) -> ResourceRequirements {
        let wanted = &self.settings.resources;
        let list =
            |cpu: &Option<String>, cpu_default: &str, memory: &Option<String>, memory_default: &str| {
                let mut list = BTreeMap::new();
                for (name, value, default) in [("cpu", cpu, cpu_default), ("memory", memory, memory_default)]
                {
                    let value = value.as_deref().unwrap_or(default);
                    if value != "0" {
                        list.insert(name.to_owned(), Quantity(value.to_owned()));
                    }
                }
                list
            };
        let limits = list(&wanted.cpu_limit, CPU_LIMIT, &wanted.memory_limit, MEMORY_LIMIT);
        let requests = list(&wanted.cpu_request, CPU_REQUEST, &wanted.memory_request, MEMORY_REQUEST);
        // A limit below our own default request would be refused; the request gives way unless it was asked for.
        let mut requests = requests;
        if wanted.memory_request.is_none() && smaller(limits.get("memory"), MEMORY_REQUEST) {
            requests.insert("memory".into(), limits["memory"].clone());
        }
        if wanted.cpu_request.is_none()
            && limits.get("cpu").is_some_and(|limit| millis(&limit.0) < millis(CPU_REQUEST))
        {
            requests.insert("cpu".into(), limits["cpu"].clone());
        }
        ResourceRequirements {
            limits: Some(limits),
            requests: Some(requests),
            ..ResourceRequirements::default()
        }
    }
}

/// Where the node plugin finds a pod's socket. May be longer than a socket address can be (108 bytes): connect
/// through `/proc/self/fd/<directory>/mount.sock`.
#[must_use]
pub fn socket_on_host(kubelet_dir: &Path, pod_uid: &str) -> PathBuf {
    let volumes = kubelet_dir.join("pods").join(pod_uid).join("volumes/kubernetes.io~empty-dir");
    volumes.join(SOCKET_VOLUME).join("mount.sock")
}

/// Rights of every container that we make outside the node plugin: none.
#[must_use]
pub fn unprivileged() -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        privileged: Some(false),
        read_only_root_filesystem: Some(true),
        run_as_non_root: Some(true),
        run_as_user: Some(POD_UID),
        run_as_group: Some(POD_UID),
        capabilities: Some(Capabilities { drop: Some(vec!["ALL".into()]), add: None }),
        seccomp_profile: Some(runtime_default()),
        ..SecurityContext::default()
    }
}

fn runtime_default() -> SeccompProfile {
    SeccompProfile { type_: "RuntimeDefault".into(), localhost_profile: None }
}

fn smaller(limit: Option<&Quantity>, request: &str) -> bool {
    let bytes = |text: &str| crate::quantity::bytes(text).unwrap_or(u64::MAX);
    limit.is_some_and(|limit| bytes(&limit.0) < bytes(request))
}

fn millis(cpu: &str) -> u64 {
    match cpu.strip_suffix('m') {
        Some(number) => number.parse().unwrap_or(u64::MAX),
        None => cpu.parse::<f64>().map_or(u64::MAX, |cores| (cores * 1000.0) as u64),
    }
}
