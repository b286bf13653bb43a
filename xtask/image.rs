//! `cargo xtask image`: the image of the repository's Dockerfile as a docker-archive, made without a container engine.
//!
//! An archive is a tar with `manifest.json`, a configuration, and layers whose sha256 the configuration names. Here these
//! are two: the base system (debootstrap, kept in the cache of `e2e/cluster`) and the files that COPY brings. Times are
//! dropped, so the same binary gives the same image.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::dockerfile::Recipe;

pub(crate) const USAGE: &str = "\
  image [--profile e2e|release|dev] [--binary PATH] [--tag NAME:TAG] [--output PATH]
      builds juicefs (profile e2e, unless --binary names one) and writes the image of the Dockerfile,
      tagged juicefs:dev, to target/juicefs-image.tar";

struct Options {
    profile: String,
    binary: Option<PathBuf>,
    tag: String,
    output: PathBuf,
}

impl Options {
    fn parse(arguments: &[String]) -> Result<Self> {
        let mut options = Self {
            profile: "e2e".to_owned(),
            binary: None,
            tag: "juicefs:dev".to_owned(),
            output: crate::repository().join("target/juicefs-image.tar"),
        };
        let mut rest = arguments.iter();
        while let Some(name) = rest.next() {
            let value = rest.next().with_context(|| format!("{name} needs a value\n{USAGE}"))?;
            match name.as_str() {
                "--profile" => options.profile.clone_from(value),
                "--binary" => {
                    options.binary =
                        Some(fs::canonicalize(value).with_context(|| format!("--binary {value}"))?)
                }
                "--tag" => options.tag.clone_from(value),
                "--output" => options.output = PathBuf::from(value),
                _ => bail!("unknown option {name}\n{USAGE}"),
            }
        }
        Ok(options)
    }
}

/// Builds the binary, unless one is given, and writes the image.
///
/// # Errors
/// What of the Dockerfile is not understood, or what could not be built or written.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let options = Options::parse(arguments)?;
    let repository = crate::repository();
    let binary = match &options.binary {
        Some(binary) => binary.clone(),
        None => build(&options.profile)?,
    };
    let text = fs::read_to_string(repository.join("Dockerfile")).context("reading the Dockerfile")?;
    let recipe =
        Recipe::parse(&text, &BTreeMap::from([("BINARY".to_owned(), binary.display().to_string())]))?;
    let base = base_system(&recipe)?;

    let folder =
        options.output.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    // Beside the target, so that the finished archive appears under its name at once.
    let scratch = tempfile::tempdir_in(folder)?;
    let files = scratch.path().join("files.tar");
    write_files_layer(&recipe, &repository, &files)?;
    let whole = scratch.path().join("image.tar");
    write_archive(&recipe, &options.tag, &[&base, &files], &whole)?;
    fs::rename(&whole, &options.output).with_context(|| format!("writing {}", options.output.display()))?;
    println!(
        "{} ({} MiB) is {}",
        options.output.display(),
        fs::metadata(&options.output)?.len() >> 20,
        options.tag
    );
    Ok(())
}

/// Builds `juicefs` and returns where cargo put it, which the environment may have moved.
fn build(profile: &str) -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .current_dir(crate::repository())
        .args([
            "build",
            "--package",
            "juicefs",
            "--bin",
            "juicefs",
            "--profile",
            profile,
            "--message-format",
            "json-render-diagnostics",
        ])
        .stderr(Stdio::inherit())
        .output()
        .context("starting cargo build")?;
    ensure!(output.status.success(), "juicefs does not build with profile {profile}");
    output
        .stdout
        .split(|&byte| byte == b'\n')
        .filter_map(|line| serde_json::from_slice::<serde_json::Value>(line).ok())
        .filter(|message| message["target"]["name"] == "juicefs")
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .context("cargo build names no executable juicefs")
}

/// The layer for FROM and RUN, from the cache; made by debootstrap the first time.
fn base_system(recipe: &Recipe) -> Result<PathBuf> {
    ensure!(
        recipe.base == "debian:bookworm-slim",
        "the base '{}' cannot be made without a registry; only debian:bookworm-slim can, by debootstrap",
        recipe.base
    );
    let script = crate::repository().join("e2e/cluster/base.sh");
    let output = Command::new(&script)
        .args(&recipe.packages)
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("starting {}", script.display()))?;
    ensure!(output.status.success(), "{} failed", script.display());
    Ok(PathBuf::from(String::from_utf8(output.stdout)?.trim_end()))
}

/// One layer with every file of COPY, owned by root, executable if its source is.
fn write_files_layer(recipe: &Recipe, repository: &Path, target: &Path) -> Result<()> {
    let mut layer = tar::Builder::new(BufWriter::new(File::create(target)?));
    for (source, destination) in &recipe.copies {
        let path = repository.join(source);
        let file = File::open(&path).with_context(|| format!("COPY {}", path.display()))?;
        let metadata = file.metadata()?;
        ensure!(metadata.is_file(), "COPY {}: only single files are understood", path.display());
        let mut header = tar::Header::new_gnu();
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(metadata.len());
        header.set_mode(if metadata.permissions().mode() & 0o111 == 0 { 0o644 } else { 0o755 });
        layer.append_data(&mut header, destination.trim_start_matches('/'), BufReader::new(file))?;
    }
    layer.into_inner()?.flush()?;
    Ok(())
}

