//! The unprivileged side: a process that listens on a socket, is handed mounts, and serves them.
//!
//! The state is the table of served volumes. An offer adds to it, and at its start the mounts of a process that died;
//! the end of a mount, a close or SIGTERM takes away. Connections come and go (csi-node restarts) without touching it.

use crate::broker::check_peer;
use crate::error::{Error, Result};
use crate::messages::{self, FromKeeper, FromWorker, ToKeeper, ToWorker, VERSION};
use crate::process;
use crate::run::runtime;
use crate::settings::MountSettings;
use crate::worker::OpenVolume;
use juicefs_base::backoff;
use juicefs_base::sync::Mutex;
use juicefs_fuse::Session;
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal};
use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::signal::unix::{SignalKind, signal};

/// Volumes one process serves at most.
pub(crate) const VOLUMES_MAX: usize = 128;
/// Connections open at a time; csi-node needs one, and one more while it restarts.
const CONNECTIONS_MAX: usize = 8;
/// How long a close waits for the kernel to let go of the mount.
const UNMOUNT_DEADLINE: Duration = Duration::from_secs(5);
/// How long SIGTERM waits for all volumes to be flushed.
const FLUSH_DEADLINE: Duration = Duration::from_secs(25);
/// How long a mount of a former process waits for its volume before its callers are let go.
const TAKE_OVER_DEADLINE: Duration = Duration::from_secs(120);
/// Pauses between its tries.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(3);

/// A mount process that serves what it is offered.
pub struct PodWorker {
    version: String,
    runtime: Handle,
    volumes: Mutex<Volumes>,
    connections: AtomicUsize,
    /// Who holds the mounts when this process dies; nobody in tests.
    keeper: Option<Mutex<UnixStream>>,
}

#[derive(Default)]
struct Volumes {
    served: BTreeMap<String, Served>,
    /// Mounts of a former process that wait for their volume.
    coming: BTreeSet<String>,
}

#[derive(Clone)]
struct Served {
    volume: Arc<OpenVolume>,
    session: Arc<Session>,
}

/// Serves what is offered on the socket that the keeper hands over, and first the mounts of a former process, until
/// SIGTERM; then flushes and ends all sessions. Only `broker_uid` is listened to. Standard input is the way to the
/// keeper.
///
/// # Errors
/// No keeper there, or no runtime.
pub fn run_pod_worker(broker_uid: u32, version: &str) -> Result<()> {
    // The keeper has blocked what it waits for.
    SigSet::all().thread_unblock().map_err(|errno| Error::io("signals")(errno.into()))?;
    // A process that nobody would start again must not outlive who would.
    prctl::set_pdeathsig(Signal::SIGTERM).map_err(|errno| Error::io("parent")(errno.into()))?;
    process::prepare(false);
    process::hide_memory();
    let keeper = std::io::stdin().as_fd().try_clone_to_owned().map_err(Error::io("standard input"))?;
    let keeper = UnixStream::from(keeper);
    let (listener, kept) = what_was_kept(&keeper)?;
    let runtime = runtime()?;
    let mut worker = PodWorker::new(version, runtime.handle().clone());
    worker.keeper = Some(Mutex::new(keeper));
    let worker = Arc::new(worker);
    let _inside = runtime.enter();
    let refused = || Error::io("signals");
    let mut terminate = signal(SignalKind::terminate()).map_err(refused())?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(refused())?;
    // Named before anybody can ask what is served.
    worker.volumes.lock().coming.extend(kept.keys().cloned());
    let named = |what: &'static str| std::thread::Builder::new().name(what.to_owned());
    for (id, fds) in kept {
        let worker = worker.clone();
        named("pod-takes-over")
            .spawn(move || worker.take_over(&id, fds))
            .map_err(Error::io("take-over thread"))?;
    }
    let accepting = worker.clone();
    named("pod-accept")
        .spawn(move || accepting.accept(&listener, broker_uid))
        .map_err(Error::io("accept thread"))?;
    tracing::info!(version, "mount process waits for offers");
    runtime.block_on(async {
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        worker.close_all(FLUSH_DEADLINE).await;
    });
    runtime.shutdown_timeout(Duration::from_secs(1));
    Ok(())
}

/// Devices and settings of a former process's mounts, and the socket for new ones.
type Kept = BTreeMap<String, [OwnedFd; 2]>;

fn what_was_kept(keeper: &UnixStream) -> Result<(UnixListener, Kept)> {
    let mut kept = Kept::new();
    loop {
        let Some((message, fds)) = messages::receive::<FromKeeper>(keeper)? else {
            return Err(Error::Process(
                "the first process of the mount pod closed the connection".to_owned(),
            ));
        };
        let wrong = || Error::Protocol(format!("{message:?} came with the wrong descriptors"));
        match &message {
            FromKeeper::Kept { id } => {
                kept.insert(id.clone(), fds.try_into().map_err(|_| wrong())?);
            }
            FromKeeper::Listen => {
                let [listener] = <[OwnedFd; 1]>::try_from(fds).map_err(|_| wrong())?;
                return Ok((listener.into(), kept));
            }
        }
    }
}

