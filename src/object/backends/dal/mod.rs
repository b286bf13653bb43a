//! Azure Blob, Google Cloud Storage and WebDAV, over `opendal`.

mod services;
mod store;

pub(crate) use services::open;
pub use store::DalStore;
