//! The chunk room from outside, over a store in memory whose requests can be held, counted and failed.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod cache;
mod memory_store;
mod peer;
mod reads;
mod rig;
mod staging;
mod writes;
