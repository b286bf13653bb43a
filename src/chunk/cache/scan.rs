//! Finding what a cache directory holds already: in the background, a few names at a time, stopping when nobody uses
//! the cache any more.

use super::disk::CacheDir;
use std::fs::{self, DirEntry};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

/// Names between two pauses, and the pause.
const BATCH: usize = 256;
const PAUSE: Duration = Duration::from_millis(2);
/// A temporary file this old was left behind by a crash.
const STALE: Duration = Duration::from_secs(3600);
/// `raw/chunks/A/B/name`.
const DEPTH: usize = 2;

/// Takes every cached block of `dir` that is not yet in its index into it. May take minutes.
pub(super) fn scan(dir: &Weak<CacheDir>) {
    let Some(root) = dir.upgrade().map(|dir| dir.root.clone()) else { return };
    let mut scan = Scan { dir, names: 0 };
    let ended = scan.walk(&root.join("raw/chunks"), "chunks", DEPTH);
    let Some(dir) = dir.upgrade() else { return };
    match ended {
        Ok(()) => dir.scanned.store(true, Ordering::Release),
        // The index stays open: blocks are still looked for by name.
        Err(cause) => dir.failed(&cause),
    }
    dir.make_room(0);
}

struct Scan<'a> {
    dir: &'a Weak<CacheDir>,
    names: usize,
}

impl Scan<'_> {
    fn walk(&mut self, path: &Path, key: &str, depth: usize) -> io::Result<()> {
        let entries = match fs::read_dir(path) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other?,
        };
        for entry in entries {
            let entry = entry?;
            self.names += 1;
            if self.names.is_multiple_of(BATCH) {
                std::thread::sleep(PAUSE);
            }
            let Some(dir) = self.dir.upgrade().filter(|dir| dir.is_up()) else { return Ok(()) };
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            let key = format!("{key}/{name}");
            if entry.file_type()?.is_dir() {
                drop(dir);
                if depth > 0 {
                    self.walk(&entry.path(), &key, depth - 1)?;
                }
            } else {
                meet(&dir, &entry, &key);
            }
        }
        Ok(())
    }
}

fn meet(dir: &Arc<CacheDir>, entry: &DirEntry, key: &str) {
    // Gone meanwhile: nothing to know about it.
    let Ok(meta) = entry.metadata() else { return };
    if key.ends_with(".tmp") {
        remove_if_stale(&entry.path(), &meta);
        return;
    }
    let Some(block) = dir.layout.parse(key) else { return };
    let used_s = u32::try_from(meta.atime().max(meta.mtime())).unwrap_or(0);
    let mut index = dir.index.lock();
    if !index.blocks.contains(block) {
        index.insert(block, used_s);
    }
}

/// A temporary file that nobody can be writing any more.
pub(super) fn remove_if_stale(path: &Path, meta: &fs::Metadata) {
    let age = meta.modified().ok().and_then(|at| SystemTime::now().duration_since(at).ok());
    if age.is_some_and(|age| age > STALE) {
        // Another process may have been faster.
        let _ = fs::remove_file(path);
    }
}
