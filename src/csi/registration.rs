//! The node plugin tells the kubelet of itself; no registrar beside it.

use tonic::{Request, Response, Status};

use crate::proto::registration as pb;

/// What the kubelet is told.
pub(crate) struct Registration {
    /// The CSI socket as the kubelet sees it.
    pub endpoint: String,
}

#[tonic::async_trait]
impl pb::registration_server::Registration for Registration {
    async fn get_info(&self, _request: Request<pb::InfoRequest>) -> Result<Response<pb::PluginInfo>, Status> {
        Ok(Response::new(pb::PluginInfo {
            r#type: "CSIPlugin".to_owned(),
            name: juicefs_k8s::DRIVER_NAME.to_owned(),
            endpoint: self.endpoint.clone(),
            supported_versions: vec!["1.0.0".to_owned()],
        }))
    }

    async fn notify_registration_status(
        &self,
        request: Request<pb::RegistrationStatus>,
    ) -> Result<Response<pb::RegistrationStatusResponse>, Status> {
        let status = request.into_inner();
        if status.plugin_registered {
            tracing::info!("registered with the kubelet");
        } else {
            tracing::error!(error = status.error, "the kubelet refused the registration");
        }
        Ok(Response::new(pb::RegistrationStatusResponse {}))
    }
}
