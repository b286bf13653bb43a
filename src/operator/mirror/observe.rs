//! Looks at everything around a `Mirror`, and into its database. Reads only.

use super::deployment::{CONTAINER, FOLLOWER_APP};
use super::inputs::Inputs;
use super::seen::{DatabaseSeen, DeploymentSeen, Position, PromotionSeen, Seen, SourceSeen};
use crate::file_system::{JOB_NAME, job_state};
use crate::owner::{code, owns};
use crate::surroundings::{ExportSeen, SecretSeen, classes, export, secret};
use juicefs_base::ExposeSecret;
use juicefs_k8s::crd::file_system::LocalSecretRef;
use juicefs_k8s::crd::mirror::DedicatedBucket;
use juicefs_k8s::crd::{FileSystem, Mirror};
use juicefs_k8s::events::shortened;
use juicefs_k8s::labels;
use juicefs_replication::Error;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ContainerState, Pod, Secret};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt};

/// Conditions have room for a sentence, not for a log.
const TROUBLE_BYTES_MAX: usize = 500;

/// # Errors
/// Any answer of the API server but "not there" and "not allowed".
pub(super) async fn observe(client: &Client, mirror: &Mirror) -> Result<Seen, kube::Error> {
    let namespace = mirror.namespace().unwrap_or_default();
    let secrets: Api<Secret> = Api::namespaced(client.clone(), &namespace);
    let meta = mirror.spec.meta.secret_ref.as_ref().map(|reference| reference.name.as_str());
    let mut seen = Seen {
        now: Timestamp::now(),
        forbidden: false,
        meta_secret: secret(&secrets, meta, mirror.spec.meta.url.is_some()).await?,
        bucket_secret: bucket_secret(&secrets, mirror, |bucket| bucket.secret_ref.as_ref()).await?,
        bucket_source_secret: bucket_secret(&secrets, mirror, |bucket| bucket.source_secret_ref.as_ref())
            .await?,
        source: source(client, mirror, &secrets).await?,
        export: ExportSeen::Absent,
        follower_secret: ExportSeen::Absent,
        deployment: DeploymentSeen::Absent,
        promotion: None,
        classes: classes(client, mirror, &mirror.spec.storage_classes).await?,
        database: DatabaseSeen::Unknown,
    };
    match deployment(client, mirror, &namespace).await {
        Ok(found) => seen.deployment = found,
        Err(error) if code(&error) == 403 => seen.forbidden = true,
        Err(error) => return Err(error),
    }
    if mirror.spec.promotion.requested && !seen.forbidden {
        seen.promotion = promotion(client, mirror, &namespace).await?;
    }
    let mut named = async |name: &str| -> Result<ExportSeen, kube::Error> {
        match secrets.get_opt(name).await {
            Ok(Some(found)) => Ok(export(mirror, found)),
            Ok(None) => Ok(ExportSeen::Absent),
            Err(error) if code(&error) == 403 => {
                seen.forbidden = true;
                Ok(ExportSeen::Absent)
            }
            Err(error) => Err(error),
        }
    };
    let follower_secret = named(&mirror.follower_name()).await?;
    let exported = match mirror.exported_secret_name() {
        Some(name) => named(&name).await?,
        None => ExportSeen::Absent,
    };
    (seen.follower_secret, seen.export) = (follower_secret, exported);
    if !seen.forbidden
        && mirror.metadata.deletion_timestamp.is_none()
        && let Ok(inputs) = Inputs::find(mirror, &seen)
    {
        seen.database = database(&inputs).await;
    }
    Ok(seen)
}

async fn bucket_secret(
    secrets: &Api<Secret>,
    mirror: &Mirror,
    which: impl Fn(&DedicatedBucket) -> Option<&LocalSecretRef>,
) -> Result<Option<SecretSeen>, kube::Error> {
    let named = mirror.spec.object_storage.dedicated.as_ref().and_then(which);
    secret(secrets, named.map(|reference| reference.name.as_str()), false).await
}

async fn promotion(
    client: &Client,
    mirror: &Mirror,
    namespace: &str,
) -> Result<Option<PromotionSeen>, kube::Error> {
    let api: Api<Job> = Api::namespaced(client.clone(), namespace);
    let name = mirror.promotion_name();
    let Some(found) = api.get_opt(&name).await?.filter(|found| owns(mirror, found)) else { return Ok(None) };
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let selector = ListParams::default().labels(&format!("{JOB_NAME}={name}"));
    let pods = pods.list(&selector).await?.items;
    let ended = pods.iter().filter_map(|pod| {
        let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
        let container = statuses.iter().find(|status| status.name == CONTAINER)?;
        let terminated = container.state.as_ref()?.terminated.as_ref()?;
        Some((terminated.finished_at.as_ref().map(|time| time.0), terminated.message.clone()?))
    });
    let message = ended.max_by_key(|(at, _)| *at).map(|(_, message)| message);
    let (state, end) = job_state(&found);
    Ok(Some(PromotionSeen { state, end, message: message.or_else(|| pods.iter().find_map(trouble)) }))
}

