//! Who was told that the path it opened is out of date.
//!
//! A file that lost its name may still be there, for those who have it open. Who opens it by its name came by a path
//! that the kernel remembers too long: ESTALE makes the kernel walk the path again, once. What that walk leads to is
//! opened as it is, for another name could go away in the same moment.

use juicefs_base::sync::Mutex;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// The kernel walks again at once.
const MEMORY: Duration = Duration::from_secs(5);
/// Threads remembered; beyond it they are all forgotten, and told once more.
const THREADS_MAX: usize = 1024;

/// Threads that were told, and when.
#[derive(Default)]
pub(crate) struct StalePaths {
    told: Mutex<HashMap<u32, Instant>>,
}

impl StalePaths {
    /// Whether the thread must be told now; not twice in a row.
    pub(crate) fn must_tell(&self, thread: u32) -> bool {
        let mut told = self.told.lock();
        if told.remove(&thread).is_some_and(|at| at.elapsed() < MEMORY) {
            return false;
        }
        if told.len() >= THREADS_MAX {
            told.clear();
        }
        told.insert(thread, Instant::now());
        true
    }

    /// The thread's path led somewhere.
    pub(crate) fn forget(&self, thread: u32) {
        self.told.lock().remove(&thread);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_told_once_for_each_open() {
        let paths = StalePaths::default();
        assert!(paths.must_tell(1) && paths.must_tell(2));
        assert!(!paths.must_tell(1), "its second walk");
        assert!(paths.must_tell(1), "another open");
        paths.forget(1);
        assert!(paths.must_tell(1));
    }
}
