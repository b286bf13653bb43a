//! Slices as blocks: how the bytes of a slice become objects in a bucket, and how they come back through the caches.
//! Knows slice ids, never inodes.

mod cache;
mod compress;
mod config;
mod error;
mod flight;
pub mod layout;
mod pages;
mod prefetch;
mod reader;
mod reclaim;
mod staging;
mod stats;
mod store;
mod upload;
mod warm;
mod writer;

pub use compress::Compression;
pub use config::{ChecksumLevel, ChunkConfig, Eviction};
pub use error::{Error, Result};
pub use layout::{BlockId, Layout};
pub use pages::{PAGE_BYTES, PagePool, Reservation};
pub use staging::{UploadHours, Writeback};
pub use stats::ChunkStats;
pub use store::ChunkStore;
pub use warm::Place;
pub use writer::SliceWriter;
