//! Mirrors.

use clap::{Args, Subcommand};

pub(crate) const MIRROR_EXAMPLES: &str = "Examples:
  # A read-only copy of the metadata in another database, its data in the source's bucket
  juicefs config redis://far/1 --changelog
  juicefs mirror create redis://far/1 sqlite3:///srv/mirror.db --name near
  juicefs mirror run sqlite3:///srv/mirror.db &
  juicefs mount -d sqlite3:///srv/mirror.db /mnt/near

  # How far it is behind, and whether it is equal
  juicefs mirror status sqlite3:///srv/mirror.db
  juicefs mirror check sqlite3:///srv/mirror.db";

#[derive(Subcommand, Debug)]
pub(crate) enum MirrorCommand {
    /// Make an empty database the mirror of a volume
    Create {
        /// Address of the volume's metadata engine
        source: String,
        /// Address of the mirror's metadata engine
        mirror: String,
        /// Name of the mirror
        #[arg(long, value_name = "NAME")]
        name: String,
        /// A bucket of the mirror's own (not supported yet: data is read from the source's)
        #[arg(long, value_name = "URL", hide = true)]
        bucket: Option<String>,
    },
    /// Follow the source until the mirror is dropped
    Run(FollowArgs),
    /// Show how far a mirror is behind, as JSON
    Status(FollowArgs),
    /// Compare a mirror with its source; exit code 1 when they differ
    Check(FollowArgs),
    /// Make a mirror writable (not supported yet)
    #[command(hide = true)]
    Promote(FollowArgs),
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
