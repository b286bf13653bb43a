//! The peer's storage types that are not here, each with what exists in its place.

use crate::backends::s3;

/// A type of the peer, and what to write for it.
const ELSEWHERE: &[(&str, &str)] = &[
    ("b2", "`s3` with https://BUCKET.s3.REGION.backblazeb2.com"),
    ("bos", "`s3` with https://BUCKET.s3.REGION.bcebos.com"),
    ("bunny", "`s3` with another provider"),
    ("ceph", "`s3` with the address of a RADOS gateway"),
    ("cifs", "`file` with the path of the mounted share"),
    ("cos", "`s3` with https://BUCKET-APPID.cos.REGION.myqcloud.com"),
    ("dragonfly", "`s3` with the address of the store behind it"),
    ("etcd", "`s3` or `file`: a database is no place for blocks"),
    ("gluster", "`file` with the path of the mounted volume"),
    ("hdfs", "`s3` with the address of Ozone's or another S3 gateway"),
    ("ibmcos", "`s3` with https://BUCKET.s3.REGION.cloud-object-storage.appdomain.cloud"),
    ("ks3", "`s3` with https://BUCKET.ks3-REGION.ksyuncs.com"),
    ("mem", "`file` with a directory on a tmpfs"),
    ("mysql", "`s3` or `file`: a database is no place for blocks"),
    ("nfs", "`file` with the path of the mounted export"),
    ("obs", "`s3` with https://BUCKET.obs.REGION.myhuaweicloud.com"),
    ("oss", "`s3` with https://BUCKET.s3.oss-REGION.aliyuncs.com"),
    ("postgres", "`s3` or `file`: a database is no place for blocks"),
    ("qingstor", "`s3` with https://BUCKET.s3.ZONE.qingstor.com"),
    ("qiniu", "`s3` with https://BUCKET.s3.REGION.qiniucs.com"),
    ("redis", "`s3` or `file`: a database is no place for blocks"),
    ("scs", "`s3` with another provider"),
    ("sqlite3", "`file` with a directory"),
    ("swift", "`s3` with the address of its s3api"),
    ("tikv", "`s3` or `file`: a database is no place for blocks"),
    ("tos", "`s3` with https://BUCKET.tos-s3-REGION.volces.com"),
    ("ufile", "`s3` with https://BUCKET.s3-REGION.ufileos.com"),
];

/// Types that are here, besides those that are S3 under another name.
const HERE: &[&str] = &["file", "gs", "sftp", "wasb", "webdav"];

/// The sentence for a type that can't be opened.
pub(crate) fn refusal(storage: &str) -> String {
    let here = HERE.iter().chain(s3::NAMES).copied().collect::<Vec<_>>().join(", ");
    match ELSEWHERE.iter().find(|(name, _)| *name == storage) {
        Some((_, instead)) => {
            format!("storage type `{storage}` is not supported yet: use {instead}; there is {here}")
        }
        None => format!("unknown storage type `{storage}`: use one of {here}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_both_here_and_elsewhere() {
        for (name, instead) in ELSEWHERE {
            assert!(!HERE.contains(name) && !s3::NAMES.contains(name), "{name}");
            assert!(refusal(name).contains(instead), "{name}");
        }
        assert!(refusal("nonsense").contains("unknown"));
    }
}
