//! Serving gRPC on a Unix socket until the process is asked to end.

use axum::Router;
use axum::routing::get;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use tokio::net::{TcpListener, UnixListener};
use tokio::signal::unix::{SignalKind, signal};
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::server::Router as GrpcRouter;

use crate::Error;
use crate::kubelet_stream::KubeletStream;

/// The path of `unix:///path`, `unix:path` or a bare path.
pub(crate) fn socket_path(endpoint: &str) -> PathBuf {
    let path =
        endpoint.strip_prefix("unix://").or_else(|| endpoint.strip_prefix("unix:")).unwrap_or(endpoint);
    PathBuf::from(path)
}

/// Listens on `path`, replacing the socket of an earlier process.
pub(crate) fn listen(path: &Path) -> Result<UnixListener, Error> {
    let bad = |cause| Error::Socket { path: path.display().to_string(), cause };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(bad)?;
    }
    match std::fs::remove_file(path) {
        Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => return Err(bad(cause)),
        _ => {}
    }
    UnixListener::bind(path).map_err(bad)
}

/// Serves until SIGTERM or SIGINT; calls in work may finish.
pub(crate) async fn serve(router: GrpcRouter, listener: UnixListener) -> Result<(), Error> {
    router.serve_with_incoming_shutdown(UnixListenerStream::new(listener), asked_to_end()).await?;
    Ok(())
}

/// As [`serve`], for the kubelet's plugin watcher, whose requests are not quite HTTP.
pub(crate) async fn serve_watcher(router: GrpcRouter, listener: UnixListener) -> Result<(), Error> {
    let connections = UnixListenerStream::new(listener).map(|accepted| accepted.map(KubeletStream::new));
    router.serve_with_incoming_shutdown(connections, asked_to_end()).await?;
    Ok(())
}

async fn asked_to_end() {
    let (Ok(mut terminate), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("asked to end");
}

/// `/healthz`: the process answers; no volume and no API server is touched.
pub(crate) async fn health(address: SocketAddr) -> Result<(), Error> {
    let failed = |cause| Error::Health { address, cause };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    axum::serve(listener, Router::new().route("/healthz", get(|| async { "ok" }))).await.map_err(failed)
}
