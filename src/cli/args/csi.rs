//! The roles of the CSI driver.

use clap::{Args, Subcommand};
use std::net::SocketAddr;
use std::path::PathBuf;

/// What both parts of the CSI driver are told.
#[derive(Args, Debug, Clone)]
pub(crate) struct ServeArgs {
    /// Socket to serve on
    #[arg(long, default_value = "unix:///csi/csi.sock", env = "CSI_ENDPOINT")]
    pub endpoint: String,
    /// Address of /healthz
    #[arg(long, value_name = "HOST:PORT")]
    pub health_address: Option<SocketAddr>,
}

#[derive(Subcommand, Debug)]
pub(crate) enum CsiCommand {
    /// Provision volumes
    Controller {
        #[command(flatten)]
        serve: ServeArgs,
        /// Name of this replica
        #[arg(long, env = "POD_NAME", default_value = "controller")]
        instance: String,
        /// UID of the cluster, kept in records
        #[arg(long, env = "CLUSTER_UID", default_value = "")]
        cluster: String,
    },
    /// Mount volumes on this node
    Node(NodeArgs),
}

#[derive(Args, Debug)]
pub(crate) struct NodeArgs {
    #[command(flatten)]
    pub serve: ServeArgs,
    /// Name of the node
    #[arg(long = "nodeid", env = "NODE_NAME")]
    pub node_name: String,
    /// Namespace of mount pods
    #[arg(long, env = "POD_NAMESPACE")]
    pub mount_namespace: String,
    /// The kubelet's directory
    #[arg(long, default_value = "/var/lib/kubelet", env = "KUBELET_DIR")]
    pub kubelet_dir: PathBuf,
    /// Directory that may hold caches, once for each; the first is the default
    #[arg(long = "cache-root", value_name = "DIR", default_value = "/var/jfsCache")]
    pub cache_roots: Vec<PathBuf>,
    /// Image of mount pods
    #[arg(long, env = "MOUNT_IMAGE")]
    pub mount_image: String,
    #[arg(long, default_value = "IfNotPresent", env = "MOUNT_IMAGE_PULL_POLICY")]
    pub mount_image_pull_policy: String,
    /// Priority class of mount pods
    #[arg(long, default_value = "", env = "MOUNT_PRIORITY_CLASS")]
    pub mount_priority_class: String,
    /// The socket as the kubelet sees it
    #[arg(long, default_value = "", env = "CSI_ENDPOINT_ON_HOST")]
    pub endpoint_on_host: String,
}
