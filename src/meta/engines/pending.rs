//! Usage that is committed but not yet written to the counters. Commits add to it, only the engine's flush takes from
//! it: SQL and key-value databases move their counters outside the operations' transactions (format 4.5, 5.3).

use crate::types::Usage;

#[derive(Debug, Default)]
pub(super) struct PendingUsage(juicefs_base::sync::Mutex<Usage>);

impl PendingUsage {
    pub(super) fn add(&self, delta: Usage) {
        let mut pending = self.0.lock();
        pending.space += delta.space;
        pending.inodes += delta.inodes;
    }

    /// What the counters have got.
    pub(super) fn take(&self, delta: Usage) {
        self.add(Usage { space: -delta.space, inodes: -delta.inodes });
    }

    pub(super) fn get(&self) -> Usage {
        *self.0.lock()
    }
}
