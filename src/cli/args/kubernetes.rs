//! Roles inside a cluster, started by the chart or by the operator and never by a person.

use clap::Args;
use std::net::SocketAddr;
use std::path::PathBuf;

/// `operator`
#[derive(Args, Debug)]
pub(crate) struct OperatorArgs {
    /// Namespace that the operator runs in; its Lease is there.
    #[arg(long, env = "POD_NAMESPACE")]
    pub namespace: String,
    /// Name of this replica, unique among all.
    #[arg(long, env = "POD_NAME")]
    pub identity: String,
    /// Where /healthz is served.
    #[arg(long, default_value = "0.0.0.0:9810")]
    pub health_address: SocketAddr,
    /// Image of format Jobs.
    #[arg(long)]
    pub image: String,
    /// When the nodes pull it.
    #[arg(long, default_value = "IfNotPresent")]
    pub image_pull_policy: String,
    /// NAMESPACE/NAME of a FileSystem that may make the cluster's default StorageClass.
    #[arg(long = "default-class-owner", value_name = "NAMESPACE/NAME")]
    pub default_class_owners: Vec<String>,
}

/// What a promotion does about its source.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum PromoteFence {
    Required,
    BestEffort,
}

/// `mirror-follower`
#[derive(Args, Debug)]
pub(crate) struct MirrorFollowerArgs {
    /// Name of the mirror.
    #[arg(long)]
    pub name: String,
    /// File with the whole address of the source's metadata engine.
    #[arg(long)]
    pub source_url_file: PathBuf,
    /// File with the whole address of the mirror's metadata engine.
    #[arg(long)]
    pub mirror_url_file: PathBuf,
    /// File that describes the mirror's own bucket, as JSON.
    #[arg(long)]
    pub bucket_file: Option<PathBuf>,
    /// Promote the mirror instead of following it.
    #[arg(long, value_enum)]
    pub promote: Option<PromoteFence>,
    /// Where the reason goes when it ends.
    #[arg(long, default_value = "/dev/termination-log")]
    pub report_file: PathBuf,
}

/// `format-job`
#[derive(Args, Debug)]
pub(crate) struct FormatJobArgs {
    /// What to format, as JSON.
    #[arg(long)]
    pub spec_file: PathBuf,
    /// File with the password of the metadata engine.
    #[arg(long)]
    pub meta_password_file: Option<PathBuf>,
    /// File with the whole metadata URL.
    #[arg(long, conflicts_with = "meta_password_file")]
    pub meta_url_file: Option<PathBuf>,
    /// Directory with files access-key, secret-key, session-token.
    #[arg(long)]
    pub storage_secret_dir: Option<PathBuf>,
    /// Where the report goes.
    #[arg(long, default_value = "/dev/termination-log")]
    pub report_file: PathBuf,
}
