//! The port over an S3 client. Retries and deadlines are a layer; the SDK's own are off.

use aws_credential_types::Credentials;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::{
    BehaviorVersion, Region, RequestChecksumCalculation, ResponseChecksumValidation, retry::RetryConfig,
    timeout::TimeoutConfig,
};
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::StorageClass;
use bytes::Bytes;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use juicefs_base::ExposeSecret;
use std::fmt;
use std::ops::Range;
use std::time::Duration;

use super::dialects;
use super::unanswered::{Unanswered, last_word};
use crate::error::{Error, Result};
use crate::open::StoreSpec;
use crate::store::{Key, Limits, Listed, Store};

/// User metadata with the decimal CRC-32C of the stored body (format 6.3); checked on whole reads.
const CRC_METADATA: &str = "crc32c";
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// One bucket.
pub struct S3Store {
    client: Client,
    bucket: String,
    /// For sentences: `s3://BUCKET at ENDPOINT`.
    label: String,
    endpoint: String,
    storage_class: Option<StorageClass>,
    /// As a header carries it: `key=value`, each percent-encoded.
    tag: Option<String>,
    /// Over TLS the payload needs no hash of its own.
    is_tls: bool,
}

/// # Errors
/// [`Error::BadSpec`] when the URL can't be understood.
pub async fn open(spec: &StoreSpec) -> Result<S3Store> {
    let storage = spec.storage.to_lowercase();
    let url = dialects::parse(&storage, &spec.bucket)?;
    let variable = |name: &str| {
        let prefix = dialects::variables_of(&storage)?;
        spec.variables.get(&format!("{prefix}_{name}")).map(|value| value.expose_secret().to_owned())
    };
    // AWS's own variable is for AWS's own name.
    let region = if storage == "s3" { spec.region.clone() } else { variable("REGION") };
    let region = region.unwrap_or_else(|| url.region.clone());
    let (access_key, secret_key) = match (spec.access_key.as_str(), &spec.secret_key) {
        ("", _) => (variable("ACCESS_KEY").unwrap_or_default(), variable("SECRET_KEY").unwrap_or_default()),
        (key, secret) => (
            key.to_owned(),
            secret.as_ref().map(|secret| secret.expose_secret().to_owned()).unwrap_or_default(),
        ),
    };
    let timeouts = TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT).build();
    let mut config = if access_key.is_empty() {
        let loader = aws_config::defaults(BehaviorVersion::latest()).region(Region::new(region.clone()));
        aws_sdk_s3::config::Builder::from(&loader.load().await)
    } else {
        let credentials = Credentials::new(
            access_key,
            secret_key,
            spec.session_token.as_ref().map(|token| token.expose_secret().to_owned()),
            None,
            "volume",
        );
        aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .credentials_provider(credentials)
    };
    config = config
        .region(Region::new(region))
        .force_path_style(url.path_style)
        .retry_config(RetryConfig::disabled())
        .timeout_config(timeouts)
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
    if let Some(endpoint) = &url.endpoint {
        config = config.endpoint_url(endpoint);
    }
    let place = url.endpoint.as_deref().unwrap_or("AWS");
    Ok(S3Store {
        client: Client::from_conf(config.build()),
        label: format!("s3://{} at {place}", url.bucket),
        endpoint: place.to_owned(),
        is_tls: !url.endpoint.as_deref().is_some_and(|endpoint| endpoint.starts_with("http://")),
        bucket: url.bucket,
        storage_class: (!spec.storage_class.is_empty())
            .then(|| StorageClass::from(spec.storage_class.as_str())),
        tag: tag_header(&spec.tag),
    })
}

/// `k=v` as the header wants it.
fn tag_header(tag: &str) -> Option<String> {
    let (key, value) = tag.split_once('=')?;
    Some(url::form_urlencoded::Serializer::new(String::new()).append_pair(key, value).finish())
}

impl S3Store {
    fn error<E>(&self, key: &Key, cause: &SdkError<E>) -> Error
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let key = if key.is_empty() { "the bucket" } else { key };
        let (store, key) = (self.label.clone(), key.to_owned());
        let status = cause.raw_response().map_or(0, |response| response.status().as_u16());
        let code = cause.code().unwrap_or_default().to_owned();
        let text = match cause.message() {
            Some(message) => format!("{code}: {message}"),
            None if status == 0 => match Unanswered::of(cause, &self.endpoint) {
                Unanswered::NoCredentials => return Error::NoAccessKey { store },
                Unanswered::Tls(cause) => return Error::NotTrusted { store, cause },
                Unanswered::Silent(cause) => cause,
            },
            None => format!("HTTP {status} {code}"),
        };
        match (code.as_str(), status) {
            ("NoSuchBucket", _) => Error::NoBucket { store, cause: text },
            ("InvalidBucketName", _) => Error::BadSpec(format!(
                "{store}: the server does not take this name of a bucket ({text}): use 3 to 63 lower-case letters, \
                 digits and hyphens"
            )),
            ("NoSuchKey" | "NotFound", _) | (_, 404) => Error::NotFound { store, key },
            (_, 401 | 403) => Error::PermissionDenied { store, key, cause: text },
            (_, 507) => Error::Full { store, key },
            (_, 0 | 408 | 429 | 500..=599) => Error::Unreachable { store, key, cause: text },
            _ => Error::Other { store, key, cause: text },
        }
    }
}

