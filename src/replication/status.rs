//! How far a mirror is behind.

use juicefs_meta::mirror::{self, MirrorRecord};
use juicefs_meta::port::Engine;
use juicefs_meta::{Format, Result as MetaResult};
use serde::Serialize;

use crate::error::{Error, Result};
use crate::reconcile::is_comparable;

/// What `mirror status` prints.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct MirrorStatus {
    #[serde(flatten)]
    pub record: Record,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<Data>,
    /// Newest version at the source; nothing when it does not answer.
    pub source_version: Option<u64>,
    /// Lines that the source has and the mirror has yet to apply.
    pub versions_behind: Option<u64>,
    /// How old what the mirror shows may be: 0 when it has everything, else the age of the oldest line it has not.
    pub seconds_behind: Option<f64>,
    /// Why the source does not answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_error: Option<String>,
}

/// The mirror's record as users see it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Record {
    pub name: String,
    pub source: String,
    #[serde(rename = "SourceUUID")]
    pub source_uuid: String,
    pub state: mirror::State,
    /// Whether the mirror can be mounted.
    pub readable: bool,
    pub version: u64,
    /// `shared`: data is read from the source's bucket. `own`: from the mirror's, else the source's. `data-first`: from the
    /// mirror's, where it is before its names are shown.
    pub bucket: mirror::BucketMode,
}

/// How far the blocks are, where they are copied.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Data {
    /// Version up to which every block is near; nothing before everything was walked once.
    pub version: Option<u64>,
    pub versions_behind: Option<u64>,
    pub pending_blocks: u64,
    pub pending_bytes: u64,
    pub copied_blocks: u64,
    pub copied_bytes: u64,
    /// Slices that are in no bucket.
    pub lacking_slices: u64,
}

async fn data_of(target: &dyn Engine, record: &MirrorRecord) -> Result<Option<Data>> {
    if !record.bucket.is_own() {
        return Ok(None);
    }
    let data = crate::data::read(target).await?;
    let version = data.is_whole.then_some(data.cursor);
    Ok(Some(Data {
        version,
        versions_behind: version.map(|version| record.cursor.saturating_sub(version)),
        pending_blocks: data.pending_blocks,
        pending_bytes: data.pending_bytes,
        copied_blocks: data.copied_blocks,
        copied_bytes: data.copied_bytes,
        lacking_slices: data.lacking_slices,
    }))
}

impl From<MirrorRecord> for Record {
    fn from(record: MirrorRecord) -> Self {
        Self {
            name: record.display_name,
            source: record.source,
            source_uuid: record.source_uuid,
            state: record.state,
            readable: is_comparable(record.state),
            version: record.cursor,
            bucket: record.bucket,
        }
    }
}

/// # Errors
/// [`Error::NoMirror`]; as the mirror's engine. A source that does not answer is part of the status.
pub async fn status(
    source: MetaResult<&dyn Engine>,
    target: &dyn Engine,
    now_ms: i64,
) -> Result<MirrorStatus> {
    let text = target.setting().await?.ok_or(Error::NoMirror)?;
    let record = mirror::read_any(target, &Format::parse(&text)?).await?.ok_or(Error::NoMirror)?;
    let cursor = record.cursor;
    let page = match source {
        Ok(source) => source.read_log(cursor, 1).await,
        Err(error) => Err(error),
    };
    let data = data_of(target, &record).await?;
    let record = Record::from(record);
    Ok(match page {
        Ok(page) => {
            let oldest = page.lines.first().and_then(|(_, line)| juicefs_meta::change_log::time_of(line));
            #[expect(clippy::cast_precision_loss, reason = "milliseconds of an age")]
            let age = oldest
                .map_or(0.0, |at| (now_ms - at.sec * 1000 - i64::from(at.nsec / 1_000_000)) as f64 / 1e3);
            MirrorStatus {
                record,
                data,
                source_version: Some(page.last),
                versions_behind: Some(page.last.saturating_sub(cursor)),
                seconds_behind: Some(age.max(0.0)),
                source_error: None,
            }
        }
        Err(error) => MirrorStatus {
            record,
            data,
            source_version: None,
            versions_behind: None,
            seconds_behind: None,
            source_error: Some(error.to_string()),
        },
    })
}
