//! Write-back: blocks that are acknowledged from a cache disk and stored later (`--writeback`).
//!
//! State: a block is *pending* from the moment its staged file is whole until it is stored, or its slice removed. Only
//! this module takes it out, together with the file. What a process that died left is pending again at the next start,
//! of either client; files of a running process may be stored by another that shares the directory, which is the same
//! object once more.

mod hours;
mod uploader;

pub use hours::UploadHours;
pub(crate) use uploader::run;

use crate::cache::StageDir;
use crate::layout::BlockId;
use bytes::Bytes;
use juicefs_base::sync::Mutex;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, Semaphore};

/// How a mount writes back.
#[derive(Clone, Debug, PartialEq)]
pub struct Writeback {
    /// Only smaller blocks are staged (`--writeback-threshold-size`); 0: all.
    pub below_bytes: u64,
    /// So many are written at once (`--max-stage-write`); further ones go straight to the store.
    pub writers: usize,
    /// How long a staged block waits at least (`--upload-delay`).
    pub delay: Duration,
    /// The hours in which staged blocks go (`--upload-hours`); `None`: all.
    pub hours: Option<UploadHours>,
}

/// What waits to be stored.
#[derive(Debug)]
pub(crate) struct Staging {
    policy: Option<Writeback>,
    writers: Semaphore,
    pending: Mutex<Pending>,
    /// Something became due, or stopped waiting.
    changed: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Pending {
    blocks: HashMap<BlockId, Staged>,
    /// Those that nobody uploads now, by the second they may go.
    queue: BTreeSet<(u64, BlockId)>,
    bytes: u64,
}

#[derive(Debug)]
struct Staged {
    dir: StageDir,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// With its place in the queue.
    Waiting(u64),
    Uploading,
    /// The slice was removed during the upload: the object has to go again.
    Removed,
    /// Its bytes are not what was written; the file stays for whoever looks into it.
    Damaged,
}

impl Staging {
    pub(crate) fn new(policy: Option<Writeback>) -> Self {
        let writers = policy.as_ref().map_or(0, |policy| policy.writers.min(Semaphore::MAX_PERMITS));
        Self { policy, writers: Semaphore::new(writers), pending: Mutex::default(), changed: Arc::default() }
    }

    /// Whether a new block of that size is staged.
    pub(crate) fn takes(&self, size: u32) -> bool {
        self.policy
            .as_ref()
            .is_some_and(|policy| policy.below_bytes == 0 || u64::from(size) < policy.below_bytes)
    }

    /// Writes a block to the stage; false when there is no room or too many are being written: then it has to be stored
    /// at once.
    pub(crate) async fn stage(&self, dir: StageDir, block: BlockId, data: Bytes) -> bool {
        let Ok(_turn) = self.writers.try_acquire() else { return false };
        if !dir.write(block, data).await {
            return false;
        }
        self.add(dir, block, now_s());
        true
    }

    /// A staged file that is there; nothing new for one that is known.
    pub(crate) fn add(&self, dir: StageDir, block: BlockId, since_s: u64) {
        let delay_s = self.policy.as_ref().map_or(0, |policy| policy.delay.as_secs());
        let due_s = since_s.saturating_add(delay_s);
        let mut pending = self.pending.lock();
        if pending.blocks.contains_key(&block) {
            return;
        }
        pending.blocks.insert(block, Staged { dir, state: State::Waiting(due_s) });
        pending.queue.insert((due_s, block));
        pending.bytes += u64::from(block.size);
        drop(pending);
        self.changed.notify_one();
    }

    /// Where a pending block is.
    pub(crate) fn find(&self, block: BlockId) -> Option<StageDir> {
        let pending = self.pending.lock();
        if pending.blocks.is_empty() {
            return None;
        }
        pending
            .blocks
            .get(&block)
            .filter(|staged| staged.state != State::Removed)
            .map(|staged| staged.dir.clone())
    }

    /// The slice is gone: its blocks need not be stored any more.
    pub(crate) async fn cancel(&self, blocks: impl Iterator<Item = BlockId>) {
        let mut found = Vec::new();
        {
            let mut pending = self.pending.lock();
            if pending.blocks.is_empty() {
                return;
            }
            for block in blocks {
                let Some(staged) = pending.blocks.get_mut(&block) else { continue };
                found.push((staged.dir.clone(), block));
                if staged.state == State::Uploading {
                    staged.state = State::Removed;
                } else {
                    pending.forget(block);
                }
            }
        }
        for (dir, block) in found {
            dir.remove(block).await;
        }
    }

    /// Blocks and bytes that are not stored yet.
    pub(crate) fn used(&self) -> (u64, u64) {
        let pending = self.pending.lock();
        (pending.blocks.len() as u64, pending.bytes)
    }
}

impl Pending {
    fn forget(&mut self, block: BlockId) {
        let Some(staged) = self.blocks.remove(&block) else { return };
        if let State::Waiting(due_s) = staged.state {
            self.queue.remove(&(due_s, block));
        }
        self.bytes -= u64::from(block.size);
        if self.blocks.is_empty() {
            self.blocks.shrink_to_fit();
        }
    }
}

fn now_s() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}
