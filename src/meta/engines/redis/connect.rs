//! Where the server is and how one gets in: addresses, TLS, the handshake, and sentences for what goes wrong.

use std::sync::OnceLock;
use std::time::Duration;

use juicefs_base::{ExposeSecret, SecretString};
use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{
    AsyncConnectionConfig, ClientTlsConfig, ConnectionAddr, IntoConnectionInfo, Pipeline,
    RedisConnectionInfo, RedisError, ServerError, TlsCertificates, Value,
};

use super::sentinel::{self, Sentinels};
use crate::error::{Error, Result};
use crate::url::RedisUrl;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// As the peer's `read-timeout`.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(30);

/// How servers are reached, whichever they are.
#[derive(Clone)]
pub(super) struct Network {
    /// With TLS: what we show and whom we trust.
    certificates: Option<TlsCertificates>,
    is_insecure: bool,
}

impl Network {
    fn new(url: &RedisUrl) -> Result<Self> {
        if url.param("tls-server-name").is_some() {
            return Err(Error::Engine(
                "tls-server-name is not supported yet: use the name that the certificate is for as the host"
                    .to_owned(),
            ));
        }
        let certificates = if url.tls { Some(certificates(url)?) } else { None };
        Ok(Self { certificates, is_insecure: is_true(url.param("insecure-skip-verify")) })
    }

    pub(super) fn address(&self, host: &str, port: u16) -> ConnectionAddr {
        match self.certificates {
            Some(_) => ConnectionAddr::TcpTls {
                host: host.to_owned(),
                port,
                insecure: self.is_insecure,
                tls_params: None,
            },
            None => ConnectionAddr::Tcp(host.to_owned(), port),
        }
    }

    /// # Errors
    /// An address or certificates that can't be used.
    pub(super) fn client(&self, address: ConnectionAddr) -> Result<redis::Client> {
        let name = address.to_string();
        let broken = |cause: RedisError| {
            Error::Engine(format!("the address of Redis at {name} can't be used: {cause}"))
        };
        let tcp = TcpSettings::default().set_nodelay(true).set_user_timeout(RESPONSE_TIMEOUT);
        // The handshake is ours, so that its refusals keep their words: nothing is set here.
        let info = address
            .into_connection_info()
            .map_err(broken)?
            .set_tcp_settings(tcp)
            .set_redis_settings(RedisConnectionInfo::default().set_skip_set_lib_name());
        match &self.certificates {
            Some(certificates) => {
                choose_crypto();
                redis::Client::build_with_tls(info, certificates.clone()).map_err(broken)
            }
            None => redis::Client::open(info).map_err(broken),
        }
    }
}

/// Who serves the database.
enum Servers {
    One(redis::Client),
    MasterOf(Sentinels),
}

/// One database in a server, or in the master that sentinels name. Holds no connection.
pub(super) struct Endpoint {
    servers: Servers,
    config: AsyncConnectionConfig,
    username: Option<String>,
    password: Option<SecretString>,
    db: u32,
    /// `host:port/db` for sentences.
    name: String,
    tls: bool,
}

