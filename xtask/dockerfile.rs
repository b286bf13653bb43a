//! Reads the small part of the Dockerfile language that an image without a build engine can be made from.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};

/// What a Dockerfile asks for. Anything that is not in here was refused when it was read.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Recipe {
    /// The image that FROM names.
    pub(crate) base: String,
    /// Debian packages that RUN installs, in the order of the line.
    pub(crate) packages: Vec<String>,
    /// (source relative to the repository, absolute target) of each COPY.
    pub(crate) copies: Vec<(String, String)>,
    /// NAME=value.
    pub(crate) env: Vec<String>,
    /// USER as written: a name or `uid:gid`.
    pub(crate) user: Option<String>,
    pub(crate) entrypoint: Vec<String>,
}

impl Recipe {
    /// Reads `text`; `arguments` replace the defaults of ARG, as `--build-arg` does.
    ///
    /// # Errors
    /// Names the line and what is not understood in it.
    pub(crate) fn parse(text: &str, arguments: &BTreeMap<String, String>) -> Result<Self> {
        let mut recipe = Self::default();
        let mut values = BTreeMap::new();
        for (number, line) in logical_lines(text) {
            let read = (|| {
                let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((&line, ""));
                let rest = rest.trim();
                ensure!(word == "FROM" || !recipe.base.is_empty(), "the first instruction is to be FROM");
                match word {
                    "FROM" => {
                        ensure!(recipe.base.is_empty(), "a second stage is not understood");
                        recipe.base = rest.to_owned();
                    }
                    "RUN" => recipe.packages.extend(installed_packages(rest)?),
                    "ARG" => {
                        let (name, default) = rest.split_once('=').unwrap_or((rest, ""));
                        let value = arguments.get(name).map_or(default, String::as_str);
                        values.insert(name.to_owned(), value.to_owned());
                    }
                    "COPY" => {
                        let rest = substitute(rest, &values)?;
                        let [source, target] = rest.split_whitespace().collect::<Vec<_>>()[..] else {
                            bail!("COPY takes one source and one target here");
                        };
                        ensure!(!source.starts_with("--"), "options of COPY are not understood");
                        ensure!(
                            target.starts_with('/') && !target.ends_with('/'),
                            "the target of COPY is to be the whole path of a file"
                        );
                        recipe.copies.push((source.to_owned(), target.to_owned()));
                    }
                    "ENV" => {
                        ensure!(rest.contains('='), "ENV is to be NAME=value");
                        recipe.env.push(substitute(rest, &values)?);
                    }
                    "USER" => recipe.user = Some(rest.to_owned()),
                    "ENTRYPOINT" => {
                        recipe.entrypoint = serde_json::from_str(rest)
                            .context("ENTRYPOINT is to be a JSON list of strings")?;
                    }
                    other => bail!(
                        "{other} is not understood; use FROM, RUN apt-get install, ARG, COPY, ENV, USER, ENTRYPOINT"
                    ),
                }
                Ok(())
            })();
            read.with_context(|| format!("Dockerfile line {number}"))?;
        }
        ensure!(!recipe.base.is_empty(), "the Dockerfile has no FROM");
        Ok(recipe)
    }
}

/// Instructions with their line number; comments and empty lines are gone, continued lines are joined.
fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let mut lines: Vec<(usize, String)> = Vec::new();
    let mut continued = false;
    for (index, raw) in text.lines().enumerate() {
        let line = raw.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (body, goes_on) = line.strip_suffix('\\').map_or((line, false), |body| (body.trim_end(), true));
        match lines.last_mut().filter(|_| continued) {
            Some((_, joined)) => {
                joined.push(' ');
                joined.push_str(body);
            }
            None => lines.push((index + 1, body.to_owned())),
        }
        continued = goes_on;
    }
    lines
}

/// The packages of `apt-get update && apt-get install -y --no-install-recommends PACKAGES && rm -rf ...`.
fn installed_packages(command: &str) -> Result<Vec<String>> {
    let mut packages = Vec::new();
    for part in command.split("&&") {
        let words: Vec<&str> = part.split_whitespace().collect();
        match words[..] {
            ["apt-get", "update"] | ["rm", "-rf", "/var/lib/apt/lists/*"] => {}
            ["apt-get", "install", "-y", "--no-install-recommends", ref names @ ..] => {
                packages.extend(names.iter().map(|&name| name.to_owned()));
            }
            _ => bail!("'{}' is not understood; RUN may only install Debian packages", part.trim()),
        }
    }
    Ok(packages)
}

/// Puts in the values of `${NAME}`.
fn substitute(text: &str, values: &BTreeMap<String, String>) -> Result<String> {
    let mut result = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let (name, after) = after.split_once('}').context("a '${' without its '}'")?;
        result.push_str(before);
        result.push_str(values.get(name).with_context(|| format!("'${{{name}}}' has no ARG"))?);
        rest = after;
    }
    result.push_str(rest);
    Ok(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dockerfile_of_the_repository_is_understood() {
        let text = std::fs::read_to_string(crate::repository().join("Dockerfile")).unwrap();
        let recipe =
            Recipe::parse(&text, &BTreeMap::from([("BINARY".to_owned(), "some/juicefs".to_owned())]))
                .unwrap();
        assert_eq!(recipe.base, "debian:bookworm-slim");
        assert_eq!(recipe.packages, ["ca-certificates", "fuse3"]);
        assert_eq!(recipe.copies, [("some/juicefs".to_owned(), "/usr/local/bin/juicefs".to_owned())]);
        assert_eq!(recipe.user.as_deref(), Some("65532:65532"));
        assert_eq!(recipe.entrypoint, ["/usr/local/bin/juicefs"]);
    }

    #[test]
    fn what_is_not_understood_is_refused_with_its_line() {
        for (text, expected) in [
            ("FROM a\n\n# b\nRUN make install", "Dockerfile line 4: 'make install' is not understood"),
            ("FROM a\nHEALTHCHECK true", "Dockerfile line 2: HEALTHCHECK is not understood"),
            ("COPY a /b", "Dockerfile line 1: the first instruction is to be FROM"),
            ("FROM a\nCOPY ${X} /b", "Dockerfile line 2: '${X}' has no ARG"),
            ("FROM a\nCOPY a \\\n  b /c", "Dockerfile line 2: COPY takes one source"),
            ("", "the Dockerfile has no FROM"),
        ] {
            let error = format!("{:#}", Recipe::parse(text, &BTreeMap::new()).unwrap_err());
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
