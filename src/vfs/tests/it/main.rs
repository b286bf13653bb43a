//! The vfs without FUSE: one or two clients of a volume in memory.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test says what failed by failing")]

mod coherence;
mod compaction;
mod control;
mod failures;
mod listing;
mod model;
mod store;
mod world;
mod writing;
