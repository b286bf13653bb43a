//! Shape of files: length, names, module style, headers, the one door to locks.

use super::{Finding, Source};

const LINES_MAX: usize = 700;
/// Names that say nothing.
const EMPTY_WORDS: &[&str] = &["util", "utils", "common", "manager", "helper", "helpers", "misc", "stuff"];
/// What a generator's file says of itself in its first line.
const GENERATED: &[&str] = &["Written by", "Generated from", "@generated"];
const LOCKS: &[&str] = &["Mutex", "RwLock", "Condvar"];
const DOOR: &str = "src/base/sync.rs";

pub(crate) fn check(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources.iter().filter(|source| is_code(&source.path) && !is_generated(source)) {
        let lines = source.text.lines().count();
        if lines > LINES_MAX {
            findings.push(format!("{}: {lines} lines, at most {LINES_MAX}: cut it", source.path));
        }
        if let Some(word) = empty_word(&source.path) {
            findings.push(format!("{}: `{word}` says nothing: name what is in it", source.path));
        }
        if source.path.ends_with(".rs") {
            findings.extend(check_rust(source, sources));
        }
    }
    findings
}

fn check_rust(source: &Source, sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let path = &source.path;
    let folder = format!("{}/", path.trim_end_matches(".rs"));
    if sources.iter().any(|other| other.path.starts_with(&folder) && other.path.ends_with(".rs")) {
        findings
            .push(format!("{path}: a folder of the same name stands beside it: move it to {folder}mod.rs"));
    }
    let is_test = path.contains("/tests/") || path.ends_with("/tests.rs");
    if !is_test && !source.text.starts_with("//!") {
        findings.push(format!("{path}: no header: say in `//!` lines what it is and who may change it"));
    }
    for (number, line) in source.text.lines().enumerate() {
        let code = line.split("//").next().unwrap_or_default();
        let names_a_lock = || LOCKS.iter().any(|lock| has_word(code, lock));
        if path != DOOR && code.contains("std::sync::") && names_a_lock() {
            findings.push(format!("{path}:{}: locks come from juicefs_base::sync", number + 1));
        }
        if let Some(name) = declared(code)
            && let Some(word) = name_words(name).into_iter().find(|word| is_empty_word(word))
        {
            findings.push(format!("{path}:{}: `{word}` in `{name}` says nothing", number + 1));
        }
    }
    findings
}

fn is_code(path: &str) -> bool {
    [".rs", ".sh", ".py"].iter().any(|end| path.ends_with(end))
}

pub(crate) fn is_generated(source: &Source) -> bool {
    let first = source.text.lines().next().unwrap_or_default();
    GENERATED.iter().any(|word| first.contains(word)) && !first.starts_with("//!")
}

fn empty_word(path: &str) -> Option<&str> {
    path.split(['/', '.', '_', '-']).find(|word| is_empty_word(word))
}

fn is_empty_word(word: &str) -> bool {
    EMPTY_WORDS.contains(&word.to_lowercase().as_str())
}

/// The name of a type or module that this line declares. Functions are left out: a verb may act on one, such as
/// FUSE's own mount helper.
fn declared(code: &str) -> Option<&str> {
    let mut words = code.split_whitespace().skip_while(|word| word.starts_with("pub"));
    if !["struct", "enum", "trait", "type", "mod", "union"].contains(&words.next()?) {
        return None;
    }
    words.next()?.split(|letter: char| !letter.is_alphanumeric() && letter != '_').next()
}

/// `DirManager` and `dir_manager` as words.
fn name_words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    for letter in name.chars() {
        if letter == '_' || letter.is_uppercase() {
            words.push(String::new());
        }
        if let (Some(word), true) = (words.last_mut(), letter != '_') {
            word.push(letter);
        }
    }
    words
}

pub(crate) fn has_word(code: &str, word: &str) -> bool {
    code.split(|letter: char| !letter.is_alphanumeric() && letter != '_').any(|found| found == word)
}

#[cfg(test)]
mod tests {
    use super::super::source;
    use super::*;

    fn findings(path: &str, text: &str) -> Vec<Finding> {
        check(&[source(path, text)])
    }

    #[test]
    fn a_plain_file_is_fine_and_a_long_one_is_not() {
        assert!(findings("src/a/lib.rs", "//! A.\nuse std::sync::Arc;\n").is_empty());
        let long = format!("//! A.\n{}", "\n".repeat(LINES_MAX));
        assert_eq!(findings("src/a/lib.rs", &long).len(), 1);
        assert!(findings("src/a/proto.rs", &format!("// Written by `x`\n{long}")).is_empty());
    }

    #[test]
    fn names_that_say_nothing_are_found() {
        assert_eq!(findings("src/a/utils.rs", "//! A.\n").len(), 1);
        assert_eq!(findings("e2e/helpers/x.py", "").len(), 1);
        assert_eq!(findings("src/a/x.rs", "//! A.\npub(crate) struct CacheManager;\n").len(), 1);
        assert!(findings("src/a/x.rs", "//! A.\nfn by_helper() {}\nstruct Utility;\n").is_empty());
    }

    #[test]
    fn locks_have_one_door() {
        // Cut, so that this file does not name them itself.
        for line in ["use std::{}::{Arc, Mutex};", "let a = std::{}::RwLock::new(1);"] {
            let line = line.replace("{}", "sync");
            assert_eq!(findings("src/a/x.rs", &format!("//! A.\n{line}\n")).len(), 1, "{line}");
        }
        assert!(
            findings("src/a/x.rs", "//! A.\n// never std::sync::Mutex\nuse std::sync::OnceLock;\n")
                .is_empty()
        );
    }

    #[test]
    fn twins_and_missing_headers_are_found() {
        let twins = [source("src/a/x.rs", "//! X.\n"), source("src/a/x/y.rs", "//! Y.\n")];
        assert_eq!(check(&twins).len(), 1);
        assert_eq!(findings("src/a/x.rs", "use y;\n").len(), 1);
        assert!(findings("src/a/x/tests.rs", "use super::*;\n").is_empty());
    }
}
