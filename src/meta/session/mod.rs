//! This process's session: its row in the database, the heartbeat that keeps it, and what each beat looks after.
//!
//! The heartbeat has an operating-system thread and a runtime of its own, so that a busy mount can't starve it.
//! A beat first refreshes the session, then reads the setting again (it may end the mount, change settings, or
//! ask for what this client does not keep), then looks for stale sessions. The state here is how to stop the
//! thread and why the volume is gone; only `start_session`, `close_session` and the thread change it.

mod beats;
mod info;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt;
use juicefs_base::sync::{Mutex, RwLock};
use tokio::sync::{oneshot, watch};

use crate::change_log::Entry;
use crate::error::{Error, Result};
use crate::format::Format;
use crate::meta::{Meta, foreign_records};
use crate::port::{Change, Get, Got, Item, Scan, Sequence, SessionRow};
use crate::txn::{Operation, Txn};
use crate::types::{Ino, Time};
use beats::{Beats, flush_each_second};
pub use info::SessionInfo;

/// Heartbeats that a session survives without a refresh.
const BEATS_TO_LIVE: u32 = 5;
/// What a session without a heartbeat gets.
const YEAR: Duration = Duration::from_secs(365 * 86_400);
/// After a start or an outage nobody is cleaned for at least this long (decisions 25).
const QUIET_MIN: Duration = Duration::from_secs(60);
/// How long the end of a session waits for the beat under way and for deletions.
const CLOSE_PATIENCE: Duration = Duration::from_secs(15);

/// Sustained inodes asked for together.
const SUSTAINED_AT_ONCE: usize = 256;

/// Told once when the volume is no longer the one that was opened; the mount then ends (exit code 11).
pub type VolumeGoneSink = Box<dyn Fn(&str) + Send + Sync>;

/// The times a session lives by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pulse {
    /// Zero: no beats at all.
    pub(crate) heartbeat: Duration,
    pub(crate) expiry: Duration,
    /// Good refreshes must have gone on for this long before anybody is cleaned.
    pub(crate) quiet: Duration,
}

impl Pulse {
    pub(crate) fn of(heartbeat: Duration) -> Self {
        let expiry = if heartbeat.is_zero() { YEAR } else { heartbeat * BEATS_TO_LIVE };
        Self { heartbeat, expiry, quiet: expiry.max(QUIET_MIN) }
    }

    fn expires_at(&self) -> i64 {
        Time::now().sec + i64::try_from(self.expiry.as_secs()).unwrap_or(i64::MAX / 2)
    }
}

/// How the session's thread is stopped, and why the volume is gone.
#[derive(Default)]
pub(crate) struct Session {
    running: Mutex<Option<Running>>,
    gone_sink: RwLock<Option<VolumeGoneSink>>,
    gone_reason: RwLock<Option<String>>,
}

struct Running {
    stop: watch::Sender<bool>,
    ended: Option<oneshot::Receiver<()>>,
}

/// Whether a client of this kind made a session, by its version's build metadata; what can't be read may be one.
pub(crate) fn is_of_our_kind(row: &SessionRow) -> bool {
    SessionInfo::parse(&row.info).map_or(true, |info| info.is_of_our_kind())
}

impl Meta {
    /// Registers this process and begins to look after the volume in the background. A volume that is only read
    /// gets no row (0 is returned), yet its setting is watched.
    ///
    /// # Errors
    /// As the engine's.
    pub async fn start_session(self: &Arc<Self>) -> Result<u64> {
        self.start_session_with(Pulse::of(self.options.heartbeat)).await
    }

    pub(crate) async fn start_session_with(self: &Arc<Self>, pulse: Pulse) -> Result<u64> {
        let is_writable = self.read_only_reason().is_none();
        let info = SessionInfo::of_this_process(&self.options).to_document();
        if is_writable {
            let sid = self.register(&pulse, &info).await?;
            tracing::info!(sid, "session started");
            self.begin_root_stat().await?;
        }
        let sid = self.session_id();
        let (stop, stopped) = watch::channel(false);
        let mut running = Running { stop, ended: None };
        if !pulse.heartbeat.is_zero() {
            let (end, ended) = oneshot::channel();
            let beats = Beats { meta: Arc::downgrade(self), sid, pulse, info, stopped: stopped.clone() };
            std::thread::Builder::new()
                .name("meta-heartbeat".to_owned())
                .spawn(move || {
                    beats.run();
                    let _ = end.send(());
                })
                .map_err(|cause| Error::Engine(format!("no thread for the heartbeat: {cause}")))?;
            running.ended = Some(ended);
        }
        if sid != 0 {
            self.runtime.spawn(flush_each_second(Arc::downgrade(self), stopped.clone()));
            if !self.options.no_bgjob {
                self.runtime.spawn(crate::change_log::trim_regularly(Arc::downgrade(self), stopped.clone()));
                self.runtime.spawn(crate::cleanup::hourly(Arc::downgrade(self), stopped));
            }
        }
        *self.session.running.lock() = Some(running);
        Ok(sid)
    }

