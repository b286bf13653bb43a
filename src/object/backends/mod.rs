//! One folder or file per kind of bucket; foreign types stop here.

pub mod file;
pub mod s3;
