//! What makes a database a mirror: one side record (decisions 21), written when the mirror is made and with each batch
//! that its follower applies. Only the replication room changes it; whoever opens the volume looks at it.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::format::Format;
use crate::port::{Engine, Get, Got};

/// Name of the side record.
pub const SIDE: &str = "mirror";
/// The newest record that this client understands.
pub const VERSION: u32 = 1;
/// Keeps stock clients, which know nothing of mirrors, from mounting one and cleaning up in it.
pub const NO_CLIENT: &str = "99.0.0";

/// Where a mirror stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Copying everything, for the first time or after history was lost: of no version, not to be mounted.
    Copying,
    /// More has happened at the source than fits one step: rows may be newer than the cursor.
    CatchingUp,
    /// Equal to the source at the cursor.
    Following,
    /// Given up; nobody follows any more.
    Dropped,
}

/// The record of a mirror.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MirrorRecord {
    pub v: u32,
    pub source_uuid: String,
    pub display_name: String,
    /// Another one for each life of the mirror.
    pub epoch: String,
    /// Address of the source without its password.
    pub source: String,
    pub state: State,
    /// Version of the source's change log up to which everything is applied.
    pub cursor: u64,
    /// When the source wrote the line at the cursor; unix milliseconds, 0 before the first.
    pub cursor_ms: i64,
}

impl MirrorRecord {
    /// # Errors
    /// [`Error::Corrupt`] for what is no record of a mirror, [`Error::Unsupported`] for a newer one.
    pub fn parse(value: &[u8]) -> Result<Self> {
        let corrupt =
            |cause: serde_json::Error| Error::Corrupt { record: SIDE.to_owned(), cause: cause.to_string() };
        let fields: serde_json::Value = serde_json::from_slice(value).map_err(corrupt)?;
        if fields["v"].as_u64().is_some_and(|v| v > u64::from(VERSION)) {
            return Err(Error::Unsupported(
                "the record of this mirror is newer than this client: use a newer one".to_owned(),
            ));
        }
        serde_json::from_value(fields).map_err(corrupt)
    }

    #[must_use]
    pub fn to_value(&self) -> bytes::Bytes {
        serde_json::to_vec(self).unwrap_or_default().into()
    }

    /// Why nothing may be changed here.
    #[must_use]
    pub fn read_only_reason(&self) -> String {
        format!("{} is a mirror of {}: it can only be read", self.display_name, self.source)
    }

    /// # Errors
    /// [`Error::Unsupported`] where there is nothing whole to read.
    pub fn check_readable(&self) -> Result<()> {
        let why = match self.state {
            State::CatchingUp | State::Following => return Ok(()),
            State::Copying => {
                "is still being copied: `juicefs mirror run` does it, `juicefs mirror status` tells"
            }
            State::Dropped => "was dropped: make another one with `juicefs mirror create`",
        };
        Err(Error::Unsupported(format!("mirror {} {why}", self.display_name)))
    }
}

/// The record of the mirror that this database is; of another volume that was here before it says nothing.
///
/// # Errors
/// As the engine's and [`MirrorRecord::parse`].
pub async fn read(engine: &dyn Engine, format: &Format) -> Result<Option<MirrorRecord>> {
    let got = engine.read(&[Get::Side { name: SIDE.to_owned() }]).await?;
    let Some(Got::Bytes(Some(value))) = got.into_iter().next() else { return Ok(None) };
    let record = MirrorRecord::parse(&value)?;
    Ok((record.source_uuid == format.uuid).then_some(record))
}
