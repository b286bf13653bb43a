//! CreateVolume, DeleteVolume, ControllerExpandVolume and ValidateVolumeCapabilities, each in metadata and at once. All state is in the
//! file system (`records`), so any replica answers any call.

mod capability;
mod claim;
mod create;
mod delete;
mod expand;
pub(crate) mod mirrors;
mod neighbours;
mod purge;
mod records;
#[cfg(test)]
mod tests;
mod volumes;

use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client};
use std::collections::HashMap;
use tonic::{Request, Response, Status};

use crate::identity::Identity;
use crate::locks::{Held, Locks};
use crate::pb::controller_service_capability::{Rpc, Type, rpc};
use crate::{Error, ServeSettings, pb, server, status};
use juicefs_k8s::events::EventSink;
use juicefs_k8s::settings::{VolumeSettings, secret_map};

pub(crate) use capability::{check_capabilities, is_exclusive, is_reader};
pub(crate) use records::RECORDS;
pub(crate) use volumes::Volume;

/// What the controller is told.
#[derive(Clone, Debug)]
pub struct ControllerSettings {
    pub serve: ServeSettings,
    /// UID of the cluster, written into records; two clusters on one file system are told apart by it.
    pub cluster: String,
}

/// The service.
pub(crate) struct Controller {
    locks: Locks,
    cluster: String,
    /// For Events about claims and for volumes that upstream made; absent outside a cluster.
    kubernetes: Option<Client>,
    events: Option<EventSink>,
    purges: purge::Purges,
}

impl Controller {
    /// Keeps others off a directory and everything around it while one call makes it or takes it away: directories
    /// that overlap have the same first component.
    async fn take_place(&self, volume: &Volume, path: &str) -> Result<Held, Status> {
        let first = path.split('/').next().unwrap_or(path);
        self.locks.take_in_turn(&format!("directory {first} of {}", volume.meta.format().uuid)).await
    }
}

/// Serves until asked to end.
///
/// # Errors
/// A socket or an address that can't be had.
pub async fn run_controller(settings: ControllerSettings) -> Result<(), Error> {
    let kubernetes = Client::try_default().await.inspect_err(|error| {
        tracing::warn!("no Kubernetes API, Events and adoption are off: {error}");
    });
    let kubernetes = kubernetes.ok();
    let events = kubernetes.clone().map(|client| {
        EventSink::new(client, "juicefs-csi-controller", Some(settings.serve.instance.clone()))
    });
    let cluster = match (&kubernetes, settings.cluster) {
        (Some(client), unnamed) if unnamed.is_empty() => cluster_uid(client).await.unwrap_or_default(),
        (_, named) => named,
    };
    let purges = purge::Purges::default();
    let controller = Controller { locks: Locks::default(), cluster, kubernetes, events, purges };
    let listener = server::listen(&server::socket_path(&settings.serve.endpoint))?;
    let router = tonic::transport::Server::builder()
        .add_service(pb::identity_server::IdentityServer::new(Identity))
        .add_service(pb::controller_server::ControllerServer::new(controller));
    tracing::info!(endpoint = settings.serve.endpoint, "controller serves");
    match settings.serve.health {
        Some(address) => tokio::select! {
            ended = server::serve(router, listener) => ended,
            ended = server::health(address) => ended,
        },
        None => server::serve(router, listener).await,
    }
}

/// The UID of `kube-system` is what names a cluster.
async fn cluster_uid(client: &Client) -> Option<String> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    match namespaces.get("kube-system").await {
        Ok(namespace) => namespace.metadata.uid,
        Err(error) => {
            tracing::warn!("the cluster's UID can't be read, records will not name it: {error}");
            None
        }
    }
}

/// Settings from what a request carries, for a volume that is to be made.
fn new_settings(
    secrets: HashMap<String, String>,
    parameters: &HashMap<String, String>,
    flags: &[String],
) -> Result<VolumeSettings, Status> {
    let parameters = parameters.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
    VolumeSettings::for_new_volume(&secret_map(secrets), &parameters, flags)
        .map_err(|error| status::of_settings(&error))
}

#[tonic::async_trait]
impl pb::controller_server::Controller for Controller {
    async fn create_volume(
        &self,
        request: Request<pb::CreateVolumeRequest>,
    ) -> Result<Response<pb::CreateVolumeResponse>, Status> {
        let volume = self.create(request.into_inner()).await?;
        Ok(Response::new(pb::CreateVolumeResponse { volume: Some(volume) }))
    }

    async fn delete_volume(
        &self,
        request: Request<pb::DeleteVolumeRequest>,
    ) -> Result<Response<pb::DeleteVolumeResponse>, Status> {
        self.delete(request.into_inner()).await?;
        Ok(Response::new(pb::DeleteVolumeResponse {}))
    }

    async fn validate_volume_capabilities(
        &self,
        request: Request<pb::ValidateVolumeCapabilitiesRequest>,
    ) -> Result<Response<pb::ValidateVolumeCapabilitiesResponse>, Status> {
        let request = request.into_inner();
        if request.volume_id.is_empty() {
            return Err(Status::invalid_argument("volume_id is missing"));
        }
        if request.volume_capabilities.is_empty() {
            return Err(Status::invalid_argument("volume_capabilities are missing"));
        }
        let settings = new_settings(request.secrets, &HashMap::new(), &[])?;
        let volume = Volume::open(&settings.secret).await?;
        let id = &request.volume_id;
        if volume.record(id).await?.is_none() && self.adopted_path(id).await?.is_none() {
            return Err(Status::not_found(format!("volume {id} has no record and no PersistentVolume")));
        }
        let checked = check_capabilities(&request.volume_capabilities).and_then(|()| match &volume.mirror {
            Some(mirror) => {
                let own = request.volume_context.iter().map(|(key, value)| (key.clone(), value.clone()));
                mirrors::check_access(mirror, &request.volume_capabilities, &own.collect())
            }
            None => Ok(()),
        });
        let confirmed = pb::validate_volume_capabilities_response::Confirmed {
            volume_context: request.volume_context,
            volume_capabilities: request.volume_capabilities.clone(),
            parameters: request.parameters,
            mutable_parameters: request.mutable_parameters,
        };
        Ok(Response::new(match checked {
            Ok(()) => {
                pb::ValidateVolumeCapabilitiesResponse { confirmed: Some(confirmed), message: String::new() }
            }
            Err(status) => {
                pb::ValidateVolumeCapabilitiesResponse { confirmed: None, message: status.message().into() }
            }
        }))
    }

    async fn controller_expand_volume(
        &self,
        request: Request<pb::ControllerExpandVolumeRequest>,
    ) -> Result<Response<pb::ControllerExpandVolumeResponse>, Status> {
        let capacity_bytes = self.expand(request.into_inner()).await?;
        Ok(Response::new(pb::ControllerExpandVolumeResponse {
            capacity_bytes,
            node_expansion_required: false,
        }))
    }

    async fn controller_get_capabilities(
        &self,
        _request: Request<pb::ControllerGetCapabilitiesRequest>,
    ) -> Result<Response<pb::ControllerGetCapabilitiesResponse>, Status> {
        let capabilities =
            [rpc::Type::CreateDeleteVolume, rpc::Type::ExpandVolume, rpc::Type::SingleNodeMultiWriter];
        let capabilities = capabilities.map(|kind| pb::ControllerServiceCapability {
            r#type: Some(Type::Rpc(Rpc { r#type: kind as i32 })),
        });
        Ok(Response::new(pb::ControllerGetCapabilitiesResponse { capabilities: capabilities.to_vec() }))
    }
}
