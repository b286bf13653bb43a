//! Upstream's Secret of a volume.

use super::{Error, Findings, bad};
use juicefs_base::{ExposeSecret, SecretString};
use serde_yaml::Value;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// A Secret's data, keyed as in the object.
pub type SecretMap = BTreeMap<String, SecretString>;

/// Wraps what a CSI request or a Secret carries.
pub fn secret_map(entries: impl IntoIterator<Item = (String, String)>) -> SecretMap {
    entries.into_iter().map(|(key, value)| (key, SecretString::from(value))).collect()
}

/// What a Secret says. No `Debug` output holds a secret value.
#[derive(Clone, Debug)]
pub struct SecretSettings {
    /// `name`: the volume's name, or the name that a mirror shows.
    pub volume_name: String,
    /// `metaurl`, with `redis://` before it if it had no scheme. May hold a password.
    pub meta_url: SecretString,
    /// `storage`; without it the volume's own setting holds.
    pub storage: Option<String>,
    /// `bucket`; without it the volume's own setting holds.
    pub bucket: Option<String>,
    pub access_key: Option<SecretString>,
    pub secret_key: Option<SecretString>,
    pub session_token: Option<SecretString>,
    /// `envs`: environment of upstream's mount pods; some names mean something to us (see [`Self::env`]).
    pub envs: BTreeMap<String, SecretString>,
    /// `configs`: Secret name -> directory.
    pub configs: BTreeMap<String, String>,
    /// `block-size`, `trash-days`, ... and the rest of `format-options`, by option name. They matter to whoever
    /// formats a volume; the driver never does.
    pub format: BTreeMap<String, Option<SecretString>>,
}

/// Keys that go to format as they are.
const FORMAT_KEYS: &[&str] = &["block-size", "compress", "trash-days", "capacity", "inodes", "shards"];
/// Keys of the enterprise edition: never needed, and no reason to complain.
const ENTERPRISE_KEYS: &[&str] =
    &["access-key2", "bucket2", "initconfig", "jfsSettings", "secret-key2", "secretkey2", "subdir", "token"];
/// Keys for whoever makes an encrypted volume: the key is in the setting then, its passphrase in `envs`.
const ENCRYPTION_KEYS: &[&str] = &["encrypt_rsa_key", "passphrase"];

impl SecretSettings {
    pub(super) fn read(secrets: &SecretMap) -> Result<(Self, Findings), Error> {
        let text = |key: &str| {
            secrets.get(key).map(|value| value.expose_secret().trim()).filter(|text| !text.is_empty())
        };
        let hidden = |key: &str| text(key).map(SecretString::from);
        let Some(url) = text("metaurl") else {
            return Err(if text("token").is_some() {
                Error::Enterprise
            } else {
                Error::MissingKey("metaurl")
            });
        };
        let volume_name = text("name").ok_or(Error::MissingKey("name"))?.to_owned();
        if !is_volume_name(&volume_name) {
            return Err(Error::BadVolumeName(volume_name));
        }
        let mut findings = Findings::default();
        let mut settings = Self {
            volume_name,
            meta_url: if url.contains("://") { url.into() } else { format!("redis://{url}").into() },
            storage: text("storage").map(str::to_owned),
            bucket: text("bucket").map(str::to_owned),
            access_key: hidden("access-key").or_else(|| hidden("accesskey")),
            secret_key: hidden("secret-key").or_else(|| hidden("secretkey")),
            session_token: hidden("session-token"),
            envs: BTreeMap::new(),
            configs: BTreeMap::new(),
            format: BTreeMap::new(),
        };
        if let Some(list) = text("envs") {
            settings.envs =
                map_of("envs", list)?.into_iter().map(|(key, value)| (key, value.into())).collect();
        }
        if let Some(list) = text("configs") {
            settings.configs = map_of("configs", list)?;
        }
        for key in FORMAT_KEYS {
            if let Some(value) = hidden(key) {
                settings.format.insert((*key).to_owned(), Some(value));
            }
        }
        settings.take_format_options(text("format-options").unwrap_or_default(), &mut findings);
        settings.find_unused(secrets, &mut findings);
        Ok((settings, findings))
    }

    /// `format-options` win over the keys of their own.
    fn take_format_options(&mut self, list: &str, findings: &mut Findings) {
        for element in list.split(',').map(|element| element.trim().trim_start_matches('-')) {
            let (name, value) = match element.split_once('=') {
                Some((name, value)) => (name.trim(), Some(SecretString::from(value.trim()))),
                None => (element, None),
            };
            match name {
                "" => {}
                "storage" => self.storage = value.map(|value| value.expose_secret().to_owned()),
                "bucket" => self.bucket = value.map(|value| value.expose_secret().to_owned()),
                "access-key" => self.access_key = value,
                "secret-key" => self.secret_key = value,
                "session-token" => self.session_token = value,
                "bucket2" | "access-key2" | "secret-key2" => {
                    findings
                        .ignored(&format!("format-options {name}"), "a second bucket is not supported yet");
                }
                _ => {
                    self.format.insert(name.to_owned(), value);
                }
            }
        }
    }

