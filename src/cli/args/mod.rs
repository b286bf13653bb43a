//! Clap types of every command, and the peer's commands that are not here yet.

mod csi;
mod kubernetes;
mod mount;
mod volume;

use clap::{ArgAction, Args, Parser, Subcommand};
use std::ffi::OsString;

pub(crate) use csi::CsiCommand;
pub(crate) use kubernetes::{FormatJobArgs, OperatorArgs};
pub(crate) use mount::{MountArgs, UmountArgs};
pub(crate) use volume::{ConfigArgs, FormatArgs, FsckArgs, GcArgs, StatusArgs, StoreFlags};

/// A POSIX file system on object storage and a database.
#[derive(Parser, Debug)]
#[command(name = "juicefs", version = juicefs_version(), disable_version_flag = true, propagate_version = true, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub global: GlobalArgs,
    #[arg(short = 'V', long, action = ArgAction::Version, global = true, help = "Print the version only")]
    version: Option<bool>,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Args, Debug, Clone)]
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
    /// Show settings, sessions and usage of a volume
    #[command(after_help = volume::STATUS_EXAMPLES)]
    Status(StatusArgs),
    /// Mount a volume
    #[command(after_help = mount::MOUNT_EXAMPLES)]
    Mount(MountArgs),
    /// Unmount a volume
    Umount(UmountArgs),
    /// Look for objects that nothing refers to
    #[command(after_help = volume::GC_EXAMPLES)]
    Gc(GcArgs),
    /// Check that every block of every file is there
    #[command(after_help = volume::FSCK_EXAMPLES)]
    Fsck(FsckArgs),
    /// Show the version
    Version,
    /// Make FileSystems what they ask to be (started by the chart)
    #[command(hide = true)]
    Operator(OperatorArgs),
    /// Format a volume inside a Job (started by the operator)
    #[command(hide = true)]
    FormatJob(FormatJobArgs),
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
    },
    /// The CSI driver (started by the chart)
    #[command(subcommand, hide = true)]
    Csi(CsiCommand),
}

/// What `version` says.
pub(crate) const fn juicefs_version() -> &'static str {
    juicefs_meta::format::SESSION_VERSION
}

/// The peer's commands that this client does not have.
const NOT_YET: &[&str] = &[
    "quota",
    "destroy",
    "restore",
    "dump",
    "load",
    "tier",
    "changelog",
    "stats",
    "profile",
    "info",
    "debug",
    "summary",
    "gateway",
    "webdav",
    "bench",
    "objbench",
    "warmup",
    "rmr",
    "sync",
    "clone",
    "compact",
    "mdtest",
];

/// The peer's flags that this client does not have, by command.
const NOT_YET_FLAGS: &[(&str, &[&str])] = &[
    (
        "format",
        &[
            "encrypt-rsa-key",
            "encrypt-algo",
            "enable-acl",
            "ranger-rest-url",
            "ranger-service",
            "kerberos-config-file",
            "tag",
        ],
    ),
    (
        "config",
        &[
            "enable-acl",
            "ranger-rest-url",
            "ranger-service",
            "kerberos-config-file",
            "user-group-quota",
            "changelog",
            "changelog-max-age",
            "changelog-max-lines",
            "tier",
            "tag",
        ],
    ),
    ("status", &["more", "m"]),
    ("gc", &["compact", "delete"]),
    ("fsck", &["path", "repair", "recursive", "r", "sync-dir-stat", "repair-dir-mode"]),
];

/// The sentence for a command or flag of the peer that is not here yet.
pub(crate) fn not_supported_yet(arguments: &[OsString]) -> Option<String> {
    let words: Vec<&str> = arguments.iter().skip(1).filter_map(|word| word.to_str()).collect();
    let command = words.iter().find(|word| !word.starts_with('-'))?;
    if NOT_YET.contains(command) {
        return Some(format!("command `{command}` is not supported yet; `juicefs --help` lists what is"));
    }
    if words.iter().any(|word| *word == "--pyroscope" || word.starts_with("--pyroscope=")) {
        return Some("flag `--pyroscope` is not supported yet; leave it out".to_owned());
    }
    let (_, flags) = NOT_YET_FLAGS.iter().find(|(name, _)| name == command)?;
    words.iter().filter(|word| word.starts_with('-')).find_map(|word| {
        let name = word.trim_start_matches('-').split('=').next().unwrap_or_default();
        flags.contains(&name).then(|| {
            format!(
                "flag `{word}` of `{command}` is not supported yet; `juicefs {command} --help` lists what is"
            )
        })
    })
}

/// `--flag=true` and `--flag=false` of a switch, as the peer takes them: the first becomes the bare flag, the
/// second goes.
pub(crate) fn split_joined_options(arguments: &mut Vec<OsString>) {
    const SWITCHES: &[&str] = &[
        "force",
        "no-update",
        "hash-prefix",
        "background",
        "no-syslog",
        "flush",
        "verbose",
        "quiet",
        "trace",
    ];
    arguments.retain_mut(|argument| {
        let Some((name, value)) = argument.to_str().and_then(|text| text.strip_prefix("--")?.split_once('='))
        else {
            return true;
        };
        if !SWITCHES.contains(&name) {
            return true;
        }
        match value {
            "true" => {
                *argument = OsString::from(format!("--{name}"));
                true
            }
            "false" => false,
            _ => true,
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn the_tree_of_commands_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn what_the_peer_has_is_never_called_unknown() {
        for line in [
            "juicefs dump redis://x",
            "juicefs -v sync a b",
            "juicefs gc x --delete",
            "juicefs format --enable-acl a b",
        ] {
            let answer = not_supported_yet(&words(line)).expect(line);
            assert!(answer.contains("not supported yet"), "{answer}");
        }
        assert_eq!(not_supported_yet(&words("juicefs status redis://dump")), None);
    }

    #[test]
    fn options_may_stand_before_or_after_the_arguments() {
        for line in [
            "juicefs mount -d --cache-size 512000 redis://h/1 /mnt",
            "juicefs mount redis://h/1 /mnt -d --cache-size 512000",
        ] {
            let cli = Cli::try_parse_from(words(line)).expect(line);
            let Command::Mount(mount) = cli.command else { panic!("{line}") };
            assert!(
                mount.background
                    && mount.flags.iter().any(|(name, value)| name == "cache-size" && value == "512000")
            );
        }
    }
}
