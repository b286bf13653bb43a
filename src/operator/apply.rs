//! Does what a plan says. Every step may be done twice; an object that is not ours is never touched.

use crate::MANAGER;
use crate::owner::{Owner, code, owns};
use crate::step::Step;
use juicefs_base::ExposeSecret;
use juicefs_k8s::class::{belongs_to, owner_labels};
use juicefs_k8s::events::{EventSink, Note};
use juicefs_k8s::labels;
use juicefs_k8s::settings::SecretMap;
use k8s_openapi::ByteString;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::storage::v1::StorageClass;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams, Preconditions, PropagationPolicy};
use kube::{Client, ResourceExt};
use serde::Serialize;
use serde_json::{Value, json};

/// Why a step was not done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{what}: {cause}")]
    Api { what: String, cause: Box<kube::Error> },
    #[error("{0} was made by somebody else meanwhile")]
    Taken(String),
}

/// Does the steps in their order. What fails ends it, unless the object is being deleted by force: then it is left
/// behind with an Event.
pub(crate) async fn perform<K: Owner>(
    client: &Client,
    fs: &K,
    steps: &[Step],
    events: &EventSink,
) -> Result<(), Error> {
    let is_forced = fs.meta().deletion_timestamp.is_some()
        && fs.annotations().get(labels::FORCE_DELETE).is_some_and(|value| value == "true");
    for step in steps {
        match perform_step(client, fs, step).await {
            Ok(()) => {}
            Err(error) if is_forced => {
                let text = format!("left behind as {} is set: {error}", labels::FORCE_DELETE);
                events.publish(&fs.object_ref(&()), &Note::warning("ForceDeleted", "Delete", text)).await;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

async fn perform_step<K: Owner>(client: &Client, fs: &K, step: &Step) -> Result<(), Error> {
    let failed = |what: String| move |cause| Error::Api { what, cause: Box::new(cause) };
    match step {
        Step::AddFinalizer => {
            finalizers(client, fs, &[labels::FINALIZER]).await.map_err(failed("add the finalizer".into()))
        }
        Step::RemoveFinalizer => {
            finalizers(client, fs, &[]).await.map_err(failed("remove the finalizer".into()))
        }
        Step::CreateJob(job) => {
            create_job(client, fs, job).await.map_err(failed(format!("create Job {}", job.name_any())))
        }
        Step::DeleteJob(name) => {
            delete_job(client, fs, name).await.map_err(failed(format!("delete Job {name}")))
        }
        Step::ApplySecret(name, data) => apply_secret(client, fs, name, data).await,
        Step::DeleteSecret(name) => {
            delete_secret(client, fs, name).await.map_err(failed(format!("delete Secret {name}")))
        }
        Step::ApplyClass(class) => apply_class(client, fs, class).await,
        Step::DeleteClass(name) => {
            delete_class(client, fs, name).await.map_err(failed(format!("delete StorageClass {name}")))
        }
        Step::ApplyDeployment(deployment) => apply_deployment(client, fs, deployment).await,
        Step::DeleteDeployment(name) => {
            delete_deployment(client, fs, name).await.map_err(failed(format!("delete Deployment {name}")))
        }
    }
}

/// Writes the status.
pub(crate) async fn write_status<K: Owner, S: Serialize>(
    client: &Client,
    fs: &K,
    status: &S,
) -> Result<(), kube::Error> {
    let mut patch = identity(fs);
    patch["status"] = serde_json::to_value(status).map_err(kube::Error::SerdeError)?;
    api(client, fs).patch_status(&fs.name_any(), &applying(), &Patch::Apply(&patch)).await.map(drop)
}

fn api<K: Owner>(client: &Client, fs: &K) -> Api<K> {
    Api::namespaced(client.clone(), &fs.namespace().unwrap_or_default())
}

fn applying() -> PatchParams {
    PatchParams::apply(MANAGER).force()
}

/// The part of an apply patch that names the object. The UID keeps it from making a new one under an old name.
fn identity<K: Owner>(fs: &K) -> Value {
    json!({
        "apiVersion": K::api_version(&()),
        "kind": K::kind(&()),
        "metadata": {"name": fs.name_any(), "namespace": fs.namespace(), "uid": fs.uid()},
    })
}

async fn finalizers<K: Owner>(client: &Client, fs: &K, names: &[&str]) -> Result<(), kube::Error> {
    let mut patch = identity(fs);
    patch["metadata"]["finalizers"] = json!(names);
    let outcome = api(client, fs).patch(&fs.name_any(), &applying(), &Patch::Apply(&patch)).await;
    match outcome {
        // It is gone, and its finalizer with it.
        Err(error) if names.is_empty() && code(&error) == 404 => Ok(()),
        other => other.map(drop),
    }
}

async fn create_job<K: Owner>(client: &Client, fs: &K, job: &Job) -> Result<(), kube::Error> {
    let api: Api<Job> = Api::namespaced(client.clone(), &fs.namespace().unwrap_or_default());
    let params = PostParams { field_manager: Some(MANAGER.into()), ..PostParams::default() };
    match api.create(&params, job).await {
        Err(error) if code(&error) == 409 => Ok(()),
        other => other.map(drop),
    }
}

async fn delete_job<K: Owner>(client: &Client, fs: &K, name: &str) -> Result<(), kube::Error> {
    let api: Api<Job> = Api::namespaced(client.clone(), &fs.namespace().unwrap_or_default());
    // Foreground: the Job stays until its pods are gone, so that the next one does not meet them.
    let params =
        DeleteParams { propagation_policy: Some(PropagationPolicy::Foreground), ..DeleteParams::default() };
    gone(api.delete(name, &params).await.map(drop))
}

async fn apply_secret<K: Owner>(client: &Client, fs: &K, name: &str, data: &SecretMap) -> Result<(), Error> {
    let namespace = fs.namespace().unwrap_or_default();
    let api: Api<Secret> = Api::namespaced(client.clone(), &namespace);
    let failed = |cause| Error::Api { what: format!("write Secret {name}"), cause: Box::new(cause) };
    let secret = Secret {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(namespace.clone()),
            labels: Some(owner_labels(K::OWNER_KIND, &fs.name_any(), &namespace)),
            owner_references: fs.controller_owner_ref(&()).map(|owner| vec![owner]),
            ..ObjectMeta::default()
        },
        type_: Some("Opaque".into()),
        data: Some(
            data.iter()
                .map(|(key, value)| (key.clone(), ByteString(value.expose_secret().as_bytes().to_vec())))
                .collect(),
        ),
        ..Secret::default()
    };
    match api.get_opt(name).await.map_err(failed)? {
        Some(found) if !owns(fs, &found) => Err(Error::Taken(format!("Secret {name}"))),
        Some(_) => api.patch(name, &applying(), &Patch::Apply(&secret)).await.map(drop).map_err(failed),
        None => created(api.create(&creating(), &secret).await, format!("Secret {name}")),
    }
}

async fn delete_secret<K: Owner>(client: &Client, fs: &K, name: &str) -> Result<(), kube::Error> {
    let api: Api<Secret> = Api::namespaced(client.clone(), &fs.namespace().unwrap_or_default());
    match api.get_opt(name).await? {
        Some(found) if owns(fs, &found) => gone(api.delete(name, &only(&found.metadata)).await.map(drop)),
        _ => Ok(()),
    }
}

async fn apply_class<K: Owner>(client: &Client, fs: &K, class: &StorageClass) -> Result<(), Error> {
    let name = class.name_any();
    let api: Api<StorageClass> = Api::all(client.clone());
    let failed = |cause| Error::Api { what: format!("write StorageClass {name}"), cause: Box::new(cause) };
    match api.get_opt(&name).await.map_err(failed)? {
        Some(found) if !is_ours(fs, &found) => Err(Error::Taken(format!("StorageClass {name}"))),
        Some(_) => api.patch(&name, &applying(), &Patch::Apply(class)).await.map(drop).map_err(failed),
        None => created(api.create(&creating(), class).await, format!("StorageClass {name}")),
    }
}

async fn delete_class<K: Owner>(client: &Client, fs: &K, name: &str) -> Result<(), kube::Error> {
    let api: Api<StorageClass> = Api::all(client.clone());
    match api.get_opt(name).await? {
        Some(found) if is_ours(fs, &found) => gone(api.delete(name, &only(&found.metadata)).await.map(drop)),
        _ => Ok(()),
    }
}

async fn apply_deployment<K: Owner>(client: &Client, fs: &K, wanted: &Deployment) -> Result<(), Error> {
    let name = wanted.name_any();
    let api: Api<Deployment> = Api::namespaced(client.clone(), &fs.namespace().unwrap_or_default());
    let failed = |cause| Error::Api { what: format!("write Deployment {name}"), cause: Box::new(cause) };
    match api.get_opt(&name).await.map_err(failed)? {
        Some(found) if !owns(fs, &found) => Err(Error::Taken(format!("Deployment {name}"))),
        Some(_) => api.patch(&name, &applying(), &Patch::Apply(wanted)).await.map(drop).map_err(failed),
        None => created(api.create(&creating(), wanted).await, format!("Deployment {name}")),
    }
}

async fn delete_deployment<K: Owner>(client: &Client, fs: &K, name: &str) -> Result<(), kube::Error> {
    let api: Api<Deployment> = Api::namespaced(client.clone(), &fs.namespace().unwrap_or_default());
    match api.get_opt(name).await? {
        Some(found) if owns(fs, &found) => {
            // Foreground: it stays until its pods are gone, so that nobody follows any more when the object has gone.
            let params = DeleteParams {
                propagation_policy: Some(PropagationPolicy::Foreground),
                ..only(&found.metadata)
            };
            gone(api.delete(name, &params).await.map(drop))
        }
        _ => Ok(()),
    }
}

fn is_ours<K: Owner>(fs: &K, class: &StorageClass) -> bool {
    belongs_to(&class.metadata, K::OWNER_KIND, &fs.name_any(), &fs.namespace().unwrap_or_default())
}

/// Creates with the manager that later applies, so that a later apply may take fields away.
fn creating() -> PostParams {
    PostParams { field_manager: Some(MANAGER.into()), ..PostParams::default() }
}

/// Deletes this object and no successor of its name.
fn only(found: &ObjectMeta) -> DeleteParams {
    let preconditions = Preconditions { uid: found.uid.clone(), resource_version: None };
    DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() }
}

fn gone(outcome: Result<(), kube::Error>) -> Result<(), kube::Error> {
    match outcome {
        Err(error) if code(&error) == 404 => Ok(()),
        other => other,
    }
}

fn created<T>(outcome: Result<T, kube::Error>, what: String) -> Result<(), Error> {
    match outcome {
        Ok(_) => Ok(()),
        Err(error) if code(&error) == 409 => Err(Error::Taken(what)),
        Err(cause) => Err(Error::Api { what: format!("create {what}"), cause: Box::new(cause) }),
    }
}
