//! The roles of the CSI driver.

use juicefs_csi::{ControllerSettings, NodeSettings, ServeSettings};
use std::process::ExitCode;

use crate::args::CsiCommand;

pub(super) async fn run(role: CsiCommand) -> anyhow::Result<ExitCode> {
    match role {
        CsiCommand::Controller { serve, instance, cluster } => {
            let serve = ServeSettings { endpoint: serve.endpoint, instance, health: serve.health_address };
            juicefs_csi::run_controller(ControllerSettings { serve, cluster }).await?;
        }
        CsiCommand::Node(args) => {
            let health = args.serve.health_address;
            let serve = ServeSettings { endpoint: args.serve.endpoint, instance: args.node_name, health };
            let settings = NodeSettings {
                serve,
                namespace: args.mount_namespace,
                kubelet_dir: args.kubelet_dir,
                cache_roots: args.cache_roots,
                mount_image: args.mount_image,
                mount_image_pull_policy: args.mount_image_pull_policy,
                mount_priority_class: args.mount_priority_class,
                endpoint_on_host: args.endpoint_on_host,
            };
            juicefs_csi::run_node(settings).await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
