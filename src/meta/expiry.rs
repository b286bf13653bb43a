//! The trash is emptied: hourly directories past their days go, with all that is in them, and the slices that were
//! compacted away as long ago.

use std::time::Instant;

use futures::TryStreamExt;
use juicefs_base::Errno;

use crate::cleanup::JOB_TIME_MAX;
use crate::error::{Error, Result};
use crate::meta::Meta;
use crate::port::{Get, Got, Hold, Item, Scan};
use crate::trash::hour_of;
use crate::types::{Caller, Edge, Ino, Kind, Name};

/// What is in the trash may lie there for this long beyond its days, as with the peer.
const GRACE_HOURS: i64 = 2;

impl Meta {
    /// The moment (unix seconds) before which hourly trash directories are to go.
    #[must_use]
    pub fn trash_edge(&self, now_sec: i64) -> i64 {
        now_sec - (24 * i64::from(self.format().trash_days) + GRACE_HOURS) * 3600
    }

    /// Removes for good what came into the trash before `edge` (unix seconds); returns how many entries went.
    /// Directories with other names than hours are left alone.
    ///
    /// # Errors
    /// As the engine's; what can't be removed is logged and left.
    pub async fn empty_trash(&self, edge: i64) -> Result<u64> {
        let started = Instant::now();
        let mut removed = 0;
        for (hour_name, hour) in self.entries_of(Ino::TRASH).await? {
            if hour.kind != Kind::Directory || hour_of(&hour_name).is_none_or(|hour| hour >= edge) {
                continue;
            }
            removed += self.empty_hour(hour.ino, started).await?;
            if started.elapsed() > JOB_TIME_MAX {
                break;
            }
            if let Err(error) = gone_is_fine(self.rmdir(&Caller::internal(), Ino::TRASH, &hour_name).await) {
                tracing::warn!(%hour_name, %error, "an expired trash directory stays until the next run");
            }
        }
        Ok(removed)
    }

    async fn empty_hour(&self, hour: Ino, started: Instant) -> Result<u64> {
        let caller = Caller::internal();
        let mut removed = 0;
        for (name, edge) in self.entries_of(hour).await? {
            let outcome = match edge.kind {
                Kind::Directory => self.rmdir(&caller, hour, &name).await,
                _ => self.unlink(&caller, hour, &name).await,
            };
            match gone_is_fine(outcome) {
                Ok(()) => removed += 1,
                Err(error) => {
                    tracing::warn!(%name, %error, "an expired trash entry stays until the next run")
                }
            }
            if started.elapsed() > JOB_TIME_MAX {
                break;
            }
        }
        Ok(removed)
    }

    /// The moment (unix seconds) before which what compactions took out of lists is to go.
    #[must_use]
    pub fn delayed_edge(&self, now_sec: i64) -> i64 {
        now_sec - 24 * 3600 * i64::from(self.format().trash_days)
    }

    /// Releases the slices that compactions took out of lists before `edge` (unix seconds); those that nobody refers
    /// to any more go to the freed-slice sink. Returns how many were released.
    ///
    /// # Errors
    /// As the engine's; what can't be released is logged and left.
    pub async fn release_delayed_slices(&self, edge: i64) -> Result<u64> {
        let started = Instant::now();
        let mut released = 0;
        let mut delayed = self.engine.scan(Scan::DelayedSlices);
        while let Some(item) = delayed.try_next().await? {
            let Item::DelayedSlices { id, deleted_at, slices } = item else { continue };
            if deleted_at >= edge {
                continue;
            }
            match self.release_delayed(id, deleted_at).await {
                Ok(true) => released += slices.len() as u64,
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(slice = id, %error, "what it took the place of stays until the next run");
                }
            }
            if started.elapsed() > JOB_TIME_MAX {
                break;
            }
        }
        Ok(released)
    }

    /// Whether there is a trash to take the hourly turn at.
    pub(crate) async fn has_trash_root(&self) -> Result<bool> {
        let got = self
            .ask(
                |engine| async move { engine.read(&[Get::Node { ino: Ino::TRASH, hold: Hold::Peek }]).await },
            )
            .await?;
        Ok(matches!(got[..], [Got::Node(Some(_))]))
    }

    async fn entries_of(&self, ino: Ino) -> Result<Vec<(Name, Edge)>> {
        self.engine
            .scan(Scan::Entries { parent: ino })
            .try_filter_map(async |item| {
                Ok(if let Item::Entry { name, edge } = item { Some((name, edge)) } else { None })
            })
            .try_collect()
            .await
    }
}

/// Somebody else was faster.
fn gone_is_fine(outcome: Result<()>) -> Result<()> {
    match outcome {
        Err(Error::Errno(Errno::ENOENT)) => Ok(()),
        other => other,
    }
}
