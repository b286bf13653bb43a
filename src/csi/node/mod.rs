//! The node plugin: kernel mounts, mount pods, targets.
//!
//! One kernel mount per volume and mount pod, at `<kubeletDir>/plugins/csi.juicefs.com/mnt/<id>-<generation>`; each
//! target is a bind of it. Who uses what is read from the mount table at every call: nothing is counted in memory
//! or on disk, so a restart of the plugin changes nothing.

mod cache;
mod pods;
mod publish;
mod stats;
mod table;
mod unpublish;

use kube::Client;
use std::path::PathBuf;
use tonic::{Request, Response, Status};

use crate::identity::Identity;
use crate::locks::Locks;
use crate::pb::node_service_capability::{Rpc, Type, rpc};
use crate::proto::registration::registration_server::RegistrationServer;
use crate::registration::Registration;
use crate::{Error, ServeSettings, pb, server};
use juicefs_k8s::events::EventSink;

/// What the node plugin is told.
#[derive(Clone, Debug)]
pub struct NodeSettings {
    pub serve: ServeSettings,
    /// Where mount pods live: the plugin's own namespace.
    pub namespace: String,
    pub kubelet_dir: PathBuf,
    /// Directories on the node that may hold caches; the first is the default.
    pub cache_roots: Vec<PathBuf>,
    pub mount_image: String,
    pub mount_image_pull_policy: String,
    /// Empty for none.
    pub mount_priority_class: String,
    /// The CSI socket as the kubelet sees it; empty = the same path as ours.
    pub endpoint_on_host: String,
}

/// The service.
#[derive(Clone)]
pub(crate) struct Node {
    settings: NodeSettings,
    locks: Locks,
    kubernetes: Client,
    events: EventSink,
}

/// Serves and registers until asked to end. Mounts stay: they belong to the mount pods.
///
/// # Errors
/// No API server, a socket or an address that can't be had.
pub async fn run_node(settings: NodeSettings) -> Result<(), Error> {
    let kubernetes = Client::try_default().await?;
    let events =
        EventSink::new(kubernetes.clone(), "juicefs-csi-node", Some(settings.serve.instance.clone()));
    let socket = server::socket_path(&settings.serve.endpoint);
    let endpoint = if settings.endpoint_on_host.is_empty() {
        socket.display().to_string()
    } else {
        settings.endpoint_on_host.clone()
    };
    let registry = settings.kubelet_dir.join("plugins_registry").join("csi.juicefs.com-reg.sock");
    let health = settings.serve.health;
    let node = Node { settings, locks: Locks::default(), kubernetes, events };

    let listener = server::listen(&socket)?;
    let registration = server::listen(&registry)?;
    let plugin = tonic::transport::Server::builder()
        .add_service(pb::identity_server::IdentityServer::new(Identity))
        .add_service(pb::node_server::NodeServer::new(node));
    let registrar =
        tonic::transport::Server::builder().add_service(RegistrationServer::new(Registration { endpoint }));
    tracing::info!(socket = %socket.display(), "node plugin serves");
    let ended = tokio::select! {
        ended = server::serve(plugin, listener) => ended,
        ended = server::serve_watcher(registrar, registration) => ended,
        ended = healthy(health) => ended,
    };
    // A socket left behind would have the kubelet call a plugin that is gone.
    let _ = std::fs::remove_file(&registry);
    ended
}

async fn healthy(address: Option<std::net::SocketAddr>) -> Result<(), Error> {
    match address {
        Some(address) => server::health(address).await,
        None => std::future::pending().await,
    }
}

#[tonic::async_trait]
impl pb::node_server::Node for Node {
    async fn node_publish_volume(
        &self,
        request: Request<pb::NodePublishVolumeRequest>,
    ) -> Result<Response<pb::NodePublishVolumeResponse>, Status> {
        self.publish(request.into_inner()).await?;
        Ok(Response::new(pb::NodePublishVolumeResponse {}))
    }

    async fn node_unpublish_volume(
        &self,
        request: Request<pb::NodeUnpublishVolumeRequest>,
    ) -> Result<Response<pb::NodeUnpublishVolumeResponse>, Status> {
        self.unpublish(request.into_inner()).await?;
        Ok(Response::new(pb::NodeUnpublishVolumeResponse {}))
    }

    async fn node_get_volume_stats(
        &self,
        request: Request<pb::NodeGetVolumeStatsRequest>,
    ) -> Result<Response<pb::NodeGetVolumeStatsResponse>, Status> {
        stats::of_volume(request.into_inner()).await.map(Response::new)
    }

    async fn node_get_capabilities(
        &self,
        _request: Request<pb::NodeGetCapabilitiesRequest>,
    ) -> Result<Response<pb::NodeGetCapabilitiesResponse>, Status> {
        let capabilities =
            [rpc::Type::GetVolumeStats, rpc::Type::VolumeCondition, rpc::Type::SingleNodeMultiWriter];
        let capabilities = capabilities
            .map(|kind| pb::NodeServiceCapability { r#type: Some(Type::Rpc(Rpc { r#type: kind as i32 })) });
        Ok(Response::new(pb::NodeGetCapabilitiesResponse { capabilities: capabilities.to_vec() }))
    }

    async fn node_get_info(
        &self,
        _request: Request<pb::NodeGetInfoRequest>,
    ) -> Result<Response<pb::NodeGetInfoResponse>, Status> {
        Ok(Response::new(pb::NodeGetInfoResponse {
            node_id: self.settings.serve.instance.clone(),
            ..pb::NodeGetInfoResponse::default()
        }))
    }
}

/// Runs blocking system calls aside with a deadline: a hung mount must not take the plugin with it.
pub(crate) async fn blocking<T: Send + 'static>(
    what: &str,
    deadline: std::time::Duration,
    work: impl FnOnce() -> Result<T, Status> + Send + 'static,
) -> Result<T, Status> {
    match tokio::time::timeout(deadline, tokio::task::spawn_blocking(work)).await {
        Ok(Ok(done)) => done,
        Ok(Err(_)) => Err(Status::internal(format!("{what} ended in a panic"))),
        Err(_) => Err(Status::unavailable(format!("{what} did not end within {} s", deadline.as_secs()))),
    }
}
