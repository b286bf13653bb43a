//! `status`: the setting, who is mounted, what is used.

use futures::TryStreamExt;
use juicefs_meta::engines;
use juicefs_meta::format::Format;
use juicefs_meta::port::{Engine, Item, Scan, SessionRow};
use juicefs_meta::replication;
use juicefs_meta::url::MetaUrl;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::storage::load_format;

/// What `status` prints, field for field as the peer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Status {
    /// Secrets are `removed`.
    pub setting: Value,
    pub sessions: Vec<SessionStatus>,
    pub stat: VolumeStat,
    /// The second bucket, where the volume has one; the peer has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replication: Option<Value>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct SessionStatus {
    pub sid: u64,
    /// RFC 3339, whole seconds, UTC.
    pub expire: String,
    /// The session's own document (version, host, mount point, process).
    #[serde(flatten)]
    pub info: Map<String, Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sustained: Vec<u64>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct VolumeStat {
    pub used_space: u64,
    pub available_space: u64,
    pub used_inodes: u64,
    pub available_inodes: u64,
}

/// # Errors
/// An engine that does not answer, a database without a volume.
pub async fn status(url: &MetaUrl, session: Option<u64>) -> Result<Status> {
    let engine = engines::open(url).await?;
    let format = load_format(engine.as_ref()).await?;
    let setting = serde_json::from_str(&format.to_shown_text()).map_err(|cause| {
        Error::Meta(juicefs_meta::Error::Corrupt { record: "setting".into(), cause: cause.to_string() })
    })?;
    let mut sessions = Vec::new();
    let mut rows = engine.scan(Scan::Sessions);
    while let Some(item) = rows.try_next().await? {
        if let Item::Session(row) = item
            && session.is_none_or(|sid| sid == row.sid)
        {
            sessions.push(session_status(engine.as_ref(), row, session.is_some()).await?);
        }
    }
    drop(rows);
    sessions.sort_by_key(|session| session.sid);
    if let (Some(sid), true) = (session, sessions.is_empty()) {
        return Err(Error::BadRequest(format!(
            "session {sid} is not there: see `juicefs status` for those that are"
        )));
    }
    let stat = volume_stat(&format, engine.usage().await?);
    let replication = replication::read(engine.as_ref(), &format).await?.map(|record| record.shown());
    Ok(Status { setting, sessions, stat, replication })
}

async fn session_status(engine: &dyn Engine, row: SessionRow, in_detail: bool) -> Result<SessionStatus> {
    let mut sustained = Vec::new();
    if in_detail {
        let mut items = engine.scan(Scan::Sustained { sid: Some(row.sid) });
        while let Some(item) = items.try_next().await? {
            if let Item::Sustained { ino, .. } = item {
                sustained.push(ino.0);
            }
        }
    }
    let expire =
        jiff::Timestamp::from_second(row.expires_at).map(|time| time.to_string()).unwrap_or_default();
    let info = serde_json::from_slice(&row.info).unwrap_or_default();
    Ok(SessionStatus { sid: row.sid, expire, info, sustained })
}

/// Format 8.1: without a limit the total is 1 PiB, doubled until an eighth of it is less than what is used.
fn volume_stat(format: &Format, usage: juicefs_meta::types::Usage) -> VolumeStat {
    let used_space = u64::try_from(usage.space).unwrap_or(0);
    let used_inodes = u64::try_from(usage.inodes).unwrap_or(0);
    let total = if format.capacity > 0 {
        format.capacity
    } else {
        let mut total: u64 = 1 << 50;
        while total.saturating_mul(8) < used_space.saturating_mul(10) {
            total = total.saturating_mul(2);
        }
        total
    };
    let available_inodes = if format.inodes > 0 {
        format.inodes.saturating_sub(used_inodes)
    } else {
        let mut available: u64 = 10 << 20;
        while used_inodes > available.saturating_mul(4) {
            available = available.saturating_mul(2);
        }
        available
    };
    VolumeStat {
        used_space,
        available_space: total.saturating_sub(used_space),
        used_inodes,
        available_inodes,
    }
}