impl fmt::Display for S3Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.label)
    }
}

impl fmt::Debug for S3Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.label)
    }
}

impl Store for S3Store {
    fn get<'a>(&'a self, key: &'a Key, range: Option<Range<u64>>) -> BoxFuture<'a, Result<Bytes>> {
        Box::pin(async move {
            let is_whole = range.is_none();
            let header = range.map(|range| format!("bytes={}-{}", range.start, range.end.saturating_sub(1)));
            let request = self.client.get_object().bucket(&self.bucket).key(key).set_range(header);
            let answer = request.send().await.map_err(|cause| self.error(key, &cause))?;
            let expected = answer.metadata().and_then(|metadata| {
                metadata
                    .iter()
                    .find(|(name, _)| name.eq_ignore_ascii_case(CRC_METADATA))?
                    .1
                    .parse::<u32>()
                    .ok()
            });
            let body = answer.body.collect().await.map_err(|cause| Error::Unreachable {
                store: self.label.clone(),
                key: key.to_owned(),
                cause: last_word(&cause),
            })?;
            let body = body.into_bytes();
            if let (true, Some(expected)) = (is_whole, expected) {
                let actual = crc32c::crc32c(&body);
                if actual != expected {
                    let cause = format!("checksum {actual} in place of {expected}, {} bytes", body.len());
                    return Err(Error::Damaged { store: self.label.clone(), key: key.to_owned(), cause });
                }
            }
            Ok(body)
        })
    }

    fn put<'a>(&'a self, key: &'a Key, body: Bytes) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let crc = crc32c::crc32c(&body).to_string();
            let request = self
                .client
                .put_object()
                .bucket(&self.bucket)
                .key(key)
                .metadata(CRC_METADATA, crc)
                .set_storage_class(self.storage_class.clone())
                .set_tagging(self.tag.clone())
                .body(ByteStream::from(body));
            let sent = if self.is_tls {
                request.customize().disable_payload_signing().send().await
            } else {
                request.send().await
            };
            sent.map(drop).map_err(|cause| self.error(key, &cause))
        })
    }

    fn delete<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let sent = self.client.delete_object().bucket(&self.bucket).key(key).send().await;
            match sent.map_err(|cause| self.error(key, &cause)) {
                Ok(_) | Err(Error::NotFound { .. }) => Ok(()),
                Err(error) => Err(error),
            }
        })
    }

    fn head<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Listed>> {
        Box::pin(async move {
            let sent = self.client.head_object().bucket(&self.bucket).key(key).send().await;
            let answer = sent.map_err(|cause| self.error(key, &cause))?;
            Ok(Listed {
                key: key.to_owned(),
                size: u64::try_from(answer.content_length().unwrap_or(0)).unwrap_or(0),
                modified_at: answer.last_modified().map_or(0, aws_smithy_types::DateTime::secs),
                is_prefix: key.ends_with('/'),
            })
        })
    }

    fn list<'a>(&'a self, prefix: &'a Key, after: &'a Key) -> BoxStream<'a, Result<Listed>> {
        let request = self.client.list_objects_v2().bucket(&self.bucket).prefix(prefix);
        let request = if after.is_empty() { request } else { request.start_after(after) };
        let pages = request.into_paginator().send();
        let pages = futures::stream::unfold(pages, |mut pages| async move {
            let page = pages.next().await?;
            Some((page, pages))
        });
        pages
            .flat_map(move |page| {
                let items = match page {
                    Ok(page) => page
                        .contents
                        .unwrap_or_default()
                        .into_iter()
                        .map(|object| Ok(listed(&object)))
                        .collect(),
                    Err(cause) => vec![Err(self.error(prefix, &cause))],
                };
                futures::stream::iter(items)
            })
            .boxed()
    }

    fn create_bucket(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let sent = self.client.create_bucket().bucket(&self.bucket).send().await;
            match sent {
                Ok(_) => Ok(()),
                Err(cause)
                    if matches!(cause.code(), Some("BucketAlreadyOwnedByYou" | "BucketAlreadyExists")) =>
                {
                    Ok(())
                }
                Err(cause) => Err(self.error("", &cause)),
            }
        })
    }

    fn limits(&self) -> Limits {
        Limits { lists_in_order: true, reads_ranges: true }
    }
}

fn listed(object: &aws_sdk_s3::types::Object) -> Listed {
    let key = object.key().unwrap_or_default().to_owned();
    Listed {
        is_prefix: key.ends_with('/'),
        key,
        size: u64::try_from(object.size().unwrap_or(0)).unwrap_or(0),
        modified_at: object.last_modified().map_or(0, aws_smithy_types::DateTime::secs),
    }
}
