//! One SSH connection that all requests share, made when it is needed and again after it broke.

use juicefs_base::{ExposeSecret, SecretString};
use russh::client::{AuthResult, Config, Handle, Handler};
use russh::keys::{PrivateKeyWithHashAlg, PublicKeyOrCertificate, check_known_hosts_path, load_secret_key};
use russh_sftp::client::SftpSession;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;

use super::place::Place;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A silent peer is asked so often whether it is there, and given up after three times.
const KEEPALIVE: Duration = Duration::from_secs(10);

/// Why there is no connection.
pub(super) enum Refusal {
    Denied(String),
    Unreachable(String),
}

/// How to get one.
pub(super) struct Connector {
    pub(super) place: Place,
    pub(super) user: String,
    pub(super) password: Option<SecretString>,
    /// `SSH_PRIVATE_KEY_PATH`.
    pub(super) private_key: Option<PathBuf>,
    /// `SSH_KNOWN_HOSTS`.
    pub(super) known_hosts: Option<PathBuf>,
    current: Mutex<Option<Arc<Connection>>>,
}

pub(super) struct Connection {
    pub(super) sftp: SftpSession,
    ssh: Handle<HostCheck>,
}

struct HostCheck {
    host: String,
    port: u16,
    known_hosts: Option<PathBuf>,
}

impl Handler for HostCheck {
    type Error = russh::Error;

    async fn check_server_key(&mut self, key: &PublicKeyOrCertificate) -> Result<bool, Self::Error> {
        // As with the peer: who names no file of known hosts trusts the network.
        let Some(known_hosts) = &self.known_hosts else { return Ok(true) };
        let PublicKeyOrCertificate::PublicKey { key, .. } = key else { return Ok(false) };
        Ok(check_known_hosts_path(&self.host, self.port, key, known_hosts).unwrap_or(false))
    }
}

impl Connector {
    pub(super) fn new(
        place: Place,
        user: String,
        password: Option<SecretString>,
        private_key: Option<PathBuf>,
        known_hosts: Option<PathBuf>,
    ) -> Self {
        Self { place, user, password, private_key, known_hosts, current: Mutex::new(None) }
    }

    /// The connection, a new one if there is none that lives.
    pub(super) async fn get(&self) -> Result<Arc<Connection>, Refusal> {
        let mut current = self.current.lock().await;
        if let Some(connection) = current.as_ref().filter(|connection| !connection.ssh.is_closed()) {
            return Ok(connection.clone());
        }
        let made = tokio::time::timeout(CONNECT_TIMEOUT, self.connect()).await;
        let made = made.unwrap_or_else(|_| {
            Err(Refusal::Unreachable(format!("no session within {} s", CONNECT_TIMEOUT.as_secs())))
        })?;
        let connection = Arc::new(made);
        *current = Some(connection.clone());
        Ok(connection)
    }

    /// Forgets a connection that misbehaved.
    pub(super) async fn drop_broken(&self, broken: &Arc<Connection>) {
        let mut current = self.current.lock().await;
        if current.as_ref().is_some_and(|connection| Arc::ptr_eq(connection, broken)) {
            *current = None;
        }
    }

    async fn connect(&self) -> Result<Connection, Refusal> {
        let unreachable = |cause: russh::Error| match cause {
            russh::Error::UnknownKey => Refusal::Denied(
                "the host's key is not the one in the file that SSH_KNOWN_HOSTS names".to_owned(),
            ),
            cause => Refusal::Unreachable(cause.to_string()),
        };
        let config = Config {
            keepalive_interval: Some(KEEPALIVE),
            nodelay: true,
            window_size: 16 << 20,
            ..Config::default()
        };
        let Place { host, port, .. } = &self.place;
        let check = HostCheck { host: host.clone(), port: *port, known_hosts: self.known_hosts.clone() };
        let mut ssh = russh::client::connect(Arc::new(config), (host.as_str(), *port), check)
            .await
            .map_err(unreachable)?;
        if !self.is_let_in(&mut ssh).await? {
            return Err(Refusal::Denied(format!("user {} is not let in", self.user)));
        }
        let channel = ssh.channel_open_session().await.map_err(unreachable)?;
        channel.request_subsystem(true, "sftp").await.map_err(unreachable)?;
        let sftp = SftpSession::new(channel.into_stream())
            .await
            .map_err(|cause| Refusal::Unreachable(cause.to_string()))?;
        Ok(Connection { sftp, ssh })
    }

    async fn is_let_in(&self, ssh: &mut Handle<HostCheck>) -> Result<bool, Refusal> {
        let unreachable = |cause: russh::Error| Refusal::Unreachable(cause.to_string());
        if let Some(path) = &self.private_key {
            let key = load_secret_key(path, None).map_err(|cause| {
                Refusal::Denied(format!("the private key {} can't be read: {cause}", path.display()))
            })?;
            let hash = ssh.best_supported_rsa_hash().await.map_err(unreachable)?.flatten();
            let key = PrivateKeyWithHashAlg::new(Arc::new(key), hash);
            let answer = ssh.authenticate_publickey(&self.user, key).await.map_err(unreachable)?;
            if matches!(answer, AuthResult::Success) {
                return Ok(true);
            }
        }
        let Some(password) = &self.password else { return Ok(false) };
        let answer = ssh.authenticate_password(&self.user, password.expose_secret()).await;
        Ok(matches!(answer.map_err(unreachable)?, AuthResult::Success))
    }
}
