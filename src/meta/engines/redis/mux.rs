//! The connection that everybody shares: reads and commands outside transactions.

use std::sync::Arc;

use juicefs_base::sync::Mutex;
use redis::aio::MultiplexedConnection;
use redis::{Cmd, Pipeline, RedisError, Value};
use tokio::runtime::{Handle, Id};

use super::connect::Endpoint;
use crate::error::Result;

/// A shared connection for each runtime that uses it: a connection's driver lives on the runtime that made
/// it, and the heartbeat's runtime sleeps most of the time. Made on first use, made anew after an error.
pub(super) struct Mux {
    endpoint: Arc<Endpoint>,
    links: Mutex<Vec<Link>>,
    /// Held while connecting, so that a hundred waiting readers make one connection.
    connecting: tokio::sync::Mutex<()>,
}

#[derive(Clone)]
struct Link {
    runtime: Id,
    /// Tells a broken connection from the one that replaced it.
    generation: u64,
    connection: MultiplexedConnection,
}

impl Mux {
    pub(super) fn new(endpoint: Arc<Endpoint>) -> Self {
        Self { endpoint, links: Mutex::new(Vec::new()), connecting: tokio::sync::Mutex::new(()) }
    }

    /// One flush; the replies in order, errors of the server among them.
    ///
    /// # Errors
    /// `Unavailable` when the connection can't be made or broke. A connection that turns out broken is
    /// replaced once: what is sent here may be sent twice.
    pub(super) async fn flush(&self, commands: &Pipeline) -> Result<Vec<Value>> {
        let (mut link, is_fresh) = self.link().await?;
        match link.connection.send_packed_commands(commands, 0, commands.len()).await {
            Ok(replies) => return Ok(replies),
            Err(cause) if self.is_final(&link, &cause, is_fresh) => return Err(self.endpoint.lost(&cause)),
            Err(_) => {}
        }
        let (mut link, _) = self.link().await?;
        let sent = link.connection.send_packed_commands(commands, 0, commands.len()).await;
        sent.map_err(|cause| self.give_up(&link, &cause))
    }

    /// As [`flush`](Self::flush) for one command.
    pub(super) async fn send(&self, command: &Cmd) -> Result<Value> {
        let (mut link, is_fresh) = self.link().await?;
        match link.connection.send_packed_command(command).await {
            Ok(reply) => return Ok(reply),
            Err(cause) if self.is_final(&link, &cause, is_fresh) => return Err(self.endpoint.lost(&cause)),
            Err(_) => {}
        }
        let (mut link, _) = self.link().await?;
        let sent = link.connection.send_packed_command(command).await;
        sent.map_err(|cause| self.give_up(&link, &cause))
    }

    /// Forgets the broken connection; true when a second try would only cost time.
    fn is_final(&self, link: &Link, cause: &RedisError, is_fresh: bool) -> bool {
        self.forget(link);
        is_fresh || cause.is_timeout()
    }

    fn give_up(&self, link: &Link, cause: &RedisError) -> crate::Error {
        self.forget(link);
        self.endpoint.lost(cause)
    }

    fn forget(&self, broken: &Link) {
        self.links
            .lock()
            .retain(|link| (link.runtime, link.generation) != (broken.runtime, broken.generation));
    }

    fn existing(&self, runtime: Id) -> Option<Link> {
        self.links.lock().iter().find(|link| link.runtime == runtime).cloned()
    }

    async fn link(&self) -> Result<(Link, bool)> {
        let runtime = Handle::current().id();
        if let Some(link) = self.existing(runtime) {
            return Ok((link, false));
        }
        let _turn = self.connecting.lock().await;
        if let Some(link) = self.existing(runtime) {
            return Ok((link, false));
        }
        let connection = self.endpoint.connect().await?;
        let link = Link { runtime, generation: rand::random(), connection };
        self.links.lock().push(link.clone());
        Ok((link, true))
    }
}
