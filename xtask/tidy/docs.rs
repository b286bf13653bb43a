//! What the documents say is there: the rooms of ARCHITECTURE.md, the tests that docs/semantics.md names, the files
//! that links lead to.

use std::collections::BTreeSet;

use super::imports::Member;
use super::{Finding, Source};

const WANTED: &[&str] = &[
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "LICENSE",
    "docs/semantics.md",
    "docs/roadmap.md",
    "docs/measured.md",
];
const SEMANTICS: &str = "docs/semantics.md";
/// First letters of numbered rows: promises and deviations.
const NUMBERED: &[char] = &['S', 'D'];

pub(crate) fn check(sources: &[Source], members: &[Member]) -> Vec<Finding> {
    let find = |path: &str| sources.iter().find(|source| source.path == path);
    let mut findings: Vec<Finding> =
        WANTED.iter().filter(|path| find(path).is_none()).map(|path| format!("{path} is missing")).collect();
    if let Some(architecture) = find("ARCHITECTURE.md") {
        findings.extend(check_rooms(&architecture.text, members));
    }
    if let Some(semantics) = find(SEMANTICS) {
        findings.extend(check_promises(&semantics.text, sources));
    }
    for source in sources.iter().filter(|source| source.path.ends_with(".md")) {
        findings.extend(check_links(source, sources));
    }
    findings
}

/// The cells of every row of every table.
fn rows(text: &str) -> impl Iterator<Item = Vec<&str>> {
    text.lines()
        .filter_map(|line| line.strip_prefix('|')?.strip_suffix('|'))
        .map(|row| row.split('|').map(str::trim).collect())
}

fn quoted(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

fn check_rooms(architecture: &str, members: &[Member]) -> Vec<Finding> {
    let section = architecture.split("## Rooms").nth(1).unwrap_or_default();
    let section = section.split("\n## ").next().unwrap_or_default();
    let told: BTreeSet<&str> =
        rows(section).filter_map(|cells| quoted(cells.first()?).first().copied()).collect();
    let there: BTreeSet<&str> = members
        .iter()
        .map(|member| member.name.as_str())
        .filter(|name| !["xtask", "juicefs"].contains(name))
        .collect();
    let gone = told.difference(&there).map(|room| format!("ARCHITECTURE.md: there is no room {room}"));
    let untold =
        there.difference(&told).map(|room| format!("ARCHITECTURE.md does not tell of the room {room}"));
    gone.chain(untold).collect()
}

/// Every numbered row ends in the tests that hold it, as `FILE::NAME`; numbers run without gaps.
fn check_promises(semantics: &str, sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut last: Vec<(char, u32)> = NUMBERED.iter().map(|letter| (*letter, 0)).collect();
    for cells in rows(semantics) {
        let Some((letter, number)) = row_number(cells.first().copied().unwrap_or_default()) else { continue };
        let name = cells[0];
        if let Some((_, before)) = last.iter_mut().find(|(of, _)| *of == letter) {
            if number != *before + 1 {
                findings.push(format!("{SEMANTICS}: {name} follows {letter}{before}"));
            }
            *before = number;
        }
        let tests = quoted(cells.last().copied().unwrap_or_default());
        if tests.is_empty() {
            findings.push(format!("{SEMANTICS}: {name} names no test"));
        }
        for test in tests {
            if let Some(problem) = missing(test, sources) {
                findings.push(format!("{SEMANTICS}: {name}: `{test}`: {problem}"));
            }
        }
    }
    for (letter, last) in last {
        if last == 0 {
            findings.push(format!("{SEMANTICS}: no row is numbered {letter}1"));
        }
    }
    findings
}

fn row_number(cell: &str) -> Option<(char, u32)> {
    let letter = cell.chars().next().filter(|letter| NUMBERED.contains(letter))?;
    Some((letter, cell[1..].parse().ok()?))
}

/// Why `FILE::NAME` is no test. In Rust the name is a function's, elsewhere it is a word of the file.
fn missing(test: &str, sources: &[Source]) -> Option<String> {
    let Some((path, name)) = test.split_once("::") else { return Some("write it as FILE::NAME".to_owned()) };
    let Some(source) = sources.iter().find(|source| source.path == path) else {
        return Some(format!("there is no file {path}"));
    };
    let is_there = match path.ends_with(".rs") {
        true => source.text.contains(&format!("fn {name}(")),
        false => source.text.contains(name),
    };
    (!is_there).then(|| format!("{path} has no test {name}"))
}

fn check_links(source: &Source, sources: &[Source]) -> Vec<Finding> {
    let folder = source.path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let links = source.text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    links
        .map(|link| link.split('#').next().unwrap_or_default())
        .filter(|link| !link.is_empty() && !link.contains("://") && !link.starts_with("mailto:"))
        .filter_map(|link| {
            let path = resolved(folder, link);
            let is_there =
                sources.iter().any(|other| other.path == path || other.path.starts_with(&format!("{path}/")));
            (!is_there).then(|| format!("{}: the link to {link} leads nowhere", source.path))
        })
        .collect()
}

fn resolved(folder: &str, link: &str) -> String {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in link.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::super::source;
    use super::*;

    #[test]
    fn rooms_are_told_once_each() {
        let member = |name: &str| Member { name: name.to_owned(), dependencies: Vec::new() };
        let text = "## Rooms\n\n| room | knows |\n|---|---|\n| `base` | x |\n| `ghost` | y |\n\n## Next\n| `other` |\n";
        let findings = check_rooms(text, &[member("base"), member("meta"), member("xtask")]);
        assert_eq!(findings.len(), 2, "{findings:?}");
    }

    #[test]
    fn promises_name_tests_that_exist() {
        let sources = [source("src/a.rs", "fn holds() {}"), source("e2e/x.py", "check('it holds')")];
        let good = "| S1 | a | `src/a.rs::holds` |\n| S2 | b | `e2e/x.py::it holds` |\n| D1 | c | `src/a.rs::holds` |";
        assert_eq!(check_promises(good, &sources), Vec::<Finding>::new());
        for (from, to) in [
            ("S2", "S3"),
            ("::holds", "::hold"),
            ("src/a.rs", "src/b.rs"),
            ("`e2e/x.py::it holds`", "none"),
            ("D1", "X1"),
        ] {
            assert!(!check_promises(&good.replacen(from, to, 1), &sources).is_empty(), "{from} {to}");
        }
    }

    #[test]
    fn links_lead_somewhere() {
        let sources = [
            source("docs/a.md", "[b](b.md) [r](../README.md#x) [w](https://x.org)"),
            source("docs/b.md", ""),
            source("README.md", ""),
        ];
        assert!(check_links(&sources[0], &sources).is_empty());
        assert_eq!(check_links(&source("docs/a.md", "[c](c.md)"), &sources).len(), 1);
    }
}
