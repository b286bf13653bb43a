//! A directory on a host that is reached by SSH, laid out as the `file` store, over `russh`.

mod connection;
mod place;
mod store;

pub use store::{SftpStore, open};
