//! One folder or file per kind of bucket; foreign types stop here.

pub mod dal;
pub mod file;
pub mod s3;
pub mod sftp;
