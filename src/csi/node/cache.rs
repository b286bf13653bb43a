//! Cache directories on the node: `<root>/<uuid>`, for the mount pods' user alone.

use juicefs_k8s::POD_UID;
use nix::unistd::{Gid, Uid, chown};
use std::fs::{self, DirBuilder};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use tonic::Status;

/// The roots a volume asks for, checked against those that the plugin was given.
pub(super) fn roots(wanted: &[PathBuf], allowed: &[PathBuf]) -> Result<Vec<PathBuf>, Status> {
    if wanted.is_empty() {
        return Ok(allowed.first().cloned().into_iter().collect());
    }
    if wanted.iter().any(|path| path.as_os_str() == "memory") {
        return Ok(Vec::new());
    }
    for path in wanted {
        let is_allowed = allowed.iter().any(|root| path.starts_with(root))
            && !path.components().any(|part| part == std::path::Component::ParentDir);
        if !is_allowed {
            return Err(Status::invalid_argument(format!(
                "cache-dir {} is not below a cache root of this node ({}): add it to the chart's cacheRoots",
                path.display(),
                allowed.iter().map(|root| root.display().to_string()).collect::<Vec<_>>().join(", ")
            )));
        }
    }
    Ok(wanted.to_vec())
}

/// Makes `<root>/<uuid>` 0700 for the mount pods' user; a tree of root's that is there is given to it.
pub(super) fn prepare(root: &Path, uuid: &str) -> Result<(), Status> {
    let path = root.join(uuid);
    let failed = |error: &dyn std::fmt::Display| {
        Status::failed_precondition(format!("cache directory {}: {error}", path.display()))
    };
    DirBuilder::new().recursive(true).mode(0o755).create(root).map_err(|error| failed(&error))?;
    match DirBuilder::new().mode(0o700).create(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(failed(&error)),
        _ => {}
    }
    let user = u32::try_from(POD_UID).map_err(|error| failed(&error))?;
    let owner = fs::symlink_metadata(&path).map_err(|error| failed(&error))?;
    if !owner.is_dir() {
        return Err(failed(&"is no directory"));
    }
    if owner.uid() != user {
        give(&path, user).map_err(|error| failed(&error))?;
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).map_err(|error| failed(&error))
}

/// Symlinks are given themselves, never what they point to.
fn give(path: &Path, user: u32) -> std::io::Result<()> {
    let mut waiting = vec![path.to_owned()];
    while let Some(path) = waiting.pop() {
        if fs::symlink_metadata(&path)?.is_dir() {
            for entry in fs::read_dir(&path)? {
                waiting.push(entry?.path());
            }
            chown(&path, Some(Uid::from_raw(user)), Some(Gid::from_raw(user)))?;
        } else {
            std::os::unix::fs::lchown(&path, Some(user), Some(user))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_lies_below_a_root_is_a_cache() {
        let allowed = [PathBuf::from("/var/jfsCache"), PathBuf::from("/data")];
        assert_eq!(roots(&[], &allowed).expect("default"), [PathBuf::from("/var/jfsCache")]);
        assert_eq!(roots(&[PathBuf::from("/data/x")], &allowed).expect("below"), [PathBuf::from("/data/x")]);
        assert!(roots(&[PathBuf::from("memory")], &allowed).expect("memory").is_empty());
        for bad in ["/etc", "/var/jfsCache/../../etc", "/database"] {
            assert!(roots(&[PathBuf::from(bad)], &allowed).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_cache_is_for_the_pods_user_alone() {
        let root = tempfile::tempdir().expect("temp");
        fs::create_dir_all(root.path().join("u/raw")).expect("earlier cache");
        prepare(root.path(), "u").expect("prepared");
        let made = fs::metadata(root.path().join("u")).expect("there");
        assert_eq!((made.mode() & 0o777, i64::from(made.uid())), (0o700, POD_UID));
        assert_eq!(i64::from(fs::metadata(root.path().join("u/raw")).expect("there").uid()), POD_UID);
    }
}
