//! `destroy`

use std::process::ExitCode;

use super::{meta_url, say, storage_access};
use crate::args::DestroyArgs;
use crate::environment::Environment;
use crate::progress::Bars;
use crate::table::table;

pub(super) async fn run(args: DestroyArgs, environment: &Environment) -> anyhow::Result<ExitCode> {
    let url = meta_url(&args.meta_url, environment)?;
    let access = storage_access(environment);
    let doomed = juicefs_volume::doomed(&url, &access).await?;
    if doomed.uuid != args.uuid {
        anyhow::bail!("UUID {:?} != expected {:?}", args.uuid, doomed.uuid);
    }
    if !args.force && !doomed.sessions.is_empty() {
        let rows: Vec<_> = doomed
            .sessions
            .iter()
            .map(|(sid, host, place)| vec![sid.to_string(), host.clone(), place.clone()])
            .collect();
        anyhow::bail!(
            "{} sessions are active, please disconnect them first:\n{}",
            rows.len(),
            table(&["SID", "HostName", "MountPoint"], 0, &rows).trim_end()
        );
    }
    say(&format!(" volume name: {}", doomed.name));
    say(&format!(" volume UUID: {}", doomed.uuid));
    say(&format!("data storage: {}", doomed.store));
    say(&format!("  used bytes: {}", doomed.usage.space));
    say(&format!(" used inodes: {}", doomed.usage.inodes));
    let doubt = format!(
        "WARNING: The target volume will be permanently destroyed, including:\n\
         WARNING: 1. ALL objects in the data storage: {}\n\
         WARNING: 2. ALL entries in the metadata engine: {url}",
        doomed.store
    );
    if args.yes {
        say(&doubt);
    } else if !super::config::is_confirmed(&doubt)? {
        anyhow::bail!("Aborted.");
    }
    let bars = Bars::on_terminal();
    let deleted = juicefs_volume::destroy(&url, &access, &args.uuid, bars.as_ref()).await?;
    drop(bars);
    tracing::info!("Deleted {deleted} objects");
    tracing::info!("The volume has been destroyed! You may need to delete cache directory manually.");
    Ok(ExitCode::SUCCESS)
}
