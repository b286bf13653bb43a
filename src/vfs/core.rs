//! What reading and writing share: the rooms below, the files, the runtime for work that goes on after a call.

use crate::background::compaction::Compactions;
use crate::background::deletion::Deletions;
use crate::config::VfsConfig;
use crate::files::{File, Files};
use crate::guarded::Guarded;
use crate::invalidate::Invalidations;
use crate::stale_paths::StalePaths;
use crate::told::Told;
use juicefs_base::metrics::Metrics;
use juicefs_base::sync::Mutex;
use juicefs_chunk::ChunkStore;
use juicefs_meta::{Attr, Ino, Kind, Meta};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::{Notify, Semaphore};

pub(crate) struct Core {
    pub(crate) meta: Arc<Meta>,
    pub(crate) chunks: Arc<ChunkStore>,
    pub(crate) deletions: Arc<Deletions>,
    pub(crate) compactions: Arc<Compactions>,
    pub(crate) config: VfsConfig,
    pub(crate) files: Files,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) invalidations: Invalidations,
    pub(crate) told: Told,
    pub(crate) stale_paths: StalePaths,
    pub(crate) guarded: Guarded,
    pub(crate) runtime: tokio::runtime::Handle,
    /// Files with dirty slices. Entered and left under the file's own lock.
    pub(crate) dirty_files: Mutex<HashMap<Ino, Arc<File>>>,
    /// Wakes the flusher when the first of them comes.
    pub(crate) dirty_came: Notify,
    /// Fetches ahead of need.
    pub(crate) readahead: Arc<Semaphore>,
    /// Turns at filling the cache after the answer to who asked for it.
    pub(crate) caching: Arc<Semaphore>,
    /// Since when writes have been waiting for pages, one entry per waiter.
    pub(crate) waiting_writes: Mutex<HashMap<u64, Instant>>,
}

impl Core {
    /// Attributes that were asked for at `asked_at`, as they are to be reported: with what is dirty here. When
    /// somebody else changed the data, what we remember of it goes. The kernel drops its pages when the length or
    /// mtime of the answer is new to it. Only where they are not it is told to, as telling has a price: attributes
    /// that are on their way to it meanwhile count for nothing, and a reader who never opens the file again would
    /// never learn the length of one that grows all the time.
    pub(crate) fn observe(&self, ino: Ino, attr: Attr, asked_at: u64) -> Attr {
        if attr.kind != Kind::File {
            return attr;
        }
        let Some(file) = self.files.find(ino) else { return attr };
        let mut state = file.state();
        let (attr, is_hidden) = state.observe(attr, asked_at);
        if is_hidden && state.has_stale_pages() {
            drop(state);
            self.invalidations.inode(ino);
        }
        attr
    }

    /// A moment before a question to the metadata.
    pub(crate) fn tick(&self) -> u64 {
        self.files.tick()
    }
}
