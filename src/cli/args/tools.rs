//! Commands on files of a mount.

use clap::Args;
use std::path::PathBuf;

pub(crate) const BENCH_EXAMPLES: &str = "Examples:
  # With four threads
  juicefs bench /mnt/jfs -p 4

  # Small files only
  juicefs bench /mnt/jfs --big-file-size 0

  # For a script
  juicefs bench /mnt/jfs --json | jq .results";

pub(crate) const COMPACT_EXAMPLES: &str = "Examples:
  # All files below a directory
  juicefs compact /mnt/jfs/foo";

pub(crate) const INFO_EXAMPLES: &str = "Examples:
  juicefs info /mnt/jfs/foo

  # By inode, from inside the mount
  cd /mnt/jfs && juicefs info -i 100";

pub(crate) const PROFILE_EXAMPLES: &str = "Examples:
  # A mount, as it works
  juicefs profile /mnt/jfs

  # A log that was kept, all of it at once
  timeout 60 cat /mnt/jfs/.accesslog > /tmp/access.log
  juicefs profile /tmp/access.log --interval 0";

pub(crate) const STATS_EXAMPLES: &str = "Examples:
  juicefs stats /mnt/jfs

  # More numbers, ten lines of them
  juicefs stats /mnt/jfs -l 1 --count 10";

pub(crate) const RMR_EXAMPLES: &str = "Examples:
  juicefs rmr /mnt/jfs/foo";

pub(crate) const WARMUP_EXAMPLES: &str = "Examples:
  # All files below a directory
  juicefs warmup /mnt/jfs/datadir

  # Files of a list, a path a line
  juicefs warmup -f /tmp/filelist

  # How much of it is cached, and where
  juicefs warmup --check /mnt/jfs/datadir";

pub(crate) const SUMMARY_EXAMPLES: &str = "Examples:
  juicefs summary /mnt/jfs/foo

  # Deeper, for a spreadsheet
  juicefs summary --depth 5 --entries 20 --csv /mnt/jfs/foo";

/// `bench`.
#[derive(Args, Debug)]
pub(crate) struct BenchArgs {
    /// Directory below which files are made and removed
    #[arg(value_name = "PATH")]
    pub path: PathBuf,
    /// Bytes of one read or write (MiB where no unit is given)
    #[arg(long, value_name = "SIZE", default_value = "1M")]
    pub block_size: String,
    /// Bytes of a big file (MiB where no unit is given); 0 for none
    #[arg(long, value_name = "SIZE", default_value = "1G")]
    pub big_file_size: String,
    /// Bytes of a small file (KiB where no unit is given); 0 for none
    #[arg(long, value_name = "SIZE", default_value = "128K")]
    pub small_file_size: String,
    /// Small files of each thread
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub small_file_count: u32,
    /// Threads at the same time
    #[arg(short = 'p', long, value_name = "N", default_value_t = 1)]
    pub threads: u32,
    /// Print the results as JSON
    #[arg(long)]
    pub json: bool,
}

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

/// `stats`.
#[derive(Args, Debug)]
pub(crate) struct StatsArgs {
    /// The root of a mount
    #[arg(value_name = "MOUNTPOINT")]
    pub path: PathBuf,
    /// Sections and their order: t(ime), u(sage), f(use), m(eta), c(ache of blocks), o(bject), g(o)
    #[arg(long, default_value = "ufmco")]
    pub schema: String,
    /// Seconds between lines
    #[arg(long, value_name = "SECONDS", default_value_t = 1)]
    pub interval: u64,
    /// 1 shows more columns
    #[arg(short = 'l', long, value_name = "N", default_value_t = 0)]
    pub verbosity: u8,
    /// Lines to print; 0 = until it is stopped
    #[arg(short, long, value_name = "N", default_value_t = 0)]
    pub count: u64,
}

/// `profile`.
#[derive(Args, Debug)]
pub(crate) struct ProfileArgs {
    /// The root of a mount, or a file with lines of its .accesslog
    #[arg(value_name = "MOUNTPOINT/LOGFILE")]
    pub path: PathBuf,
    /// Only operations of these users
    #[arg(short, long, value_name = "UID,...", value_delimiter = ',')]
    pub uid: Vec<u32>,
    /// Only operations of these groups
    #[arg(short, long, value_name = "GID,...", value_delimiter = ',')]
    pub gid: Vec<u32>,
    /// Only operations of these processes
    #[arg(short, long, value_name = "PID,...", value_delimiter = ',')]
    pub pid: Vec<u32>,
    /// Seconds summed up in one table; 0 = all of a file in one
    #[arg(long, value_name = "SECONDS", default_value_t = 2)]
    pub interval: u64,
}

/// `warmup`.
#[derive(Args, Debug)]
pub(crate) struct WarmupArgs {
    #[arg(value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// File with a path a line
    #[arg(short, long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Files read at the same time
    #[arg(short = 'p', long, value_name = "N", default_value_t = 50)]
    pub threads: u16,
    /// Do not wait for the end
    #[arg(short, long)]
    pub background: bool,
    /// Take blocks out of the cache
    #[arg(long)]
    pub evict: bool,
    /// Show how much is cached, and where
    #[arg(long)]
    pub check: bool,
}
