//! `dump` and `load`

use anyhow::Context;
use juicefs_object::{Encryption, StoreVariables};
use juicefs_volume::{DumpRequest, Packing, Source, Target};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::{meta_url, say};
use crate::args::{DumpArgs, LoadArgs};
use crate::environment::Environment;
use crate::progress::Bars;

pub(super) async fn dump(args: DumpArgs, environment: &Environment) -> anyhow::Result<ExitCode> {
    let url = meta_url(&args.meta_url, environment)?;
    let (target, name) = match &args.file {
        Some(path) => (Target::file(path, args.keep_secret_key)?, path.display().to_string()),
        None => (Target::writer(std::io::stdout(), Packing::Plain), "STDOUT".to_owned()),
    };
    if args.binary && (args.subdir.is_some() || args.skip_trash) {
        tracing::warn!("a binary dump is of the whole volume: --subdir and --skip-trash don't apply");
    }
    let request = DumpRequest {
        subdir: args.subdir,
        keep_secrets: args.keep_secret_key,
        skip_trash: args.skip_trash,
        binary: args.binary,
    };
    let bars = Bars::on_terminal();
    let left_out = juicefs_volume::dump(&url, &request, target, bars.as_ref()).await?;
    drop(bars);
    tracing::info!("Dump metadata into {name:?} succeed");
    if left_out > 0 {
        anyhow::bail!(
            "the dump is without {left_out} records that can't be read, each named above: `juicefs fsck` says more"
        );
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn load(args: LoadArgs, environment: &Environment) -> anyhow::Result<ExitCode> {
    if args.stat {
        return stat(&args);
    }
    let url = meta_url(&args.meta_url, environment)?;
    let (source, name) = match (&args.file, &args.encrypt_rsa_key) {
        (Some(path), Some(key)) => {
            let encryption = Encryption {
                key: super::format::private_key(key)?,
                algorithm: args.encrypt_algo,
                passphrase: environment.secret(StoreVariables::RSA_PASSPHRASE),
            };
            (Source::sealed_file(path, &encryption)?, path.display().to_string())
        }
        (Some(path), None) => (Source::file(path)?, path.display().to_string()),
        (None, Some(_)) => anyhow::bail!("--encrypt-rsa-key is for a file: name it"),
        (None, None) => (Source::reader(std::io::stdin()).context("standard input")?, "STDIN".to_owned()),
    };
    let bars = Bars::on_terminal();
    let loaded = juicefs_volume::load(&url, source, args.binary, bars.as_ref()).await?;
    drop(bars);
    for secret in loaded.removed_secrets {
        tracing::warn!("{secret} was removed; please correct it with `config` command");
    }
    tracing::info!("load metadata from {name:?} succeed: volume {}", loaded.name);
    Ok(ExitCode::SUCCESS)
}

/// What is in a binary dump, as the peer tables it.
fn stat(args: &LoadArgs) -> anyhow::Result<ExitCode> {
    let path = args.file.clone().unwrap_or_else(|| PathBuf::from(&args.meta_url));
    match u64::try_from(args.offset) {
        Ok(0) | Err(_) => say(table(&path, args.offset < 0)?.trim_end_matches('\n')),
        Ok(offset) => say(juicefs_volume::segment_text(&path, offset)?.trim_end()),
    }
    Ok(ExitCode::SUCCESS)
}

fn table(path: &Path, with_offsets: bool) -> anyhow::Result<String> {
    let (version, segments) = juicefs_volume::segments(path)?;
    let mut text = format!("Backup Version: {version}\n");
    let rule = "-".repeat(if with_offsets { 34 } else { 23 });
    let head = if with_offsets {
        format!("{:<10}| {:<10}| {:<10}", "Name", "Num", "Offset")
    } else {
        format!("{:<10}| {:<10}", "Name", "Num")
    };
    let _ = writeln!(text, "{rule}\n{head}\n{rule}");
    for segment in segments {
        let _ = write!(text, "{:<10}| {:<10}|", segment.name, segment.count);
        if with_offsets {
            let offsets: Vec<_> = segment.offsets.iter().map(u64::to_string).collect();
            let _ = write!(text, " {:<10}", format!("[{}]", offsets.join(" ")));
        }
        text.push('\n');
    }
    Ok(text)
}
