//! `restore`

use std::process::ExitCode;

use super::meta_url;
use crate::args::RestoreArgs;
use crate::environment::Environment;
use crate::progress::Bars;

pub(super) async fn run(args: RestoreArgs, environment: &Environment) -> anyhow::Result<ExitCode> {
    let url = meta_url(&args.meta_url, environment)?;
    let bars = Bars::on_terminal();
    let sum = juicefs_volume::restore(&url, &args.hours, args.put_back, args.threads, bars.as_ref()).await?;
    drop(bars);
    tracing::info!("restored {}, skipped {}, failed {}", sum.restored, sum.skipped, sum.failed);
    Ok(if sum.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
