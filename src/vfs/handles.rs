//! What is open. Only `open`, `create`, `opendir` add and only `release`, `releasedir` remove.

use crate::directory::DirHandle;
use crate::files::File;
use crate::readahead::Streams;
use bytes::Bytes;
use juicefs_base::sync::{Mutex, RwLock};
use juicefs_meta::OpenFlags;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const SHARDS: usize = 16;

/// An open file.
pub(crate) struct FileHandle {
    pub(crate) file: Arc<File>,
    pub(crate) flags: OpenFlags,
    /// The last lost write that this handle was told of.
    pub(crate) fault_seen: AtomicU64,
    pub(crate) streams: Mutex<Streams>,
}

/// Anything that is open.
#[derive(Clone)]
pub(crate) enum Handle {
    File(Arc<FileHandle>),
    Dir(Arc<DirHandle>),
    /// An internal file, as it was when it was opened.
    Text(Bytes),
}

/// Handles by number; numbers are never used twice.
pub(crate) struct Handles {
    shards: [RwLock<HashMap<u64, Handle>>; SHARDS],
    next: AtomicU64,
}

impl Default for Handles {
    fn default() -> Self {
        Self { shards: Default::default(), next: AtomicU64::new(1) }
    }
}

impl Handles {
    pub(crate) fn add(&self, handle: Handle) -> u64 {
        let fh = self.next.fetch_add(1, Ordering::Relaxed);
        self.shard(fh).write().insert(fh, handle);
        fh
    }

    pub(crate) fn get(&self, fh: u64) -> Option<Handle> {
        self.shard(fh).read().get(&fh).cloned()
    }

    pub(crate) fn file(&self, fh: u64) -> Option<Arc<FileHandle>> {
        match self.shard(fh).read().get(&fh) {
            Some(Handle::File(handle)) => Some(Arc::clone(handle)),
            _ => None,
        }
    }

    pub(crate) fn dir(&self, fh: u64) -> Option<Arc<DirHandle>> {
        match self.shard(fh).read().get(&fh) {
            Some(Handle::Dir(handle)) => Some(Arc::clone(handle)),
            _ => None,
        }
    }

    pub(crate) fn remove(&self, fh: u64) -> Option<Handle> {
        self.shard(fh).write().remove(&fh)
    }

    pub(crate) fn count(&self) -> usize {
        self.shards.iter().map(|shard| shard.read().len()).sum()
    }

    fn shard(&self, fh: u64) -> &RwLock<HashMap<u64, Handle>> {
        &self.shards[fh as usize % SHARDS]
    }
}
