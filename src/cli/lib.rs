//! Command line: arguments -> settings -> one call into a room, nothing else.
//!
//! `args` holds clap types only, `commands` one file per command. Every other command of the peer answers "not
//! supported yet". Errors reach the user here, one sentence with its causes.

mod args;
mod commands;
mod control;
mod environment;
mod progress;
mod table;

use clap::FromArgMatches;
use clap::error::ErrorKind;
use environment::Environment;
use std::ffi::OsString;
use std::process::ExitCode;

/// As the peer answers an unknown command.
const UNKNOWN_COMMAND: u8 = 3;

/// Runs the command line and gives the exit code of the process.
pub fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let mut environment = Environment::take();
    if let Err(cause) = juicefs_base::secrets::mask_arguments(&arguments, environment::SECRET_FLAGS) {
        environment.shown_because.get_or_insert(cause);
    }
    let is_for_fstab = arguments.first().is_some_and(|program| args::fstab::is_called(program));
    let arguments = match is_for_fstab {
        true => args::fstab::translate(&arguments),
        false => Some(arguments),
    };
    // A dry run of mount(8).
    let Some(arguments) = arguments else { return ExitCode::SUCCESS };
    match run(&arguments, &environment) {
        Ok(code) => code,
        Err(error) => {
            fail(&sentence(&error));
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[OsString], environment: &Environment) -> anyhow::Result<ExitCode> {
    let mut tree = args::command();
    tree.build();
    if arguments.len() <= 1 {
        tree.print_help()?;
        return Ok(ExitCode::SUCCESS);
    }
    let hidden =
        |text: &str| juicefs_base::secrets::hide_arguments(text, arguments, environment::SECRET_FLAGS);
    let rewritten =
        args::go_flags::rewrite(arguments, &tree).map_err(|sentence| anyhow::anyhow!(hidden(&sentence)))?;
    let parsed =
        tree.try_get_matches_from(rewritten).and_then(|matches| match args::not_yet::answer(&matches) {
            Some(sentence) => Ok(Err(sentence)),
            None => args::Cli::from_arg_matches(&matches).map(Ok),
        });
    match parsed {
        Ok(Ok(cli)) => commands::run(cli, environment),
        Ok(Err(sentence)) => anyhow::bail!(sentence),
        Err(error) if error.kind() == ErrorKind::DisplayVersion => {
            commands::version();
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            let text = error.to_string();
            match hidden(&text) {
                shown if shown == text => error.print()?,
                shown => print_error(&shown),
            }
            Ok(match error.kind() {
                ErrorKind::DisplayHelp => ExitCode::SUCCESS,
                ErrorKind::InvalidSubcommand => ExitCode::from(UNKNOWN_COMMAND),
                _ => ExitCode::FAILURE,
            })
        }
    }
}

/// An error with its causes, each of them once: some tell their cause themselves.
fn sentence(error: &anyhow::Error) -> String {
    let mut said = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !said.ends_with(&cause) {
            said = format!("{said}: {cause}");
        }
    }
    said
}

#[expect(clippy::print_stderr, reason = "the error of a command belongs on standard error, logging or not")]
fn print_error(text: &str) {
    eprintln!("{text}");
}

/// The last word on standard error, in the form of a log line so that scripts find it by `<FATAL>`.
#[expect(clippy::print_stderr, reason = "the error of a command belongs on standard error, logging or not")]
fn fail(sentence: &str) {
    eprintln!("juicefs[{}] <FATAL>: {sentence}", std::process::id());
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn a_cause_is_told_once() {
        let io = || std::io::Error::from(std::io::ErrorKind::NotFound);
        let plain = Err::<(), _>(io()).context("log file").expect_err("an error");
        assert_eq!(sentence(&plain), "log file: entity not found");
        let twice = Err::<(), _>(io()).context("log file: entity not found").expect_err("an error");
        assert_eq!(sentence(&twice), "log file: entity not found");
    }
}