    /// Ends the session: what was added up is written, files kept for open handles are deleted, its row and
    /// locks go. While it keeps files that other clients may have open, the row stays until it expires. A session that
    /// was never started ends at once.
    ///
    /// # Errors
    /// The first failure; the row then expires by itself.
    pub async fn close_session(&self) -> Result<()> {
        let running = self.session.running.lock().take();
        if let Some(Running { stop, ended }) = running {
            let _ = stop.send(true);
            if let Some(ended) = ended {
                // A refresh that lands after the row's end would bring it back.
                let _ = tokio::time::timeout(CLOSE_PATIENCE, ended).await;
            }
        }
        let sid = self.sid.load(Ordering::Acquire);
        if sid == 0 {
            return Ok(());
        }
        if self.gone_reason().is_some() {
            // Under this number a volume that was made anew may hold a session of somebody else.
            self.sid.store(0, Ordering::Release);
            tracing::info!(sid, "session left as it is");
            return Ok(());
        }
        let flushed = self.flush_statistics().await;
        let cleaned = self.leave(sid).await;
        // What is not deleted in time is found again as a deleted file.
        let everything = u32::try_from(crate::meta::DELETIONS_MAX).unwrap_or(u32::MAX);
        let _ = tokio::time::timeout(CLOSE_PATIENCE, self.deletions.acquire_many(everything)).await;
        let flushed_again = self.flush_statistics().await;
        self.sid.store(0, Ordering::Release);
        tracing::info!(sid, "session closed");
        flushed.and(cleaned).and(flushed_again)
    }

    async fn leave(&self, sid: u64) -> Result<()> {
        let now_sec = Time::now().sec;
        // Stock clients do not look whether a file that is open there is kept for them by somebody else.
        let may_need_it =
            |row: &SessionRow| row.sid != sid && row.expires_at >= now_sec && is_of_our_kind(row);
        let has_others = !self.kept.is_empty() && self.sessions().await?.iter().any(may_need_it);
        if !has_others {
            return self.clean_session(sid, None).await.map(|_| ());
        }
        tracing::info!(
            sid,
            "the session stays until it expires: other clients may have files open that have no name"
        );
        let own = self.open_files.sustained();
        let own: Vec<Ino> = own.into_iter().filter(|&ino| !self.kept.is_kept(ino)).collect();
        self.let_go(sid, &own, true).await?;
        self.transact(&EndLocks { sid }).await
    }

    /// 0 without a session.
    #[must_use]
    pub fn session_id(&self) -> u64 {
        self.sid.load(Ordering::Acquire)
    }

    /// All sessions of the volume, dead ones included until somebody cleans them.
    ///
    /// # Errors
    /// As the engine's.
    pub async fn sessions(&self) -> Result<Vec<SessionRow>> {
        self.engine
            .scan(Scan::Sessions)
            .try_filter_map(async |item| Ok(if let Item::Session(row) = item { Some(row) } else { None }))
            .try_collect()
            .await
    }

    /// Who is told that the volume vanished, was made anew or became newer than this client.
    pub fn set_volume_gone_sink(&self, sink: VolumeGoneSink) {
        *self.session.gone_sink.write() = Some(sink);
    }

    /// Why the mount must end, once it must.
    #[must_use]
    pub fn gone_reason(&self) -> Option<String> {
        self.session.gone_reason.read().clone()
    }

    async fn register(&self, pulse: &Pulse, info: &Bytes) -> Result<u64> {
        loop {
            let sid = self.allocate(Sequence::Session, 1).await?.start;
            let known = self.session_row(sid).await?;
            if known.is_some() {
                tracing::warn!(sid, "a session with a fresh number exists already; the next one is taken");
                continue;
            }
            // Its own line is the first that bears its number.
            self.sid.store(sid, Ordering::Release);
            if let Err(error) = self.transact(&PutSession { sid, pulse: *pulse, info, is_new: true }).await {
                self.sid.store(0, Ordering::Release);
                return Err(error);
            }
            return Ok(sid);
        }
    }

