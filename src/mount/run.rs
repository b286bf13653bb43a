//! A mount from its settings to its end, in the foreground or as a daemon.

use crate::background::{self, Parent};
use crate::error::{Error, Result};
use crate::mountpoint;
use crate::process;
use crate::settings::MountSettings;
use crate::twice;
use crate::umount::detach;
use crate::worker::OpenVolume;
use juicefs_fuse::Session;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Threads for work that blocks: files of a `file` store and of the cache.
const BLOCKING_THREADS: usize = 16;
/// How long the fresh mount may take to answer its first question.
const ANSWER_DEADLINE: Duration = Duration::from_secs(30);
/// How long a signal waits for users of a busy mount to leave.
const LEAVE_DEADLINE: Duration = Duration::from_secs(1);

/// Mounts and serves until the mount is unmounted or the process is told to end (SIGTERM, SIGINT).
///
/// # Errors
/// One sentence: what kept the mount from coming up, or why it ended other than by an unmount.
pub fn run_foreground(settings: MountSettings) -> Result<()> {
    let mut settings = settings;
    settings.make_absolute()?;
    run(settings, &mut None)
}

/// Mounts in a child process and returns once the mount answers. `log` takes the child's output. Must be
/// called before the process has started any thread.
///
/// # Errors
/// The child's sentence when the mount did not come up; nothing is left behind.
pub fn run_background(settings: MountSettings, log: &Path) -> Result<()> {
    let mut settings = settings;
    settings.make_absolute()?;
    background::run(log, |parent| run(settings, parent))
}

/// One worker thread; FUSE threads do most of the work.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .max_blocking_threads(BLOCKING_THREADS)
        .thread_stack_size(1 << 20)
        .thread_name("juicefs")
        .enable_all()
        .build()
        .map_err(Error::io("start the runtime"))
}

fn run(settings: MountSettings, parent: &mut Option<Parent>) -> Result<()> {
    process::prepare(settings.options.disable_thp);
    let missing = mountpoint::missing_directories(&settings.options.mountpoint);
    let ended = serve(settings, parent);
    if let (Err(_), Some(_)) = (&ended, &parent) {
        // It never came up: what was made for it goes.
        mountpoint::remove_directories(&missing);
    }
    ended
}

fn serve(mut settings: MountSettings, parent: &mut Option<Parent>) -> Result<()> {
    let prepared = mountpoint::prepare(&settings.options.mountpoint, settings.options.force);
    let runtime = runtime()?;
    // In the foreground the caller wants a process that serves, and there is one.
    if let (Err(Error::AlreadyMounted { path, .. }), true) = (&prepared, parent.is_some())
        && let Ok(Some(notice)) = runtime.block_on(twice::is_there(&settings, path))
        && let Some(parent) = parent.take()
    {
        parent.ready("", &[notice]);
        return Ok(());
    }
    settings.options.mountpoint = prepared?;
    let end = runtime.block_on(async {
        let mut signals = Signals::new()?;
        let volume = tokio::select! {
            opened = OpenVolume::open(&settings) => Arc::new(opened?),
            () = signals.asked_to_end() => return Ok(()),
        };
        let session = match mount(&volume, &settings).await {
            Ok(session) => session,
            Err(error) => {
                volume.close_quietly().await;
                return Err(error);
            }
        };
        tracing::info!(
            volume = volume.name(),
            session = volume.session_id(),
            mountpoint = %settings.options.mountpoint.display(),
            "mounted"
        );
        if let Some(parent) = parent.take() {
            let sentence =
                format!("OK, {} is ready at {}", volume.name(), settings.options.mountpoint.display());
            parent.ready(&sentence, volume.notices());
        }
        until_end(&volume, &session, &settings.options.mountpoint, &mut signals).await
    });
    runtime.shutdown_timeout(Duration::from_secs(1));
    end
}

/// Mounts, serves, and waits until the root answers; takes the mount away again when it does not.
async fn mount(volume: &Arc<OpenVolume>, settings: &MountSettings) -> Result<Session> {
    let path = settings.options.mountpoint.clone();
    let options = volume.fuse_options()?;
    for word in &options.ignored {
        tracing::warn!("mount option {word} has no effect");
    }
    let device = juicefs_fuse::mount(&path, &options)?;
    let served = async {
        let session = volume.serve(device, tokio::runtime::Handle::current())?;
        let asked = path.clone();
        tokio::task::spawn_blocking(move || mountpoint::wait_until_answering(&asked, ANSWER_DEADLINE))
            .await
            .map_err(|_| Error::Process("the thread that asks the mount died".to_owned()))??;
        Ok(session)
    };
    let served: Result<Session> = served.await;
    if served.is_err() {
        // The first error is the one to tell.
        let _ = detach(&path, true);
    }
    served
}

async fn until_end(
    volume: &Arc<OpenVolume>,
    session: &Session,
    mountpoint: &Path,
    signals: &mut Signals,
) -> Result<()> {
    let end = tokio::select! {
        end = session.ended() => end.map_err(Error::from),
        () = signals.asked_to_end() => {
            leave(session, mountpoint).await;
            Ok(())
        }
        gone = volume.until_gone() => {
            session.refuse();
            leave(session, mountpoint).await;
            Err(gone)
        }
    };
    tokio::select! {
        closed = volume.close() => end.and(closed),
        () = signals.asked_to_end() => {
            Err(Error::Process("interrupted again before everything was flushed".to_owned()))
        }
    }
}

/// Takes the mount off its path. What is open on a busy mount is served for a moment longer, so that it can be
/// closed; what is still open after that loses its server with this process.
async fn leave(session: &Session, mountpoint: &Path) {
    match detach(mountpoint, false) {
        Ok(()) => {}
        Err(Error::Busy(_)) => {
            tracing::warn!("{} is busy; detaching it", mountpoint.display());
            if let Err(error) = detach(mountpoint, true) {
                tracing::warn!("{error}");
            }
        }
        Err(error) => tracing::warn!("{error}"),
    }
    if tokio::time::timeout(LEAVE_DEADLINE, session.ended()).await.is_err() {
        tracing::warn!("files are still open on {}; they fail from now on", mountpoint.display());
    }
}

/// SIGTERM and SIGINT ask to end; SIGHUP (the terminal went away) is heard and ignored.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> Result<Self> {
        let listen = |kind| signal(kind).map_err(Error::io("signals"));
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hangup: listen(SignalKind::hangup())?,
        })
    }

    async fn asked_to_end(&mut self) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hangup.recv() => tracing::debug!("SIGHUP ignored"),
            }
        }
    }
}
