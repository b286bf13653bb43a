//! Mirrors.

use clap::{Args, Subcommand};

pub(crate) const MIRROR_EXAMPLES: &str = "Examples:
  # A read-only copy of the metadata in another database, its data in the source's bucket
  juicefs config redis://far/1 --changelog
  juicefs mirror create redis://far/1 sqlite3:///srv/mirror.db --name near
  juicefs mirror run sqlite3:///srv/mirror.db &
  juicefs mount -d sqlite3:///srv/mirror.db /mnt/near

  # With a bucket of its own, and names that come when their bytes are there
  juicefs mirror create redis://far/1 redis://near/1 --name near --data-first \
    --storage s3 --bucket https://near.s3.eu-west-1.amazonaws.com

  # The other region takes over: planned, and after a disaster
  juicefs mirror promote redis://near/1 --fence
  juicefs mirror promote redis://near/1 --force

  # How far it is behind, and whether it is equal
  juicefs mirror status sqlite3:///srv/mirror.db
  juicefs mirror check sqlite3:///srv/mirror.db";

#[derive(Subcommand, Debug)]
pub(crate) enum MirrorCommand {
    /// Make an empty database the mirror of a volume
    Create(Box<CreateArgs>),
    /// Follow the source until the mirror is dropped
    Run(RunArgs),
    /// Show how far a mirror is behind, as JSON
    Status(FollowArgs),
    /// Compare a mirror with its source; exit code 1 when they differ
    Check(CheckArgs),
    /// Make a mirror a volume of its own; refused while anybody may write to the source
    Promote(PromoteArgs),
    /// Give a mirror up; its database can then be deleted
    Drop(FollowArgs),
}

#[derive(Args, Debug)]
pub(crate) struct FollowArgs {
    /// Address of the mirror's metadata engine
    pub mirror: String,
    /// Address of the source where the mirror's own record is not enough (a password: environment
    /// `SOURCE_META_PASSWORD`)
    #[arg(long, value_name = "META-URL")]
    pub source: Option<String>,
}

/// `mirror create`.
#[derive(Args, Debug)]
pub(crate) struct CreateArgs {
    /// Address of the volume's metadata engine
    pub source: String,
    /// Address of the mirror's metadata engine
    pub mirror: String,
    /// Name of the mirror
    #[arg(long, value_name = "NAME")]
    pub name: String,
    /// Type of the object store for a bucket of the mirror's own [default: the source's type]
    #[arg(long, value_name = "TYPE", requires = "bucket")]
    pub storage: Option<String>,
    /// A bucket of the mirror's own, to which blocks are copied [default: read the source's]
    #[arg(long, value_name = "URL")]
    pub bucket: Option<String>,
    /// Access key of the mirror's bucket (environment: ACCESS_KEY)
    #[arg(long, value_name = "KEY", requires = "bucket")]
    pub access_key: Option<String>,
    /// Secret key of the mirror's bucket (safer by the environment: SECRET_KEY)
    #[arg(long, value_name = "KEY", requires = "bucket")]
    pub secret_key: Option<juicefs_base::SecretString>,
    /// The database is the volume that this source was promoted from: make it the mirror, whatever it has else goes
    #[arg(long)]
    pub rejoin: bool,
    /// Show a file only when its blocks are in the mirror's bucket [default: read what is not there yet from the source's]
    #[arg(long, requires = "bucket")]
    pub data_first: bool,
    /// Another access key for the source's bucket, which is only read (environment: SOURCE_ACCESS_KEY)
    #[arg(long, value_name = "KEY", requires = "bucket")]
    pub source_access_key: Option<String>,
    /// Its secret key (safer by the environment: SOURCE_SECRET_KEY)
    #[arg(long, value_name = "KEY", requires = "bucket")]
    pub source_secret_key: Option<juicefs_base::SecretString>,
}

/// `mirror run`.
#[derive(Args, Debug)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub follow: FollowArgs,
    /// Blocks that are copied at the same time
    #[arg(long, value_name = "N", default_value_t = 16)]
    pub threads: usize,
    /// Limit of what is read from the source's bucket in Mbps, 0 = none
    #[arg(long, value_name = "MBPS", default_value_t = 0)]
    pub download_limit: u32,
}

/// `mirror check`.
#[derive(Args, Debug)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    pub follow: FollowArgs,
    /// Blocks of the mirror's own bucket that are compared byte for byte, spread over all files
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub blocks: usize,
}

/// `mirror promote`.
#[derive(Args, Debug)]
pub(crate) struct PromoteArgs {
    #[command(flatten)]
    pub follow: FollowArgs,
    /// Make every client of the source leave, stock ones too, and take over all that they wrote
    #[arg(long, conflicts_with = "force")]
    pub fence: bool,
    /// Leave the source as it is: what it has and the mirror has not is lost; nobody may write there any more
    #[arg(long)]
    pub force: bool,
    /// Seconds that clients of the source may take to leave
    #[arg(long, value_name = "SECONDS", default_value_t = 180)]
    pub wait: u64,
}
