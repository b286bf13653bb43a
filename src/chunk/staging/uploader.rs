//! Stores what is pending: a few blocks at a time, oldest first, until the process ends.

use super::{Pending, Staging, State, now_s};
use crate::cache::{StageDir, StagedRead, leased};
use crate::error::{Error, Result};
use crate::layout::BlockId;
use crate::store::ChunkStore;
use futures::stream::{FuturesUnordered, StreamExt as _};
use std::sync::Weak;
use std::time::Duration;

/// How long a block waits after a failure.
const RETRY_S: u64 = 5;
/// Hours and delays are looked at this often, and without anything pending.
const LOOK: Duration = Duration::from_secs(1);
const LOOK_IDLE: Duration = Duration::from_secs(60);

impl Staging {
    /// Whether blocks may have to wait although the store would take them.
    fn holds_back(&self) -> bool {
        self.policy.as_ref().is_some_and(|policy| !policy.delay.is_zero() || policy.hours.is_some())
    }

    /// The next block that may go now. Delays and hours do not hold when the disk is short of room.
    fn take_due(&self, is_pressed: bool) -> Option<(StageDir, BlockId)> {
        let now = now_s();
        let hour = u8::try_from(local_hour()).unwrap_or(0);
        let hours = self.policy.as_ref().and_then(|policy| policy.hours);
        let may_go = is_pressed || hours.is_none_or(|hours| hours.contain(hour));
        let mut pending = self.pending.lock();
        let &(due_s, block) = pending.queue.first()?;
        if !may_go || (due_s > now && !is_pressed) {
            return None;
        }
        pending.queue.remove(&(due_s, block));
        let staged = pending.blocks.get_mut(&block)?;
        staged.state = State::Uploading;
        Some((staged.dir.clone(), block))
    }

    /// Ends an upload: whether the object has to be removed again.
    fn ended(&self, block: BlockId, outcome: &Outcome) -> bool {
        let mut pending = self.pending.lock();
        let Pending { blocks, queue, .. } = &mut *pending;
        let Some(staged) = blocks.get_mut(&block) else { return false };
        match (staged.state, outcome) {
            (State::Removed, _) => {
                pending.forget(block);
                true
            }
            (_, Outcome::Stored | Outcome::Gone) => {
                pending.forget(block);
                false
            }
            (_, Outcome::Damaged(_)) => {
                staged.state = State::Damaged;
                false
            }
            (_, Outcome::Failed(_)) => {
                let due_s = now_s() + RETRY_S;
                staged.state = State::Waiting(due_s);
                queue.insert((due_s, block));
                false
            }
        }
    }
}

enum Outcome {
    Stored,
    /// Somebody else stored it, or removed its slice.
    Gone,
    Damaged(String),
    Failed(Error),
}

/// Runs as long as the store is used: takes in what earlier processes left, then stores what is pending.
pub(crate) async fn run(chunks: Weak<ChunkStore>) {
    take_in(&chunks).await;
    let mut running = FuturesUnordered::new();
    loop {
        let Some(store) = chunks.upgrade() else { return };
        let is_pressed = store.staging.holds_back()
            && store.disk.as_ref().is_some_and(crate::cache::DiskCache::is_short_of_room);
        while running.len() < store.staged_at_once()
            && let Some((dir, block)) = store.staging.take_due(is_pressed)
        {
            let store = store.clone();
            running.push(async move { store.upload_staged(dir, block).await });
        }
        let look = if store.staging.used().0 == 0 { LOOK_IDLE } else { LOOK };
        let changed = store.staging.changed.clone();
        // The wait keeps nobody alive.
        drop(store);
        tokio::select! {
            () = changed.notified() => {}
            () = tokio::time::sleep(look) => {}
            Some(()) = running.next(), if !running.is_empty() => {}
        }
    }
}

/// What a process that died left in the directories.
async fn take_in(chunks: &Weak<ChunkStore>) {
    let Some(store) = chunks.upgrade() else { return };
    let dirs = store.disk.as_ref().map(crate::cache::DiskCache::stage_dirs).unwrap_or_default();
    let looked = store.runtime().clone().spawn_blocking(move || {
        for dir in dirs {
            dir.each(|block, since_s| store.staging.add(dir.clone(), block, since_s));
        }
        let (blocks, bytes) = store.staging.used();
        if blocks > 0 {
            tracing::info!("{blocks} staged blocks with {bytes} bytes wait to be stored");
        }
    });
    // A panic there is logged by the runtime; the files stay for the next start.
    let _ = looked.await;
}

impl ChunkStore {
    /// Blocks in memory for a store that may be away: a quarter of it at most, so that reads go on.
    fn staged_at_once(&self) -> usize {
        let share = self.budget_bytes() / 4 / (self.layout().block_bytes as usize).max(1);
        share.clamp(1, self.config.max_uploads)
    }

    async fn upload_staged(&self, dir: StageDir, block: BlockId) {
        let outcome = self.try_upload_staged(&dir, block).await;
        if self.staging.ended(block, &outcome) {
            let key = self.layout().key(block);
            if let Err(cause) = self.store.delete(&key).await {
                tracing::warn!("object {key} of a removed slice stays until gc: {cause}");
            }
            return;
        }
        match outcome {
            Outcome::Stored => dir.remove(block).await,
            Outcome::Gone => {}
            Outcome::Damaged(cause) => {
                tracing::error!(
                    "staged block {} is damaged and not stored: {cause}",
                    dir.path(block).display()
                );
            }
            Outcome::Failed(cause) => {
                tracing::warn!("staged block {} is not stored yet: {cause}", dir.path(block).display());
            }
        }
    }

    async fn try_upload_staged(&self, dir: &StageDir, block: BlockId) -> Outcome {
        let lease = match self.lease(block.size as usize).await {
            Ok(lease) => lease,
            Err(cause) => return Outcome::Failed(cause),
        };
        let data = match dir.read(block, 0, block.size).await {
            StagedRead::Data(data) => leased(data, lease),
            StagedRead::Gone => return Outcome::Gone,
            StagedRead::Damaged(cause) => return Outcome::Damaged(cause),
            StagedRead::Failed(cause) => {
                let dir = dir.path(block);
                return Outcome::Failed(Error::CacheDir { dir, cause: cause.to_string() });
            }
        };
        match self.put_block(block, data).await {
            Ok(()) => Outcome::Stored,
            Err(cause) => Outcome::Failed(cause),
        }
    }

    /// The object of a block that is in memory, when it is its turn.
    pub(crate) async fn put_block(&self, block: BlockId, data: bytes::Bytes) -> Result<()> {
        let _turn = self.uploads.acquire().await.map_err(|_| Error::Stopped)?;
        let _wait = self.counters.uploads.begin();
        let key = self.layout().key(block);
        let object = self.encode(&key, data).await?;
        Ok(self.store.put(&key, object).await?)
    }
}

/// 0 to 23.
fn local_hour() -> i8 {
    jiff::Zoned::now().hour()
}
