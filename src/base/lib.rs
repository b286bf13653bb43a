//! Knows neither files nor clouds: what every room needs of the process it runs in.

pub mod backoff;
pub mod budget;
pub mod log;
pub mod metrics;
pub mod secrets;
pub mod sync;
pub mod units;

/// The error number a system call answers with. Rooms decide it once; only `fuse` and `cli` print it.
pub use nix::errno::Errno;
pub use secrecy::{ExposeSecret, SecretString};
