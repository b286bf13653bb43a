//! The bucket of a mirror as its mounts see it: never written to, and where the mirror has one of its own, the source's
//! behind it for what is not copied yet.

use juicefs_meta::mirror;
use juicefs_meta::{Format, Meta};
use juicefs_object::layers::fallback::Fallback;
use juicefs_object::layers::read_only::ReadOnly;
use juicefs_object::{Store, Traffic};
use juicefs_volume::StorageAccess;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use crate::error::Result;

/// What is read from, and how many objects came from the source's bucket, where that counts.
pub(crate) struct MirrorStore {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) far_reads: Option<Arc<AtomicU64>>,
}

/// `near` as it is on a volume that is no mirror.
pub(crate) async fn of(
    meta: &Meta,
    near: Arc<dyn Store>,
    access: &StorageAccess,
    traffic: Arc<Traffic>,
) -> Result<MirrorStore> {
    let Some(record) = meta.mirror() else { return Ok(MirrorStore { store: near, far_reads: None }) };
    let mut store = near;
    let mut far_reads = None;
    if record.bucket.is_own() {
        match far_store(meta, access, traffic).await {
            Ok(Some(far)) => {
                let both = Fallback::new(store, far);
                far_reads = Some(both.far_reads());
                store = Arc::new(both);
            }
            Ok(None) => tracing::warn!("the mirror does not know the source's bucket"),
            Err(error) => {
                tracing::warn!(%error, "the source's bucket can't be opened: what is not copied yet can't be read");
            }
        }
    }
    let store = Arc::new(ReadOnly::new(store, record.read_only_reason()));
    Ok(MirrorStore { store, far_reads })
}

/// Flags of the mount are about the mirror's own bucket.
async fn far_store(
    meta: &Meta,
    access: &StorageAccess,
    traffic: Arc<Traffic>,
) -> Result<Option<Arc<dyn Store>>> {
    let Some(source) = mirror::read_source_setting(&**meta.engine()).await? else { return Ok(None) };
    let access = StorageAccess {
        region: access.region.clone(),
        variables: access.variables.clone(),
        retry: access.retry,
        ..StorageAccess::default()
    };
    // Whoever seals the blocks does it for both buckets.
    let source = Format { encrypt_key: meta.format().encrypt_key.clone(), ..source };
    Ok(Some(juicefs_volume::open_metered_store(&source, &access, traffic).await?))
}
