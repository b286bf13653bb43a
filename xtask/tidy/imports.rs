//! Who may import whom (`docs/adr`, ARCHITECTURE.md): the manifests are the import table, and this is the table they
//! are held to. A change here needs an ADR.

use anyhow::Context;
use serde_json::Value;
use std::path::Path;

use super::files::has_word;
use super::{Finding, Source, said};

/// Rooms that a room may name in its manifest, lowest first. One direction, nothing sideways.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("base", &[]),
    ("object", &["base"]),
    ("chunk", &["base", "object"]),
    ("meta", &["base"]),
    ("vfs", &["base", "chunk", "meta"]),
    ("fuse", &["base", "vfs"]),
    ("volume", &["base", "object", "chunk", "meta", "vfs"]),
    // ADR 4: a mount opens the volume's store as every command does.
    ("mount", &["base", "object", "chunk", "meta", "vfs", "fuse", "volume"]),
    ("replication", &["base", "object", "chunk", "meta"]),
    ("k8s", &["base"]),
    // ADR 3: the driver makes its directories in the metadata.
    ("csi", &["base", "meta", "k8s", "mount", "volume"]),
    // ADR 6 of the design: it has mirrors made, and reads how far they are.
    ("operator", &["base", "k8s", "volume", "replication"]),
    (
        "cli",
        &[
            "base",
            "object",
            "chunk",
            "meta",
            "vfs",
            "mount",
            "volume",
            "replication",
            "k8s",
            "csi",
            "operator",
        ],
    ),
];

/// Crates whose types stop at the door of these members. Dev-dependencies are free.
const HOMES: &[(&str, &[&str])] = &[
    ("aes", &["object"]),
    ("anyhow", &["cli", "xtask"]),
    ("aws-config", &["object"]),
    ("aws-credential-types", &["object"]),
    ("aws-lc-rs", &["object"]),
    ("aws-sdk-s3", &["object"]),
    ("aws-smithy-types", &["object"]),
    ("axum", &["csi", "mount", "operator"]),
    ("cbc", &["object"]),
    ("clap", &["cli"]),
    ("des", &["object"]),
    ("flate2", &["volume"]),
    ("indicatif", &["cli"]),
    ("k8s-openapi", &["k8s", "csi", "operator"]),
    ("kube", &["k8s", "csi", "operator"]),
    ("lz4_flex", &["chunk"]),
    ("opendal", &["object"]),
    ("opendal-http-transport-reqwest", &["object"]),
    ("parking_lot", &["base"]),
    ("pem", &["object"]),
    ("pkcs8", &["object"]),
    ("prost", &["csi", "meta", "volume"]),
    // The audit decodes by itself what `meta` wrote.
    ("redis", &["meta", "xtask"]),
    ("reqwest", &["object"]),
    ("roaring", &["meta", "replication", "volume"]),
    ("russh", &["object"]),
    ("russh-sftp", &["object"]),
    ("rusqlite", &["meta", "xtask"]),
    ("schemars", &["k8s"]),
    ("struson", &["volume"]),
    ("tonic", &["csi", "meta"]),
    ("tonic-prost", &["csi", "meta"]),
    ("tracing-subscriber", &["base"]),
    ("zstd", &["chunk", "volume"]),
];

/// A workspace member: its folder below `src/` (or `xtask`, or `juicefs` for the binary) and what it names.
pub(crate) struct Member {
    pub name: String,
    pub dependencies: Vec<Dependency>,
}

pub(crate) struct Dependency {
    pub name: String,
    pub is_for_tests: bool,
}

/// The members, as cargo reads their manifests.
pub(crate) fn members(root: &Path) -> anyhow::Result<Vec<Member>> {
    let text = said(root, "cargo", &["metadata", "--no-deps", "--locked", "--format-version", "1"])?;
    let metadata: Value = serde_json::from_str(&text).context("cargo metadata")?;
    let packages = metadata["packages"].as_array().context("cargo metadata has packages")?;
    Ok(packages.iter().map(member).collect())
}

