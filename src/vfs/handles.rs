//! What is open. Only `open`, `create`, `opendir` add and only `release`, `releasedir` remove.

use crate::access_log::LogReader;
use crate::control::ControlHandle;
use crate::directory::DirHandle;
use crate::files::File;
use crate::ops::locks::HandleLocks;
use crate::readahead::Streams;
use bytes::Bytes;
use juicefs_base::sync::{Mutex, RwLock};
use juicefs_meta::{Ino, LostLock, OpenFlags};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

const SHARDS: usize = 16;

/// An open file.
pub(crate) struct FileHandle {
    pub(crate) file: Arc<File>,
    pub(crate) flags: OpenFlags,
    /// The last lost write that this handle was told of.
    pub(crate) fault_seen: AtomicU64,
    pub(crate) streams: Mutex<Streams>,
    pub(crate) locks: Mutex<HandleLocks>,
    /// From then on every read and write fails.
    pub(crate) lost_lock: AtomicBool,
}

/// Anything that is open.
#[derive(Clone)]
pub(crate) enum Handle {
    File(Arc<FileHandle>),
    Dir(Arc<DirHandle>),
    /// An internal file, as it was when it was opened.
    Text(Bytes),
    Control(Arc<ControlHandle>),
    Log(Arc<LogReader>),
}

/// Handles by number; numbers are never used twice.
pub(crate) struct Handles {
    shards: [RwLock<HashMap<u64, Handle>>; SHARDS],
    next: AtomicU64,
}

impl Default for Handles {
    fn default() -> Self {
        // Milliseconds first: a process that takes a mount over gives no number that its predecessor gave.
        let begun = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let first = u64::try_from(begun).unwrap_or_default() << 20 | 1;
        Self { shards: Default::default(), next: AtomicU64::new(first) }
    }
}

impl Handles {
    pub(crate) fn add(&self, handle: Handle) -> u64 {
        let fh = self.next.fetch_add(1, Ordering::Relaxed);
        self.shard(fh).write().insert(fh, handle);
        fh
    }

    /// Puts a handle back under the number that a former process gave it; `false` when it is there.
    pub(crate) fn put_back(&self, fh: u64, handle: Handle) -> bool {
        let mut shard = self.shard(fh).write();
        match shard.entry(fh) {
            Entry::Occupied(_) => false,
            Entry::Vacant(vacant) => {
                vacant.insert(handle);
                true
            }
        }
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

    /// A lock of this mount is somebody else's by now.
    pub(crate) fn lose_lock(&self, ino: Ino, lost: LostLock) {
        for shard in &self.shards {
            for handle in shard.read().values() {
                if let Handle::File(handle) = handle
                    && handle.file.ino == ino
                {
                    handle.lose_lock(lost);
                }
            }
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.shards.iter().map(|shard| shard.read().len()).sum()
    }

    fn shard(&self, fh: u64) -> &RwLock<HashMap<u64, Handle>> {
        &self.shards[fh as usize % SHARDS]
    }
}
