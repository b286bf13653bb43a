//! `status`: the setting, who is mounted, what is used.

use futures::{StreamExt, TryStreamExt};
use juicefs_meta::engines;
use juicefs_meta::format::Format;
use juicefs_meta::port::{Engine, Item, Scan, SessionRow};
use juicefs_meta::replication;
use juicefs_meta::url::MetaUrl;
use juicefs_meta::{Ino, Kind};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::storage::load_format;

/// Nodes that are read together.
const NODES_AT_ONCE: usize = 1024;

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
    #[serde(flatten)]
    pub more: MoreStat,
}

/// What waits to be removed; what there is none of is left out. Bytes of files are their lengths; of what else is in the
/// trash only the number counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct MoreStat {
    #[serde(skip_serializing_if = "is_none")]
    pub trash_file_count: u64,
    #[serde(skip_serializing_if = "is_none")]
    pub trash_file_size: u64,
    #[serde(skip_serializing_if = "is_none")]
    pub pending_deleted_file_count: u64,
    #[serde(skip_serializing_if = "is_none")]
    pub pending_deleted_file_size: u64,
    /// Compacted away and kept as long as the trash is.
    #[serde(skip_serializing_if = "is_none")]
    pub trash_slice_count: u64,
    #[serde(skip_serializing_if = "is_none")]
    pub trash_slice_size: u64,
    #[serde(skip_serializing_if = "is_none")]
    pub pending_deleted_slice_count: u64,
    #[serde(skip_serializing_if = "is_none")]
    pub pending_deleted_slice_size: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_none(number: &u64) -> bool {
    *number == 0
}

/// `with_more` also counts what waits to be removed, which reads all of it.
///
/// # Errors
/// An engine that does not answer, a database without a volume.
pub async fn status(
    url: &MetaUrl,
    session: Option<u64>,
    with_more: bool,
    progress: &dyn Progress,
) -> Result<Status> {
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
    let mut stat = volume_stat(&format, engine.usage().await?);
    if with_more {
        stat.more = more_stat(engine.as_ref(), progress).await?;
    }
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
        more: MoreStat::default(),
    }
}

async fn more_stat(engine: &dyn Engine, progress: &dyn Progress) -> Result<MoreStat> {
    let mut more = MoreStat::default();
    progress.begin("trash files", None);
    let mut hours = Vec::new();
    let mut entries = engine.scan(Scan::Entries { parent: Ino::TRASH });
    while let Some(item) = entries.try_next().await? {
        if let Item::Entry { edge, .. } = item {
            hours.push(edge.ino);
        }
    }
    drop(entries);
    for hour in hours {
        let (count, bytes) = entries_of(engine, hour, progress).await?;
        more.trash_file_count += count;
        more.trash_file_size += bytes;
    }
    progress.begin("deleted files", None);
    let mut items = engine.scan(Scan::DeletedFiles);
    while let Some(item) = items.try_next().await? {
        if let Item::DeletedFile { length, .. } = item {
            progress.advance(1);
            more.pending_deleted_file_count += 1;
            more.pending_deleted_file_size += length;
        }
    }
    drop(items);
    progress.begin("trash slices", None);
    let mut items = engine.scan(Scan::DelayedSlices);
    while let Some(item) = items.try_next().await? {
        if let Item::DelayedSlices { slices, .. } = item {
            progress.advance(slices.len() as u64);
            more.trash_slice_count += slices.len() as u64;
            more.trash_slice_size += slices.iter().map(|(_, size)| u64::from(*size)).sum::<u64>();
        }
    }
    drop(items);
    progress.begin("deleted slices", None);
    let mut items = engine.scan(Scan::FreedSlices);
    while let Some(item) = items.try_next().await? {
        if let Item::FreedSlice { size, .. } = item {
            progress.advance(1);
            more.pending_deleted_slice_count += 1;
            more.pending_deleted_slice_size += u64::from(size);
        }
    }
    Ok(more)
}

/// Entries of a directory, and the lengths of the files among them.
async fn entries_of(engine: &dyn Engine, parent: Ino, progress: &dyn Progress) -> Result<(u64, u64)> {
    let (mut count, mut bytes) = (0, 0);
    let entries = engine.scan(Scan::Entries { parent }).try_filter_map(async |item| {
        Ok(match item {
            Item::Entry { edge, .. } => Some(edge),
            _ => None,
        })
    });
    let mut pages = entries.boxed().try_chunks(NODES_AT_ONCE);
    while let Some(edges) = pages.try_next().await.map_err(|error| error.1)? {
        count += edges.len() as u64;
        progress.advance(edges.len() as u64);
        let files: Vec<Ino> =
            edges.iter().filter(|edge| edge.kind == Kind::File).map(|edge| edge.ino).collect();
        let nodes = engine.nodes(&files).await?;
        bytes += nodes.into_iter().flatten().flatten().map(|attr| attr.length).sum::<u64>();
    }
    Ok((count, bytes))
}
