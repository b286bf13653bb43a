//! Errors of the rooms below as gRPC codes. The provisioner takes every code but `Unavailable`, `Aborted`,
//! `DeadlineExceeded` and `Canceled` as "nothing was left behind", so those stand where something may have been.

use juicefs_base::Errno;
use tonic::Status;

pub(crate) fn of_meta(what: &str, error: &juicefs_meta::Error) -> Status {
    use juicefs_meta::Error as E;
    let text = format!("{what}: {error}");
    match error {
        E::Unavailable(_) | E::Replica(_) | E::Conflict | E::InDoubt(_) => Status::unavailable(text),
        E::NotFormatted(_) => Status::failed_precondition(format!(
            "{what}: the database holds no volume: is metaurl right in the Secret? Volumes are made by a FileSystem"
        )),
        E::Denied(said) => Status::unavailable(format!("{what}: {said}: correct metaurl in the Secret")),
        E::Unsupported(_) => Status::failed_precondition(text),
        E::Full(_) => Status::resource_exhausted(text),
        E::Errno(Errno::ENOSPC | Errno::EDQUOT) => Status::resource_exhausted(text),
        E::Errno(Errno::ENOENT) => Status::not_found(text),
        E::Errno(Errno::EROFS) => Status::failed_precondition(text),
        E::Errno(Errno::EACCES | Errno::EPERM) => Status::permission_denied(text),
        E::Errno(Errno::ENOTDIR | Errno::ENAMETOOLONG) => Status::invalid_argument(text),
        E::Engine(_) | E::Corrupt { .. } | E::Errno(_) => Status::unavailable(text),
    }
}

pub(crate) fn of_settings(error: &juicefs_k8s::settings::Error) -> Status {
    Status::invalid_argument(error.to_string())
}

/// An answer of the API server that a call depends on.
pub(crate) fn of_kubernetes(kind: &str, name: &str, error: &kube::Error) -> Status {
    Status::unavailable(format!("{kind} {name}: {error}"))
}
