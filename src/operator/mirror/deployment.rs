//! The follower's Deployment: one pod at a time, so that nobody is in another's way. Were there two, each step would still
//! be whole: it is written together with the cursor that it began from.

use crate::file_system::PlanSettings;
use crate::file_system::job::{mount, resources, secret_volume};
use juicefs_k8s::class::{OwnerKind, owner_labels};
use juicefs_k8s::crd::Mirror;
use juicefs_k8s::{POD_UID, labels, pod};
use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy};
use k8s_openapi::api::core::v1::{
    Container, PodSecurityContext, PodSpec, PodTemplateSpec, ResourceRequirements, SeccompProfile,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use kube::{Resource, ResourceExt};
use std::collections::BTreeMap;

/// The container's name.
pub(super) const CONTAINER: &str = "follower";
/// It keeps no state of its own: nothing has to be flushed.
const GRACE_S: i64 = 5;

/// The Deployment of a mirror; without replicas while it is suspended.
pub(super) fn build(mirror: &Mirror, version: &str, settings: &PlanSettings) -> Deployment {
    let namespace = mirror.namespace().unwrap_or_default();
    let own_labels = owner_labels(OwnerKind::Mirror, &mirror.name_any(), &namespace);
    let mut pod_labels = own_labels.clone();
    pod_labels.insert(labels::APP_NAME.into(), "juicefs-mirror-follower".into());
    Deployment {
        metadata: ObjectMeta {
            name: Some(mirror.follower_name()),
            namespace: Some(namespace),
            labels: Some(own_labels.clone()),
            owner_references: mirror.controller_owner_ref(&()).map(|owner| vec![owner]),
            ..ObjectMeta::default()
        },
        spec: Some(DeploymentSpec {
            replicas: Some(i32::from(!mirror.spec.suspend)),
            strategy: Some(DeploymentStrategy { type_: Some("Recreate".into()), rolling_update: None }),
            selector: LabelSelector { match_labels: Some(own_labels), match_expressions: None },
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta {
                    labels: Some(pod_labels),
                    annotations: Some(BTreeMap::from([(labels::INPUTS.into(), version.into())])),
                    ..ObjectMeta::default()
                }),
                spec: Some(pod_spec(mirror, settings)),
            },
            ..DeploymentSpec::default()
        }),
        status: None,
    }
}

fn pod_spec(mirror: &Mirror, settings: &PlanSettings) -> PodSpec {
    let command = [
        "juicefs",
        "mirror-follower",
        "--name",
        &mirror.volume_name(),
        "--source-url-file",
        "/secrets/urls/source-url",
        "--mirror-url-file",
        "/secrets/urls/mirror-url",
    ];
    let keys = [("source-url", "source-url"), ("mirror-url", "mirror-url")];
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
            command: Some(command.map(str::to_owned).into()),
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
