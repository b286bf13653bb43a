//! What runs as long as the session does: the heartbeat on its own thread, the flush of statistics each second.

use std::sync::Weak;
use std::time::{Duration, Instant};

use bytes::Bytes;
use juicefs_base::backoff;
use tokio::sync::watch;

use super::{Pulse, PutSession};
use crate::error::Result;
use crate::meta::Meta;

/// How often statistics are written.
const FLUSH_PERIOD: Duration = Duration::from_secs(1);
/// Usage of quotas is written every so many of these, as the peer does.
const QUOTA_SECONDS: u64 = 3;

/// What the heartbeat's thread works with.
pub(super) struct Beats {
    pub(super) meta: Weak<Meta>,
    pub(super) sid: u64,
    pub(super) pulse: Pulse,
    pub(super) info: Bytes,
    pub(super) stopped: watch::Receiver<bool>,
}

impl Beats {
    pub(super) fn run(self) {
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(cause) => {
                return tracing::error!(%cause, "no runtime for the heartbeat: the session will expire");
            }
        };
        runtime.block_on(self.beat());
    }

    async fn beat(mut self) {
        // Since when refreshes have been good without a break, and the last good one.
        let mut good_since = Instant::now();
        let mut last_good = Instant::now();
        let mut failures = 0;
        // The row was gone, and what went with it is not yet there again.
        let mut is_reborn = false;
        loop {
            let pause = if failures == 0 {
                self.pulse.heartbeat.mul_f64(rand::random_range(0.95..1.05))
            } else {
                backoff::doubling(failures, Duration::from_millis(100), self.pulse.heartbeat)
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = self.stopped.wait_for(|stop| *stop) => return,
            }
            let Some(meta) = self.meta.upgrade() else { return };
            match self.refresh(&meta).await {
                Ok(was_gone) => is_reborn |= was_gone,
                Err(error) => {
                    failures += 1;
                    if failures == 1 {
                        tracing::warn!(sid = self.sid, %error, "the session could not be refreshed");
                    }
                    continue;
                }
            }
            // A process that was stopped, too, knows nothing about the others.
            if failures > 0 || last_good.elapsed() > self.pulse.heartbeat * 3 {
                tracing::info!(sid = self.sid, "the session is refreshed again");
                good_since = Instant::now();
                failures = 0;
            }
            last_good = Instant::now();
            if let Err(error) = meta.reload_setting().await {
                tracing::warn!(%error, "the volume's setting could not be read again");
            }
            if meta.gone_reason().is_some() {
                return;
            }
            // Only now: in a volume that was made anew the same inodes are other files.
            if self.sid != 0 {
                if let Err(error) = meta.adopt_open_files().await {
                    tracing::warn!(sid = self.sid, %error, "open files could not be looked after");
                }
                if let Err(error) = meta.release_kept(self.sid).await {
                    tracing::warn!(sid = self.sid, %error, "files kept for others stay for now");
                }
                if let Err(error) = meta.check_sustained(self.sid).await {
                    tracing::warn!(sid = self.sid, %error, "open files without a name could not be registered again");
                }
                match meta.keep_locks(self.sid, is_reborn).await {
                    Ok(()) => is_reborn = false,
                    Err(error) => tracing::warn!(sid = self.sid, %error, "locks could not be looked after"),
                }
            }
            if good_since.elapsed() >= self.pulse.quiet && !meta.options.no_bgjob && self.sid != 0 {
                let gap_sec = (self.pulse.heartbeat.as_secs_f64() * 0.9) as i64;
                meta.clean_stale_sessions_soon(gap_sec);
            }
        }
    }

    /// Whether the row was gone.
    async fn refresh(&self, meta: &Meta) -> Result<bool> {
        let sid = self.sid;
        if sid == 0 {
            return Ok(false);
        }
        let was_gone = meta.session_row(sid).await?.is_none();
        if was_gone {
            tracing::warn!(sid, "this session's row was gone: somebody took it for dead");
        }
        meta.transact(&PutSession { sid, pulse: self.pulse, info: &self.info, is_new: false }).await?;
        Ok(was_gone)
    }
}

pub(super) async fn flush_each_second(meta: Weak<Meta>, mut stopped: watch::Receiver<bool>) {
    let (mut is_failing, mut seconds) = (false, 0_u64);
    loop {
        tokio::select! {
            () = tokio::time::sleep(FLUSH_PERIOD) => {}
            _ = stopped.wait_for(|stop| *stop) => return,
        }
        let Some(meta) = meta.upgrade() else { return };
        seconds += 1;
        let flushed = if seconds % QUOTA_SECONDS == 0 { meta.flush_quotas().await } else { Ok(()) };
        match meta.flush_volume_statistics().await.and(flushed) {
            Ok(()) => is_failing = false,
            Err(error) if !is_failing => {
                is_failing = true;
                tracing::warn!(%error, "statistics could not be written; they are kept for later");
            }
            Err(_) => {}
        }
    }
}
