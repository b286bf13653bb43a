//! The kernel's side of a mount: the only room that knows `/dev/fuse`.
//!
//! `request` and `adapter` say what each operation does to the vfs, `transport` reads and answers the kernel's messages, `task`
//! decides which thread works on it.

mod adapter;
pub mod descriptors;
mod device;
mod error;
mod invalidate;
mod options;
mod repeats;
mod request;
mod session;
mod task;
mod transport;

pub use device::mount;
pub use error::{Error, Result};
pub use options::FuseOptions;
pub use session::{Session, inherit_fd, serve, serve_fd};
pub use transport::READAHEAD_BYTES;
