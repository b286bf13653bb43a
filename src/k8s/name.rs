//! Names that Kubernetes accepts, made from names that it may not accept.

use sha2::{Digest, Sha256};
use std::fmt::Write as _;

/// Longest value of a label, and longest name of objects that become labels (Jobs).
pub const LABEL_MAX: usize = 63;
/// Longest name of an object.
pub const NAME_MAX: usize = 253;

/// The first `digits` (at most 64) hexadecimal digits of the SHA-256 of the parts. Parts are length-prefixed, so
/// moving bytes from one part to the next gives another hash.
#[must_use]
pub fn hash_of(parts: &[&str], digits: usize) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part.as_bytes());
    }
    let mut text = String::with_capacity(64);
    for byte in hasher.finalize() {
        let _ = write!(text, "{byte:02x}");
    }
    text.truncate(digits);
    text
}

/// `text` if it is a valid label value, else 63 digits of its hash: equal texts stay equal, different ones differ.
#[must_use]
pub fn label_value(text: &str) -> String {
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let edge = |c: Option<char>| c.is_none_or(|c| c.is_ascii_alphanumeric());
    let fits = text.len() <= LABEL_MAX
        && text.chars().all(inner)
        && edge(text.chars().next())
        && edge(text.chars().last());
    if fits { text.to_owned() } else { hash_of(&[text], LABEL_MAX) }
}

/// `<stem>-<suffix>` within `max` bytes, lower case, only letters, digits, `-` and `.`. A stem that had to be changed
/// or cut gets eight digits of its own hash, so that two long stems stay apart.
#[must_use]
pub fn object_name(stem: &str, suffix: &str, max: usize) -> String {
    let mut clean: String = stem
        .chars()
        .map(|c| c.to_ascii_lowercase())
        .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '-' | '.') { c } else { '-' })
        .collect();
    let room = max.saturating_sub(suffix.len() + 1);
    if clean != stem || clean.len() > room {
        clean.truncate(room.saturating_sub(9));
        clean = format!("{}-{}", clean.trim_end_matches(['-', '.']), hash_of(&[stem], 8));
    }
    format!("{clean}-{suffix}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_valid_label_stays_and_any_other_becomes_its_hash() {
        assert_eq!(label_value("pvc-1f2"), "pvc-1f2");
        assert_eq!(label_value(""), "");
        for bad in ["a/b", "-a", "a-", &"x".repeat(64)] {
            let value = label_value(bad);
            assert_eq!(value.len(), 63);
            assert_eq!(label_value(&value), value);
        }
    }

    #[test]
    fn long_or_odd_stems_stay_apart_and_within_the_limit() {
        assert_eq!(object_name("data", "format-abc", 63), "data-format-abc");
        let (a, b) = ("y".repeat(300) + "a", "y".repeat(300) + "b");
        let (a, b) = (object_name(&a, "format-0123456789", 63), object_name(&b, "format-0123456789", 63));
        assert!(a != b && a.len() <= 63 && b.len() <= 63, "{a} {b}");
        assert_ne!(object_name("A_b", "x", 63), object_name("a-b", "x", 63));
    }

    #[test]
    fn bytes_moved_between_parts_change_the_hash() {
        assert_ne!(hash_of(&["ab", "c"], 64), hash_of(&["a", "bc"], 64));
    }
}
