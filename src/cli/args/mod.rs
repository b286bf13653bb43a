//! Clap types of every command, the peer's commands that are not here yet, and the peer's way of writing options.

mod csi;
mod dump;
pub(crate) mod fstab;
pub(crate) mod go_flags;
mod kubernetes;
mod mirror;
mod mount;
pub(crate) mod not_yet;
mod quota;
mod tools;
mod volume;

use clap::{ArgAction, Args, CommandFactory, Parser, Subcommand};

pub(crate) use csi::CsiCommand;
pub(crate) use dump::{DumpArgs, LoadArgs};
pub(crate) use kubernetes::{FormatJobArgs, MirrorFollowerArgs, OperatorArgs, PromoteFence};
pub(crate) use mirror::{CheckArgs, CreateArgs, FollowArgs, MirrorCommand, PromoteArgs};
pub(crate) use mount::{MountArgs, UmountArgs};
pub(crate) use quota::{QuotaAction, QuotaArgs};
pub(crate) use tools::{
    BenchArgs, CompactArgs, InfoArgs, ProfileArgs, RmrArgs, StatsArgs, SummaryArgs, WarmupArgs,
};
pub(crate) use volume::{
    ChangelogArgs, ConfigArgs, DestroyArgs, FormatArgs, FsckArgs, GcArgs, HealArgs, RestoreArgs, StatusArgs,
    StoreFlags,
};

/// A POSIX file system on object storage and a database.
#[derive(Parser, Debug)]
#[command(name = "juicefs", version = juicefs_version(), disable_version_flag = true, propagate_version = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub global: GlobalArgs,
    #[arg(short = 'V', long, action = ArgAction::Version, global = true, help = "Print the version only")]
    version: Option<bool>,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "GLOBAL")]
pub(crate) struct GlobalArgs {
    /// Log more.
    #[arg(short, long, visible_alias = "debug", global = true)]
    pub verbose: bool,
    /// Log even more.
    #[arg(long, global = true)]
    pub trace: bool,
    /// Log warnings and errors only.
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// Tag every log line; `random` makes one up.
    #[arg(long, value_name = "ID", global = true)]
    pub log_id: Option<String>,
    /// Accepted; there is no debug server.
    #[arg(long, global = true, hide = true)]
    pub no_agent: bool,
    /// Accepted; log lines have no colours.
    #[arg(long, global = true, hide = true)]
    pub no_color: bool,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Make a volume
    #[command(after_help = volume::FORMAT_EXAMPLES)]
    Format(FormatArgs),
    /// Show or change the settings of a volume
    #[command(after_help = volume::CONFIG_EXAMPLES)]
    Config(ConfigArgs),
    /// Follow the change log of a volume
    #[command(after_help = volume::CHANGELOG_EXAMPLES)]
    Changelog(ChangelogArgs),
    /// Show settings, sessions and usage of a volume
    #[command(after_help = volume::STATUS_EXAMPLES)]
    Status(StatusArgs),
    /// Read-only copies of a volume that follow it
    #[command(subcommand, after_help = mirror::MIRROR_EXAMPLES)]
    Mirror(MirrorCommand),
    /// Mount a volume
    #[command(after_help = mount::MOUNT_EXAMPLES)]
    Mount(MountArgs),
    /// Unmount a volume
    #[command(after_help = mount::UMOUNT_EXAMPLES)]
    Umount(UmountArgs),
    /// Look for what nobody needs any more, and remove it if told to
    #[command(after_help = volume::GC_EXAMPLES)]
    Gc(GcArgs),
    /// Check that every block of every file is there
    #[command(after_help = volume::FSCK_EXAMPLES)]
    Fsck(FsckArgs),
    /// Make both buckets of a volume hold what its files need
    #[command(after_help = volume::HEAL_EXAMPLES)]
    Heal(HealArgs),
    /// Remove a volume: all its files, objects and records
    #[command(after_help = volume::DESTROY_EXAMPLES)]
    Destroy(DestroyArgs),
    /// Write the metadata of a volume into a file
    #[command(after_help = dump::DUMP_EXAMPLES)]
    Dump(DumpArgs),
    /// Fill an empty database from a dump
    #[command(after_help = dump::LOAD_EXAMPLES)]
    Load(LoadArgs),
    /// Bring back what was removed, out of the trash
    #[command(after_help = volume::RESTORE_EXAMPLES)]
    Restore(RestoreArgs),
    /// Make chunks of many small slices into few large ones
    #[command(after_help = tools::COMPACT_EXAMPLES)]
    Compact(CompactArgs),
    /// Show what a file or directory is made of
    #[command(after_help = tools::INFO_EXAMPLES)]
    Info(InfoArgs),
    /// Remove a directory and all in it, faster than rm
    #[command(after_help = tools::RMR_EXAMPLES)]
    Rmr(RmrArgs),
    /// Show what takes the space in a tree
    #[command(after_help = tools::SUMMARY_EXAMPLES)]
    Summary(SummaryArgs),
    /// Limit what directories, users and groups use
    #[command(after_help = quota::QUOTA_EXAMPLES)]
    Quota(QuotaArgs),
    /// Show what a mount does, a line a second
    #[command(after_help = tools::STATS_EXAMPLES)]
    Stats(StatsArgs),
    /// Measure how fast a path takes and gives files
    #[command(after_help = tools::BENCH_EXAMPLES)]
    Bench(BenchArgs),
    /// Show which operations take a mount's time
    #[command(after_help = tools::PROFILE_EXAMPLES)]
    Profile(ProfileArgs),
    /// Bring files into a mount's cache
    #[command(after_help = tools::WARMUP_EXAMPLES)]
    Warmup(WarmupArgs),
    /// Show the version
    #[command(after_help = "Examples:\n  juicefs version")]
    Version,
    /// Make FileSystems what they ask to be (started by the chart)
    #[command(hide = true)]
    Operator(OperatorArgs),
    /// Format a volume inside a Job (started by the operator)
    #[command(hide = true)]
    FormatJob(FormatJobArgs),
    /// Make a mirror and follow its source inside a pod (started by the operator)
    #[command(hide = true)]
    MirrorFollower(MirrorFollowerArgs),
    /// Print the custom resource definitions
    #[command(hide = true)]
    Crds,
    /// Serve mounts inside a mount pod (started by the CSI driver)
    #[command(hide = true)]
    MountPod {
        /// Unix socket on which offers arrive
        #[arg(long)]
        socket: std::path::PathBuf,
        /// User that may make offers: the node plugin's
        #[arg(long, default_value_t = 0)]
        broker_uid: u32,
        /// The process that serves; started, and started again, by the pod's first one
        #[arg(long, hide = true)]
        worker: bool,
    },
    /// The CSI driver (started by the chart)
    #[command(subcommand, hide = true)]
    Csi(CsiCommand),
}

