//! `changelog`.

use std::io::Write;
use std::process::ExitCode;

use super::meta_url;
use crate::args::ChangelogArgs;
use crate::environment::Environment;

pub(super) async fn run(args: ChangelogArgs, environment: &Environment) -> anyhow::Result<ExitCode> {
    let url = meta_url(&args.meta_url, environment)?;
    let mut out = std::io::stdout().lock();
    let tell = |version: u64, line: &[u8]| {
        // Who reads has gone: so may we.
        let text = String::from_utf8_lossy(line);
        writeln!(out, "{version}: {text}").and_then(|()| out.flush()).is_ok()
    };
    juicefs_volume::follow_change_log(&url, args.from, tell).await?;
    Ok(ExitCode::SUCCESS)
}
