//! `format`.

use anyhow::Context;
use juicefs_base::units::parse_bytes;
use juicefs_base::{ExposeSecret, SecretString};
use juicefs_volume::{FormatRequest, SettingChange};
use std::path::Path;
use std::process::ExitCode;

use super::{meta_url, storage_access};
use crate::args::{FormatArgs, StoreFlags};
use crate::environment::{self, Environment};

/// Where the peer keeps data when nothing is said, for root and for others.
fn default_bucket() -> String {
    if nix::unistd::geteuid().is_root() {
        return "/var/jfs".to_owned();
    }
    let home = std::env::var("HOME").unwrap_or_else(|_| "/tmp".to_owned());
    format!("{home}/.juicefs/local")
}

pub(super) async fn run(args: FormatArgs, environment: &Environment) -> anyhow::Result<ExitCode> {
    let url = meta_url(&args.meta_url, environment)?;
    let mut settings = setting_change(&args.store, environment)?;
    let is_new = juicefs_meta::engines::open(&url).await?.setting().await?.is_none();
    if is_new && settings.bucket.is_none() {
        if settings.storage.as_deref().is_some_and(|storage| storage != "file") {
            anyhow::bail!(
                "--bucket is missing: name the bucket of storage `{}`",
                settings.storage.unwrap_or_default()
            );
        }
        settings.bucket = Some(default_bucket());
    }
    let block_size_kib = args.block_size.as_deref().map(|text| parse_bytes(text, 1 << 10)).transpose();
    let request = FormatRequest {
        name: args.name,
        settings,
        block_size_kib: block_size_kib.context("--block-size")?.map(|bytes| bytes >> 10),
        compression: args.compress,
        shards: args.shards,
        hash_prefix: args.hash_prefix.then_some(true),
        encrypt_key: args.encrypt_rsa_key.as_deref().map(private_key).transpose()?,
        encrypt_algorithm: args.encrypt_algo,
        force: args.force,
        no_update: args.no_update,
        skips_store_check: environment::skips_store_check(),
    };
    let outcome = juicefs_volume::format(&url, &request, &storage_access(environment)).await?;
    if let Some(notice) = &outcome.notice {
        tracing::warn!("{notice}");
    }
    tracing::info!("Data use {}", outcome.store);
    tracing::info!("Volume is formatted as {}", super::status::pretty(&outcome.format.to_shown_text())?);
    Ok(ExitCode::SUCCESS)
}

/// The PEM text of a key file.
pub(super) fn private_key(path: &Path) -> anyhow::Result<SecretString> {
    let context = || format!("--encrypt-rsa-key {}", path.display());
    let text = std::fs::read_to_string(path).with_context(context)?;
    Ok(SecretString::from(text))
}

/// Flags and environment of `format` and `config` as a change of settings.
pub(super) fn setting_change(flags: &StoreFlags, environment: &Environment) -> anyhow::Result<SettingChange> {
    let capacity = flags.capacity.as_deref().map(|text| parse_bytes(text, 1 << 30)).transpose();
    Ok(SettingChange {
        storage: flags.storage.clone(),
        bucket: flags.bucket.clone(),
        access_key: flags
            .access_key
            .clone()
            .or_else(|| environment.secret("ACCESS_KEY").map(|key| key.expose_secret().to_owned())),
        secret_key: flags.secret_key.clone().or_else(|| environment.secret("SECRET_KEY")),
        session_token: flags.session_token.clone().or_else(|| environment.secret("SESSION_TOKEN")),
        storage_class: flags.storage_class.clone(),
        tag: flags.tag.clone(),
        capacity: capacity.context("--capacity")?,
        inodes: flags.inodes,
        trash_days: flags.trash_days,
        ..SettingChange::default()
    })
}
