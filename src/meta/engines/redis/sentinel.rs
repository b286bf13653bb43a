//! Which server is the master, as its sentinels say. Nothing is remembered but which sentinel answered last: each new
//! connection asks again, so a failover is followed when the connections to the former master break.

use std::sync::atomic::{AtomicUsize, Ordering};

use juicefs_base::{ExposeSecret, SecretString};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, ErrorKind, Pipeline, RedisError, Value};

use super::connect::Network;
use crate::error::{Error, Result};

/// The sentinels of one master.
pub(super) struct Sentinels {
    master: String,
    clients: Vec<(String, redis::Client)>,
    password: Option<SecretString>,
    network: Network,
    /// Where to ask first.
    answered_last: AtomicUsize,
}

impl Sentinels {
    /// # Errors
    /// An address that can't be used.
    pub(super) fn new(
        master: String,
        hosts: &[(String, u16)],
        password: Option<SecretString>,
        network: Network,
    ) -> Result<Self> {
        let clients = hosts
            .iter()
            .map(|(host, port)| Ok((format!("{host}:{port}"), network.client(network.address(host, *port))?)))
            .collect::<Result<_>>()?;
        Ok(Self { master, clients, password, network, answered_last: AtomicUsize::new(0) })
    }

    /// `mymaster,host1:26379,host2:26379`, as the address has it.
    pub(super) fn name(&self) -> String {
        let hosts: Vec<&str> = self.clients.iter().map(|(host, _)| host.as_str()).collect();
        format!("{},{}", self.master, hosts.join(","))
    }

    /// The master of this moment: the first sentinel that knows one decides.
    ///
    /// # Errors
    /// `Unavailable`: no sentinel answers, or none knows a master. `Engine`: a sentinel wants another password.
    pub(super) async fn master(&self, config: &AsyncConnectionConfig) -> Result<redis::Client> {
        let first = self.answered_last.load(Ordering::Relaxed);
        let mut silent = Vec::new();
        for step in 0..self.clients.len() {
            let at = (first + step) % self.clients.len();
            let (name, client) = &self.clients[at];
            match self.ask(client, config).await {
                Ok(Some((host, port))) => {
                    self.answered_last.store(at, Ordering::Relaxed);
                    return self.network.client(self.network.address(&host, port));
                }
                Ok(None) => silent.push(format!("{name} knows no master {}", self.master)),
                Err(cause) if cause.kind() == ErrorKind::AuthenticationFailed => {
                    return Err(Error::Engine(format!(
                        "the sentinel at {name} refused the password ({cause}): set SENTINEL_PASSWORD"
                    )));
                }
                Err(cause) => silent.push(format!("{name}: {cause}")),
            }
        }
        Err(Error::Unavailable(format!(
            "no sentinel tells where the Redis master {} is ({}); check the name of the master and that the sentinels run",
            self.master,
            silent.join("; ")
        )))
    }

    async fn ask(
        &self,
        client: &redis::Client,
        config: &AsyncConnectionConfig,
    ) -> std::result::Result<Option<(String, u16)>, RedisError> {
        let mut link = client.get_multiplexed_async_connection_with_config(config).await?;
        let mut questions = Pipeline::with_capacity(2);
        if let Some(password) = &self.password {
            questions.cmd("AUTH").arg(password.expose_secret());
        }
        questions.cmd("SENTINEL").arg("get-master-addr-by-name").arg(&self.master);
        let replies = link.send_packed_commands(&questions, 0, questions.len()).await?;
        if let Some(refusal) = replies.iter().find_map(super::connect::server_error) {
            let kind = match refusal.code() {
                "NOAUTH" | "WRONGPASS" | "NOPERM" => ErrorKind::AuthenticationFailed,
                _ if refusal.details().is_some_and(|detail| detail.contains("AUTH")) => {
                    ErrorKind::AuthenticationFailed
                }
                _ => ErrorKind::UnexpectedReturnType,
            };
            return Err(RedisError::from((kind, "the sentinel answered", refusal.to_string())));
        }
        match replies.into_iter().next_back() {
            Some(Value::Array(parts)) => {
                let (host, port): (String, u16) = redis::from_redis_value(Value::Array(parts))?;
                Ok(Some((host, port)))
            }
            _ => Ok(None),
        }
    }
}

/// Whether a server is the master it was taken for: right after a failover sentinels may name one that is not yet.
///
/// # Errors
/// The connection broke.
pub(super) async fn is_master(link: &mut MultiplexedConnection) -> std::result::Result<bool, RedisError> {
    let role = link.send_packed_command(&redis::cmd("ROLE")).await?;
    match role {
        Value::Array(parts) => {
            Ok(matches!(parts.first(), Some(Value::BulkString(role)) if role == b"master"))
        }
        // A server that does not tell is found out by its first refusal to write.
        _ => Ok(true),
    }
}
