//! `config`: settings of a living volume. Every client sees the change at its next heartbeat.

use juicefs_base::units::format_bytes;
use juicefs_base::{ExposeSecret, SecretString};
use juicefs_meta::engines;
use juicefs_meta::format::Format;
use juicefs_meta::port::Engine;
use juicefs_meta::types::Usage;
use juicefs_meta::url::MetaUrl;
use juicefs_object::StoreExt;
use std::fmt::Display;

use crate::error::{Error, Result};
use crate::format::{UUID_KEY, now, trash_root};
use crate::opened::open_meta;
use crate::progress::Silent;
use crate::quota::count_owners;
use crate::storage::{StorageAccess, load_own_format, open_store};

/// Settings that may change; `None` stays as it is.
#[derive(Clone, Debug, Default)]
pub struct SettingChange {
    pub storage: Option<String>,
    pub bucket: Option<String>,
    pub access_key: Option<String>,
    pub secret_key: Option<SecretString>,
    pub session_token: Option<SecretString>,
    pub storage_class: Option<String>,
    /// `key=value` of new objects; empty for none.
    pub tag: Option<String>,
    /// Bytes; 0 = no limit.
    pub capacity: Option<u64>,
    pub inodes: Option<u64>,
    pub trash_days: Option<u32>,
    pub dir_stats: Option<bool>,
    pub user_group_quota: Option<bool>,
    /// Mbps.
    pub upload_limit: Option<i64>,
    pub download_limit: Option<i64>,
    pub min_client_version: Option<String>,
    pub max_client_version: Option<String>,
    pub encrypt_secret: bool,
    pub change_log: Option<bool>,
    /// Seconds, 0 = no limit.
    pub change_log_max_age: Option<i64>,
    /// 0 = no limit.
    pub change_log_max_lines: Option<i64>,
}

/// How long lines of a change log are kept that is switched on without saying so.
const CHANGE_LOG_AGE_SEC: i64 = 7200;

/// One changed setting as the peer tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingDiff {
    pub name: &'static str,
    /// `1.0 GiB -> 2.0 GiB`; of a secret only that it changed.
    pub change: String,
}

impl SettingDiff {
    pub(crate) fn new(name: &'static str, from: &impl Display, to: &impl Display) -> Self {
        Self { name, change: format!("{from} -> {to}") }
    }
}

impl SettingChange {
    fn apply_change_log(&self, format: &mut Format) -> Vec<SettingDiff> {
        let begins = self.change_log == Some(true) && !format.change_log;
        let mut diffs = Vec::new();
        diffs.extend(number("changelog", &mut format.change_log, self.change_log, |on| on.to_string()));
        let (age, lines) = (&mut format.change_log_max_age, &mut format.change_log_max_lines);
        diffs.extend(number("changelog-max-age", age, self.change_log_max_age, go_duration));
        diffs.extend(number("changelog-max-lines", lines, self.change_log_max_lines, |lines| {
            lines.to_string()
        }));
        if begins && self.change_log_max_age.is_none() && *age == 0 {
            let mut diff = number("changelog-max-age", age, Some(CHANGE_LOG_AGE_SEC), go_duration);
            diff.iter_mut().for_each(|diff| diff.change.push_str(" (default)"));
            diffs.extend(diff);
        }
        diffs
    }

    /// Whether the change touches where data is, so that the store is tried first.
    #[must_use]
    pub fn touches_storage(&self) -> bool {
        self.storage.is_some()
            || self.bucket.is_some()
            || self.access_key.is_some()
            || self.secret_key.is_some()
            || self.session_token.is_some()
    }

