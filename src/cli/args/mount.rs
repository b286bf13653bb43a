//! `mount` and `umount`. The flags of a mount come from the table in the mount room, so that the CSI driver and
//! the command line can't differ.

use clap::{Arg, ArgAction, ArgMatches, Args, Command, Error, FromArgMatches};
use juicefs_mount::flags::{FLAGS, Support};
use std::path::PathBuf;

pub(crate) const MOUNT_EXAMPLES: &str = "Examples:
  # In the foreground, SQLite and a folder
  juicefs mount sqlite3:///srv/meta.db /mnt/jfs

  # In the background, the password from the environment
  META_PASSWORD=mypassword juicefs mount -d redis://localhost/1 /mnt/jfs

  # A directory of the volume as root, nothing may change
  juicefs mount -d --subdir /team --read-only redis://localhost/1 /mnt/jfs";

pub(crate) const UMOUNT_EXAMPLES: &str = "Examples:
  juicefs umount /mnt/jfs

  # Although files are open on it
  juicefs umount --force /mnt/jfs";

/// `mount`.
#[derive(Debug, Default)]
pub(crate) struct MountArgs {
    pub meta_url: String,
    pub mountpoint: PathBuf,
    pub background: bool,
    /// Nothing: the default of the user.
    pub log: Option<PathBuf>,
    pub no_syslog: bool,
    pub fuse_options: Vec<String>,
    /// Flags given, with their texts, in no order.
    pub flags: Vec<(String, String)>,
}

impl Args for MountArgs {
    fn augment_args(command: Command) -> Command {
        let switch = |id: &'static str, help: &'static str| {
            Arg::new(id).long(id).action(ArgAction::SetTrue).help(help)
        };
        let command = command
            .arg(
                Arg::new("meta-url")
                    .value_name("META-URL")
                    .required(true)
                    .help("Address of the metadata engine"),
            )
            .arg(
                Arg::new("mountpoint")
                    .value_name("MOUNTPOINT")
                    .required(true)
                    .value_parser(clap::value_parser!(PathBuf))
                    .help("Directory to mount on, made if missing"),
            )
            .arg(switch("background", "Run in the background; return when the mount answers").short('d'))
            .arg(switch("no-syslog", "Accepted; logs go to --log only"))
            .arg(
                Arg::new("log")
                    .long("log")
                    .value_name("FILE")
                    .value_parser(clap::value_parser!(PathBuf))
                    .help("Log file of a background mount [default: /var/log/juicefs.log]"),
            )
            .arg(
                Arg::new("o")
                    .short('o')
                    .value_name("LIST")
                    .action(ArgAction::Append)
                    .help("Other FUSE options"),
            );
        FLAGS.iter().fold(command, |command, flag| {
            let hidden = flag.support != Support::Kept;
            let mut arg = Arg::new(flag.name).long(flag.name).hide(hidden).help_heading(flag.group);
            let mut help = flag.help.to_owned();
            if !flag.default.is_empty() {
                help.push_str(&format!(" [default: {}]", flag.default));
            }
            arg = if flag.value.is_empty() {
                arg.num_args(0..=1).require_equals(true).default_missing_value("true").value_name("BOOL")
            } else {
                arg.value_name(flag.value).num_args(1)
            };
            command.arg(arg.help(help))
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for MountArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let mut args = Self::default();
        args.update_from_arg_matches(matches)?;
        Ok(args)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        self.meta_url = matches.get_one::<String>("meta-url").cloned().unwrap_or_default();
        self.mountpoint = matches.get_one::<PathBuf>("mountpoint").cloned().unwrap_or_default();
        self.background = matches.get_flag("background");
        self.no_syslog = matches.get_flag("no-syslog");
        self.log = matches.get_one::<PathBuf>("log").cloned();
        self.fuse_options = matches.get_many::<String>("o").into_iter().flatten().cloned().collect();
        self.flags = FLAGS
            .iter()
            .filter_map(|flag| Some((flag.name.to_owned(), matches.get_one::<String>(flag.name)?.clone())))
            .collect();
        Ok(())
    }
}

/// `umount`.
#[derive(Args, Debug)]
pub(crate) struct UmountArgs {
    /// Directory to unmount
    pub mountpoint: PathBuf,
    /// Unmount even when busy: open files fail, data that was not flushed is lost
    #[arg(short, long)]
    pub force: bool,
    /// First wait until everything that --writeback holds back is stored
    #[arg(long)]
    pub flush: bool,
}
