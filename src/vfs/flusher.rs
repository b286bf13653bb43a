//! The clock of dirty slices: what has grown for 5 s or rested for 1 s is frozen, and when writes wait for
//! pages the oldest are frozen at once.

use crate::core::Core;
use crate::files::File;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

const AGE_MAX: Duration = Duration::from_secs(5);
const IDLE_MAX: Duration = Duration::from_secs(1);
const TICK: Duration = Duration::from_millis(200);

/// Runs until `core` is gone.
pub(crate) async fn run(core: Weak<Core>) {
    loop {
        let Some(core) = core.upgrade() else { return };
        let is_clean = core.dirty_files.lock().is_empty();
        tokio::select! {
            () = core.chunks.pages().pressure() => relieve(&core),
            () = tokio::time::sleep(if is_clean { 5 * TICK } else { TICK }) => {}
            () = core.dirty_came.notified(), if is_clean => continue,
        }
        freeze_due(&core);
        if core.chunks.pages().waiting() > 0 {
            relieve(&core);
        }
    }
}

fn dirty_files(core: &Core) -> Vec<Arc<File>> {
    core.dirty_files.lock().values().cloned().collect()
}

fn freeze_due(core: &Arc<Core>) {
    let now = Instant::now();
    for file in dirty_files(core) {
        let mut state = file.state();
        let frozen = state.dirty.freeze(|d| {
            now.saturating_duration_since(d.born) >= AGE_MAX
                || now.saturating_duration_since(d.touched) >= IDLE_MAX
        });
        core.store(&file, frozen);
    }
}

/// Freezes the oldest growing slices until a quarter of the pages is on its way to be free; uploads that are
/// under way already count.
fn relieve(core: &Arc<Core>) {
    let pages = core.chunks.pages();
    let mut holders: Vec<_> = dirty_files(core)
        .into_iter()
        .filter_map(|file| {
            let (bytes, oldest) = file.state().dirty.held();
            oldest.map(|oldest| (oldest, bytes, file))
        })
        .collect();
    holders.sort_by_key(|(oldest, ..)| *oldest);
    let held: usize = holders.iter().map(|(_, bytes, _)| bytes).sum();
    let mut freeing = pages.used_bytes().saturating_sub(held);
    for (_, bytes, file) in holders {
        if freeing >= pages.total_bytes() / 4 {
            return;
        }
        let mut state = file.state();
        let frozen = state.dirty.freeze(|_| true);
        core.store(&file, frozen);
        freeing += bytes;
    }
}