    pub(crate) async fn session_row(&self, sid: u64) -> Result<Option<SessionRow>> {
        let got = self.ask(|engine| async move { engine.read(&[Get::Session { sid }]).await }).await?;
        match got.into_iter().next() {
            Some(Got::Session(row)) => Ok(row),
            _ => Err(Error::Corrupt {
                record: "answer".to_owned(),
                cause: "the engine answered another question".to_owned(),
            }),
        }
    }

    /// Reads the setting again and acts on what it says now.
    pub(crate) async fn reload_setting(&self) -> Result<()> {
        let Some(text) = self.ask(|engine| engine.setting()).await? else {
            self.volume_gone("the volume's setting has vanished from the metadata engine");
            return Ok(());
        };
        let format = Format::parse(&text)?;
        let known = self.format();
        if format.uuid != known.uuid {
            self.volume_gone(&format!(
                "volume {} was made anew: its UUID is {} now",
                known.name, format.uuid
            ));
            return Ok(());
        }
        // Who opened a fenced volume reads on.
        if format.meta_version > crate::format::META_VERSION_MAX && format.meta_version != known.meta_version
        {
            self.volume_gone(&format!(
                "incompatible metadata version {} of volume {}",
                format.meta_version, format.name
            ));
            return Ok(());
        }
        if text != known.to_text() {
            tracing::info!(volume = format.name, "the volume's setting has changed");
        }
        self.set_format(format);
        self.load_quotas().await?;
        self.check_still_supported().await
    }

    async fn check_still_supported(&self) -> Result<()> {
        // Without a session the volume stays as it was opened.
        if self.session_id() == 0 {
            return Ok(());
        }
        let format = self.format();
        let reason = match format.unsupported() {
            Some(reason) => Some(reason),
            None => foreign_records(&*self.engine, &format).await?,
        };
        let mut known = self.read_only_reason.write();
        if *known != reason {
            match &reason {
                Some(reason) => tracing::error!("from now on every change is refused: {reason}"),
                None => tracing::info!("the volume can be changed again"),
            }
            *known = reason;
        }
        Ok(())
    }

    fn volume_gone(&self, reason: &str) {
        let mut known = self.session.gone_reason.write();
        if known.is_some() {
            return;
        }
        *known = Some(reason.to_owned());
        drop(known);
        tracing::error!("{reason}");
        *self.read_only_reason.write() = Some(reason.to_owned());
        if let Some(sink) = &*self.session.gone_sink.read() {
            sink(reason);
        }
    }

    /// Registers again what this process keeps open without a name, should somebody have taken the session for
    /// dead. The row alone does not tell: it may have gone and come back between two looks.
    async fn check_sustained(&self, sid: u64) -> Result<()> {
        let sustained = self.open_files.sustained();
        for group in sustained.chunks(SUSTAINED_AT_ONCE) {
            let gets: Vec<_> = group.iter().map(|&ino| Get::Sustained { sid, ino }).collect();
            let known = self.ask(|engine| engine.read(&gets)).await?;
            let missing = group.iter().zip(known).filter(|(_, is_known)| *is_known == Got::Flag(false));
            for (&ino, _) in missing {
                let is_kept = self.adopt(ino).await?;
                // Closed meanwhile, it went as it should.
                if !is_kept && self.open_files.sustained().contains(&ino) {
                    tracing::error!(%ino, "an open file without a name was deleted by another client; its handles fail");
                }
            }
        }
        Ok(())
    }
}

struct EndLocks {
    sid: u64,
}

impl Operation for EndLocks {
    type Output = ();
    const NAME: &'static str = "end_locks";
    const FLUSHES: u32 = 1;

    fn contends_on(&self) -> [Option<Ino>; 2] {
        [None, None]
    }

    async fn run(&self, txn: &mut Txn<'_>) -> Result<()> {
        txn.change(Change::DeleteLocks { sid: self.sid });
        Ok(())
    }
}

/// Puts or refreshes a row; the expiry is reckoned in each attempt.
struct PutSession<'a> {
    sid: u64,
    pulse: Pulse,
    info: &'a Bytes,
    is_new: bool,
}

impl Operation for PutSession<'_> {
    type Output = ();
    const NAME: &'static str = "put_session";
    const FLUSHES: u32 = 1;

    fn contends_on(&self) -> [Option<Ino>; 2] {
        [None, None]
    }

    async fn run(&self, txn: &mut Txn<'_>) -> Result<()> {
        let Self { sid, info, .. } = *self;
        let expires_at = self.pulse.expires_at();
        txn.change(Change::PutSession { sid, expires_at, info: info.clone() });
        if self.is_new {
            txn.log(&Entry::NewSession { sid, expires_at, info });
        }
        Ok(())
    }
}
