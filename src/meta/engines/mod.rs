//! The databases a volume's metadata can live in, and the way to one by its address.

mod inside;
pub mod kv;
pub mod layers;
pub mod memory;
mod open;
pub mod packed;
mod pending;
pub mod redis;
pub mod sql;
mod trust;

pub use open::open;
