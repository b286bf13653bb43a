//! Commands on files of a mount.

use clap::Args;
use std::path::PathBuf;

pub(crate) const COMPACT_EXAMPLES: &str = "Examples:
  # All files below a directory
  juicefs compact /mnt/jfs/foo";

pub(crate) const INFO_EXAMPLES: &str = "Examples:
  juicefs info /mnt/jfs/foo

  # By inode, from inside the mount
  cd /mnt/jfs && juicefs info -i 100";

pub(crate) const RMR_EXAMPLES: &str = "Examples:
  juicefs rmr /mnt/jfs/foo";

pub(crate) const SUMMARY_EXAMPLES: &str = "Examples:
  juicefs summary /mnt/jfs/foo

  # Deeper, for a spreadsheet
  juicefs summary --depth 5 --entries 20 --csv /mnt/jfs/foo";

/// `compact`.
#[derive(Args, Debug)]
pub(crate) struct CompactArgs {
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// Chunks at the same time
    #[arg(short = 'p', long, value_name = "N", default_value_t = 10)]
    pub threads: u16,
}

/// `info`.
#[derive(Args, Debug)]
pub(crate) struct InfoArgs {
    /// Paths, or inodes with --inode
    #[arg(required = true, value_name = "PATH/INODE")]
    pub paths: Vec<String>,
    /// Inodes of the mount that the working directory is in
    #[arg(short, long)]
    pub inode: bool,
    /// Sum up whole trees
    #[arg(short, long)]
    pub recursive: bool,
    /// Count node by node, which is always done here
    #[arg(long)]
    pub strict: bool,
    /// Show slices instead of objects
    #[arg(long)]
    pub raw: bool,
    /// Print the mount's documents, one a line
    #[arg(long)]
    pub json: bool,
}

/// `rmr`.
#[derive(Args, Debug)]
pub(crate) struct RmrArgs {
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// Remove for good, not into the trash (root only)
    #[arg(long)]
    pub skip_trash: bool,
    /// Names removed at the same time, at most 255
    #[arg(short = 'p', long, value_name = "N", default_value_t = 50)]
    pub threads: u8,
}

/// `summary`.
#[derive(Args, Debug)]
pub(crate) struct SummaryArgs {
    pub path: PathBuf,
    /// Levels below the path that are shown
    #[arg(short, long, value_name = "N", default_value_t = 2)]
    pub depth: u8,
    /// Largest entries of each directory that are shown
    #[arg(short, long, value_name = "N", default_value_t = 10)]
    pub entries: u8,
    /// Count node by node, which is always done here
    #[arg(long)]
    pub strict: bool,
    /// Print comma-separated values
    #[arg(long)]
    pub csv: bool,
    /// Print the mount's document
    #[arg(long)]
    pub json: bool,
}
