//! Paths of volumes inside the file system.

use super::Error;

/// Directory of the driver's own records, at the root of the file system.
const RECORDS: &str = ".juicefs-csi";

/// A subdirectory as a volume may have it: components joined by `/`, no `..`, no leading or trailing slash.
///
/// # Errors
/// `BadPath` for an empty path or one with `..` or NUL, `ReservedPath` for the driver's own directory.
pub fn sub_path(text: &str) -> Result<String, Error> {
    let components: Vec<&str> = text.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    if components.is_empty() || components.contains(&"..") || text.contains('\0') {
        return Err(Error::BadPath(format!("{text:?}")));
    }
    if components[0] == RECORDS {
        return Err(Error::ReservedPath);
    }
    Ok(components.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_normalised_and_cannot_leave_the_volume() {
        assert_eq!(sub_path("/a//b/./c/"), Ok("a/b/c".into()));
        for bad in ["", "/", ".", "a/../b", "..", "a\0b"] {
            assert!(matches!(sub_path(bad), Err(Error::BadPath(_))), "{bad:?}");
        }
        assert_eq!(sub_path("/.juicefs-csi/volumes"), Err(Error::ReservedPath));
    }
}
