//! What the peer (JuiceFS CE 1.4.2) has and this client has not: hidden commands and flags that clap knows, so that
//! they are read as the peer reads them and answered with "not supported yet", never with "unknown".

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command};

const COMMANDS: &[&str] = &["tier", "debug", "gateway", "webdav", "objbench", "sync", "clone", "mdtest"];

/// A flag by its command (empty: all of them), its name, its letter and whether a value follows.
const FLAGS: &[(&str, &str, Option<char>, bool)] = &[
    ("", "pyroscope", None, true),
    ("format", "enable-acl", None, false),
    ("format", "ranger-rest-url", None, true),
    ("format", "ranger-service", None, true),
    ("format", "kerberos-config-file", None, true),
    ("config", "enable-acl", None, false),
    ("config", "ranger-rest-url", None, true),
    ("config", "ranger-service", None, true),
    ("config", "kerberos-config-file", None, true),
    ("config", "tier", None, true),
];

/// Adds them to the tree of commands.
pub(crate) fn add(mut root: Command) -> Command {
    for (of, name, letter, has_value) in FLAGS {
        let mut arg = Arg::new(*name).long(*name).short(*letter).hide(true).help("not supported yet");
        arg = match has_value {
            true => arg.num_args(1).value_name("VALUE"),
            false => {
                arg.num_args(0..=1).require_equals(true).default_missing_value("true").value_name("BOOL")
            }
        };
        root = match *of {
            "" => root.arg(arg.global(true)),
            of => root.mut_subcommand(of, |command| command.arg(arg)),
        };
    }
    for name in COMMANDS {
        let rest = Arg::new("rest").num_args(0..).trailing_var_arg(true).allow_hyphen_values(true);
        let command =
            Command::new(*name).about("not supported yet").hide(true).disable_help_flag(true).arg(rest);
        root = root.subcommand(command);
    }
    root.after_help(format!("Commands of the peer that are not supported yet: {}", COMMANDS.join(", ")))
}

/// The sentence for a command or flag that was asked for and is not here yet.
pub(crate) fn answer(matches: &ArgMatches) -> Option<String> {
    let (command, matches) = matches.subcommand()?;
    if COMMANDS.contains(&command) {
        return Some(format!("command `{command}` is not supported yet; `juicefs --help` lists what is"));
    }
    let is_asked_for = |name: &str, has_value: bool| {
        matches.value_source(name) == Some(ValueSource::CommandLine)
            && (has_value || matches.get_one::<String>(name).is_none_or(|value| value != "false"))
    };
    let (_, name, ..) = FLAGS
        .iter()
        .filter(|(of, ..)| of.is_empty() || *of == command)
        .find(|(_, name, _, has_value)| is_asked_for(name, *has_value))?;
    Some(format!(
        "flag `--{name}` of `{command}` is not supported yet: leave it out (`juicefs {command} --help` lists what is)"
    ))
}