    /// Puts the change into a setting whose secrets are open.
    ///
    /// # Errors
    /// [`Error::BadRequest`] when the bucket can't be used with the storage type.
    pub fn apply(&self, format: &mut Format) -> Result<Vec<SettingDiff>> {
        if let Some(tag) = self.tag.as_ref().filter(|tag| !tag.is_empty() && !is_tag(tag)) {
            return Err(Error::BadRequest(format!("`{tag}` is no tag: write it as key=value")));
        }
        for version in [&self.min_client_version, &self.max_client_version].into_iter().flatten() {
            if !version.is_empty() && !is_version(version) {
                return Err(Error::BadRequest(format!("`{version}` is no version: write it as 1.4.2")));
            }
        }
        let mut diffs = Vec::new();
        let mut text = |name, target: &mut String, wanted: &Option<String>| {
            if let Some(wanted) = wanted.as_ref().filter(|wanted| *wanted != target) {
                diffs.push(SettingDiff::new(name, target, wanted));
                target.clone_from(wanted);
            }
        };
        text("storage", &mut format.storage, &self.storage);
        let bucket =
            self.bucket.as_deref().map(|bucket| normal_bucket(&format.storage, bucket)).transpose()?;
        text("bucket", &mut format.bucket, &bucket);
        text("access-key", &mut format.access_key, &self.access_key);
        text("min-client-version", &mut format.min_client_version, &self.min_client_version);
        text("max-client-version", &mut format.max_client_version, &self.max_client_version);
        // The first tier is what counts; the field beside it stays what `format` made it.
        let tier = format.tiers.entry("0".to_owned()).or_default();
        text("storage-class", &mut tier.storage_class, &self.storage_class);
        text("tag", &mut tier.tag, &self.tag);
        for (name, target, wanted) in [
            ("secret-key", &mut format.secret_key, &self.secret_key),
            ("session-token", &mut format.session_token, &self.session_token),
        ] {
            if let Some(wanted) = wanted.as_ref().filter(|new| new.expose_secret() != target.expose_secret())
            {
                diffs.push(SettingDiff { name, change: "updated".to_owned() });
                target.clone_from(wanted);
            }
        }
        let plain = |value| format!("{value}");
        diffs.extend(number("capacity", &mut format.capacity, self.capacity, format_bytes));
        diffs.extend(number("inodes", &mut format.inodes, self.inodes, |inodes| inodes.to_string()));
        diffs.extend(number("trash-days", &mut format.trash_days, self.trash_days, plain));
        diffs.extend(number("dir-stats", &mut format.dir_stats, self.dir_stats, |on| on.to_string()));
        let (quota, wanted) = (&mut format.user_group_quota, self.user_group_quota);
        diffs.extend(number("user-group-quota", quota, wanted, |on| on.to_string()));
        diffs.extend(self.apply_change_log(format));
        diffs.extend(number("upload-limit", &mut format.upload_limit, self.upload_limit, bandwidth));
        diffs.extend(number("download-limit", &mut format.download_limit, self.download_limit, bandwidth));
        // By name, as the peer prints them; the version that bars clients is its last.
        diffs.sort_by_key(|diff| (diff.name == "min-client-version", diff.name));
        if format.bucket.is_empty() {
            return Err(Error::BadRequest(format!(
                "no bucket for storage `{}`: name one with --bucket",
                format.storage
            )));
        }
        Ok(diffs)
    }
}

fn number<T: Copy + PartialEq>(
    name: &'static str,
    target: &mut T,
    wanted: Option<T>,
    shown: impl Fn(T) -> String,
) -> Option<SettingDiff> {
    let wanted = wanted.filter(|wanted| wanted != target)?;
    let diff = SettingDiff::new(name, &shown(*target), &shown(wanted));
    *target = wanted;
    Some(diff)
}

/// `100.0 Mbps`, `1.5 Gbps`.
#[expect(clippy::cast_precision_loss, reason = "one decimal is shown")]
fn bandwidth(mbps: i64) -> String {
    match mbps {
        ..1000 => format!("{:.1} Mbps", mbps as f64),
        1000..1_000_000 => format!("{:.1} Gbps", mbps as f64 / 1e3),
        _ => format!("{:.1} Tbps", mbps as f64 / 1e6),
    }
}

/// `key=value`, one of them.
fn is_tag(text: &str) -> bool {
    text.split_once('=').is_some_and(|(key, value)| !key.is_empty() && !value.contains(['=', '&']))
}