impl Endpoint {
    /// # Errors
    /// Addresses of clusters, unreadable certificates, options this client does not have.
    pub(super) fn new(url: &RedisUrl) -> Result<Self> {
        let network = Network::new(url)?;
        let (servers, name) = match (&url.master, &url.socket, url.hosts.as_slice()) {
            (Some(master), _, hosts) => {
                let sentinels =
                    Sentinels::new(master.clone(), hosts, url.sentinel_password.clone(), network)?;
                let name = sentinels.name();
                (Servers::MasterOf(sentinels), name)
            }
            (None, Some(path), _) => {
                let address = ConnectionAddr::Unix(path.clone());
                let name = address.to_string();
                (Servers::One(network.client(address)?), name)
            }
            (None, None, [(host, port)]) => {
                let address = network.address(host, *port);
                let name = address.to_string();
                (Servers::One(network.client(address)?), name)
            }
            (None, None, []) => return Err(Error::Engine("the Redis address names no host".to_owned())),
            (None, None, _) => {
                return Err(Error::Engine(
                    "metadata on Redis Cluster is not supported yet: give one standalone server".to_owned(),
                ));
            }
        };
        let name = format!("{name}/{}", url.db);
        let response_timeout = url.param("read-timeout").and_then(duration).unwrap_or(RESPONSE_TIMEOUT);
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(response_timeout));
        let (username, password) = (url.username.clone(), url.password.clone());
        Ok(Self { servers, config, username, password, db: url.db, name, tls: url.tls })
    }

    /// A connection that has authenticated and selected its database; its driver runs on the current runtime.
    ///
    /// # Errors
    /// `Unavailable` where a later try may succeed, `Engine` where the address or the server must be changed.
    pub(super) async fn connect(&self) -> Result<MultiplexedConnection> {
        let client = match &self.servers {
            Servers::One(client) => client.clone(),
            Servers::MasterOf(sentinels) => sentinels.master(&self.config).await?,
        };
        let opened = client.get_multiplexed_async_connection_with_config(&self.config).await;
        let mut link = opened.map_err(|cause| self.unreachable(&cause))?;
        let mut greeting = Pipeline::with_capacity(3);
        if let Some(password) = &self.password {
            greeting.cmd("AUTH");
            if let Some(username) = &self.username {
                greeting.arg(username);
            }
            greeting.arg(password.expose_secret());
        }
        if self.db != 0 {
            greeting.cmd("SELECT").arg(self.db);
        }
        greeting.cmd("PING");
        let replies = match link.send_packed_commands(&greeting, 0, greeting.len()).await {
            Ok(replies) => replies,
            Err(cause) => return Err(self.diagnose(&client, &cause).await),
        };
        if let Some(refusal) = replies.iter().find_map(server_error) {
            return Err(self.refused(refusal));
        }
        if matches!(self.servers, Servers::MasterOf(_))
            && !sentinel::is_master(&mut link).await.map_err(|cause| self.lost(&cause))?
        {
            return Err(Error::Unavailable(format!(
                "{} is between two masters: the one that its sentinels name is a replica still",
                self.server()
            )));
        }
        Ok(link)
    }

    /// A server that answers once and hangs up (protected mode, too many clients) is asked again with a single
    /// command, whose answer then survives.
    async fn diagnose(&self, client: &redis::Client, cause: &RedisError) -> Error {
        if cause.is_timeout() {
            return Error::Unavailable(format!(
                "{} takes connections and answers nothing ({cause}); check that it is Redis and that it is not stuck",
                self.server()
            ));
        }
        let Ok(mut link) = client.get_multiplexed_async_connection_with_config(&self.config).await else {
            return self.lost(cause);
        };
        match link.send_packed_command(&redis::cmd("PING")).await {
            Ok(Value::ServerError(refusal)) => self.refused(&refusal),
            _ => Error::Unavailable(format!(
                "{} hung up during the greeting ({cause}); if it only speaks TLS, write rediss:// instead of redis://",
                self.server()
            )),
        }
    }

    fn server(&self) -> String {
        format!("Redis at {}", self.name)
    }

    /// No connection could be made.
    fn unreachable(&self, cause: &RedisError) -> Error {
        let server = self.server();
        let text = cause.to_string();
        if self.tls && (text.contains("certificate") || text.contains("InvalidDNSName")) {
            return Error::Engine(format!(
                "{server} showed a certificate that is not trusted ({text}): name the authority with tls-ca-cert-file"
            ));
        }
        if self.tls && (text.contains("corrupt message") || text.contains("InvalidContentType")) {
            return Error::Engine(format!(
                "{server} does not speak TLS ({text}): write redis:// instead of rediss://"
            ));
        }
        let next = if cause.is_connection_refusal() {
            "nothing listens there; is redis-server running, and are host and port right?"
        } else if self.tls && cause.is_timeout() {
            // A server that waits for the end of what it takes for a command.
            "if it speaks no TLS, write redis:// instead of rediss://; else check the network and firewalls"
        } else {
            "check the host name, the network and firewalls"
        };
        Error::Unavailable(format!("can't connect to {server}: {text}; {next}"))
    }

    /// The connection broke or timed out while an answer was awaited.
    pub(super) fn lost(&self, cause: &RedisError) -> Error {
        Error::Unavailable(format!("lost the connection to {}: {cause}", self.server()))
    }

    /// The server answered with an error; the sentence says what to do about it.
    pub(super) fn refused(&self, refusal: &ServerError) -> Error {
        let server = self.server();
        let detail = refusal.details().unwrap_or_default();
        let code = refusal.code();
        let user = self.username.as_deref().unwrap_or("default");
        match code {
            "OOM" => Error::Full(format!("{server} is out of memory: raise its maxmemory ({detail})")),
            "READONLY" if matches!(self.servers, Servers::MasterOf(_)) => {
                Error::Unavailable(format!("{server} is a replica since a failover ({detail})"))
            }
            "READONLY" => Error::Replica(format!(
                "{server} is a replica: point the address at the master, or mount with --read-only ({detail})"
            )),
            "LOADING" | "MASTERDOWN" | "CLUSTERDOWN" | "TRYAGAIN" | "BUSY" | "NOREPLICAS" | "MISCONF"
            | "UNBLOCKED" => Error::Unavailable(format!("{server} is not ready: {code} {detail}")),
            "NOAUTH" => Error::Denied(format!("{server} asks for a password")),
            "WRONGPASS" => Error::Denied(format!("{server} refused user {user} with the password given")),
            "NOPERM" => Error::Engine(format!(
                "{server} does not let user {user} do this ({detail}): grant it +@all on ~* in the server's ACL"
            )),
            "DENIED" => Error::Engine(format!(
                "{server} is in protected mode and takes local clients only: set a password (requirepass) or \
                 `protected-mode no` on the server"
            )),
            "MOVED" | "ASK" | "CROSSSLOT" => self.is_cluster(),
            _ if detail.contains("cluster mode") => self.is_cluster(),
            _ if detail.contains("max number of clients") => Error::Unavailable(format!(
                "{server} has no connection left: raise its maxclients ({detail})"
            )),
            _ if detail.contains("DB index") || detail.contains("invalid DB") => Error::Engine(format!(
                "{server} has no database {}: choose a smaller number or raise `databases` on the server",
                self.db
            )),
            _ if detail.contains("AUTH") || detail.contains("invalid password") => {
                Error::Denied(format!("{server} takes no such password ({detail})"))
            }
            _ => Error::Engine(format!("{server} answered {code} {detail}")),
        }
    }

    pub(super) fn is_cluster(&self) -> Error {
        Error::Engine(format!(
            "{} is part of a Redis Cluster, which is not supported yet: give one standalone server",
            self.server()
        ))
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }
}