/// What `version` says.
pub(crate) const fn juicefs_version() -> &'static str {
    juicefs_meta::format::SESSION_VERSION
}

/// The tree of all commands: ours, and the peer's that answer "not supported yet".
pub(crate) fn command() -> clap::Command {
    let root = not_yet::add(Cli::command()).args_override_self(true);
    let names: Vec<String> = root.get_subcommands().map(|command| command.get_name().to_owned()).collect();
    names
        .into_iter()
        .fold(root, |root, name| root.mut_subcommand(name, |command| command.args_override_self(true)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::FromArgMatches;
    use std::ffi::OsString;

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn the_tree_of_commands_is_sound() {
        command().debug_assert();
    }

    #[test]
    fn what_the_peer_has_is_never_called_unknown() {
        for line in [
            "juicefs clone a b",
            "juicefs -v sync a b --list-depth 3",
            "juicefs --log-id x clone a b",
            "juicefs tier set redis://x --tier 1 /d -r",
            "juicefs clone --help",
            "juicefs config x --tier 1",
            "juicefs format --enable-acl a b",
            "juicefs --pyroscope http://x status y",
        ] {
            let matches = command().try_get_matches_from(words(line)).expect(line);
            let answer = not_yet::answer(&matches).expect(line);
            assert!(answer.contains("not supported yet"), "{answer}");
        }
        for line in ["juicefs status redis://clone", "juicefs format a b --enable-acl=false"] {
            let matches = command().try_get_matches_from(words(line)).expect(line);
            assert_eq!(not_yet::answer(&matches), None);
        }
    }

    #[test]
    fn options_may_stand_before_or_after_the_arguments_and_the_last_one_wins() {
        for line in [
            "juicefs mount -d --cache-size 512000 redis://h/1 /mnt",
            "juicefs mount redis://h/1 /mnt -d --cache-size 1 --cache-size 512000",
        ] {
            let matches = command().try_get_matches_from(words(line)).expect(line);
            let Command::Mount(mount) = Cli::from_arg_matches(&matches).expect(line).command else {
                panic!("{line}")
            };
            assert!(
                mount.background
                    && mount.flags.iter().any(|(name, value)| name == "cache-size" && value == "512000")
            );
        }
    }
}
