//! Command line: arguments -> settings -> one call into a room, nothing else.
//!
//! `args` holds clap types only, `commands` one file per command. Every other command of the peer answers "not
//! supported yet". Errors reach the user here, one sentence with its causes.

mod args;
mod commands;
mod environment;
mod progress;

use clap::{CommandFactory, FromArgMatches};
use std::process::ExitCode;

/// Runs the command line and gives the exit code of the process.
pub fn main() -> ExitCode {
    let mut arguments: Vec<_> = std::env::args_os().collect();
    if let Some(answer) = args::not_supported_yet(&arguments) {
        fail(&answer);
        return ExitCode::FAILURE;
    }
    args::split_joined_options(&mut arguments);
    let matches = match args::Cli::command().try_get_matches_from(arguments) {
        Ok(matches) => matches,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { ExitCode::FAILURE } else { ExitCode::SUCCESS };
        }
    };
    let cli = match args::Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return ExitCode::FAILURE;
        }
    };
    match commands::run(cli) {
        Ok(code) => code,
        Err(error) => {
            fail(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// The last word on standard error, in the form of a log line so that scripts find it by `<FATAL>`.
#[expect(clippy::print_stderr, reason = "the error of a command belongs on standard error, logging or not")]
fn fail(sentence: &str) {
    eprintln!("juicefs[{}] <FATAL>: {sentence}", std::process::id());
}
