//! The operator's process: health, leadership, one controller per kind.

use crate::file_system::PlanSettings;
use crate::leader::Leader;
use crate::{MANAGER, file_system, health, mirror};
use kube::Client;
use std::net::SocketAddr;
use tokio::signal::unix::{SignalKind, signal};

/// Everything that the operator is told.
#[derive(Clone, Debug)]
pub struct OperatorSettings {
    /// Where the operator runs; its Lease is there.
    pub namespace: String,
    /// Unique among replicas: the pod's name.
    pub identity: String,
    /// Where `/healthz` is served.
    pub health_address: SocketAddr,
    /// Image of format Jobs: the operator's own.
    pub image: String,
    pub image_pull_policy: String,
    /// `<namespace>/<name>` of file systems that may make the cluster's default class.
    pub default_class_owners: Vec<String>,
}

impl OperatorSettings {
    /// What plans go by.
    pub(crate) fn for_plans(&self) -> PlanSettings {
        PlanSettings {
            image: self.image.clone(),
            image_pull_policy: self.image_pull_policy.clone(),
            default_class_owners: self.default_class_owners.clone(),
        }
    }
}

/// Why the operator ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot reach the Kubernetes API: {0}")]
    Client(#[source] Box<kube::Error>),
    #[error("cannot serve /healthz on {0}: {1}")]
    Health(SocketAddr, #[source] std::io::Error),
    #[error("cannot listen for signals: {0}")]
    Signal(#[source] std::io::Error),
    #[error("lost the lease to another replica")]
    LeadershipLost,
    #[error("the controller ended by itself")]
    ControllerEnded,
}

/// Runs until SIGTERM, SIGINT or an error. Needs a pod's service account or a kubeconfig.
///
/// # Errors
/// See [`Error`]; after each of them the process should end and be started again.
pub async fn run(settings: OperatorSettings) -> Result<(), Error> {
    let client = Client::try_default().await.map_err(|error| Error::Client(Box::new(error)))?;
    let mut terminate = signal(SignalKind::terminate()).map_err(Error::Signal)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Error::Signal)?;
    let leader = Leader::new(client.clone(), &settings.namespace, MANAGER, &settings.identity);
    let address = settings.health_address;
    let work = async {
        leader.acquire().await;
        tracing::info!(identity = settings.identity, "leading");
        tokio::select! {
            () = leader.hold() => Err(Error::LeadershipLost),
            () = file_system::run(client.clone(), &settings) => Err(Error::ControllerEnded),
            () = mirror::run(client, &settings) => Err(Error::ControllerEnded),
        }
    };
    let outcome = tokio::select! {
        outcome = work => outcome,
        served = health::serve(address) => served.map_err(|error| Error::Health(address, error)),
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    };
    if !matches!(outcome, Err(Error::LeadershipLost)) {
        leader.release().await;
    }
    outcome
}
