//! `cargo xtask tidy`: the rules of the house that a program can hold. Nothing here looks at behaviour; each rule is
//! a pure function from what is in the tree to findings, so that its own test can break it.

mod dependencies;
mod docs;
mod files;
mod generated;
mod imports;

use anyhow::{Context, bail};
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::repository;

/// One broken rule: where, and what to do about it.
pub(crate) type Finding = String;

/// A file of the repository as text; `path` is relative to its root.
pub(crate) struct Source {
    pub path: String,
    pub text: String,
}

pub fn run(arguments: &[String]) -> anyhow::Result<()> {
    if !arguments.is_empty() {
        bail!("usage: cargo xtask tidy");
    }
    let root = repository();
    let sources = sources(&root)?;
    let members = imports::members(&root)?;
    let mut findings = imports::check(&members);
    findings.extend(imports::check_use(&members, &sources));
    findings.extend(dependencies::check(&root)?);
    findings.extend(files::check(&sources));
    findings.extend(docs::check(&sources, &members));
    findings.extend(generated::check(&sources));
    for finding in &findings {
        eprintln!("{finding}");
    }
    println!("{} files, {} findings", sources.len(), findings.len());
    if findings.is_empty() { Ok(()) } else { bail!("the house is not tidy: see above") }
}

/// Every text file that git knows or would add.
fn sources(root: &Path) -> anyhow::Result<Vec<Source>> {
    let listed = said(root, "git", &["ls-files", "-z", "--cached", "--others", "--exclude-standard"])?;
    let mut sources = Vec::new();
    for path in listed.split('\0').filter(|path| !path.is_empty()) {
        // Deleted and not yet committed, or no text.
        let Ok(text) = fs::read_to_string(root.join(path)) else { continue };
        sources.push(Source { path: path.to_owned(), text });
    }
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(sources)
}

/// What a command wrote to its standard output.
fn said(root: &Path, command: &str, arguments: &[&str]) -> anyhow::Result<String> {
    let output =
        Command::new(command).args(arguments).current_dir(root).output().context(command.to_owned())?;
    if !output.status.success() {
        bail!("{command} {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8(output.stdout)?)
}

#[cfg(test)]
pub(crate) fn source(path: &str, text: &str) -> Source {
    Source { path: path.to_owned(), text: text.to_owned() }
}
