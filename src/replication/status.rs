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
    /// `shared`: data is read from the source's bucket.
    pub bucket: &'static str,
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
            bucket: "shared",
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
    let record = mirror::read(target, &Format::parse(&text)?).await?.ok_or(Error::NoMirror)?;
    let cursor = record.cursor;
    let page = match source {
        Ok(source) => source.read_log(cursor, 1).await,
        Err(error) => Err(error),
    };
    let record = Record::from(record);
    Ok(match page {
        Ok(page) => {
            let oldest = page.lines.first().and_then(|(_, line)| juicefs_meta::change_log::time_of(line));
            #[expect(clippy::cast_precision_loss, reason = "milliseconds of an age")]
            let age = oldest
                .map_or(0.0, |at| (now_ms - at.sec * 1000 - i64::from(at.nsec / 1_000_000)) as f64 / 1e3);
            MirrorStatus {
                record,
                source_version: Some(page.last),
                versions_behind: Some(page.last.saturating_sub(cursor)),
                seconds_behind: Some(age.max(0.0)),
                source_error: None,
            }
        }
        Err(error) => MirrorStatus {
            record,
            source_version: None,
            versions_behind: None,
            seconds_behind: None,
            source_error: Some(error.to_string()),
        },
    })
}
