//! The second bucket of a volume: one side record (decisions 21), written by `config` only. Whoever opens the volume's
//! store looks at it, mounts at each heartbeat. The setting keeps the first bucket, the only one that stock clients know.

use juicefs_base::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::format::Format;
use crate::port::{Engine, Get, Got};

/// Name of the side record.
pub const SIDE: &str = "replication";
/// The newest record that this client understands.
pub const VERSION: u32 = 1;

/// When a write is acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Once it is in the near store; the copy follows. A client that prefers the second bucket waits for both, as
    /// stock clients know the first one only (decisions 31).
    #[default]
    Async,
    /// Once it is in both.
    Sync,
}

/// The record of a volume with two buckets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicationRecord {
    pub v: u32,
    /// Of the volume: a database may have held another one before.
    pub uuid: String,
    pub mode: Mode,
    pub storage2: String,
    pub bucket2: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub access_key2: String,
    /// Sealed as the setting's own secrets are; empty for none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    secret_key2: String,
    /// The second bucket comes first, for reads and writes, where a mount says nothing else.
    #[serde(default)]
    pub flip: bool,
}

impl ReplicationRecord {
    #[must_use]
    pub fn new(format: &Format, storage2: &str, bucket2: &str) -> Self {
        Self {
            v: VERSION,
            uuid: format.uuid.clone(),
            mode: Mode::default(),
            storage2: storage2.to_owned(),
            bucket2: bucket2.to_owned(),
            access_key2: String::new(),
            secret_key2: String::new(),
            flip: false,
        }
    }

    /// # Errors
    /// [`Error::Corrupt`] for what is no such record, [`Error::Unsupported`] for a newer one.
    pub fn parse(value: &[u8]) -> Result<Self> {
        let corrupt =
            |cause: serde_json::Error| Error::Corrupt { record: SIDE.to_owned(), cause: cause.to_string() };
        let fields: serde_json::Value = serde_json::from_slice(value).map_err(corrupt)?;
        if fields["v"].as_u64().is_some_and(|v| v > u64::from(VERSION)) {
            return Err(Error::Unsupported(
                "the record of this volume's second bucket is newer than this client: use a newer one"
                    .to_owned(),
            ));
        }
        serde_json::from_value(fields).map_err(corrupt)
    }

    #[must_use]
    pub fn to_value(&self) -> bytes::Bytes {
        serde_json::to_vec(self).unwrap_or_default().into()
    }

    /// # Errors
    /// [`Error::Unsupported`] where the setting's cipher is not known here.
    pub fn set_secret_key2(&mut self, format: &Format, secret: &SecretString) -> Result<()> {
        self.secret_key2 = match secret.expose_secret() {
            "" => String::new(),
            _ => format.seal(secret)?.expose_secret().to_owned(),
        };
        Ok(())
    }

    /// # Errors
    /// [`Error::Corrupt`] for a secret that was sealed for another volume.
    pub fn secret_key2(&self, format: &Format) -> Result<Option<SecretString>> {
        if self.secret_key2.is_empty() {
            return Ok(None);
        }
        format.unseal(&SecretString::from(self.secret_key2.clone())).map(Some)
    }

    /// What may be shown: no secret.
    #[must_use]
    pub fn shown(&self) -> serde_json::Value {
        serde_json::json!({
            "Mode": self.mode,
            "Storage2": self.storage2,
            "Bucket2": self.bucket2,
            "AccessKey2": self.access_key2,
            "SecretKey2": if self.secret_key2.is_empty() { "" } else { "removed" },
            "Flip": self.flip,
        })
    }
}

/// The record of the volume that `format` is the setting of; `None` while it has one bucket.
///
/// # Errors
/// As the engine's and [`ReplicationRecord::parse`].
pub async fn read(engine: &dyn Engine, format: &Format) -> Result<Option<ReplicationRecord>> {
    let got = engine.read(&[Get::Side { name: SIDE.to_owned() }]).await?;
    let Some(Got::Bytes(Some(value))) = got.into_iter().next() else { return Ok(None) };
    let record = ReplicationRecord::parse(&value)?;
    Ok((record.uuid == format.uuid).then_some(record))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_sealed_for_its_volume_and_never_shown() {
        let format = Format::new("vol");
        let mut record = ReplicationRecord::new(&format, "s3", "http://h/b");
        let canary = SecretString::from("canary-secret".to_owned());
        record.set_secret_key2(&format, &canary).expect("sealed");
        let value = record.to_value();
        let text = String::from_utf8_lossy(&value).into_owned() + &record.shown().to_string();
        assert!(!text.contains("canary"), "{text}");
        let back = ReplicationRecord::parse(&value).expect("parses");
        assert_eq!(back, record);
        let open = back.secret_key2(&format).expect("opens").expect("there");
        assert_eq!(open.expose_secret(), "canary-secret");
        let mut other = Format::new("other");
        other.uuid = "another".to_owned();
        assert!(back.secret_key2(&other).is_err(), "of another volume");
    }

    #[test]
    fn a_newer_record_is_refused() {
        let newer = br#"{"v": 2, "something": "else"}"#;
        assert!(matches!(ReplicationRecord::parse(newer), Err(Error::Unsupported(_))));
        assert!(matches!(ReplicationRecord::parse(b"x"), Err(Error::Corrupt { .. })));
    }
}
