//! Decorators of engines, on the same port.

pub mod counting;

pub use counting::Counting;
