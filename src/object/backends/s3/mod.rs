//! S3 and everything that speaks it, over `aws-sdk-s3`.

mod dialects;
mod store;
mod unanswered;
mod url;

pub(crate) use dialects::NAMES;
pub use store::{S3Store, open};
pub use url::BucketUrl;
