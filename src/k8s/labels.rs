//! Names of labels, annotations, finalizers and parameters. They stay in objects of running clusters: a name is
//! added here, never changed. Upstream's names keep their spelling; ours begin with `juicefs.rs/`.

/// Label that mount pods carry, with [`MOUNT_POD_APP`] as its value (upstream's).
pub const APP_NAME: &str = "app.kubernetes.io/name";
/// Value of [`APP_NAME`] on mount pods (upstream's).
pub const MOUNT_POD_APP: &str = "juicefs-mount";
/// Label on everything that we make.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// Label on mount pods: the id of the volume, or of the group of volumes that share it (upstream's).
pub const VOLUME_ID: &str = "volume-id";
/// Label on mount pods: hash of the settings (upstream's).
pub const SETTINGS_HASH: &str = "juicefs-hash";
/// Annotation on mount pods: the volume's UUID (upstream's), and behind a `-` the name of a mirror.
pub const VOLUME_UUID: &str = "juicefs-uuid";
/// Annotation on mount pods: the id of the volume without shortening (upstream's).
pub const UNIQUE_ID: &str = "juicefs-uniqueid";
/// Annotation on mount pods: how long an unreferenced pod stays (upstream's).
pub const DELETE_DELAY: &str = "juicefs-delete-delay";

/// Label on objects made for a `FileSystem`: its name.
pub const FILE_SYSTEM: &str = "juicefs.rs/file-system";
/// Label on objects made for a `FileSystem`: its namespace.
pub const FILE_SYSTEM_NAMESPACE: &str = "juicefs.rs/file-system-namespace";
/// Label on objects made for a `Mirror`: its name.
pub const MIRROR_NAME: &str = "juicefs.rs/mirror-name";
/// Label on objects made for a `Mirror`: its namespace.
pub const MIRROR_NAMESPACE: &str = "juicefs.rs/mirror-namespace";
/// Annotation on the pods of a `Mirror`: hash of the versions of what they were started with.
pub const INPUTS: &str = "juicefs.rs/inputs";
/// Annotation on format pods: the settings to format with, read as a file through the downward API.
pub const FORMAT_SPEC: &str = "juicefs.rs/format-spec";
/// Finalizer of our custom resources.
pub const FINALIZER: &str = "juicefs.rs/cleanup";
/// Annotation on a custom resource: `"true"` drops the finalizer even if cleaning up fails.
pub const FORCE_DELETE: &str = "juicefs.rs/force-delete";
/// Volume attribute: UUID of the file system that the volume is in.
pub const FILE_SYSTEM_UUID: &str = "juicefs.rs/fs-uuid";
/// Volume attribute: the class's mount options with upstream's words filled in, where there are any.
pub const MOUNT_OPTIONS: &str = "juicefs.rs/mount-options";
/// Volume attribute: the mirror that the volume is in. It was found there, not made, and is read-only for good.
pub const MIRROR: &str = "juicefs.rs/mirror";
/// Class parameter: what becomes of claims that ask to write to a mirror; `coerce` gives them a read-only mount.
pub const MIRROR_ACCESS: &str = "juicefs.rs/mirror-access";
/// Annotation by which a class is the cluster's default.
pub const DEFAULT_CLASS: &str = "storageclass.kubernetes.io/is-default-class";

/// Prefix of the standard parameters that the sidecars read and remove.
pub const SIDECAR_PREFIX: &str = "csi.storage.k8s.io/";
/// Prefix of our own parameters.
pub const OWN_PREFIX: &str = "juicefs.rs/";
/// Prefix of upstream's mount pod parameters.
pub const UPSTREAM_PREFIX: &str = "juicefs/";
