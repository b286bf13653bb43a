//! What `config` changes of the store, credentials above all, holds for running mounts too: at each heartbeat the setting
//! that the metadata room has read is compared with the one the store was opened from.

use juicefs_base::ExposeSecret;
use juicefs_meta::replication::{self, ReplicationRecord};
use juicefs_meta::{Format, Meta};
use juicefs_object::layers::switch::Switch;
use juicefs_object::{Debts, Traffic};
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
    /// What the far one of two buckets lacks.
    pub(crate) debts: Arc<Debts>,
}

impl StoreFollower {
    /// Ends with the metadata, or when it is aborted. A store that can't be opened leaves the last one in place.
    pub(crate) async fn run(
        self,
        meta: Weak<Meta>,
        mut opened: Arc<Format>,
        mut record: Option<ReplicationRecord>,
    ) {
        type Wanted = (Arc<Format>, Option<ReplicationRecord>);
        let is_same = |one: &Wanted, other: &Wanted| is_same_store(&one.0, &other.0) && one.1 == other.1;
        let mut failed: Option<Wanted> = None;
        loop {
            tokio::time::sleep(self.interval.max(Duration::from_millis(100))).await;
            let Some(meta) = meta.upgrade() else { return };
            let format = meta.format();
            let second = match replication::read(meta.engine().as_ref(), &format).await {
                Ok(second) => second,
                Err(error) => {
                    tracing::warn!("whether the volume has a second bucket can't be read: {error}");
                    continue;
                }
            };
            drop(meta);
            let wanted = (format, second);
            if is_same(&wanted, &(opened.clone(), record.clone()))
                || failed.as_ref().is_some_and(|last| is_same(&wanted, last))
            {
                continue;
            }
            let (format, second) = (&wanted.0, wanted.1.as_ref());
            let (traffic, debts) = (self.traffic.clone(), Some(self.debts.clone()));
            match juicefs_volume::open_replicated_store(format, second, &self.access, traffic, debts).await {
                Ok(store) => {
                    tracing::info!("the setting of the object store has changed: from now on it is {store}");
                    self.switch.replace(store);
                    (opened, record) = wanted;
                }
                Err(error) => {
                    tracing::error!("the setting of the object store has changed and can't be used: {error}");
                    failed = Some(wanted);
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