async fn source(client: &Client, mirror: &Mirror, own: &Api<Secret>) -> Result<SourceSeen, kube::Error> {
    if let Some(external) = &mirror.spec.source_ref.external {
        let meta = external.meta.secret_ref.as_ref().map(|reference| reference.name.as_str());
        let storage = external.storage_secret_ref.as_ref().map(|reference| reference.name.as_str());
        return Ok(SourceSeen::External {
            meta_secret: secret(own, meta, external.meta.url.is_some()).await?,
            storage_secret: secret(own, storage, false).await?,
        });
    }
    let (namespace, name) = mirror.source_file_system().unwrap_or_default();
    let api: Api<FileSystem> = Api::namespaced(client.clone(), &namespace);
    let Some(object) = api.get_opt(&name).await? else { return Ok(SourceSeen::Missing) };
    let secrets: Api<Secret> = Api::namespaced(client.clone(), &namespace);
    let meta = object.spec.meta.secret_ref.as_ref().map(|reference| reference.name.as_str());
    let storage = object.spec.storage.secret_ref.as_ref().map(|reference| reference.name.as_str());
    Ok(SourceSeen::FileSystem {
        meta_secret: secret(&secrets, meta, object.spec.meta.url.is_some()).await?,
        storage_secret: secret(&secrets, storage, false).await?,
        object: Box::new(object),
    })
}

async fn deployment(
    client: &Client,
    mirror: &Mirror,
    namespace: &str,
) -> Result<DeploymentSeen, kube::Error> {
    let api: Api<Deployment> = Api::namespaced(client.clone(), namespace);
    let Some(found) = api.get_opt(&mirror.follower_name()).await? else { return Ok(DeploymentSeen::Absent) };
    if !owns(mirror, &found) {
        return Ok(DeploymentSeen::Foreign);
    }
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    // Not those of the Job that promotes.
    let selector =
        format!("{}={},{}={FOLLOWER_APP}", labels::MIRROR_NAME, mirror.name_any(), labels::APP_NAME);
    let selector = ListParams::default().labels(&selector);
    let pods = pods.list(&selector).await?.items;
    let spec = found.spec.unwrap_or_default();
    let annotations = spec.template.metadata.unwrap_or_default().annotations.unwrap_or_default();
    let containers = spec.template.spec.unwrap_or_default().containers;
    Ok(DeploymentSeen::Ours {
        inputs: annotations.get(labels::INPUTS).cloned().unwrap_or_default(),
        image: containers.into_iter().next().and_then(|container| container.image).unwrap_or_default(),
        replicas: spec.replicas.unwrap_or(1),
        is_available: found.status.and_then(|status| status.available_replicas).unwrap_or(0) > 0,
        trouble: pods.iter().find_map(trouble).map(|text| shortened(&text, TROUBLE_BYTES_MAX)),
    })
}

/// Why a pod does not run: what it said when it ended, or why it can't start.
fn trouble(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    let container = status.container_statuses.iter().flatten().find(|container| container.name == CONTAINER);
    let Some(container) = container else {
        let conditions = status.conditions.iter().flatten();
        let stuck = conditions
            .filter(|condition| condition.type_ == "PodScheduled" && condition.status == "False")
            .find_map(|condition| condition.message.clone());
        return stuck.map(|why| format!("pod {} is not scheduled: {why}", pod.name_any()));
    };
    let said = |state: Option<&ContainerState>| state?.terminated.as_ref()?.message.clone();
    if let Some(message) = said(container.state.as_ref()).or_else(|| said(container.last_state.as_ref())) {
        return (!container.ready).then_some(message);
    }
    let waiting = container.state.as_ref()?.waiting.as_ref()?;
    let reason = waiting.reason.as_ref().filter(|reason| *reason != "ContainerCreating")?;
    Some(format!("pod {}: {reason}: {}", pod.name_any(), waiting.message.clone().unwrap_or_default()))
}

async fn database(inputs: &Inputs) -> DatabaseSeen {
    if inputs.addresses.mirror.expose_secret().is_empty() {
        return DatabaseSeen::Unreachable("the mirror's metadata engine has no address".to_owned());
    }
    match inputs.addresses.status().await {
        Ok(status) => DatabaseSeen::Mirror(Position {
            name: status.record.name,
            source_uuid: status.record.source_uuid,
            state: status.record.state,
            version: status.record.version,
            source_version: status.source_version,
            versions_behind: status.versions_behind,
            seconds_behind: status.seconds_behind,
            source_error: status.source_error,
        }),
        Err(Error::NoMirror) => DatabaseSeen::NoMirror,
        Err(error) => DatabaseSeen::Unreachable(shortened(&error.to_string(), TROUBLE_BYTES_MAX)),
    }
}
