//! What runs inside a format Job: look at the database, make the volume if there is none, compare if there is one.
//!
//! Secrets come as files and leave no trace: not in the arguments, not in the environment, not in the report.

mod compare;
pub(crate) mod mask;

use juicefs_base::{ExposeSecret, SecretString};
use juicefs_k8s::crd::status::FormatOutcome;
use juicefs_k8s::settings::with_password;
use juicefs_volume::{FormatRequest, MetaUrl, SettingChange, StorageAccess, find_format};
use mask::Mask;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Version of [`FormatSpec`].
pub const SPEC_VERSION: u32 = 1;
/// Exit code of a conflict: the Job gives up at once, as trying again cannot help.
pub const EXIT_CONFLICT: u8 = 3;
/// A database that does not answer within this is unreachable; the Job's pod is tried again.
const METADATA_DEADLINE: Duration = Duration::from_secs(30);
/// The same for making a volume, most of which is trying the bucket.
const STORAGE_DEADLINE: Duration = Duration::from_secs(60);
/// A Job is tried again as a whole: one repetition of a request is enough.
const STORAGE_RETRIES: u32 = 1;
const STORAGE_REQUEST_DEADLINE: Duration = Duration::from_secs(15);
/// The kubelet keeps 4096 bytes of a termination message; what is around the text fits the rest.
const MESSAGE_BYTES_MAX: usize = 2048;

/// What to format, without any secret. Written by the operator, read from a file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FormatSpec {
    pub version: u32,
    pub volume_name: String,
    /// Without a password; nothing if the whole URL is in the Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meta_url: Option<String>,
    /// The scheme that the URL must have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meta_engine: Option<String>,
    pub storage: String,
    pub bucket: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_class: Option<String>,
    #[serde(rename = "blockSizeKiB")]
    pub block_size_kib: u64,
    pub compression: String,
    pub hash_prefix: bool,
    pub trash_days: u32,
    /// 0 = no limit.
    pub capacity_bytes: u64,
    /// 0 = no limit.
    pub inodes: u64,
    /// Whether to keep a log of every change.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub change_log: bool,
    /// The only volume that may be there. With it none is ever made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
}

/// Where the Job finds things.
#[derive(Clone, Debug)]
pub struct FormatJobSettings {
    /// A [`FormatSpec`] as JSON.
    pub spec_file: PathBuf,
    /// A file with the password of the metadata engine.
    pub meta_password_file: Option<PathBuf>,
    /// A file with the whole URL.
    pub meta_url_file: Option<PathBuf>,
    /// A directory with files `access-key`, `secret-key`, `session-token`, any of which may be missing.
    pub storage_secret_dir: Option<PathBuf>,
    /// Where the report goes: `/dev/termination-log`.
    pub report_file: PathBuf,
}

/// What came of it: the Job's termination message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FormatReport {
    pub result: FormatOutcome,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
    /// One sentence, secrets masked.
    pub message: String,
    /// What failed, for the conditions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
    /// Settings that may change and differ in the volume: one phrase each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drift: Vec<String>,
}

/// What failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cause {
    /// The metadata engine.
    Metadata,
    /// The object storage.
    Storage,
    /// What was asked for.
    Settings,
}

impl FormatReport {
    fn new(result: FormatOutcome, message: impl Into<String>) -> Self {
        Self { result, uuid: None, message: message.into(), cause: None, drift: Vec::new() }
    }

    fn failed(cause: Cause, message: impl Into<String>) -> Self {
        Self { cause: Some(cause), ..Self::new(FormatOutcome::Failed, message) }
    }

    /// Exit code of the Job's container.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self.result {
            FormatOutcome::Created | FormatOutcome::Unchanged => 0,
            FormatOutcome::Conflict => EXIT_CONFLICT,
            FormatOutcome::Failed => 1,
        }
    }
}

/// Does the Job and writes its report. The exit code of the process is [`FormatReport::exit_code`].
///
/// # Errors
/// Only if the report cannot be written; everything else is a report.
pub async fn run(settings: &FormatJobSettings) -> std::io::Result<FormatReport> {
    let mut mask = Mask::default();
    let mut report = format(settings, &mut mask).await;
    report.message = juicefs_k8s::events::shortened(&mask.hide(&report.message), MESSAGE_BYTES_MAX);
    report.drift.iter_mut().for_each(|phrase| *phrase = mask.hide(phrase));
    let text = serde_json::to_vec(&report)?;
    std::fs::write(&settings.report_file, text)?;
    Ok(report)
}

