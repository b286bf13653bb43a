//! Whole trees: removed, counted, and where a node is in them.
//!
//! Nothing here is one transaction. Each step is a call that anybody could make, so a tree may change meanwhile, and
//! work that was broken off is done by asking again.

mod place;
mod remove;
mod restore;
mod summary;

use std::sync::atomic::{AtomicU64, Ordering};

pub use restore::Restored;
pub use summary::{Summary, TreeSummary};

/// How far work on a tree has come; read while it goes on.
#[derive(Debug, Default)]
pub struct TreeProgress {
    nodes: AtomicU64,
    space: AtomicU64,
}

impl TreeProgress {
    pub fn add(&self, nodes: u64, space: u64) {
        self.nodes.fetch_add(nodes, Ordering::Relaxed);
        self.space.fetch_add(space, Ordering::Relaxed);
    }

    /// Nodes, and the space they take where it is counted.
    #[must_use]
    pub fn get(&self) -> (u64, u64) {
        (self.nodes.load(Ordering::Relaxed), self.space.load(Ordering::Relaxed))
    }
}

/// Directories of one tree that are worked on at the same time.
const DIRS_AT_ONCE: usize = 16;