/// `2h0m0s`, `1m30s`, `0s`.
fn go_duration(sec: i64) -> String {
    let (hours, minutes, rest) = (sec / 3600, sec / 60 % 60, sec % 60);
    match (hours, minutes) {
        (0, 0) => format!("{rest}s"),
        (0, _) => format!("{minutes}m{rest}s"),
        _ => format!("{hours}h{minutes}m{rest}s"),
    }
}

/// `1.4`, `1.4.2`, `1.1.0-A`.
fn is_version(text: &str) -> bool {
    let release = text.split(['-', '+']).next().unwrap_or_default();
    let numbers = release.split('.');
    (2..=3).contains(&numbers.clone().count())
        && numbers.into_iter().all(|number| number.parse::<u64>().is_ok())
}

/// The bucket as the setting keeps it: a directory of the `file` store is absolute and ends in `/`.
pub(crate) fn normal_bucket(storage: &str, bucket: &str) -> Result<String> {
    if storage != "file" || bucket.is_empty() {
        return Ok(bucket.to_owned());
    }
    if let Some((scheme, _)) = bucket.split_once("://") {
        let next = match scheme {
            "file" => "write the path alone".to_owned(),
            "http" | "https" => "name its type, such as `--storage s3`".to_owned(),
            other => format!("name its type, such as `--storage {other}`"),
        };
        return Err(Error::BadRequest(format!(
            "bucket `{bucket}` is an address, but storage `file` keeps data in a folder: {next}"
        )));
    }
    let absolute = std::path::absolute(bucket)
        .map_err(|error| Error::BadRequest(format!("bucket `{bucket}` is no usable path: {error}")))?;
    let text = absolute.to_str().ok_or_else(|| {
        Error::BadRequest(format!("bucket `{bucket}` is not UTF-8, which the setting can't keep"))
    })?;
    Ok(format!("{}/", text.trim_end_matches('/')))
}

/// Changes settings and says what changed; with nothing to change nothing is written. `force` skips the trial
/// of a changed store.
///
/// # Errors
/// A volume this client must not write, a store that does not work.
pub async fn change_settings(
    url: &MetaUrl,
    change: &SettingChange,
    access: &StorageAccess,
    force: bool,
) -> Result<(Format, Vec<SettingDiff>)> {
    let engine = engines::open(url).await?;
    let old = load_own_format(engine.as_ref(), "config").await?;
    if change.change_log == Some(true) && !engine.limits().has_change_log {
        return Err(Error::Meta(juicefs_meta::Error::no_change_log(engine.limits().name)));
    }
    let mut wanted = old.decrypted()?;
    let mut diffs = change.apply(&mut wanted)?;
    let encrypts = old.key_encrypted || change.encrypt_secret;
    let stored = if encrypts { wanted.encrypted()? } else { wanted.clone() };
    // A volume without secrets has nothing to encrypt.
    if stored.key_encrypted && !old.key_encrypted {
        diffs.push(SettingDiff::new("encrypt-secret", &false, &true));
    }
    if diffs.is_empty() {
        return Ok((old, diffs));
    }
    if let Some(sentence) = old.unsupported() {
        return Err(Error::Meta(juicefs_meta::Error::Unsupported(sentence)));
    }
    if change.touches_storage() && !force {
        let uuid = open_store(&wanted, access).await?.get_if_exists(UUID_KEY).await?;
        if uuid.is_none()
            && let Some(notice) = moved_notice(&old, &wanted, engine.usage().await?)
        {
            tracing::warn!("{notice}");
        }
    }
    save(engine.as_ref(), &old, &stored).await?;
    if stored.user_group_quota && !old.user_group_quota {
        drop(engine);
        count_owners(&*open_meta(url).await?, &Silent).await?;
    }
    Ok((stored, diffs))
}

