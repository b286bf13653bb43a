//! What Kubernetes objects look like to us: the custom resources, the names that live for ever in volumes and
//! classes, the parser of upstream's Secrets and parameters, and the builders of mount pods and storage classes.
//!
//! Nothing here decides when anything happens, and only [`events`] talks to an API server.

pub mod class;
pub mod crd;
pub mod events;
pub mod labels;
pub mod name;
pub mod pod;
pub mod quantity;
pub mod settings;

/// The CSI driver's name. Every existing volume carries it, so it never changes.
pub const DRIVER_NAME: &str = "csi.juicefs.com";
/// The file system type that volumes of this driver carry.
pub const FS_TYPE: &str = "juicefs";
/// The user and group of mount pods and Jobs: not root, known to nobody.
pub const POD_UID: i64 = 65532;
