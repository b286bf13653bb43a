//! What a bucket's URL says (requirement 0.9): `http(s)://HOST/BUCKET` is path-style, `https://BUCKET.HOST`
//! virtual-host style; a bare name is a bucket on AWS.

use url::Url;

use crate::error::{Error, Result};

pub(super) const REGION_DEFAULT: &str = "us-east-1";

/// A bucket's URL taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketUrl {
    pub bucket: String,
    /// `scheme://host[:port]` without the bucket; `None` = AWS's own for the region.
    pub endpoint: Option<String>,
    pub region: String,
    /// Whether requests name the bucket in the path.
    pub path_style: bool,
}

impl BucketUrl {
    /// # Errors
    /// [`Error::BadSpec`] naming the text and what is wrong with it.
    pub fn parse(text: &str) -> Result<Self> {
        let bad = |why: &str| Error::BadSpec(format!("bucket URL `{text}`: {why}"));
        let full = if text.contains("://") { text.to_owned() } else { format!("https://{text}") };
        let url = Url::parse(&full).map_err(|error| bad(&error.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(bad("the scheme must be http or https"));
        }
        let host = url.host_str().ok_or_else(|| bad("has no host"))?;
        let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
        let in_path = url.path().trim_matches('/').split('/').next().unwrap_or_default();
        let is_aws = host.ends_with(".amazonaws.com") || host.ends_with(".amazonaws.com.cn");
        if !in_path.is_empty() {
            let region = if is_aws { aws_region(host) } else { None };
            return Ok(Self {
                bucket: in_path.to_owned(),
                endpoint: (!is_aws).then(|| format!("{}://{host}{port}", url.scheme())),
                region: region.unwrap_or(REGION_DEFAULT).to_owned(),
                path_style: !is_aws,
            });
        }
        let is_address = matches!(url.host(), Some(url::Host::Ipv4(_) | url::Host::Ipv6(_)));
        if is_address {
            return Err(bad("names no bucket: write http://HOST:PORT/BUCKET"));
        }
        let Some((bucket, rest)) = host.split_once('.') else {
            return Ok(Self {
                bucket: host.to_owned(),
                endpoint: None,
                region: REGION_DEFAULT.to_owned(),
                path_style: false,
            });
        };
        if is_aws {
            let (bucket, aws_host) = split_aws_host(host).ok_or_else(|| bad("names no bucket"))?;
            return Ok(Self {
                bucket: bucket.to_owned(),
                endpoint: None,
                region: aws_region(aws_host).unwrap_or(REGION_DEFAULT).to_owned(),
                path_style: false,
            });
        }
        Ok(Self {
            bucket: bucket.to_owned(),
            endpoint: Some(format!("{}://{rest}{port}", url.scheme())),
            region: REGION_DEFAULT.to_owned(),
            path_style: false,
        })
    }
}

/// `my.bucket.s3.eu-west-1.amazonaws.com` -> (`my.bucket`, `s3.eu-west-1.amazonaws.com`).
fn split_aws_host(host: &str) -> Option<(&str, &str)> {
    let mut places = host.rmatch_indices(".s3").map(|(at, _)| at);
    let at = places.find(|&at| host[at + 3..].starts_with(['.', '-']))?;
    Some((&host[..at], &host[at + 1..]))
}

/// The region of `s3.REGION.amazonaws.com` or `s3-REGION.amazonaws.com`.
fn aws_region(host: &str) -> Option<&str> {
    let host = host.strip_suffix(".cn").unwrap_or(host);
    let middle = host.strip_suffix(".amazonaws.com")?.strip_prefix("s3")?;
    let middle = middle.strip_prefix(".dualstack").unwrap_or(middle);
    let region = middle.get(1..)?;
    (!region.is_empty()).then_some(region)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, bucket: &str, endpoint: Option<&str>, region: &str, path_style: bool) {
        let expected = BucketUrl {
            bucket: bucket.into(),
            endpoint: endpoint.map(Into::into),
            region: region.into(),
            path_style,
        };
        assert_eq!(BucketUrl::parse(text).expect(text), expected);
    }

    #[test]
    fn both_styles_are_understood() {
        check("https://b.s3.eu-west-1.amazonaws.com", "b", None, "eu-west-1", false);
        check("https://b.s3.amazonaws.com", "b", None, "us-east-1", false);
        check("https://my.b.s3.cn-north-1.amazonaws.com.cn", "my.b", None, "cn-north-1", false);
        check("https://s3.us-east-2.amazonaws.com/b", "b", None, "us-east-2", false);
        check("http://127.0.0.1:9000/b", "b", Some("http://127.0.0.1:9000"), "us-east-1", true);
        check(
            "http://minio.storage:9000/data/",
            "data",
            Some("http://minio.storage:9000"),
            "us-east-1",
            true,
        );
        check("https://b.example.com:8443", "b", Some("https://example.com:8443"), "us-east-1", false);
        check("b.example.com", "b", Some("https://example.com"), "us-east-1", false);
        check("plain", "plain", None, "us-east-1", false);
    }

    #[test]
    fn what_names_no_bucket_is_refused_with_its_text() {
        for text in ["http://127.0.0.1:9000", "ftp://h/b", "http://[::1]:9"] {
            let error = BucketUrl::parse(text).expect_err(text).to_string();
            assert!(error.contains(text), "{error}");
        }
    }
}
