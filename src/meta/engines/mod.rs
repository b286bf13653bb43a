//! The databases a volume's metadata can live in, and the way to one by its address.

mod inside;
pub mod layers;
pub mod memory;
mod open;
pub mod packed;
pub mod redis;
pub mod sql;

pub use open::open;