async fn format(settings: &FormatJobSettings, mask: &mut Mask) -> FormatReport {
    let inputs = match Inputs::read(settings, mask) {
        Ok(inputs) => inputs,
        Err(sentence) => return FormatReport::failed(Cause::Settings, sentence),
    };
    let spec = &inputs.spec;
    let url = match MetaUrl::parse(inputs.meta_url.expose_secret()) {
        Ok(url) => url,
        Err(error) => {
            let from = if spec.meta_url.is_some() {
                "meta.url"
            } else {
                "the address in the Secret of meta.secretRef"
            };
            return FormatReport::failed(Cause::Settings, format!("{from}: {error}"));
        }
    };
    let found = match tokio::time::timeout(METADATA_DEADLINE, find_format(&url)).await {
        Ok(Ok(found)) => found,
        Ok(Err(error)) => return failure(&error, &url),
        Err(_) => {
            return FormatReport::failed(Cause::Metadata, no_answer(&url.to_string(), METADATA_DEADLINE));
        }
    };
    if let Some(found) = found {
        return compare::with_existing(spec, &found, &url);
    }
    if let Some(uuid) = &spec.uuid {
        let message = format!(
            "{url} holds no volume, but the volume {uuid} is expected there; nothing was written. If its metadata is \
             gone for good, delete this FileSystem and make a new one"
        );
        return FormatReport::new(FormatOutcome::Conflict, message);
    }
    let request = inputs.request();
    let mut access = StorageAccess::default();
    access.retry.retries = STORAGE_RETRIES;
    access.retry.get_timeout = STORAGE_REQUEST_DEADLINE;
    access.retry.put_timeout = STORAGE_REQUEST_DEADLINE;
    let made = tokio::time::timeout(STORAGE_DEADLINE, juicefs_volume::format(&url, &request, &access)).await;
    let Ok(made) = made else {
        return FormatReport::failed(
            Cause::Storage,
            no_answer(&format!("{} {}", spec.storage, spec.bucket), STORAGE_DEADLINE),
        );
    };
    match made {
        Ok(outcome) if outcome.result != juicefs_volume::FormatResult::Created => {
            compare::with_existing(spec, &outcome.format, &url)
        }
        Ok(outcome) => FormatReport {
            uuid: Some(outcome.format.uuid.clone()),
            ..FormatReport::new(
                FormatOutcome::Created,
                format!("volume {} made in {url}, data in {}", spec.volume_name, outcome.store),
            )
        },
        Err(error) => failure(&error, &url),
    }
}

fn no_answer(whom: &str, deadline: Duration) -> String {
    format!(
        "{whom} did not answer within {} s; check that pods of this namespace reach it",
        deadline.as_secs()
    )
}

fn failure(error: &juicefs_volume::Error, url: &MetaUrl) -> FormatReport {
    use juicefs_volume::Error;
    let cause = match error {
        Error::Meta(_) => Cause::Metadata,
        Error::Object(_) | Error::Store { .. } => Cause::Storage,
        Error::NotEmpty { .. } | Error::Conflict { .. } => {
            return FormatReport {
                cause: Some(Cause::Storage),
                ..FormatReport::new(FormatOutcome::Conflict, sentence(error, url))
            };
        }
        _ => Cause::Settings,
    };
    FormatReport::failed(cause, sentence(error, url))
}

/// The error in the words of a `FileSystem`: what a command line would be told of flags and variables, its owner is told of
/// fields and Secrets. Sentences of the metadata room do not all name the database: these do.
fn sentence(error: &juicefs_volume::Error, url: &MetaUrl) -> String {
    use juicefs_volume::{Error, MetaError, ObjectError};
    const KEYS: &str = "access-key and secret-key in the Secret that storage.secretRef names";
    match error {
        Error::Meta(MetaError::Denied(said)) => {
            format!(
                "{url}: {said}: check the user in meta.url and the password in the Secret that meta.secretRef names"
            )
        }
        Error::Meta(error) => format!("{url}: {error}"),
        Error::Object(ObjectError::NoAccessKey { store }) => {
            format!("{store}: there is no access key: set {KEYS}")
        }
        Error::Object(ObjectError::PermissionDenied { store, key, cause }) => {
            format!("{store}: access to {key} denied: {cause}; check {KEYS}, and the bucket's policy")
        }
        Error::Object(ObjectError::NoBucket { store, cause }) => {
            format!("{store}: the bucket does not exist ({cause}); make it, or correct storage.bucket")
        }
        Error::NotEmpty { store, key } => {
            format!(
                "{store} is not empty (found {key}): clean it up, or set another volumeName or storage.bucket"
            )
        }
        other => other.to_string(),
    }
}

