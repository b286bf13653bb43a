//! `restore`: what was removed in an hour comes back out of the trash.

use juicefs_meta::tree::{Restored, TreeProgress};
use juicefs_meta::url::MetaUrl;
use std::time::Duration;

use crate::error::Result;
use crate::opened::open_meta;
use crate::progress::Progress;

/// How often progress is told.
const TOLD_EVERY: Duration = Duration::from_millis(200);

/// Rebuilds the trees of each hour, and with `put_back` moves them to where they were.
///
/// # Errors
/// An engine that does not answer, a volume that this client must not change. An hour that is not there is logged, and
/// counts as a failure.
pub async fn restore(
    url: &MetaUrl,
    hours: &[String],
    put_back: bool,
    threads: usize,
    progress: &dyn Progress,
) -> Result<Restored> {
    let meta = open_meta(url).await?;
    let mut sum = Restored::default();
    for hour in hours {
        tracing::info!("restore files in {hour:?} ...");
        progress.begin("restored", None);
        let (done, mut told) = (TreeProgress::default(), 0);
        let mut work = std::pin::pin!(meta.restore_hour(hour, put_back, threads, &done));
        let outcome = loop {
            let outcome = tokio::time::timeout(TOLD_EVERY, work.as_mut()).await;
            let (count, _) = done.get();
            progress.advance(count - told);
            told = count;
            if let Ok(outcome) = outcome {
                break outcome;
            }
        };
        match outcome {
            Ok(of_hour) => {
                sum.restored += of_hour.restored;
                sum.skipped += of_hour.skipped;
                sum.failed += of_hour.failed;
            }
            Err(error) if error.errno() == juicefs_base::Errno::ENOENT => {
                tracing::error!("lookup {hour:?}: no such file or directory");
                sum.failed += 1;
            }
            Err(error) => return Err(error.into()),
        }
    }
    meta.flush_statistics().await?;
    Ok(sum)
}
