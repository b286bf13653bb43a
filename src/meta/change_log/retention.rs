//! Old lines of the change log go, by age and by number, as the setting says.

use std::sync::Weak;
use std::time::Duration;

use tokio::sync::watch;

use super::parse::time_of;
use crate::error::Result;
use crate::meta::Meta;
use crate::port::Job;
use crate::types::Time;

const PERIOD: Duration = Duration::from_secs(300);
/// Lets one client win the turn.
const GAP_SEC: i64 = 270;
/// Lines looked at together.
const LINES_AT_ONCE: usize = 1000;

impl Meta {
    async fn trim_change_log_in_turn(&self) -> Result<()> {
        if self.read_only_reason().is_some() || !self.keeps_change_log() {
            return Ok(());
        }
        if self.claim(Job::CleanChangeLog, Time::now().sec, GAP_SEC).await? {
            self.trim_change_log().await?;
        }
        Ok(())
    }

    /// Removes lines older than the setting's age and those beyond its number. Answers how many.
    ///
    /// # Errors
    /// As the engine's.
    pub async fn trim_change_log(&self) -> Result<u64> {
        let (age, lines_max) = {
            let format = self.format.read();
            (format.change_log_max_age, format.change_log_max_lines)
        };
        let page = self.ask(|engine| engine.read_log(0, 1)).await?;
        let (first, last) = (page.first, page.last);
        let mut upto = first.saturating_sub(1);
        if let Ok(lines_max) = u64::try_from(lines_max)
            && lines_max > 0
        {
            upto = upto.max(last.saturating_sub(lines_max));
        }
        if age > 0 {
            upto = self.last_older_than(Time::now().sec - age, upto).await?;
        }
        if upto < first {
            return Ok(0);
        }
        self.ask(|engine| engine.trim_log(upto)).await?;
        tracing::debug!(upto, "old lines of the change log were removed");
        Ok(upto + 1 - first)
    }

    /// The last line after `upto` that was written before `edge` (unix seconds); `upto` when there is none.
    async fn last_older_than(&self, edge: i64, mut upto: u64) -> Result<u64> {
        loop {
            let page = self.ask(|engine| engine.read_log(upto, LINES_AT_ONCE)).await?;
            let is_last_page = page.lines.len() < LINES_AT_ONCE;
            for (version, line) in page.lines {
                // What can't be read is as old as what stands around it.
                if time_of(&line).is_some_and(|time| time.sec >= edge) {
                    return Ok(upto);
                }
                upto = version;
            }
            if is_last_page {
                return Ok(upto);
            }
        }
    }
}

/// Trims until the session ends.
pub(crate) async fn trim_regularly(meta: Weak<Meta>, mut stopped: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(PERIOD.mul_f64(rand::random_range(0.95..1.05))) => {}
            _ = stopped.wait_for(|stop| *stop) => return,
        }
        let Some(meta) = meta.upgrade() else { return };
        if let Err(error) = meta.trim_change_log_in_turn().await {
            tracing::warn!(%error, "old lines of the change log could not be removed");
        }
    }
}
