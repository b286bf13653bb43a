//! Decorators on the port: each does one thing and stacks with the others.

pub mod encrypt;
pub mod fallback;
pub mod faulty;
pub mod meter;
pub mod prefix;
pub mod read_only;
pub mod retry;
pub mod shard;
pub mod switch;
pub mod throttle;
pub mod twin;
