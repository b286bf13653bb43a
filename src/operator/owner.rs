//! Our resources as owners of what is made for them.

use juicefs_k8s::class::OwnerKind;
use juicefs_k8s::crd::{FileSystem, Mirror};
use kube::core::NamespaceResourceScope;
use kube::{Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Debug;

/// A resource that things are made for.
pub(crate) trait Owner:
    Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + Serialize
{
    const OWNER_KIND: OwnerKind;
}

impl Owner for FileSystem {
    const OWNER_KIND: OwnerKind = OwnerKind::FileSystem;
}

impl Owner for Mirror {
    const OWNER_KIND: OwnerKind = OwnerKind::Mirror;
}

/// Whether the object was made for this owner.
pub(crate) fn owns<K: Owner, T: ResourceExt>(owner: &K, found: &T) -> bool {
    let uid = owner.uid().unwrap_or_default();
    found.owner_references().iter().any(|reference| reference.uid == uid)
}

/// HTTP status of an answer; 0 if there was none.
pub(crate) fn code(error: &kube::Error) -> u16 {
    if let kube::Error::Api(status) = error { status.code } else { 0 }
}
