//! `--metrics`: what a mount counts, for Prometheus, and `/healthz`, for whoever watches it.
//!
//! The state is one listening socket. An answer is made of what memory knows: it waits for nobody.

use crate::error::{Error, Result};
use crate::settings::MountOptions;
use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use juicefs_meta::Meta;
use juicefs_vfs::Vfs;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use tokio::net::TcpListener;
use tokio::task::AbortHandle;

/// Where metrics are served when nobody says; a free port of the loopback when it is taken.
const DEFAULT: &str = "127.0.0.1:9567";
const ANY_PORT: &str = "127.0.0.1:0";

/// The address of a mount's metrics, before anybody is answered.
pub(crate) struct MetricsSocket {
    listener: TcpListener,
    pub(crate) address: SocketAddr,
}

impl MetricsSocket {
    /// Listens; nothing when metrics are off, or when the address that was asked for is taken: a mount does not fail
    /// for that.
    ///
    /// # Errors
    /// An address without a port.
    pub(crate) async fn open(options: &MountOptions) -> Result<Option<Self>> {
        let bound = match options.metrics.as_deref() {
            Some("") => return Ok(None),
            Some(asked) => TcpListener::bind(completed(asked)?).await.map_err(|error| (asked, error)),
            None => match TcpListener::bind(DEFAULT).await {
                Ok(listener) => Ok(listener),
                Err(_) => TcpListener::bind(ANY_PORT).await.map_err(|error| (ANY_PORT, error)),
            },
        };
        let socket = bound.and_then(|listener| match listener.local_addr() {
            Ok(address) => Ok(Self { listener, address }),
            Err(error) => Err((DEFAULT, error)),
        });
        match socket {
            Ok(socket) => {
                tracing::info!("metrics are served on http://{}/metrics", socket.address);
                Ok(Some(socket))
            }
            Err((address, error)) => {
                tracing::error!(
                    "no metrics: listening on {address}: {error}; name another --metrics address"
                );
                Ok(None)
            }
        }
    }

    /// Serves until aborted; the mount may end before.
    pub(crate) fn serve(
        self,
        meta: &Arc<Meta>,
        vfs: &Arc<Vfs>,
        labels: Vec<(String, String)>,
    ) -> AbortHandle {
        let (meta, vfs) = (Arc::downgrade(meta), Arc::downgrade(vfs));
        let text = move || {
            let labels: Vec<_> = labels.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
            let text = vfs.upgrade().map(|vfs| vfs.metrics().prometheus_text(&labels)).unwrap_or_default();
            std::future::ready(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text))
        };
        let routes = Router::new()
            .route("/metrics", get(text))
            .route("/healthz", get(move || std::future::ready(health(&meta))));
        let served = async move {
            if let Err(error) = axum::serve(self.listener, routes).await {
                tracing::warn!("metrics are no longer served: {error}");
            }
        };
        tokio::spawn(served).abort_handle()
    }
}

fn health(meta: &Weak<Meta>) -> impl IntoResponse + use<> {
    let waits = |seconds| format!("waiting for the metadata engine since {seconds} s\n");
    match meta.upgrade().map(|meta| meta.waiting_since()) {
        None => (StatusCode::SERVICE_UNAVAILABLE, "ending\n".to_owned()),
        Some(None) => (StatusCode::OK, "ok\n".to_owned()),
        Some(Some(since)) => (StatusCode::SERVICE_UNAVAILABLE, waits(since.elapsed().as_secs())),
    }
}

/// `:9567` is every address of the host.
fn completed(address: &str) -> Result<String> {
    let bad = || Error::Setting(format!("--metrics {address}: no address: write HOST:PORT or :PORT"));
    let (host, port) = address.rsplit_once(':').ok_or_else(bad)?;
    port.parse::<u16>().map_err(|_| bad())?;
    Ok(if host.is_empty() { format!("[::]:{port}") } else { address.to_owned() })
}

/// On every line of a mount's metrics, as the peer has them.
pub(crate) fn labels(options: &MountOptions, volume: &str) -> Vec<(String, String)> {
    let host = nix::unistd::gethostname().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let own = options.custom_labels.iter().cloned();
    let of_mount = [
        ("instance", host),
        ("juicefs_version", options.version.clone()),
        ("mp", options.mountpoint.to_string_lossy().into_owned()),
        ("vol_name", volume.to_owned()),
    ];
    own.chain(of_mount.map(|(key, value)| (key.to_owned(), value))).collect()
}

/// `key:value;key:value` of `--custom-labels`.
pub(crate) fn parse_labels(text: &str) -> Result<Vec<(String, String)>, String> {
    let one = |pair: &str| match pair.split_once(':') {
        Some((key, value)) if is_label(key.trim()) => Ok((key.trim().to_owned(), value.trim().to_owned())),
        _ => Err(format!(
            "`{pair}` is no label: write KEY:VALUE;KEY:VALUE, keys in letters, digits and underscores"
        )),
    };
    text.split(';').filter(|pair| !pair.is_empty()).map(one).collect()
}

fn is_label(key: &str) -> bool {
    let is_fixed = ["instance", "juicefs_version", "mp", "vol_name", "method", "errno", "le"].contains(&key);
    key.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && key.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
        && !is_fixed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_labels_are_the_peers() {
        assert_eq!(completed(":9567").unwrap(), "[::]:9567");
        assert_eq!(completed("localhost:0").unwrap(), "localhost:0");
        for bad in ["nonsense", "h:", "h:x", "h:70000"] {
            assert!(completed(bad).unwrap_err().to_string().contains(bad));
        }
        let labels = parse_labels("env:prod;team: storage;").unwrap();
        assert_eq!(labels, [("env".into(), "prod".into()), ("team".into(), "storage".into())]);
        for bad in ["env", "1:x", "mp:x", "a-b:c"] {
            assert!(parse_labels(bad).unwrap_err().contains(bad), "{bad}");
        }
    }
}
