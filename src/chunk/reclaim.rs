//! Waiting for memory: while the budget is empty, what the caches hold of it is asked back.

use juicefs_base::budget::{Budget, Lease};
use std::time::Duration;

/// How often the caches are asked again while somebody waits: blocks in flight land in them meanwhile.
const RECLAIM_EVERY: Duration = Duration::from_millis(50);

/// `bytes` of `budget`, calling `reclaim` while they are not free.
pub(crate) async fn acquire(budget: &Budget, bytes: usize, reclaim: impl Fn()) -> Lease {
    if let Some(lease) = budget.try_acquire(bytes) {
        return lease;
    }
    // One wait all through, so that it keeps its place in the budget's queue.
    let mut wait = std::pin::pin!(budget.acquire(bytes));
    loop {
        reclaim();
        if let Ok(lease) = tokio::time::timeout(RECLAIM_EVERY, wait.as_mut()).await {
            return lease;
        }
    }
}
