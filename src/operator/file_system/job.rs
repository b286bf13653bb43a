//! The format Job. Its name is the hash of what goes in, so that making it twice is one Job, and other input is
//! another Job. Secrets reach it as files in memory; the specification is an annotation read as a file.

use super::seen::PlanSettings;
use crate::format_job::{EXIT_CONFLICT, FormatSpec, SPEC_VERSION};
use crate::surroundings::FoundSecret;
use juicefs_k8s::class::{OwnerKind, owner_labels};
use juicefs_k8s::crd::FileSystem;
use juicefs_k8s::{POD_UID, labels, name, pod, quantity};
use k8s_openapi::api::batch::v1::{
    Job, JobSpec, PodFailurePolicy, PodFailurePolicyOnExitCodesRequirement, PodFailurePolicyRule,
};
use k8s_openapi::api::core::v1::{
    Container, DownwardAPIVolumeFile, DownwardAPIVolumeSource, KeyToPath, ObjectFieldSelector,
    PodSecurityContext, PodSpec, PodTemplateSpec, ResourceRequirements, SeccompProfile, SecretVolumeSource,
    Toleration, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{Resource, ResourceExt};
use std::collections::BTreeMap;

/// The container, as the failure policy names it.
pub(super) const CONTAINER: &str = "format";
/// Pods that are tried before the Job has failed.
const BACKOFF_LIMIT: i32 = 3;
/// A Job that has not ended by then never will: no such image, no such node.
const DEADLINE_S: i64 = 600;
/// How long an ended Job stays for people to look at.
const TTL_S: i32 = 86_400;
/// Keys of the storage Secret that the Job gets.
const STORAGE_KEYS: &[&str] = &["access-key", "secret-key", "session-token"];

/// What a Job is made from.
#[derive(Clone, Debug)]
pub struct JobInputs<'a> {
    /// The metadata Secret and the key that counts.
    pub meta: Option<(&'a FoundSecret, &'a str)>,
    pub storage: Option<&'a FoundSecret>,
}

/// What the spec asks for, as the Job reads it.
///
/// # Errors
/// A sentence for numbers that are out of range.
pub fn format_spec(fs: &FileSystem) -> Result<FormatSpec, String> {
    let (spec, format) = (&fs.spec, &fs.spec.format);
    let capacity = format.capacity.as_deref().map(quantity::bytes).transpose();
    let unsigned =
        |name: &str, number: i64| u64::try_from(number).map_err(|_| format!("{name} must not be negative"));
    let known_uuid = fs.status.as_ref().and_then(|status| status.uuid.clone());
    Ok(FormatSpec {
        version: SPEC_VERSION,
        volume_name: fs.volume_name(),
        meta_url: spec.meta.url.clone(),
        meta_engine: spec.meta.engine.map(|engine| engine.scheme().to_owned()),
        storage: spec.storage.kind.clone(),
        bucket: spec.storage.bucket.clone(),
        storage_class: spec.storage.storage_class.clone(),
        block_size_kib: unsigned("format.blockSizeKiB", format.block_size_kib.into())?,
        compression: format.compression.as_str().into(),
        hash_prefix: format.hash_prefix,
        trash_days: u32::try_from(format.trash_days)
            .map_err(|_| "format.trashDays must not be negative".to_owned())?,
        capacity_bytes: capacity.map_err(|error| format!("format.capacity: {error}"))?.unwrap_or(0),
        inodes: unsigned("format.inodes", format.inodes.unwrap_or(0))?,
        change_log: format.change_log,
        uuid: format.uuid.clone().or(known_uuid),
    })
}

