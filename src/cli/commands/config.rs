//! `config`.

use juicefs_volume::SettingChange;
use std::process::ExitCode;

use super::{meta_url, say, storage_access};
use crate::args::ConfigArgs;

pub(super) async fn run(args: ConfigArgs) -> anyhow::Result<ExitCode> {
    let url = meta_url(&args.meta_url)?;
    let mut change = super::format::setting_change(&args.store)?;
    // The environment's credentials are for `format`; here only what was said changes anything.
    change.access_key.clone_from(&args.store.access_key);
    change.secret_key.clone_from(&args.store.secret_key);
    change.session_token.clone_from(&args.store.session_token);
    let change = SettingChange {
        dir_stats: args.dir_stats,
        upload_limit: args.upload_limit,
        download_limit: args.download_limit,
        min_client_version: args.min_client_version,
        max_client_version: args.max_client_version,
        encrypt_secret: args.encrypt_secret,
        ..change
    };
    if !args.yes {
        confirm_shrinking(&url, &change).await?;
    }
    let asks_for_nothing = !is_anything(&change);
    let (format, diffs) =
        juicefs_volume::change_settings(&url, &change, &storage_access(), args.force).await?;
    if asks_for_nothing {
        say(&super::status::pretty(&format.to_shown_text())?);
    } else if diffs.is_empty() {
        tracing::info!("nothing changed");
    }
    for diff in diffs {
        say(&format!("{:>10}: {} -> {}", diff.name, diff.from, diff.to));
    }
    Ok(ExitCode::SUCCESS)
}

/// A limit below what is used would stop every writer at once: only with `--yes`.
async fn confirm_shrinking(url: &juicefs_meta::url::MetaUrl, change: &SettingChange) -> anyhow::Result<()> {
    let limits = [(change.capacity, "capacity", "bytes"), (change.inodes, "inodes", "inodes")];
    if limits.iter().all(|(limit, ..)| limit.is_none_or(|limit| limit == 0)) {
        return Ok(());
    }
    let usage = juicefs_meta::engines::open(url).await?.usage().await?;
    for ((limit, name, unit), used) in limits.iter().zip([usage.space, usage.inodes]) {
        let used = u64::try_from(used).unwrap_or(0);
        if let Some(limit) = limit.filter(|limit| *limit > 0 && *limit < used) {
            anyhow::bail!(
                "new {name} {limit} is below the {used} {unit} in use: every write would fail; say --yes to go on"
            );
        }
    }
    Ok(())
}

fn is_anything(change: &SettingChange) -> bool {
    change.touches_storage()
        || change.storage_class.is_some()
        || change.capacity.is_some()
        || change.inodes.is_some()
        || change.trash_days.is_some()
        || change.dir_stats.is_some()
        || change.upload_limit.is_some()
        || change.download_limit.is_some()
        || change.min_client_version.is_some()
        || change.max_client_version.is_some()
        || change.encrypt_secret
}
