//! `changelog`: the lines of a volume's change log, and those to come.

use std::time::Duration;

use juicefs_meta::engines;
use juicefs_meta::url::MetaUrl;

use crate::error::{Error, Result};
use crate::storage::load_format;

/// Between two looks at a log that had nothing new.
const PAUSE: Duration = Duration::from_millis(200);
const LINES_AT_ONCE: usize = 1000;

/// Hands over the lines after the version `from`, with 0 those after the newest, and waits for more until `tell` is
/// false.
///
/// # Errors
/// A volume that keeps no change log; as the engine's.
pub async fn follow_change_log(
    url: &MetaUrl,
    from: i64,
    mut tell: impl FnMut(u64, &[u8]) -> bool,
) -> Result<()> {
    let engine = engines::open(url).await?;
    if !engine.limits().has_change_log {
        return Err(Error::Meta(juicefs_meta::Error::no_change_log(engine.limits().name)));
    }
    if !load_format(engine.as_ref()).await?.change_log {
        return Err(Error::BadRequest(format!(
            "changelog is not enabled, use `juicefs config {url} --changelog` to enable it"
        )));
    }
    let mut after = match from {
        0 => {
            let last = engine.read_log(0, 0).await?.last;
            tracing::info!("last version is {last}");
            last
        }
        from => u64::try_from(from).unwrap_or(0),
    };
    loop {
        let page = match engine.read_log(after, LINES_AT_ONCE).await {
            Err(error) if error.may_retry() => {
                tracing::warn!(%error, "the change log could not be read, it is tried again");
                tokio::time::sleep(PAUSE * 10).await;
                continue;
            }
            page => page?,
        };
        if from > 0 && page.first > after.saturating_add(1) {
            tracing::warn!("versions {} to {} are not kept any more", after + 1, page.first - 1);
            after = page.first - 1;
        }
        let is_short = page.lines.len() < LINES_AT_ONCE;
        for (version, line) in page.lines {
            if !tell(version, &line) {
                return Ok(());
            }
            after = version;
        }
        if is_short {
            tokio::time::sleep(PAUSE).await;
        }
    }
}
