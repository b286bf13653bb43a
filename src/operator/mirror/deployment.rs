//! The follower's Deployment: one pod at a time, so that nobody is in another's way. Were there two, each step would still
//! be whole: it is written together with the cursor that it began from.

use crate::file_system::PlanSettings;
use crate::file_system::job::{mount, resources, secret_volume};
use juicefs_k8s::class::{OwnerKind, owner_labels};
use juicefs_k8s::crd::Mirror;
use juicefs_k8s::crd::mirror::FencePolicy;
use juicefs_k8s::{POD_UID, labels, pod};
use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy};
use k8s_openapi::api::batch::v1::{Job, JobSpec};
use k8s_openapi::api::core::v1::{
    Container, PodSecurityContext, PodSpec, PodTemplateSpec, ResourceRequirements, SeccompProfile,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use kube::{Resource, ResourceExt};
use std::collections::BTreeMap;

/// The container's name.
pub(super) const CONTAINER: &str = "follower";
/// Label of its pods.
pub(super) const FOLLOWER_APP: &str = "juicefs-mirror-follower";
/// It keeps no state of its own: nothing has to be flushed.
const GRACE_S: i64 = 5;

/// Pods that try to promote before the Job has failed.
const PROMOTION_TRIES: i32 = 3;
/// How long an ended Job stays for people to look at.
const TTL_S: i32 = 86_400;

/// How many pods follow: none while it is suspended, and none when it is to be promoted.
pub(super) fn replicas(mirror: &Mirror) -> i32 {
    i32::from(!mirror.spec.suspend && !mirror.spec.promotion.requested)
}

/// The Job that makes the mirror a volume of its own.
pub(super) fn promotion(mirror: &Mirror, settings: &PlanSettings) -> Job {
    let namespace = mirror.namespace().unwrap_or_default();
    let own_labels = owner_labels(OwnerKind::Mirror, &mirror.name_any(), &namespace);
    let mut pod_labels = own_labels.clone();
    pod_labels.insert(labels::APP_NAME.into(), "juicefs-mirror-promotion".into());
    let fence = match mirror.spec.promotion.fence {
        FencePolicy::Required => "required",
        FencePolicy::BestEffort => "best-effort",
    };
    let mut pod = pod_spec(mirror, settings, &["--promote", fence]);
    pod.restart_policy = Some("Never".into());
    Job {
        metadata: ObjectMeta {
            name: Some(mirror.promotion_name()),
            namespace: Some(namespace),
            labels: Some(own_labels),
            owner_references: mirror.controller_owner_ref(&()).map(|owner| vec![owner]),
            ..ObjectMeta::default()
        },
        spec: Some(JobSpec {
            backoff_limit: Some(PROMOTION_TRIES - 1),
            ttl_seconds_after_finished: Some(TTL_S),
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta { labels: Some(pod_labels), ..ObjectMeta::default() }),
                spec: Some(pod),
            },
            ..JobSpec::default()
        }),
        status: None,
    }
}

/// The Deployment of a mirror.
pub(super) fn build(mirror: &Mirror, version: &str, settings: &PlanSettings) -> Deployment {
    let namespace = mirror.namespace().unwrap_or_default();
    let own_labels = owner_labels(OwnerKind::Mirror, &mirror.name_any(), &namespace);
    let mut pod_labels = own_labels.clone();
    pod_labels.insert(labels::APP_NAME.into(), FOLLOWER_APP.into());
    Deployment {
        metadata: ObjectMeta {
            name: Some(mirror.follower_name()),
            namespace: Some(namespace),
            labels: Some(own_labels.clone()),
            owner_references: mirror.controller_owner_ref(&()).map(|owner| vec![owner]),
            ..ObjectMeta::default()
        },
        spec: Some(DeploymentSpec {
            replicas: Some(replicas(mirror)),
            strategy: Some(DeploymentStrategy { type_: Some("Recreate".into()), rolling_update: None }),
            selector: LabelSelector { match_labels: Some(own_labels), match_expressions: None },
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta {
                    labels: Some(pod_labels),
                    annotations: Some(BTreeMap::from([(labels::INPUTS.into(), version.into())])),
                    ..ObjectMeta::default()
                }),
                spec: Some(pod_spec(mirror, settings, &[])),
            },
            ..DeploymentSpec::default()
        }),
        status: None,
    }
}

fn pod_spec(mirror: &Mirror, settings: &PlanSettings, more: &[&str]) -> PodSpec {
    let name = mirror.volume_name();
    let mut command = vec![
        "juicefs",
        "mirror-follower",
        "--name",
        &name,
        "--source-url-file",
        "/secrets/urls/source-url",
        "--mirror-url-file",
        "/secrets/urls/mirror-url",
    ];
    let mut keys = vec![("source-url", "source-url"), ("mirror-url", "mirror-url")];
    if mirror.spec.object_storage.dedicated.is_some() {
        command.extend(["--bucket-file", "/secrets/urls/bucket"]);
        keys.push(("bucket", "bucket"));
    }
    command.extend(more);
    PodSpec {
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        termination_grace_period_seconds: Some(GRACE_S),
        security_context: Some(PodSecurityContext {
            run_as_non_root: Some(true),
            run_as_user: Some(POD_UID),
            run_as_group: Some(POD_UID),
            fs_group: Some(POD_UID),
            seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".into(), localhost_profile: None }),
            ..PodSecurityContext::default()
        }),
        containers: vec![Container {
            name: CONTAINER.into(),
            image: Some(settings.image.clone()),
            image_pull_policy: Some(settings.image_pull_policy.clone()),
            command: Some(command.into_iter().map(str::to_owned).collect()),
            security_context: Some(pod::unprivileged()),
            resources: Some(ResourceRequirements {
                requests: Some(resources("50m", "64Mi")),
                limits: Some(resources("2", "1Gi")),
                ..ResourceRequirements::default()
            }),
            volume_mounts: Some(vec![mount("urls", "/secrets/urls")]),
            ..Container::default()
        }],
        volumes: Some(vec![secret_volume("urls", &mirror.follower_name(), &keys)]),
        ..PodSpec::default()
    }
}
