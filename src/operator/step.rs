//! What a plan has done, one thing at a time.

use juicefs_k8s::settings::SecretMap;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::storage::v1::StorageClass;

/// One thing to do.
#[derive(Clone, Debug)]
pub enum Step {
    AddFinalizer,
    CreateJob(Box<Job>),
    DeleteJob(String),
    /// Name and content of a Secret.
    ApplySecret(String, SecretMap),
    DeleteSecret(String),
    ApplyClass(Box<StorageClass>),
    DeleteClass(String),
    ApplyDeployment(Box<Deployment>),
    DeleteDeployment(String),
    RemoveFinalizer,
}
