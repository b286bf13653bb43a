//! Facts about what is linked: sources, licences and bans of deny.toml, one TLS stack, and what the focused rooms
//! must never drag in. Reads the lock file; asks no advisory database.

use anyhow::Context;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::{Finding, said};

/// Linked at most once: a second version is a second TLS stack, runtime or client.
const ONCE: &[&str] = &[
    "aws-lc-rs",
    "h2",
    "http",
    "hyper",
    "rustls",
    "tokio",
    "k8s-openapi",
    "kube",
    "prost",
    "tonic",
    "redis",
];
/// What `cargo test -p juicefs-ROOM` must not pay for, by the beginning of a crate's name.
const NEVER_IN: &[(&str, &[&str])] = &[
    ("base", &["hyper", "rustls", "aws-", "kube", "redis"]),
    // ADR 6: etcd speaks gRPC.
    ("meta", &["aws-config", "aws-s", "kube", "k8s-"]),
    ("object", &["kube", "k8s-", "redis", "rusqlite", "tonic"]),
    ("chunk", &["kube", "k8s-", "redis", "rusqlite", "tonic"]),
    ("vfs", &["kube", "k8s-"]),
    ("mount", &["kube", "k8s-"]),
];
const PLATFORM: &str = "x86_64-unknown-linux-gnu";

#[derive(serde::Deserialize)]
struct Deny {
    licenses: Licenses,
    bans: Bans,
}

#[derive(serde::Deserialize)]
struct Licenses {
    allow: Vec<String>,
}

#[derive(serde::Deserialize)]
struct Bans {
    deny: Vec<Ban>,
}

#[derive(serde::Deserialize)]
struct Ban {
    #[serde(rename = "crate")]
    name: String,
}

/// One crate that is linked or used while building.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Linked {
    name: String,
    version: String,
    licence: String,
    /// `Some` when it is a folder of this machine or a git address.
    place: Option<String>,
}

pub(crate) fn check(root: &Path) -> anyhow::Result<Vec<Finding>> {
    let text = std::fs::read_to_string(root.join("deny.toml")).context("deny.toml")?;
    let deny: Deny = toml::from_str(&text).context("deny.toml")?;
    let mut findings = check_all(&tree(root, &["--workspace", "-e", "normal,build"])?, &deny)?;
    for (room, never) in NEVER_IN {
        let package = format!("juicefs-{room}");
        findings.extend(check_room(room, never, &tree(root, &["-p", &package, "-e", "normal"])?));
    }
    Ok(findings)
}

fn tree(root: &Path, which: &[&str]) -> anyhow::Result<BTreeSet<Linked>> {
    let fixed = ["tree", "--locked", "--target", PLATFORM, "--prefix", "none", "--format", "{p}|{l}"];
    let text = said(root, "cargo", &[&fixed[..], which].concat())?;
    text.lines().filter(|line| !line.is_empty()).map(linked).collect()
}

/// `NAME vVERSION [(proc-macro)] [(PLACE)]|LICENCE [(*)]`.
fn linked(line: &str) -> anyhow::Result<Linked> {
    let (package, licence) = line.split_once('|').with_context(|| format!("cargo tree: `{line}`"))?;
    let mut words = package.split(' ');
    let name = words.next().unwrap_or_default().to_owned();
    let version = words.next().unwrap_or_default().to_owned();
    let place = words
        .filter(|word| !["(proc-macro)", "(*)", ""].contains(word))
        .map(|word| word.trim_matches(['(', ')']).to_owned())
        .next();
    let licence = licence.trim_end_matches("(*)").trim().to_owned();
    Ok(Linked { name, version, licence, place })
}

fn check_all(linked: &BTreeSet<Linked>, deny: &Deny) -> anyhow::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    let mut versions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for one in linked {
        let name = &one.name;
        versions.entry(name).or_default().push(&one.version);
        if deny.bans.deny.iter().any(|ban| ban.name == *name) {
            findings
                .push(format!("{name} is banned by deny.toml: `cargo tree -i {name}` tells who wants it"));
        }
        let is_ours = name == "juicefs" || name.starts_with("juicefs-") || name == "xtask";
        if let Some(place) = one.place.as_ref().filter(|_| !is_ours) {
            findings.push(format!("{name} comes from {place}: only crates.io is a source"));
        }
        if !is_allowed(&one.licence, &deny.licenses.allow).with_context(|| format!("licence of {name}"))? {
            findings
                .push(format!("{name} has the licence `{}`, which deny.toml does not allow", one.licence));
        }
    }
    for name in ONCE {
        let found = versions.get(name).map(Vec::as_slice).unwrap_or_default();
        if found.len() != 1 {
            findings.push(format!("{name} must be linked once, found: {}", found.join(" ")));
        }
    }
    Ok(findings)
}

fn is_allowed(licence: &str, allow: &[String]) -> anyhow::Result<bool> {
    // The old way of writing OR.
    let expression =
        spdx::Expression::parse_mode(licence, spdx::ParseMode::LAX).context(licence.to_owned())?;
    Ok(expression.evaluate(|needed| {
        let needed = needed.to_string();
        allow.contains(&needed)
    }))
}

fn check_room(room: &str, never: &[&str], linked: &BTreeSet<Linked>) -> Vec<Finding> {
    linked
        .iter()
        .filter(|one| never.iter().any(|start| one.name.starts_with(start)))
        .map(|one| {
            format!("juicefs-{room} links {}: `cargo tree -p juicefs-{room} -i {}`", one.name, one.name)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deny() -> Deny {
        toml::from_str(
            "[licenses]\nallow = ['MIT', 'Apache-2.0 WITH LLVM-exception']\n[bans]\ndeny = [{ crate = 'openssl-sys' }]",
        )
        .unwrap()
    }

    fn findings(extra: &[&str]) -> Vec<Finding> {
        let good = ONCE.iter().map(|name| format!("{name} v1.0.0|MIT"));
        let all = good.chain(extra.iter().map(|line| (*line).to_owned()));
        check_all(&all.map(|line| linked(&line).unwrap()).collect(), &deny()).unwrap()
    }

    #[test]
    fn what_deny_allows_passes() {
        for line in [
            "a v1.0.0|GPL-3.0 OR MIT",
            "a v1.0.0 (proc-macro)|GPL-3.0/MIT (*)",
            "a v1.0.0|Apache-2.0 WITH LLVM-exception",
            "juicefs-base v0.1.0 (/here/src/base)|MIT",
        ] {
            assert_eq!(findings(&[line]), Vec::<Finding>::new(), "{line}");
        }
    }

    #[test]
    fn bans_licences_sources_and_second_versions_are_found() {
        for line in [
            "openssl-sys v0.9.0|MIT",
            "a v1.0.0|GPL-3.0-only",
            "a v1.0.0|MIT AND ISC",
            "a v1.0.0 (https://example.org/a#1234)|MIT",
            "rustls v0.20.0|MIT",
        ] {
            assert_eq!(findings(&[line]).len(), 1, "{line}");
        }
    }

    #[test]
    fn a_room_that_links_a_stranger_is_found() {
        let linked = [linked("aws-config v1.0.0|MIT").unwrap(), linked("bytes v1.0.0|MIT").unwrap()].into();
        assert_eq!(check_room("meta", &["aws-"], &linked).len(), 1);
    }
}
