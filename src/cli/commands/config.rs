//! `config`.

use anyhow::Context;
use juicefs_volume::{ReplicationChange, SettingChange};
use std::process::ExitCode;

use super::{meta_url, say, storage_access};
use crate::args::ConfigArgs;
use crate::environment::Environment;

pub(super) async fn run(args: ConfigArgs, environment: &Environment) -> anyhow::Result<ExitCode> {
    let url = meta_url(&args.meta_url, environment)?;
    let mut change = super::format::setting_change(&args.store, environment)?;
    // The environment's credentials are for `format`; here only what was said changes anything.
    change.access_key.clone_from(&args.store.access_key);
    change.secret_key.clone_from(&args.store.secret_key);
    change.session_token.clone_from(&args.store.session_token);
    let change = SettingChange {
        dir_stats: args.dir_stats,
        user_group_quota: args.user_group_quota,
        upload_limit: args.upload_limit,
        download_limit: args.download_limit,
        min_client_version: args.min_client_version,
        max_client_version: args.max_client_version,
        encrypt_secret: args.encrypt_secret,
        change_log: args.changelog,
        change_log_max_age: args.changelog_max_age.as_deref().map(log_age_sec).transpose()?,
        change_log_max_lines: args.changelog_max_lines,
        ..change
    };
    let second = ReplicationChange {
        storage2: args.storage2.clone(),
        bucket2: args.bucket2.clone(),
        access_key2: args.access_key2.clone(),
        secret_key2: args
            .secret_key2
            .clone()
            .or_else(|| args.bucket2.as_ref().and_then(|_| environment.secret("SECRET_KEY2"))),
        flip: args.flip,
        mode: args.replication.clone(),
    };
    let changes_setting = is_anything(&change);
    let asks_for_nothing = !changes_setting && !second.is_anything();
    if !args.yes && changes_setting {
        for doubt in juicefs_volume::doubts(&url, &change).await? {
            if !is_confirmed(&doubt)? {
                anyhow::bail!("aborted, nothing was changed: {doubt}; say --yes to go on");
            }
        }
    }
    let (format, mut diffs) =
        juicefs_volume::change_settings(&url, &change, &storage_access(environment), args.force).await?;
    if second.is_anything() {
        let access = storage_access(environment);
        diffs.extend(juicefs_volume::change_replication(&url, &second, &access, args.force).await?);
    }
    if asks_for_nothing {
        say(&super::status::pretty(&format.to_shown_text())?);
    } else if diffs.is_empty() {
        say("Nothing changed.");
    }
    for diff in diffs {
        say(&format!("{:>10}: {}", diff.name, diff.change));
    }
    Ok(ExitCode::SUCCESS)
}

/// Asks on the terminal; no terminal and no word is a no.
#[expect(clippy::print_stderr, reason = "a question to a person, not part of the answer")]
pub(super) fn is_confirmed(doubt: &str) -> anyhow::Result<bool> {
    eprint!("{doubt}\nProceed anyway? [y/N]: ");
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).context("standard input")?;
    Ok(["y", "yes"].contains(&answer.trim().to_lowercase().as_str()))
}

/// Go's durations, whose bare numbers are none but zero.
fn log_age_sec(text: &str) -> anyhow::Result<i64> {
    if text.starts_with('-') {
        anyhow::bail!("negative duration for changelog-max-age: {text}");
    }
    if text != "0" && text.parse::<f64>().is_ok() {
        anyhow::bail!("`{text}` of --changelog-max-age has no unit: write it as 2h or 30m");
    }
    let age = juicefs_base::units::parse_duration(text).context("--changelog-max-age")?;
    Ok(i64::try_from(age.as_secs()).unwrap_or(i64::MAX))
}

fn is_anything(change: &SettingChange) -> bool {
    change.touches_storage()
        || change.storage_class.is_some()
        || change.tag.is_some()
        || change.capacity.is_some()
        || change.inodes.is_some()
        || change.trash_days.is_some()
        || change.dir_stats.is_some()
        || change.user_group_quota.is_some()
        || change.upload_limit.is_some()
        || change.download_limit.is_some()
        || change.min_client_version.is_some()
        || change.max_client_version.is_some()
        || change.encrypt_secret
        || change.change_log.is_some()
        || change.change_log_max_age.is_some()
        || change.change_log_max_lines.is_some()
}
