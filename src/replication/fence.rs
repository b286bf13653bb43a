//! The fence (decisions 30): a metadata version that nobody takes makes every client of a volume leave, stock ones too.
//! What the setting was before is in a side record.

use std::time::{Duration, Instant};

use juicefs_meta::mirror::{FENCE_SIDE, FENCED_META_VERSION, FenceRecord, read_fence};
use juicefs_meta::port::{Change, Engine};
use juicefs_meta::{Format, Time};

use crate::error::{Error, Result};
use crate::heartbeats;

/// A session that claims to live for longer will not be waited for.
const FAR_AWAY_SEC: i64 = 3600;
const PAUSE: Duration = Duration::from_millis(500);

/// Puts the fence up, or leaves the one that is there. Answers the setting before.
///
/// # Errors
/// As the engine's.
pub async fn put(source: &dyn Engine, by: &str) -> Result<Format> {
    let text = source.setting().await?.ok_or(Error::NoMirror)?;
    let now = Format::parse(&text)?;
    if now.meta_version == FENCED_META_VERSION
        && let Some(fence) = read_fence(source).await?
    {
        return Ok(Format::parse(&fence.setting)?);
    }
    let fence = FenceRecord { v: 1, by: by.to_owned(), setting: text };
    let value = serde_json::to_vec(&fence).unwrap_or_default().into();
    source.begin(0).await?.commit(&[Change::PutSide { name: FENCE_SIDE.to_owned(), value }]).await?;
    let fenced = Format { meta_version: FENCED_META_VERSION, ..now.clone() };
    source.update_setting(&fenced.to_text(), None, false).await?;
    tracing::info!("the source is fenced: its clients leave at their next heartbeats");
    Ok(now)
}

/// Whether the fence still stands.
///
/// # Errors
/// As the engine's.
pub async fn stands(source: &dyn Engine) -> Result<bool> {
    let text = source.setting().await?.ok_or(Error::NoMirror)?;
    Ok(Format::parse(&text)?.meta_version == FENCED_META_VERSION)
}

/// Takes the fence down where the volume becomes a mirror itself.
pub(crate) fn removal() -> Change {
    Change::DeleteSide { name: FENCE_SIDE.to_owned() }
}

/// Sessions that are not past their end.
///
/// # Errors
/// As the engine's.
pub async fn live_sessions(source: &dyn Engine) -> Result<Vec<(u64, i64)>> {
    let now = Time::now().sec;
    Ok(heartbeats::live(source).await?.into_iter().map(|(sid, expires_at)| (sid, expires_at - now)).collect())
}

/// Waits until nobody has a session any more.
///
/// # Errors
/// [`Error::BadRequest`] naming the sessions that stay, after `patience` or at once for one that ends far away.
pub async fn wait_for_leave(source: &dyn Engine, patience: Duration) -> Result<()> {
    let begun = Instant::now();
    loop {
        let live = live_sessions(source).await?;
        if live.is_empty() {
            return Ok(());
        }
        let is_far = live.iter().any(|(_, seconds)| *seconds > FAR_AWAY_SEC);
        if is_far || begun.elapsed() >= patience {
            let named: Vec<_> = live.iter().map(|(sid, sec)| format!("{sid} (ends in {sec} s)")).collect();
            return Err(Error::BadRequest(format!(
                "the source is fenced, and these sessions did not leave: {}; end their mounts and promote again, or add --force",
                named.join(", ")
            )));
        }
        tokio::time::sleep(PAUSE).await;
    }
}