/// Everything that was read from files.
struct Inputs {
    spec: FormatSpec,
    meta_url: SecretString,
    access_key: Option<SecretString>,
    secret_key: Option<SecretString>,
    session_token: Option<SecretString>,
}

impl Inputs {
    /// Every secret is masked from here on. Errors are sentences that show no content.
    fn read(settings: &FormatJobSettings, mask: &mut Mask) -> Result<Self, String> {
        let text = read_file(&settings.spec_file)?;
        let spec: FormatSpec = serde_json::from_str(&text).map_err(|error| {
            format!("{} is no format specification: {error}", settings.spec_file.display())
        })?;
        if spec.version > SPEC_VERSION {
            return Err(format!(
                "the operator speaks version {} of the specification, this image {SPEC_VERSION}",
                spec.version
            ));
        }
        let secret =
            |path: Option<&Path>| path.map(read_file).transpose().map(|text| text.map(SecretString::from));
        let whole = secret(settings.meta_url_file.as_deref())?;
        let password = secret(settings.meta_password_file.as_deref())?;
        let stored = |name: &str| -> Result<Option<SecretString>, String> {
            let path =
                settings.storage_secret_dir.as_ref().map(|dir| dir.join(name)).filter(|path| path.exists());
            Ok(secret(path.as_deref())?.filter(|text| !text.expose_secret().is_empty()))
        };
        let (access_key, secret_key, session_token) =
            (stored("access-key")?, stored("secret-key")?, stored("session-token")?);
        for text in [&password, &secret_key, &session_token].into_iter().flatten() {
            mask.add(text.expose_secret());
        }
        if let Some(url) = &whole {
            mask.add_url(url.expose_secret());
        }
        let meta_url = match (whole, &spec.meta_url, password) {
            (Some(url), ..) => url,
            (None, Some(url), Some(password)) => with_password(url, &password),
            (None, Some(url), None) => url.as_str().into(),
            (None, None, _) => {
                return Err("neither the specification nor a file holds the metadata URL".into());
            }
        };
        mask.add_url(meta_url.expose_secret());
        check_scheme(meta_url.expose_secret(), spec.meta_engine.as_deref())?;
        Ok(Self { spec, meta_url, access_key, secret_key, session_token })
    }

    fn request(&self) -> FormatRequest {
        let spec = &self.spec;
        FormatRequest {
            name: spec.volume_name.clone(),
            settings: SettingChange {
                storage: Some(spec.storage.clone()),
                bucket: Some(spec.bucket.clone()),
                access_key: self.access_key.as_ref().map(|key| key.expose_secret().to_owned()),
                secret_key: self.secret_key.clone(),
                session_token: self.session_token.clone(),
                storage_class: spec.storage_class.clone(),
                capacity: Some(spec.capacity_bytes),
                inodes: Some(spec.inodes),
                trash_days: Some(spec.trash_days),
                change_log: spec.change_log.then_some(true),
                ..SettingChange::default()
            },
            block_size_kib: Some(spec.block_size_kib),
            compression: Some(spec.compression.clone()),
            hash_prefix: Some(spec.hash_prefix),
            // A volume that somebody else made since we looked stays as it is.
            no_update: true,
            ..FormatRequest::default()
        }
    }
}

/// An address in `meta.url` was judged by the schema; one that is in the Secret is judged here.
fn check_scheme(url: &str, engine: Option<&str>) -> Result<(), String> {
    let scheme = url.split_once("://").map_or("redis", |(scheme, _)| scheme);
    if matches!(scheme, "sqlite3" | "sqlite" | "file" | "badger" | "memkv" | "unix") {
        return Err(format!(
            "the address in the Secret that meta.secretRef names is {scheme}://, which no other pod reaches; use a database on \
             the network: redis, rediss, postgres or mysql"
        ));
    }
    if !matches!(scheme, "redis" | "rediss" | "postgres" | "mysql") {
        return Err(format!(
            "the address in the Secret that meta.secretRef names is {scheme}://, which is not supported yet; use redis, rediss, \
             postgres or mysql"
        ));
    }
    match engine {
        Some(engine) if engine != scheme => {
            Err(format!("meta.engine is {engine}, but the address in the Secret is {scheme}://"))
        }
        _ => Ok(()),
    }
}

fn read_file(path: &Path) -> Result<String, String> {
    let text =
        std::fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    Ok(text.trim().to_owned())
}
