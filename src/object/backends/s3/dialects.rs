//! Services that speak S3 under a name of their own: how they write a bucket's URL, and how they are asked for it. The
//! rules are the peer's, so that a setting it wrote names the same bucket here.

use url::Url;

use super::url::{BucketUrl, REGION_DEFAULT};
use crate::error::{Error, Result};

/// One service.
struct Dialect {
    name: &'static str,
    /// Where the bucket stands in the URL.
    place: Place,
    /// What is meant when the URL has no scheme.
    scheme: &'static str,
    /// The region in the parts of the host's name, from the left, the bucket's own being the first.
    region: fn(&[&str]) -> Option<String>,
    path_style: fn(&str) -> bool,
    /// What the variables for access key, secret key and region begin with.
    variables: &'static str,
}

#[derive(PartialEq)]
enum Place {
    Path,
    Host,
}

fn part(at: usize) -> impl Fn(&[&str]) -> Option<String> {
    move |host| host.get(at).map(|part| (*part).to_owned())
}

const DIALECTS: &[Dialect] = &[
    Dialect {
        name: "minio",
        place: Place::Path,
        scheme: "http",
        region: |_| None,
        path_style: |_| true,
        variables: "MINIO",
    },
    Dialect {
        name: "wasabi",
        place: Place::Host,
        scheme: "https",
        region: |host| part(2)(host),
        path_style: |_| false,
        variables: "",
    },
    Dialect {
        name: "scw",
        place: Place::Host,
        scheme: "https",
        region: |host| part(2)(host),
        path_style: |_| false,
        variables: "SCW",
    },
    Dialect {
        name: "space",
        place: Place::Host,
        scheme: "https",
        region: |host| part(1)(host),
        path_style: |_| false,
        variables: "",
    },
    Dialect {
        name: "eos",
        place: Place::Host,
        scheme: "https",
        region: |_| None,
        path_style: |_| true,
        variables: "EOS",
    },
    Dialect {
        name: "oos",
        place: Place::Host,
        scheme: "https",
        // `oos-REGION`
        region: |host| part(1)(host)?.get(4..).map(str::to_owned),
        path_style: |host| !host.ends_with("xstore.ctyun.cn"),
        variables: "",
    },
];

/// Every name that is S3, `s3` first.
pub(crate) const NAMES: &[&str] = &["s3", "minio", "wasabi", "scw", "space", "eos", "oos"];

fn find(storage: &str) -> Option<&'static Dialect> {
    DIALECTS.iter().find(|dialect| dialect.name == storage)
}

/// What the service's own variables begin with, such as `MINIO` of `MINIO_ACCESS_KEY`.
pub(super) fn variables_of(storage: &str) -> Option<&'static str> {
    find(storage).map(|dialect| dialect.variables).filter(|prefix| !prefix.is_empty())
}

/// # Errors
/// [`Error::BadSpec`] naming the text and what is wrong with it.
pub(super) fn parse(storage: &str, text: &str) -> Result<BucketUrl> {
    let Some(dialect) = find(storage) else { return BucketUrl::parse(text) };
    let bad = |why: &str| Error::BadSpec(format!("bucket URL `{text}` of storage `{storage}`: {why}"));
    let full = if text.contains("://") { text.to_owned() } else { format!("{}://{text}", dialect.scheme) };
    let url = Url::parse(&full).map_err(|error| bad(&error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(bad("the scheme must be http or https"));
    }
    let host = url.host_str().ok_or_else(|| bad("has no host"))?;
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    let said = url.query_pairs().find(|(name, _)| name == "region").map(|(_, region)| region.into_owned());
    let (bucket, endpoint) = match dialect.place {
        Place::Path => {
            let mut parts = url.path().split('/').filter(|part| !part.is_empty());
            // A console's address may be before the bucket.
            let first = parts.next().ok_or_else(|| bad("names no bucket: write http://HOST:PORT/BUCKET"))?;
            let bucket = if first == "minio" { parts.next().unwrap_or(first) } else { first };
            (bucket.to_owned(), host)
        }
        Place::Host => {
            let (bucket, rest) = host
                .split_once('.')
                .filter(|(bucket, _)| !bucket.is_empty())
                .ok_or_else(|| bad("names no bucket: write https://BUCKET.ENDPOINT"))?;
            (bucket.to_owned(), rest)
        }
    };
    let region = said.or_else(|| (dialect.region)(&host.split('.').collect::<Vec<_>>()));
    Ok(BucketUrl {
        bucket,
        endpoint: Some(format!("{}://{endpoint}{port}", url.scheme())),
        region: region.unwrap_or_else(|| REGION_DEFAULT.to_owned()),
        path_style: (dialect.path_style)(endpoint),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_service_has_its_own_way_to_name_a_bucket() {
        for (storage, text, bucket, endpoint, region, path_style) in [
            ("minio", "127.0.0.1:9000/b", "b", "http://127.0.0.1:9000", "us-east-1", true),
            ("minio", "https://h:9000/minio/b/x?region=eu", "b", "https://h:9000", "eu", true),
            ("wasabi", "b.s3.eu-1.wasabisys.com", "b", "https://s3.eu-1.wasabisys.com", "eu-1", false),
            ("scw", "https://b.s3.fr-par.scw.cloud", "b", "https://s3.fr-par.scw.cloud", "fr-par", false),
            (
                "space",
                "https://b.sgp1.digitaloceanspaces.com",
                "b",
                "https://sgp1.digitaloceanspaces.com",
                "sgp1",
                false,
            ),
            ("eos", "b.eos-wuxi-1.cmecloud.cn", "b", "https://eos-wuxi-1.cmecloud.cn", "us-east-1", true),
            ("oos", "https://b.oos-cn.ctyunapi.cn", "b", "https://oos-cn.ctyunapi.cn", "cn", true),
            ("oos", "https://b.oos-x.xstore.ctyun.cn", "b", "https://oos-x.xstore.ctyun.cn", "x", false),
        ] {
            let expected = BucketUrl {
                bucket: bucket.into(),
                endpoint: Some(endpoint.into()),
                region: region.into(),
                path_style,
            };
            assert_eq!(parse(storage, text).expect(text), expected);
        }
        assert!(DIALECTS.iter().all(|dialect| NAMES.contains(&dialect.name)));
    }

    #[test]
    fn what_names_no_bucket_is_refused_with_storage_and_text() {
        for (storage, text) in [("minio", "http://h:9000/"), ("scw", "https://h"), ("eos", "ftp://b.h")] {
            let error = parse(storage, text).expect_err(text).to_string();
            assert!(error.contains(text) && error.contains(storage), "{error}");
        }
    }
}
