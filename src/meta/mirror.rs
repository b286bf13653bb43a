//! What makes a database a mirror: one side record (decisions 21), written when the mirror is made and with each batch
//! that its follower applies. Only the replication room changes it; whoever opens the volume looks at it.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::format::Format;
use crate::port::{Engine, Get, Got};

/// Name of the side record.
pub const SIDE: &str = "mirror";
/// The newest record that this client understands.
pub const VERSION: u32 = 2;
/// Name of the side record with the source's setting as it was seen last: where blocks are that a mirror with a bucket
/// of its own does not have yet. Secrets are encrypted as in a setting.
pub const SOURCE_SIDE: &str = "mirror.source";
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
    /// Being made a volume of its own: nobody follows any more, and it is not one yet.
    Promoting,
    /// A volume of its own now: what is left of the record tells where it came from.
    Promoted,
}

impl State {
    /// Whether a follower works on the mirror.
    #[must_use]
    pub fn is_followed(self) -> bool {
        match self {
            Self::Copying | Self::CatchingUp | Self::Following => true,
            Self::Dropped | Self::Promoting | Self::Promoted => false,
        }
    }
}

/// Name of the side record of a volume whose mirror was promoted (decisions 30).
pub const FENCE_SIDE: &str = "fence";
/// The metadata version of a fenced volume: nobody takes it, so that running clients leave at their next heartbeats.
pub const FENCED_META_VERSION: u32 = 2;

/// Why a volume is fenced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FenceRecord {
    pub v: u32,
    /// The mirror that was to be promoted.
    pub by: String,
    /// The setting before.
    pub setting: String,
}

/// The fence of a volume, if it has one.
///
/// # Errors
/// As the engine's; [`Error::Corrupt`] for what is no record of a fence.
pub async fn read_fence(engine: &dyn Engine) -> Result<Option<FenceRecord>> {
    let got = engine.read(&[Get::Side { name: FENCE_SIDE.to_owned() }]).await?;
    let Some(Got::Bytes(Some(value))) = got.into_iter().next() else { return Ok(None) };
    serde_json::from_slice(&value)
        .map(Some)
        .map_err(|cause| Error::Corrupt { record: FENCE_SIDE.to_owned(), cause: cause.to_string() })
}

/// Whose bucket a mirror reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BucketMode {
    /// The source's; a mirror never writes there.
    #[default]
    Shared,
    /// Its own, and the source's for what is not copied yet: names come at once.
    Own,
    /// Its own: names come when their blocks are there.
    DataFirst,
}

impl BucketMode {
    #[must_use]
    pub fn is_own(self) -> bool {
        self != Self::Shared
    }
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
    /// What tells the source's line at the cursor from one of another history under the same version.
    #[serde(default)]
    pub cursor_mark: String,
    /// The source was seen to keep no change log: when it does again, everything is compared.
    #[serde(default)]
    pub has_gap: bool,
    /// Records of version 1 know the source's bucket only.
    #[serde(default)]
    pub bucket: BucketMode,
    /// The key to the source's bucket is the mirror's own and does not follow the source's.
    #[serde(default)]
    pub has_own_source_key: bool,
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
            State::CatchingUp | State::Following | State::Promoted => return Ok(()),
            State::Copying => {
                "is still being copied: `juicefs mirror run` does it, `juicefs mirror status` tells"
            }
            State::Promoting => "is being promoted: `juicefs mirror promote` once more ends what broke off",
            State::Dropped => "was dropped: make another one with `juicefs mirror create`",
        };
        Err(Error::Unsupported(format!("mirror {} {why}", self.display_name)))
    }
}

/// The record of the mirror that this database is; of another volume that was here before it says nothing, and a
/// promoted mirror is none.
///
/// # Errors
/// As the engine's and [`MirrorRecord::parse`].
pub async fn read(engine: &dyn Engine, format: &Format) -> Result<Option<MirrorRecord>> {
    Ok(read_any(engine, format).await?.filter(|record| record.state != State::Promoted))
}

/// [`read`], of a promoted mirror, too.
///
/// # Errors
/// As [`read`].
pub async fn read_any(engine: &dyn Engine, format: &Format) -> Result<Option<MirrorRecord>> {
    let got = engine.read(&[Get::Side { name: SIDE.to_owned() }]).await?;
    let Some(Got::Bytes(Some(value))) = got.into_iter().next() else { return Ok(None) };
    let record = MirrorRecord::parse(&value)?;
    Ok((record.source_uuid == format.uuid).then_some(record))
}

/// The source's setting as the mirror knows it, with the key that the mirror reads the source's bucket by.
///
/// # Errors
/// As the engine's and [`Format::parse`].
pub async fn read_source_setting(engine: &dyn Engine) -> Result<Option<Format>> {
    let got = engine.read(&[Get::Side { name: SOURCE_SIDE.to_owned() }]).await?;
    let Some(Got::Bytes(Some(value))) = got.into_iter().next() else { return Ok(None) };
    Format::parse(&String::from_utf8_lossy(&value)).map(Some)
}
