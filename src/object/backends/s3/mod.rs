//! S3 and everything that speaks it, over `aws-sdk-s3`.

mod store;
mod url;

pub use store::{S3Store, open};
pub use url::BucketUrl;
