//! From a volume's setting to a service: URLs and credentials as the peer reads them.

use juicefs_base::ExposeSecret;
use opendal::services::{Azblob, Gcs, Webdav};
use opendal::{HttpTransporter, OperationContext, Operator};
use opendal_http_transport_reqwest::ReqwestTransport;
use std::time::Duration;
use url::Url;

use super::store::{DalStore, Habits};
use crate::error::{Error, Result};
use crate::open::StoreSpec;
use crate::variables::StoreVariables;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// `None` for a storage type that is none of these.
///
/// # Errors
/// [`Error::BadSpec`] when the bucket can't be understood or a credential is missing.
pub(crate) fn open(spec: &StoreSpec) -> Result<Option<DalStore>> {
    let opened = match spec.storage.to_lowercase().as_str() {
        "wasb" => azure(spec)?,
        "gs" => google(spec)?,
        "webdav" => webdav(spec)?,
        _ => return Ok(None),
    };
    Ok(Some(opened))
}

/// `https://CONTAINER[.ENDPOINT]`; the account is the access key, or in the connection string.
fn azure(spec: &StoreSpec) -> Result<DalStore> {
    let url = parse(spec, "https")?;
    let (container, domain) = first_label(&url);
    let builder = match spec.variables.get(StoreVariables::AZURE_CONNECTION_STRING) {
        Some(text) => Azblob::from_connection_string(text.expose_secret()).map_err(|_| {
            // What the library says may quote the key.
            Error::BadSpec(format!(
                "{} can't be read: AccountName, AccountKey and EndpointSuffix or BlobEndpoint are needed",
                StoreVariables::AZURE_CONNECTION_STRING
            ))
        })?,
        None => {
            if spec.access_key.is_empty() {
                return Err(Error::BadSpec(format!(
                    "storage `wasb` needs the account's name as --access-key and its key as --secret-key, or {}",
                    StoreVariables::AZURE_CONNECTION_STRING
                )));
            }
            let domain = match domain {
                None => "blob.core.windows.net".to_owned(),
                Some(domain) if domain.starts_with("blob") => domain.to_owned(),
                Some(domain) => format!("blob.{domain}"),
            };
            let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
            let endpoint = format!("{}://{}.{domain}{port}", url.scheme(), spec.access_key);
            let builder = Azblob::default().endpoint(&endpoint).account_name(&spec.access_key);
            match &spec.secret_key {
                Some(key) => builder.account_key(key.expose_secret()),
                None => builder,
            }
        }
    };
    spec.warn_of_class();
    let habits = Habits { lists_in_order: true, starts_after: false, removes_trees: false };
    built(spec, builder.container(container), format!("wasb://{container}"), habits)
}

/// `gs://BUCKET[.REGION]`; credentials are Google's own, in a file or of the machine.
fn google(spec: &StoreSpec) -> Result<DalStore> {
    let url = parse(spec, "gs")?;
    let (bucket, _) = first_label(&url);
    let mut builder = Gcs::default().bucket(bucket);
    if let Some(host) = spec.variables.get(StoreVariables::GOOGLE_EMULATOR) {
        let host = host.expose_secret().trim_end_matches('/');
        let endpoint = if host.contains("://") { host.to_owned() } else { format!("http://{host}") };
        builder = builder.endpoint(&endpoint).skip_signature();
    } else if let Some(path) = spec.variables.get(StoreVariables::GOOGLE_CREDENTIALS) {
        builder = builder.credential_path(path.expose_secret());
    }
    if !spec.storage_class.is_empty() {
        builder = builder.default_storage_class(&spec.storage_class);
    }
    let habits = Habits { lists_in_order: true, starts_after: true, removes_trees: false };
    built(spec, builder, format!("gs://{bucket}"), habits)
}

/// `http://HOST[:PORT][/PATH]`; user and password are the keys.
fn webdav(spec: &StoreSpec) -> Result<DalStore> {
    let url = parse(spec, "http")?;
    let mut builder = Webdav::default().endpoint(url.as_str().trim_end_matches('/'));
    if !spec.access_key.is_empty() {
        builder = builder.username(&spec.access_key);
    }
    if let Some(password) = &spec.secret_key {
        builder = builder.password(password.expose_secret());
    }
    spec.warn_of_class();
    let habits = Habits { lists_in_order: false, starts_after: false, removes_trees: true };
    let host = url.host_str().unwrap_or_default();
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    built(spec, builder, format!("webdav://{host}{port}{}", url.path()), habits)
}

fn parse(spec: &StoreSpec, scheme: &str) -> Result<Url> {
    let bad =
        |why: &str| Error::BadSpec(format!("bucket `{}` of storage `{}`: {why}", spec.bucket, spec.storage));
    let text =
        if spec.bucket.contains("://") { spec.bucket.clone() } else { format!("{scheme}://{}", spec.bucket) };
    let url = Url::parse(&text).map_err(|error| bad(&error.to_string()))?;
    if url.host_str().is_none_or(str::is_empty) {
        return Err(bad("has no host"));
    }
    Ok(url)
}

fn first_label(url: &Url) -> (&str, Option<&str>) {
    let host = url.host_str().unwrap_or_default();
    host.split_once('.').map_or((host, None), |(first, rest)| (first, Some(rest)))
}

fn built(
    spec: &StoreSpec,
    builder: impl opendal::Builder,
    label: String,
    habits: Habits,
) -> Result<DalStore> {
    let bad = |cause: String| {
        Error::BadSpec(format!("storage `{}` with bucket `{}`: {cause}", spec.storage, spec.bucket))
    };
    // The one crypto library of this binary; somebody may have chosen it already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let client = reqwest::Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .build()
        .map_err(|cause| bad(cause.to_string()))?;
    let transport = HttpTransporter::new(ReqwestTransport::new(client));
    let operator = Operator::new(builder).map_err(|cause| bad(cause.to_string()))?;
    let operator = operator.with_context(OperationContext::new().with_http_transport(transport));
    Ok(DalStore::new(operator, label, habits))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(storage: &str, bucket: &str) -> StoreSpec {
        StoreSpec { storage: storage.into(), bucket: bucket.into(), ..StoreSpec::default() }
    }

    #[test]
    fn what_is_missing_is_named() {
        for (storage, bucket, word) in [
            ("wasb", "c.core.windows.net", "--access-key"),
            ("gs", "gs://", "host"),
            ("webdav", "http://", "host"),
        ] {
            let error = open(&spec(storage, bucket)).expect_err(word).to_string();
            assert!(error.contains(word) && error.contains(storage), "{error}");
        }
        assert!(open(&spec("s3", "x")).expect("another's").is_none());
    }

    #[test]
    fn a_broken_connection_string_is_not_repeated() {
        let variables = StoreVariables::collect(|name| {
            (name == StoreVariables::AZURE_CONNECTION_STRING)
                .then(|| "AccountKey=canary;nonsense".to_owned().into())
        });
        let error =
            open(&StoreSpec { variables, ..spec("wasb", "https://c") }).expect_err("broken").to_string();
        assert!(error.contains("AZURE_STORAGE_CONNECTION_STRING") && !error.contains("canary"), "{error}");
    }
}
