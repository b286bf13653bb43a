//! Who the driver is.

use tonic::{Request, Response, Status};

use crate::pb;
use crate::pb::plugin_capability::{Service, Type, VolumeExpansion, service, volume_expansion};

pub(crate) struct Identity;

#[tonic::async_trait]
impl pb::identity_server::Identity for Identity {
    async fn get_plugin_info(
        &self,
        _request: Request<pb::GetPluginInfoRequest>,
    ) -> Result<Response<pb::GetPluginInfoResponse>, Status> {
        Ok(Response::new(pb::GetPluginInfoResponse {
            name: juicefs_k8s::DRIVER_NAME.to_owned(),
            vendor_version: env!("CARGO_PKG_VERSION").to_owned(),
            ..Default::default()
        }))
    }

    async fn get_plugin_capabilities(
        &self,
        _request: Request<pb::GetPluginCapabilitiesRequest>,
    ) -> Result<Response<pb::GetPluginCapabilitiesResponse>, Status> {
        let service = Service { r#type: service::Type::ControllerService as i32 };
        let expansion = VolumeExpansion { r#type: volume_expansion::Type::Online as i32 };
        let capabilities = [Type::Service(service), Type::VolumeExpansion(expansion)]
            .map(|kind| pb::PluginCapability { r#type: Some(kind) });
        Ok(Response::new(pb::GetPluginCapabilitiesResponse { capabilities: capabilities.to_vec() }))
    }

    /// Touches neither FUSE nor metadata: a slow volume must not restart the driver.
    async fn probe(
        &self,
        _request: Request<pb::ProbeRequest>,
    ) -> Result<Response<pb::ProbeResponse>, Status> {
        Ok(Response::new(pb::ProbeResponse { ready: Some(true) }))
    }
}
