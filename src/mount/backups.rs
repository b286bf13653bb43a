//! The hourly backup of the metadata: one client of a volume at a time writes it into the bucket.

use jiff::Timestamp;
use juicefs_meta::Meta;
use juicefs_object::Store;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// More often the peer does not do it either.
pub(crate) const INTERVAL_MIN: Duration = Duration::from_secs(300);
/// A volume with more inodes is not dumped every hour or more often.
const INODES_MAX: i64 = 1_000_000;
const HOUR: Duration = Duration::from_secs(3600);

/// Who backs up a mount's volume.
pub(crate) struct Backups {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) interval: Duration,
    pub(crate) skip_trash: bool,
}

impl Backups {
    /// Ends with the metadata, or when it is aborted. What fails is logged and tried again with the next turn.
    pub(crate) async fn run(self, meta: Weak<Meta>) {
        loop {
            // Clients that began together look at different moments.
            let jitter = rand::random_range(0.9..1.1);
            tokio::time::sleep((self.interval / 10).mul_f64(jitter)).await;
            let Some(meta) = meta.upgrade() else { return };
            if let Err(error) = self.turn(&meta).await {
                tracing::warn!(
                    "the backup of the metadata failed and is tried again after {:?}: {error}",
                    self.interval
                );
            }
        }
    }

    async fn turn(&self, meta: &Meta) -> juicefs_volume::Result<()> {
        let engine = meta.engine();
        if self.interval <= HOUR && engine.usage().await?.inodes > INODES_MAX {
            tracing::warn!(
                "the volume has more than {INODES_MAX} inodes, which are not backed up every {:?}: give --backup-meta a \
                 longer interval, or back up the database by its own means",
                self.interval
            );
            return Ok(());
        }
        if !meta.claim_backup(self.interval).await? {
            return Ok(());
        }
        tracing::debug!("backing up the metadata");
        let done =
            juicefs_volume::backup(engine.as_ref(), &*self.store, self.skip_trash, Timestamp::now()).await?;
        tracing::info!("backup metadata succeed: {} ({} bytes)", done.key, done.bytes);
        for key in &done.removed {
            tracing::info!("old backup {key} was removed");
        }
        if done.left_out > 0 {
            tracing::error!(
                "the backup is without {} records that can't be read: run `juicefs fsck`",
                done.left_out
            );
        }
        Ok(())
    }
}