/// Writes the docker-archive of `layers`, lowest first.
fn write_archive(recipe: &Recipe, tag: &str, layers: &[&Path], target: &Path) -> Result<()> {
    let digests = layers.iter().map(|layer| sha256_of(layer)).collect::<Result<Vec<_>>>()?;
    let config = serde_json::to_vec(&json!({
        "architecture": architecture()?,
        "os": "linux",
        "config": {"Env": recipe.env, "User": recipe.user.as_deref().unwrap_or_default(), "Entrypoint": recipe.entrypoint},
        "rootfs": {"type": "layers", "diff_ids": digests.iter().map(|digest| format!("sha256:{digest}")).collect::<Vec<_>>()},
        "history": layers.iter().map(|_| json!({"created_by": "cargo xtask image"})).collect::<Vec<_>>(),
    }))?;
    let config_name = format!("{}.json", hex(&Sha256::digest(&config)));
    let layer_names: Vec<String> = digests.iter().map(|digest| format!("{digest}/layer.tar")).collect();
    let manifest =
        serde_json::to_vec(&json!([{"Config": config_name, "RepoTags": [tag], "Layers": layer_names}]))?;

    let mut archive = tar::Builder::new(BufWriter::new(File::create(target)?));
    append(&mut archive, "manifest.json", manifest.len() as u64, manifest.as_slice())?;
    append(&mut archive, &config_name, config.len() as u64, config.as_slice())?;
    for (name, path) in layer_names.iter().zip(layers) {
        let file = File::open(path)?;
        let size = file.metadata()?.len();
        append(&mut archive, name, size, BufReader::new(file))?;
    }
    archive.into_inner()?.flush()?;
    Ok(())
}

fn append(
    archive: &mut tar::Builder<impl Write>,
    name: &str,
    size: u64,
    content: impl Read,
) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(size);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    archive.append_data(&mut header, name, content)
}

/// The machine's architecture as images name it.
fn architecture() -> Result<&'static str> {
    match std::env::consts::ARCH {
        "x86_64" => Ok("amd64"),
        "aarch64" => Ok("arm64"),
        other => bail!("no image architecture is known for {other}"),
    }
}

fn sha256_of(path: &Path) -> Result<String> {
    let mut file = File::open(path).with_context(|| format!("reading {}", path.display()))?;
    let mut hasher = Sha256::new();
    io::copy(&mut file, &mut hasher)?;
    Ok(hex(&hasher.finalize()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_names_the_digest_of_each_layer_and_what_to_run() {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("juicefs");
        fs::write(&source, "a program").unwrap();
        fs::set_permissions(&source, fs::Permissions::from_mode(0o700)).unwrap();
        let recipe = Recipe {
            base: "debian:bookworm-slim".to_owned(),
            copies: vec![(source.display().to_string(), "/usr/local/bin/juicefs".to_owned())],
            env: vec!["A=b".to_owned()],
            user: Some("65532:65532".to_owned()),
            entrypoint: vec!["/usr/local/bin/juicefs".to_owned()],
            ..Recipe::default()
        };
        let layer = folder.path().join("layer.tar");
        write_files_layer(&recipe, folder.path(), &layer).unwrap();
        let image = folder.path().join("image.tar");
        write_archive(&recipe, "juicefs:test", &[&layer], &image).unwrap();

        let mut members = BTreeMap::new();
        for entry in tar::Archive::new(File::open(&image).unwrap()).entries().unwrap() {
            let mut entry = entry.unwrap();
            let name = entry.path().unwrap().display().to_string();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            members.insert(name, content);
        }
        let manifest: serde_json::Value = serde_json::from_slice(&members["manifest.json"]).unwrap();
        assert_eq!(manifest[0]["RepoTags"], json!(["juicefs:test"]));
        let config: serde_json::Value =
            serde_json::from_slice(&members[manifest[0]["Config"].as_str().unwrap()]).unwrap();
        assert_eq!(config["config"]["User"], "65532:65532");
        assert_eq!(config["config"]["Entrypoint"], json!(["/usr/local/bin/juicefs"]));
        let stored = &members[manifest[0]["Layers"][0].as_str().unwrap()];
        assert_eq!(config["rootfs"]["diff_ids"][0], format!("sha256:{}", hex(&Sha256::digest(stored))));

        let mut files = tar::Archive::new(stored.as_slice());
        let entry = files.entries().unwrap().next().unwrap().unwrap();
        assert_eq!(entry.path().unwrap(), Path::new("usr/local/bin/juicefs"));
        assert_eq!(entry.header().mode().unwrap(), 0o755);
        assert_eq!(entry.header().uid().unwrap(), 0);
    }
}