impl PodWorker {
    /// A worker with no volumes; its volumes work on `runtime`.
    #[must_use]
    pub fn new(version: &str, runtime: Handle) -> Self {
        Self {
            version: version.to_owned(),
            runtime,
            volumes: Mutex::default(),
            connections: AtomicUsize::new(0),
            keeper: None,
        }
    }

    fn tell_keeper(&self, message: &ToKeeper, fds: &[BorrowedFd<'_>]) -> Result<()> {
        match &self.keeper {
            Some(keeper) => messages::send(&keeper.lock(), message, fds),
            None => Ok(()),
        }
    }

    /// The mount `id` is over: nobody needs to hold it.
    fn let_go(&self, id: &str) {
        if let Err(error) = self.tell_keeper(&ToKeeper::Drop { id: id.to_owned() }, &[]) {
            tracing::warn!(volume = id, "{error}");
        }
    }

    /// Serves the mount of a former process. Its callers wait meanwhile, for as long as the deadline.
    fn take_over(self: &Arc<Self>, id: &str, [device, settings]: [OwnedFd; 2]) {
        let begun = Instant::now();
        let is_wanted = || self.volumes.lock().coming.contains(id);
        let taken = MountSettings::unseal(settings).and_then(|settings| {
            let mut attempt = 0;
            loop {
                match self.runtime.block_on(OpenVolume::open(&settings)) {
                    Ok(volume) => return Ok(Arc::new(volume)),
                    Err(error) if !is_wanted() || begun.elapsed() > TAKE_OVER_DEADLINE => return Err(error),
                    Err(error) => {
                        tracing::warn!(volume = id, attempt, "taking the mount over waits: {error}")
                    }
                }
                std::thread::sleep(backoff::doubling(attempt, PAUSE_FIRST, PAUSE_MAX));
                attempt += 1;
            }
        });
        let taken = taken.and_then(|volume| match volume.inherit(device, self.runtime.clone()) {
            Ok(session) => Ok(Served { volume, session: Arc::new(session) }),
            Err(error) => {
                self.runtime.block_on(volume.close_quietly());
                Err(error)
            }
        });
        let served = match taken {
            Ok(served) => served,
            Err(error) => {
                tracing::error!(volume = id, "the mount of the former process is given up: {error}");
                self.volumes.lock().coming.remove(id);
                return self.let_go(id);
            }
        };
        let mut volumes = self.volumes.lock();
        if volumes.coming.remove(id) {
            volumes.served.insert(id.to_owned(), served.clone());
            drop(volumes);
            tracing::info!(volume = id, session = served.volume.session_id(), "serving on");
            self.runtime.spawn(self.clone().watch(id.to_owned(), served));
        } else {
            // It was closed meanwhile.
            drop(volumes);
            served.session.refuse();
            self.runtime.block_on(served.volume.close_quietly());
            self.let_go(id);
        }
    }

    fn accept(self: Arc<Self>, listener: &UnixListener, broker_uid: u32) {
        for socket in listener.incoming() {
            let Ok(socket) = socket else {
                // Out of descriptors, most likely: connections in work give theirs back.
                std::thread::sleep(Duration::from_millis(100));
                continue;
            };
            if self.connections.fetch_add(1, Ordering::AcqRel) >= CONNECTIONS_MAX {
                self.connections.fetch_sub(1, Ordering::AcqRel);
                tracing::warn!("too many connections at a time");
                continue;
            }
            let worker = self.clone();
            let started = std::thread::Builder::new().name("pod-offers".to_owned()).spawn(move || {
                if let Err(error) = worker.serve_connection(&socket, broker_uid) {
                    tracing::warn!("{error}");
                }
                worker.connections.fetch_sub(1, Ordering::AcqRel);
            });
            if started.is_err() {
                self.connections.fetch_sub(1, Ordering::AcqRel);
            }
        }
    }

    /// Greets, then answers one frame after the other until the peer closes. Blocks; not for async threads.
    ///
    /// # Errors
    /// The wrong peer, or one that breaks the protocol.
    pub fn serve_connection(self: &Arc<Self>, socket: &UnixStream, broker_uid: u32) -> Result<()> {
        check_peer(socket, &[broker_uid])?;
        let hello = FromWorker::Hello { v: VERSION, version: self.version.clone(), pid: std::process::id() };
        messages::send(socket, &hello, &[])?;
        while let Some((message, fds)) = messages::receive::<ToWorker>(socket)? {
            let answer = self.answer(message, fds);
            messages::send(socket, &answer, &[])?;
        }
        Ok(())
    }

    fn answer(self: &Arc<Self>, message: ToWorker, fds: Vec<OwnedFd>) -> FromWorker {
        let failed = |id: String| move |error: Error| FromWorker::Failed { id, error: error.to_string() };
        match message {
            ToWorker::Offer { v, id } | ToWorker::Close { v, id } if v > VERSION => {
                failed(id)(Error::Protocol(format!("version {v} is newer than {VERSION}")))
            }
            ToWorker::Offer { id, .. } => match self.take_offer(&id, fds) {
                Ok(session) => FromWorker::Ready { id, session },
                Err(error) => {
                    tracing::error!(volume = id, "{error}");
                    failed(id)(error)
                }
            },
            ToWorker::Close { id, .. } => {
                let served = {
                    let mut volumes = self.volumes.lock();
                    volumes.coming.remove(&id);
                    volumes.served.remove(&id)
                };
                self.let_go(&id);
                match served.map(|served| self.runtime.block_on(end(served))) {
                    // Closing twice is no error: the end of the mount may have been first.
                    None | Some(Ok(())) => FromWorker::Closed { id },
                    Some(Err(error)) => failed(id)(error),
                }
            }
            ToWorker::List { .. } => {
                let volumes = self.volumes.lock();
                let ids: BTreeSet<_> = volumes.served.keys().chain(&volumes.coming).cloned().collect();
                FromWorker::Volumes { ids: ids.into_iter().collect() }
            }
        }
    }

    fn take_offer(self: &Arc<Self>, id: &str, fds: Vec<OwnedFd>) -> Result<u64> {
        let Ok([device, settings]) = <[OwnedFd; 2]>::try_from(fds) else {
            return Err(Error::Protocol("an offer carries the fuse device and the settings".to_owned()));
        };
        {
            let volumes = self.volumes.lock();
            if volumes.served.contains_key(id) || volumes.coming.contains(id) {
                return Err(Error::Protocol(format!("{id} is served already")));
            }
            if volumes.served.len() + volumes.coming.len() >= VOLUMES_MAX {
                return Err(Error::Protocol(format!("{VOLUMES_MAX} volumes are served already")));
            }
        }
        // Before the kernel's first message is answered: from then on the mount must not die with this process.
        self.tell_keeper(&ToKeeper::Keep { id: id.to_owned() }, &[device.as_fd(), settings.as_fd()])?;
        match self.serve(device, settings) {
            Ok(served) => {
                let number = served.volume.session_id();
                self.volumes.lock().served.insert(id.to_owned(), served.clone());
                self.runtime.spawn(self.clone().watch(id.to_owned(), served));
                tracing::info!(volume = id, session = number, "serving");
                Ok(number)
            }
            Err(error) => {
                self.let_go(id);
                Err(error)
            }
        }
    }

    fn serve(&self, device: OwnedFd, settings: OwnedFd) -> Result<Served> {
        let settings = MountSettings::unseal(settings)?;
        let volume = Arc::new(self.runtime.block_on(OpenVolume::open(&settings))?);
        match volume.serve(device, self.runtime.clone()) {
            Ok(session) => Ok(Served { volume, session: Arc::new(session) }),
            Err(error) => {
                self.runtime.block_on(volume.close_quietly());
                Err(error)
            }
        }
    }

    /// Ends the volume when the kernel lets go of its mount or the volume is no longer there.
    async fn watch(self: Arc<Self>, id: String, served: Served) {
        tokio::select! {
            end = served.session.ended() => {
                if let Err(error) = end {
                    tracing::error!(volume = id, "{error}");
                }
            }
            gone = served.volume.until_gone() => tracing::error!(volume = id, "{gone}"),
        }
        // Absent: somebody else is closing it.
        let mine = self.volumes.lock().served.remove(&id);
        if mine.is_some() {
            self.let_go(&id);
            served.session.refuse();
            served.volume.close_quietly().await;
            tracing::info!(volume = id, "no longer served");
        }
    }

    /// Flushes and ends all volumes at once, within `deadline`.
    pub async fn close_all(&self, deadline: Duration) {
        let volumes = std::mem::take(&mut self.volumes.lock().served);
        let closing = volumes.into_values().map(|served| {
            tokio::spawn(async move {
                served.session.refuse();
                served.volume.close_quietly().await;
            })
        });
        let closing: Vec<_> = closing.collect();
        let all = async {
            for one in closing {
                // A panic has been reported by its thread.
                let _ = one.await;
            }
        };
        if tokio::time::timeout(deadline, all).await.is_err() {
            tracing::error!("not everything could be flushed within {deadline:?}");
        }
    }
}

async fn end(served: Served) -> Result<()> {
    if tokio::time::timeout(UNMOUNT_DEADLINE, served.session.ended()).await.is_err() {
        tracing::warn!("the mount is still in use; flushing and ending its session all the same");
    }
    served.session.refuse();
    served.volume.close().await
}