/// What to say of a volume with files whose new bucket has never been its own.
pub(crate) fn moved_notice(old: &Format, new: &Format, used: Usage) -> Option<String> {
    let place = |format: &Format| match format.storage.as_str() {
        "file" => format.bucket.clone(),
        storage => format!("{} ({storage})", format.bucket),
    };
    let (from, to) = (place(old), place(new));
    (from != to && used.inodes > 0).then(|| {
        format!(
            "the data of the {} files and directories of {} stays in {from}: until everything below {}/ there is \
             copied to {to}, reading what was written before fails (EIO); to go back, \
             `juicefs config META-URL --storage {} --bucket {}`",
            used.inodes, old.name, old.name, old.storage, old.bucket
        )
    })
}

/// Writes a setting over another one, with what has to go with it.
pub(crate) async fn save(engine: &dyn Engine, old: &Format, stored: &Format) -> Result<()> {
    let trash = stored.has_trash().then(|| trash_root(now()));
    let resets_dir_stats = stored.dir_stats && !old.dir_stats;
    engine.update_setting(&stored.to_text(), trash, resets_dir_stats).await?;
    Ok(engine.settle().await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_becomes_absolute_with_a_slash() {
        assert_eq!(normal_bucket("file", "/a/b").expect("path"), "/a/b/");
        assert_eq!(normal_bucket("file", "/a/b//").expect("path"), "/a/b/");
        assert!(normal_bucket("file", "x").expect("path").starts_with('/'));
        assert_eq!(normal_bucket("s3", "http://h/b").expect("url"), "http://h/b");
        for (address, next) in
            [("https://h/b", "--storage s3"), ("gs://b", "--storage gs"), ("file:///b", "path alone")]
        {
            let refusal = normal_bucket("file", address).expect_err(address).to_string();
            assert!(refusal.contains(next) && refusal.contains(address), "{refusal}");
        }
    }

    #[test]
    fn a_change_log_that_begins_keeps_two_hours() {
        let mut format = Format::new("vol");
        format.bucket = "/x/".into();
        let on = SettingChange { change_log: Some(true), ..SettingChange::default() };
        let diffs = on.apply(&mut format).expect("applies");
        let told: Vec<_> = diffs.iter().map(|diff| format!("{}: {}", diff.name, diff.change)).collect();
        assert_eq!(told, ["changelog: false -> true", "changelog-max-age: 0s -> 2h0m0s (default)"]);
        assert_eq!((format.change_log, format.change_log_max_age), (true, 7200));
        let ages = SettingChange { change_log_max_age: Some(5400), ..on.clone() };
        assert_eq!(ages.apply(&mut format).expect("applies")[0].change, "2h0m0s -> 1h30m0s");
        format.change_log = false;
        assert_eq!(on.apply(&mut format).expect("applies").len(), 1, "a known age stays");
    }

    #[test]
    fn versions_are_numbers() {
        assert!(["1.4", "1.4.2", "1.1.0-A", "1.4.2+x"].iter().all(|text| is_version(text)));
        assert!(["x", "1", "1.x", "1.2.3.4", "1."].iter().all(|text| !is_version(text)));
    }

    #[test]
    fn only_what_differs_is_told_and_secrets_never() {
        let mut format = Format::new("vol");
        format.bucket = "/x/".into();
        let change = SettingChange {
            trash_days: Some(3),
            inodes: Some(0),
            secret_key: Some("canary".to_owned().into()),
            ..SettingChange::default()
        };
        let diffs = change.apply(&mut format).expect("applies");
        let shown = format!("{diffs:?}");
        assert_eq!(diffs.len(), 2, "{shown}");
        assert!(!shown.contains("canary"));
        assert_eq!(format.trash_days, 3);
        assert!(change.apply(&mut format).expect("again").is_empty());
        let change =
            SettingChange { capacity: Some(3 << 29), upload_limit: Some(1500), ..SettingChange::default() };
        let diffs = change.apply(&mut format).expect("applies");
        assert_eq!(diffs[0].change, "0 B -> 1.5 GiB");
        assert_eq!(diffs[1].change, "0.0 Mbps -> 1.5 Gbps");
    }
}
