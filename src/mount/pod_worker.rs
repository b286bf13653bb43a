//! The unprivileged side: a process that listens on a socket, is handed mounts, and serves them.
//!
//! The state is the table of served volumes. An offer adds to it; the end of a mount, a close or SIGTERM takes
//! away. Connections come and go (csi-node restarts) without touching it.

use crate::broker::check_peer;
use crate::error::{Error, Result};
use crate::messages::{self, FromWorker, ToWorker, VERSION};
use crate::process;
use crate::run::runtime;
use crate::settings::MountSettings;
use crate::worker::OpenVolume;
use juicefs_base::sync::Mutex;
use juicefs_fuse::Session;
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::signal::unix::{SignalKind, signal};

/// Volumes one process serves at most.
const VOLUMES_MAX: usize = 128;
/// Connections open at a time; csi-node needs one, and one more while it restarts.
const CONNECTIONS_MAX: usize = 8;
/// How long a close waits for the kernel to let go of the mount.
const UNMOUNT_DEADLINE: Duration = Duration::from_secs(5);
/// How long SIGTERM waits for all volumes to be flushed.
const FLUSH_DEADLINE: Duration = Duration::from_secs(25);

/// A mount process that serves what it is offered.
pub struct PodWorker {
    version: String,
    runtime: Handle,
    volumes: Mutex<BTreeMap<String, Served>>,
    connections: AtomicUsize,
}

#[derive(Clone)]
struct Served {
    volume: Arc<OpenVolume>,
    session: Arc<Session>,
}

/// Listens on `socket` until SIGTERM, then flushes and ends all sessions. Only `broker_uid` is listened to.
///
/// # Errors
/// The socket can't be made.
pub fn run_pod_worker(socket: &Path, broker_uid: u32, version: &str) -> Result<()> {
    process::prepare(false);
    process::hide_memory();
    let runtime = runtime()?;
    let worker = Arc::new(PodWorker::new(version, runtime.handle().clone()));
    let _inside = runtime.enter();
    let refused = || Error::io("signals");
    let mut terminate = signal(SignalKind::terminate()).map_err(refused())?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(refused())?;
    let listener = listen(socket)?;
    let accepting = worker.clone();
    std::thread::Builder::new()
        .name("pod-accept".to_owned())
        .spawn(move || accepting.accept(&listener, broker_uid))
        .map_err(Error::io("accept thread"))?;
    tracing::info!(socket = %socket.display(), version, "mount process waits for offers");
    runtime.block_on(async {
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        worker.close_all(FLUSH_DEADLINE).await;
    });
    // A stale path would only be refused.
    let _ = std::fs::remove_file(socket);
    runtime.shutdown_timeout(Duration::from_secs(1));
    Ok(())
}

fn listen(path: &Path) -> Result<UnixListener> {
    match std::fs::remove_file(path) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(Error::io(format!("stale socket {}", path.display()))(error)),
    }
    let listener = UnixListener::bind(path).map_err(Error::io(format!("listen on {}", path.display())))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
        .map_err(Error::io(format!("mode of {}", path.display())))?;
    Ok(listener)
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
                let served = self.volumes.lock().remove(&id);
                match served {
                    // Closing twice is no error: the end of the mount may have been first.
                    None => FromWorker::Closed { id },
                    Some(served) => match self.runtime.block_on(end(served)) {
                        Ok(()) => FromWorker::Closed { id },
                        Err(error) => failed(id)(error),
                    },
                }
            }
            ToWorker::List { .. } => {
                FromWorker::Volumes { ids: self.volumes.lock().keys().cloned().collect() }
            }
        }
    }

    fn take_offer(self: &Arc<Self>, id: &str, fds: Vec<OwnedFd>) -> Result<u64> {
        let Ok([device, settings]) = <[OwnedFd; 2]>::try_from(fds) else {
            return Err(Error::Protocol("an offer carries the fuse device and the settings".to_owned()));
        };
        {
            let volumes = self.volumes.lock();
            if volumes.contains_key(id) {
                return Err(Error::Protocol(format!("{id} is served already")));
            }
            if volumes.len() >= VOLUMES_MAX {
                return Err(Error::Protocol(format!("{VOLUMES_MAX} volumes are served already")));
            }
        }
        let settings = MountSettings::unseal(settings)?;
        let volume = Arc::new(self.runtime.block_on(OpenVolume::open(&settings))?);
        let session = match volume.serve(device, self.runtime.clone()) {
            Ok(session) => Arc::new(session),
            Err(error) => {
                self.runtime.block_on(volume.close_quietly());
                return Err(error);
            }
        };
        let number = volume.session_id();
        let served = Served { volume, session };
        self.volumes.lock().insert(id.to_owned(), served.clone());
        self.runtime.spawn(self.clone().watch(id.to_owned(), served));
        tracing::info!(volume = id, session = number, "serving");
        Ok(number)
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
        let mine = self.volumes.lock().remove(&id);
        if mine.is_some() {
            served.session.refuse();
            served.volume.close_quietly().await;
            tracing::info!(volume = id, "no longer served");
        }
    }

    /// Flushes and ends all volumes at once, within `deadline`.
    pub async fn close_all(&self, deadline: Duration) {
        let volumes = std::mem::take(&mut *self.volumes.lock());
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