    fn find_unused(&self, secrets: &SecretMap, findings: &mut Findings) {
        const OWN: &[&str] = &[
            "access-key",
            "accesskey",
            "bucket",
            "configs",
            "envs",
            "format-options",
            "metaurl",
            "name",
            "secret-key",
            "secretkey",
            "session-token",
            "storage",
        ];
        for key in secrets.keys().map(String::as_str) {
            if ENCRYPTION_KEYS.contains(&key) {
                findings.ignored(
                    key,
                    "the private key is in the volume's setting, and envs.JFS_RSA_PASSPHRASE opens it",
                );
            } else if !OWN.contains(&key) && !FORMAT_KEYS.contains(&key) && !ENTERPRISE_KEYS.contains(&key) {
                findings.unknown("Secret key", key);
            }
        }
        if !self.configs.is_empty() {
            findings.ignored("configs", "Secrets are not mounted into mount pods");
        }
    }

    /// A variable of `envs`.
    #[must_use]
    pub fn env(&self, name: &str) -> Option<&SecretString> {
        self.envs.get(name)
    }

    /// The metadata URL to connect with: a password from `envs` (`REDIS_PASSWORD`, else `META_PASSWORD`) goes in
    /// where the URL has none.
    #[must_use]
    pub fn complete_meta_url(&self) -> SecretString {
        let url = self.meta_url.expose_secret();
        match self.env("REDIS_PASSWORD").or_else(|| self.env("META_PASSWORD")) {
            Some(password) if without_password(url) == url => with_password(url, password),
            _ => self.meta_url.clone(),
        }
    }
}

fn is_volume_name(name: &str) -> bool {
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    (3..=63).contains(&name.len())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
        && edge(name.chars().next())
        && edge(name.chars().last())
}

/// A JSON or YAML map of scalars. Errors do not show what stood there: it may be a secret.
pub(super) fn map_of(key: &str, text: &str) -> Result<BTreeMap<String, String>, Error> {
    let no_map = || bad(key, "is no JSON or YAML map of strings");
    let map: BTreeMap<String, Value> = serde_yaml::from_str(text).map_err(|_| no_map())?;
    map.into_iter()
        .map(|(name, value)| {
            let value = match value {
                Value::String(text) => text,
                Value::Bool(flag) => flag.to_string(),
                Value::Number(number) => number.to_string(),
                Value::Null => String::new(),
                _ => return Err(no_map()),
            };
            Ok((name, value))
        })
        .collect()
}

/// `url` without the password of its user part or query: fit for people, hashes and logs.
#[must_use]
pub fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let authority_end = rest.find('/').unwrap_or(rest.len());
    // A password may hold a slash: then the last @ of all ends it.
    let at = rest[..authority_end].rfind('@').or_else(|| rest.rfind('@'));
    let rest = match at {
        Some(at) => match rest[..at].find(':') {
            Some(colon) => format!("{}{}", &rest[..colon], &rest[at..]),
            None => rest.to_owned(),
        },
        None => rest.to_owned(),
    };
    let rest = match rest.find("password=") {
        Some(start) => {
            let tail = rest[start..].find('&').map_or("", |end| &rest[start + end..]);
            format!("{}password={tail}", &rest[..start])
        }
        None => rest,
    };
    format!("{scheme}://{rest}")
}

/// `url` with `password` in its user part. MySQL's drivers take it as it is, all others percent-encoded.
#[must_use]
pub fn with_password(url: &str, password: &SecretString) -> SecretString {
    let Some((scheme, rest)) = url.split_once("://") else { return url.into() };
    let password = password.expose_secret();
    let mut written = String::new();
    for byte in password.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            written.push(char::from(byte));
        } else {
            let _ = write!(written, "%{byte:02X}");
        }
    }
    if scheme == "mysql" {
        written = password.to_owned();
    }
    let authority_end = rest.find('/').unwrap_or(rest.len());
    let with = match rest[..authority_end].rfind('@') {
        Some(at) => {
            let user = rest[..at].split(':').next().unwrap_or_default();
            format!("{scheme}://{user}:{written}{}", &rest[at..])
        }
        None => format!("{scheme}://:{written}@{rest}"),
    };
    with.into()
}
