//! Paths of volumes inside the file system.

use super::Error;

/// Names at the root of the file system that are no volume's: the driver's own records, and what the client itself
/// puts there.
const RESERVED: &[&str] =
    &[".juicefs-csi", ".trash", ".accesslog", ".config", ".control", ".stats", ".jfsinfo"];
/// What a name may have at most.
const NAME_BYTES_MAX: usize = 255;
/// What the kernel takes as a path at most.
const PATH_BYTES_MAX: usize = 4095;

/// A subdirectory as a volume may have it: components joined by `/`, no `..`, no leading or trailing slash. Two texts
/// that name the same directory become the same path.
///
/// # Errors
/// `BadPath` for a path that is empty, is the root, has `..` or a control character or is too long, `ReservedPath` for
/// one that begins with a name which is not for volumes.
pub fn sub_path(text: &str) -> Result<String, Error> {
    let bad = |why: &'static str| Err(Error::BadPath { path: format!("{text:?}"), why });
    if text.trim().is_empty() {
        return bad("is empty: a label or an annotation that it is made of may be missing");
    }
    if text.chars().any(char::is_control) {
        return bad("has a control character");
    }
    let components: Vec<&str> = text.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    let Some(first) = components.first() else {
        return bad("is the root of the file system: name a directory in it");
    };
    if components.contains(&"..") {
        return bad("has .. and would leave its directory");
    }
    if components.iter().any(|part| part.len() > NAME_BYTES_MAX) || text.len() > PATH_BYTES_MAX {
        return bad("is too long: 255 bytes a name, 4095 in all");
    }
    if let Some(name) = RESERVED.iter().find(|name| *name == first) {
        return Err(Error::ReservedPath(name));
    }
    Ok(components.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_normalised_and_cannot_leave_the_volume() {
        assert_eq!(sub_path("/a//b/./c/"), Ok("a/b/c".into()));
        assert_eq!(sub_path("a/.trash"), Ok("a/.trash".into()));
        let refused = [
            ("", "is empty"),
            (" \t", "is empty"),
            ("/", "is the root"),
            ("./.", "is the root"),
            ("a/../b", "has .."),
            ("..", "has .."),
            ("a\0b", "control character"),
            ("a\nb", "control character"),
            ("a\u{85}b", "control character"),
            (&"x".repeat(256), "too long"),
            (&"x/".repeat(2048), "too long"),
            ("/.juicefs-csi/volumes", "begins with .juicefs-csi"),
            ("./.trash/x", "begins with .trash"),
            (".config", "begins with .config"),
        ];
        for (path, why) in refused {
            let told = sub_path(path).expect_err(path).to_string();
            assert!(told.contains(why), "{path:?}: {told}");
        }
    }
}
