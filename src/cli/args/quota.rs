//! `quota`.

use clap::{Args, ValueEnum};

pub(crate) const QUOTA_EXAMPLES: &str = "Examples:
  # Not more than 1 GiB and 100 files and directories below /dir1
  juicefs quota set redis://localhost --path /dir1 --capacity 1 --inodes 100
  juicefs quota get redis://localhost --path /dir1
  juicefs quota list redis://localhost
  juicefs quota delete redis://localhost --path /dir1

  # What users and groups may use of the whole volume
  juicefs quota set redis://localhost --uid 1000 --capacity 2
  juicefs quota set redis://localhost --gid 100 --inodes 500

  # Count anew, and mend what is off
  juicefs quota check redis://localhost --path /dir1 --repair
  juicefs quota check redis://localhost --repair";

#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum QuotaAction {
    /// Set limits of a directory, a user or a group
    Set,
    /// Show one quota
    Get,
    /// Take the limits away
    #[value(alias = "del")]
    Delete,
    /// Show all quotas
    #[value(alias = "ls")]
    List,
    /// Count anew what is used, and compare
    Check,
}

/// `quota`.
#[derive(Args, Debug)]
pub(crate) struct QuotaArgs {
    /// What to do
    #[arg(value_enum)]
    pub action: QuotaAction,
    /// Address of the metadata engine
    pub meta_url: String,
    /// A directory, by its path from the volume's root
    #[arg(long, value_name = "PATH")]
    pub path: Option<String>,
    /// Make the directory if it is missing
    #[arg(long)]
    pub create: bool,
    /// Limit of space in GiB, or with a unit such as 500M; 0 = no limit
    #[arg(long, value_name = "SIZE")]
    pub capacity: Option<String>,
    /// Limit of files and directories; 0 = no limit
    #[arg(long, value_name = "N")]
    pub inodes: Option<u64>,
    /// Make the records what was counted
    #[arg(long)]
    pub repair: bool,
    /// Count node by node, which is always done here
    #[arg(long)]
    pub strict: bool,
    /// A user, by number
    #[arg(long, value_name = "UID")]
    pub uid: Option<u64>,
    /// A group, by number
    #[arg(long, value_name = "GID")]
    pub gid: Option<u64>,
}
