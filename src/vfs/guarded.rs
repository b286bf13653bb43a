//! Directories in which this mount takes locks.
//!
//! A lock guards more than the bytes of its file: a database looks for a journal beside it, a mail program for a lock
//! file. What the kernel remembers of names and attributes there would tell of a moment before the lock, so it is asked
//! to remember none while locks are taken in the directory and for some time after.

use juicefs_base::sync::RwLock;
use juicefs_meta::Ino;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// How long after the last lock.
const KEPT: Duration = Duration::from_secs(60);
/// Directories remembered; beyond it the one longest without a lock is forgotten.
const DIRECTORIES_MAX: usize = 1024;

#[derive(Default)]
pub(crate) struct Guarded(RwLock<HashMap<Ino, Instant>>);

impl Guarded {
    /// A lock was taken on a file of `directory`.
    pub(crate) fn note(&self, directory: Ino) {
        let now = Instant::now();
        let mut directories = self.0.write();
        if directories.len() >= DIRECTORIES_MAX && !directories.contains_key(&directory) {
            let oldest = directories.iter().min_by_key(|(_, last)| **last).map(|(ino, _)| *ino);
            oldest.and_then(|ino| directories.remove(&ino));
        }
        directories.insert(directory, now);
    }

    pub(crate) fn contains(&self, directory: Ino) -> bool {
        let directories = self.0.read();
        !directories.is_empty() && directories.get(&directory).is_some_and(|last| last.elapsed() < KEPT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_directories_locked_last_are_kept() {
        let guarded = Guarded::default();
        assert!(!guarded.contains(Ino(1)));
        for ino in 1..=DIRECTORIES_MAX as u64 + 1 {
            guarded.note(Ino(ino));
        }
        assert!(!guarded.contains(Ino(1)) && guarded.contains(Ino(2)));
        assert!(guarded.contains(Ino(DIRECTORIES_MAX as u64 + 1)));
    }
}
