//! The CSI driver `csi.juicefs.com`.
//!
//! The *controller* makes and removes directories in metadata; it mounts nothing and runs no Jobs. The *node*
//! plugin makes kernel mounts, hands their descriptors to unprivileged mount pods and binds them to targets; what
//! is mounted where, and by how many, it reads from the kernel's mount table alone. Secrets live in requests and
//! in sealed descriptors, never in objects, arguments or logs.

mod controller;
mod identity;
mod kubelet_stream;
mod locks;
mod node;
mod proto;
mod registration;
mod server;
mod status;

pub use controller::{ControllerSettings, run_controller};
pub use node::{NodeSettings, run_node};

use proto::csi as pb;

/// An error of the room: why a role could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("socket {path}: {cause}")]
    Socket { path: String, cause: std::io::Error },
    #[error("kubernetes client: {0}")]
    Kubernetes(#[from] kube::Error),
    #[error("health address {address}: {cause}")]
    Health { address: std::net::SocketAddr, cause: std::io::Error },
    #[error("serving: {0}")]
    Serve(#[from] tonic::transport::Error),
    #[error("{0}")]
    Setting(String),
}

/// What either role is told about where it listens.
#[derive(Clone, Debug)]
pub struct ServeSettings {
    /// `unix:///csi/csi.sock`
    pub endpoint: String,
    /// Node's own name or, for the controller, anything that tells replicas apart.
    pub instance: String,
    pub health: Option<std::net::SocketAddr>,
}
