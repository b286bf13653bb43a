//! `cargo xtask generate [--check]`: everything in the tree that a program writes. With `--check` nothing is
//! written and a difference is an error that names the file and this command.

use anyhow::{Context, bail};
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::repository;

pub fn run(arguments: &[String]) -> anyhow::Result<()> {
    let only_checks = match arguments {
        [] => false,
        [flag] if flag == "--check" => true,
        _ => bail!("usage: cargo xtask generate [--check]"),
    };
    let root = repository();
    for (proto, home) in [
        ("csi", "src/csi/proto/csi.rs"),
        ("registration", "src/csi/proto/registration.rs"),
        ("etcd", "src/meta/engines/kv/etcd/proto.rs"),
    ] {
        put(&root.join(home), &protocol(&root, proto)?, only_checks)?;
    }
    Ok(())
}

fn put(path: &Path, text: &str, only_checks: bool) -> anyhow::Result<()> {
    let found = fs::read_to_string(path).unwrap_or_default();
    if found == text {
        return Ok(());
    }
    if only_checks {
        bail!("{} is not what `cargo xtask generate` writes: run it and commit", path.display());
    }
    fs::create_dir_all(path.parent().context("a file has a folder")?)?;
    fs::write(path, text).with_context(|| path.display().to_string())
}

/// Rust of one protocol, formatted.
fn protocol(root: &Path, name: &str) -> anyhow::Result<String> {
    let file = format!("{name}.proto");
    let descriptors = protox::compile([&file], [root.join("proto")])?;
    let folder = tempfile::tempdir()?;
    // Of etcd this is a client only, and its values are passed on without a copy.
    let builder = match name {
        "etcd" => tonic_prost_build::configure().build_server(false).bytes("."),
        _ => tonic_prost_build::configure(),
    };
    builder.out_dir(folder.path()).compile_fds(descriptors)?;
    let written = fs::read_dir(folder.path())?.next().context("the generator wrote nothing")??.path();
    Command::new("rustfmt").args(["--edition", "2024"]).arg(&written).status().context("rustfmt")?;
    let text = fs::read_to_string(written)?;
    Ok(format!("// Written by `cargo xtask generate` from proto/{file}; never edited.\n{text}"))
}