impl JobInputs<'_> {
    /// `<file system>-format-<hash>`. The hash covers the spec and the versions of the Secrets, never their content: a
    /// Job's name is for everyone to see. The known UUID is left out, as it is learned from the first Job.
    pub(super) fn name(&self, fs: &FileSystem, spec: &FormatSpec) -> String {
        let hashed = FormatSpec { uuid: fs.spec.format.uuid.clone(), ..spec.clone() };
        let text = serde_json::to_string(&hashed).unwrap_or_default();
        let version =
            |secret: Option<&FoundSecret>| secret.map(|found| format!("{} {}", found.name, found.version));
        let meta = version(self.meta.map(|(secret, _)| secret)).unwrap_or_default();
        let key = self.meta.map_or("", |(_, key)| key);
        let storage = version(self.storage).unwrap_or_default();
        let uid = fs.uid().unwrap_or_default();
        let hash = name::hash_of(&[&uid, &text, &meta, key, &storage], 10);
        name::object_name(&fs.name_any(), &format!("format-{hash}"), name::LABEL_MAX)
    }

    /// The Job.
    pub(super) fn build(&self, fs: &FileSystem, spec: &FormatSpec, settings: &PlanSettings) -> Job {
        let namespace = fs.namespace().unwrap_or_default();
        let job_labels = owner_labels(OwnerKind::FileSystem, &fs.name_any(), &namespace);
        let mut pod_labels = job_labels.clone();
        pod_labels.insert(labels::APP_NAME.into(), "juicefs-format".into());
        let text = serde_json::to_string(spec).unwrap_or_default();
        Job {
            metadata: ObjectMeta {
                name: Some(self.name(fs, spec)),
                namespace: Some(namespace),
                labels: Some(job_labels),
                owner_references: fs.controller_owner_ref(&()).map(|owner| vec![owner]),
                ..ObjectMeta::default()
            },
            spec: Some(JobSpec {
                backoff_limit: Some(BACKOFF_LIMIT),
                active_deadline_seconds: Some(DEADLINE_S),
                ttl_seconds_after_finished: Some(TTL_S),
                pod_failure_policy: Some(give_up_on_conflict()),
                template: PodTemplateSpec {
                    metadata: Some(ObjectMeta {
                        labels: Some(pod_labels),
                        annotations: Some(BTreeMap::from([(labels::FORMAT_SPEC.into(), text)])),
                        ..ObjectMeta::default()
                    }),
                    spec: Some(self.pod(settings)),
                },
                ..JobSpec::default()
            }),
            status: None,
        }
    }

    fn pod(&self, settings: &PlanSettings) -> PodSpec {
        let mut command: Vec<String> =
            ["juicefs", "format-job", "--spec-file", "/spec/spec.json"].map(str::to_owned).into();
        let mut volumes = vec![spec_volume()];
        let mut mounts = vec![mount("spec", "/spec")];
        if let Some((secret, key)) = self.meta {
            let is_password = secret.is_password;
            let (flag, file) =
                if is_password { ("--meta-password-file", "password") } else { ("--meta-url-file", "url") };
            command.extend([flag.to_owned(), format!("/secrets/meta/{file}")]);
            volumes.push(secret_volume("meta", &secret.name, &[(key, file)]));
            mounts.push(mount("meta", "/secrets/meta"));
        }
        if let Some(secret) = self.storage {
            let keys: Vec<(&str, &str)> = STORAGE_KEYS
                .iter()
                .filter(|key| secret.data.contains_key(**key))
                .map(|key| (*key, *key))
                .collect();
            if !keys.is_empty() {
                command.extend(["--storage-secret-dir".to_owned(), "/secrets/storage".to_owned()]);
                volumes.push(secret_volume("storage", &secret.name, &keys));
                mounts.push(mount("storage", "/secrets/storage"));
            }
        }
        PodSpec {
            restart_policy: Some("Never".into()),
            automount_service_account_token: Some(false),
            enable_service_links: Some(false),
            security_context: Some(PodSecurityContext {
                run_as_non_root: Some(true),
                run_as_user: Some(POD_UID),
                run_as_group: Some(POD_UID),
                fs_group: Some(POD_UID),
                seccomp_profile: Some(SeccompProfile {
                    type_: "RuntimeDefault".into(),
                    localhost_profile: None,
                }),
                ..PodSecurityContext::default()
            }),
            containers: vec![Container {
                name: CONTAINER.into(),
                image: Some(settings.image.clone()),
                image_pull_policy: Some(settings.image_pull_policy.clone()),
                command: Some(command),
                security_context: Some(pod::unprivileged()),
                resources: Some(ResourceRequirements {
                    requests: Some(resources("50m", "64Mi")),
                    limits: Some(resources("1", "512Mi")),
                    ..ResourceRequirements::default()
                }),
                volume_mounts: Some(mounts),
                ..Container::default()
            }],
            tolerations: Some(vec![Toleration {
                key: Some("node-role.kubernetes.io/control-plane".into()),
                operator: Some("Exists".into()),
                ..Toleration::default()
            }]),
            volumes: Some(volumes),
            ..PodSpec::default()
        }
    }
}

pub(crate) fn resources(cpu: &str, memory: &str) -> BTreeMap<String, Quantity> {
    BTreeMap::from([("cpu".into(), Quantity(cpu.into())), ("memory".into(), Quantity(memory.into()))])
}

fn give_up_on_conflict() -> PodFailurePolicy {
    PodFailurePolicy {
        rules: vec![PodFailurePolicyRule {
            action: "FailJob".into(),
            on_exit_codes: Some(PodFailurePolicyOnExitCodesRequirement {
                container_name: Some(CONTAINER.into()),
                operator: "In".into(),
                values: vec![i32::from(EXIT_CONFLICT)],
            }),
            ..PodFailurePolicyRule::default()
        }],
    }
}

pub(crate) fn mount(name: &str, path: &str) -> VolumeMount {
    VolumeMount {
        name: name.into(),
        mount_path: path.into(),
        read_only: Some(true),
        ..VolumeMount::default()
    }
}

fn spec_volume() -> Volume {
    let field = ObjectFieldSelector {
        field_path: format!("metadata.annotations['{}']", labels::FORMAT_SPEC),
        ..ObjectFieldSelector::default()
    };
    let file = DownwardAPIVolumeFile {
        path: "spec.json".into(),
        field_ref: Some(field),
        ..DownwardAPIVolumeFile::default()
    };
    let source = DownwardAPIVolumeSource { items: Some(vec![file]), default_mode: Some(0o444) };
    Volume { name: "spec".into(), downward_api: Some(source), ..Volume::default() }
}

/// Files in memory, readable by the container's group only, and only these keys.
pub(crate) fn secret_volume(volume: &str, secret: &str, keys: &[(&str, &str)]) -> Volume {
    let item =
        |(key, path): &(&str, &str)| KeyToPath { key: (*key).into(), path: (*path).into(), mode: None };
    let source = SecretVolumeSource {
        secret_name: Some(secret.into()),
        items: Some(keys.iter().map(item).collect()),
        default_mode: Some(0o440),
        optional: None,
    };
    Volume { name: volume.into(), secret: Some(source), ..Volume::default() }
}
