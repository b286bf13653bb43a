//! What `config` changes of the store, credentials above all, holds for running mounts too: at each heartbeat the setting
//! that the metadata room has read is compared with the one the store was opened from.

use juicefs_base::ExposeSecret;
use juicefs_meta::{Format, Meta};
use juicefs_object::Traffic;
use juicefs_object::layers::switch::Switch;
use juicefs_volume::StorageAccess;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// Who keeps a mount's store as the setting says.
pub(crate) struct StoreFollower {
    pub(crate) switch: Arc<Switch>,
    /// What the mount was told for itself still wins.
    pub(crate) access: StorageAccess,
    pub(crate) traffic: Arc<Traffic>,
    pub(crate) interval: Duration,
}

impl StoreFollower {
    /// Ends with the metadata, or when it is aborted. A store that can't be opened leaves the last one in place.
    pub(crate) async fn run(self, meta: Weak<Meta>, mut opened: Arc<Format>) {
        let mut failed: Option<Arc<Format>> = None;
        loop {
            tokio::time::sleep(self.interval.max(Duration::from_millis(100))).await;
            let Some(format) = meta.upgrade().map(|meta| meta.format()) else { return };
            if is_same_store(&format, &opened)
                || failed.as_ref().is_some_and(|last| is_same_store(&format, last))
            {
                continue;
            }
            match juicefs_volume::open_metered_store(&format, &self.access, self.traffic.clone()).await {
                Ok(store) => {
                    tracing::info!("the setting of the object store has changed: from now on it is {store}");
                    self.switch.replace(store);
                    opened = format;
                }
                Err(error) => {
                    tracing::error!("the setting of the object store has changed and can't be used: {error}");
                    failed = Some(format);
                }
            }
        }
    }
}

fn is_same_store(one: &Format, other: &Format) -> bool {
    let tier = |format: &Format| format.tiers.get("0").cloned().unwrap_or_default();
    let secrets = |format: &Format| {
        [&format.secret_key, &format.session_token].map(|secret| secret.expose_secret().to_owned())
    };
    (&one.storage, &one.bucket, &one.access_key) == (&other.storage, &other.bucket, &other.access_key)
        && tier(one) == tier(other)
        && secrets(one) == secrets(other)
}