fn member(package: &Value) -> Member {
    let dependencies = package["dependencies"].as_array().into_iter().flatten();
    Member {
        name: room(text(&package["name"])).to_owned(),
        dependencies: dependencies
            .map(|dependency| Dependency {
                name: dependency["rename"].as_str().unwrap_or(text(&dependency["name"])).to_owned(),
                is_for_tests: dependency["kind"] == "dev",
            })
            .collect(),
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn room(package: &str) -> &str {
    package.strip_prefix("juicefs-").unwrap_or(package)
}

pub(crate) fn check(members: &[Member]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for member in members {
        let name = &member.name;
        let allowed = MAY_IMPORT.iter().find(|(room, _)| room == name).map(|(_, may)| *may);
        if allowed.is_none() && !["xtask", "juicefs"].contains(&name.as_str()) {
            findings.push(format!("src/{name}: not in the import table (xtask/tidy/imports.rs)"));
        }
        for dependency in &member.dependencies {
            match dependency.name.strip_prefix("juicefs-") {
                Some(other) => {
                    let is_fine = match name.as_str() {
                        // The judge shares no code with what it judges.
                        "xtask" => false,
                        "juicefs" => other == "cli",
                        _ if dependency.is_for_tests => is_below(other, name),
                        _ => allowed.is_some_and(|may| may.contains(&other)),
                    };
                    if !is_fine {
                        findings.push(format!("{name} may not import {other}: see xtask/tidy/imports.rs"));
                    }
                }
                None if dependency.is_for_tests => {}
                None => {
                    let home = HOMES.iter().find(|(of, _)| *of == dependency.name);
                    if home.is_some_and(|(_, rooms)| !rooms.contains(&name.as_str())) {
                        findings.push(format!("{name} may not import the crate {}", dependency.name));
                    }
                }
            }
        }
    }
    for (room, _) in MAY_IMPORT {
        if !members.iter().any(|member| member.name == *room) {
            findings.push(format!("the import table has {room}, the workspace has not"));
        }
    }
    findings
}

/// Names in manifests that no file of the room uses: an edge that is not there must not be drawn.
pub(crate) fn check_use(members: &[Member], sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for member in members {
        let folder = match member.name.as_str() {
            "juicefs" => "src/main.rs".to_owned(),
            "xtask" => "xtask/".to_owned(),
            room => format!("src/{room}/"),
        };
        let code: Vec<&Source> = sources
            .iter()
            .filter(|source| source.path.starts_with(&folder) && source.path.ends_with(".rs"))
            .collect();
        for dependency in &member.dependencies {
            let module = match dependency.name.as_str() {
                "md-5" => "md5".to_owned(),
                name => name.replace('-', "_"),
            };
            if !code.iter().any(|source| has_word(&source.text, &module)) {
                findings.push(format!(
                    "{} names {} in its manifest and does not use it",
                    member.name, dependency.name
                ));
            }
        }
    }
    findings
}

/// Whether `lower` can be reached from `upper` by allowed imports.
fn is_below(lower: &str, upper: &str) -> bool {
    let Some((_, may)) = MAY_IMPORT.iter().find(|(room, _)| *room == upper) else { return false };
    may.iter().any(|next| *next == lower || is_below(lower, next))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Vec<Member> {
        MAY_IMPORT
            .iter()
            .map(|(room, may)| Member {
                name: (*room).to_owned(),
                dependencies: may.iter().map(|other| needs(&format!("juicefs-{other}"))).collect(),
            })
            .collect()
    }

    fn needs(name: &str) -> Dependency {
        Dependency { name: name.to_owned(), is_for_tests: false }
    }

    fn with(room: &str, dependency: Dependency) -> Vec<Finding> {
        let mut members = table();
        members.iter_mut().find(|member| member.name == room).unwrap().dependencies.push(dependency);
        check(&members)
    }

    #[test]
    fn the_table_itself_has_one_direction() {
        assert!(check(&table()).is_empty());
        for (at, (room, may)) in MAY_IMPORT.iter().enumerate() {
            let lower: Vec<_> = MAY_IMPORT[..at].iter().map(|(room, _)| *room).collect();
            assert!(may.iter().all(|other| lower.contains(other)), "{room} imports upwards");
        }
    }

    #[test]
    fn sideways_upwards_and_strangers_are_found() {
        for (room, name) in
            [("meta", "juicefs-object"), ("base", "juicefs-cli"), ("vfs", "redis"), ("mount", "anyhow")]
        {
            assert_eq!(with(room, needs(name)).len(), 1, "{room} {name}");
        }
        let tests = |name: &str| Dependency { name: name.to_owned(), is_for_tests: true };
        assert!(with("vfs", tests("juicefs-object")).is_empty());
        assert_eq!(with("meta", tests("juicefs-vfs")).len(), 1);
    }

    #[test]
    fn an_edge_that_is_not_there_is_found() {
        let members =
            [Member { name: "meta".to_owned(), dependencies: vec![needs("md-5"), needs("tokio-stream")] }];
        let uses = |code: &str| check_use(&members, &[super::super::source("src/meta/lib.rs", code)]).len();
        assert_eq!(uses("use md5::Md5; use tokio_stream::Stream;"), 0);
        assert_eq!(uses("use md5::Md5; use tokio::io;"), 1);
    }

    #[test]
    fn a_new_room_and_a_gone_room_are_found() {
        let mut members = table();
        members[0].name = "utils".to_owned();
        assert_eq!(check(&members).len(), 2);
    }
}
