//! `status`.

use anyhow::Context;
use std::process::ExitCode;

use super::{meta_url, say};
use crate::args::StatusArgs;
use crate::environment::Environment;
use crate::progress::Bars;

pub(super) async fn run(args: StatusArgs, environment: &Environment) -> anyhow::Result<ExitCode> {
    let url = meta_url(&args.meta_url, environment)?;
    let session = (args.session != 0).then_some(args.session);
    let bars = Bars::on_terminal();
    let status = juicefs_volume::status(&url, session, args.more, bars.as_ref()).await?;
    drop(bars);
    let text = match (session, status.sessions.first()) {
        (Some(_), Some(session)) => serde_json::to_string_pretty(session),
        _ => serde_json::to_string_pretty(&status),
    };
    say(&text.context("status")?);
    Ok(ExitCode::SUCCESS)
}

/// A setting's text with two spaces of indent, as the peer shows it.
pub(super) fn pretty(setting: &str) -> anyhow::Result<String> {
    let value: serde_json::Value = serde_json::from_str(setting).context("setting")?;
    Ok(serde_json::to_string_pretty(&value)?)
}