/// The error inside a reply, if it is one.
pub(super) fn server_error(reply: &Value) -> Option<&ServerError> {
    match reply {
        Value::ServerError(error) => Some(error),
        _ => None,
    }
}

/// rustls wants one provider for the process; whoever comes first chooses the same.
fn choose_crypto() {
    static CHOSEN: OnceLock<()> = OnceLock::new();
    CHOSEN.get_or_init(|| {
        // An error only says that somebody chose before.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    });
}

fn certificates(url: &RedisUrl) -> Result<TlsCertificates> {
    let read = |option: &str| -> Result<Option<Vec<u8>>> {
        let Some(path) = url.param(option) else { return Ok(None) };
        let content = std::fs::read(path);
        content.map(Some).map_err(|cause| Error::Engine(format!("can't read {option}={path}: {cause}")))
    };
    let client_tls = match (read("tls-cert-file")?, read("tls-key-file")?) {
        (Some(client_cert), Some(client_key)) => Some(ClientTlsConfig { client_cert, client_key }),
        (None, None) => None,
        _ => return Err(Error::Engine("tls-cert-file and tls-key-file go together: give both".to_owned())),
    };
    Ok(TlsCertificates { client_tls, root_cert: read("tls-ca-cert-file")? })
}

fn is_true(value: Option<&str>) -> bool {
    matches!(value, Some("" | "1" | "t" | "true" | "True" | "TRUE"))
}

/// `30s`, `500ms`, `2m` or plain seconds.
fn duration(text: &str) -> Option<Duration> {
    let digits_end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..digits_end].parse().ok()?;
    match &text[digits_end..] {
        "" | "s" => Some(Duration::from_secs(number)),
        "ms" => Some(Duration::from_millis(number)),
        "m" => Some(Duration::from_secs(number.checked_mul(60)?)),
        _ => None,
    }
}
