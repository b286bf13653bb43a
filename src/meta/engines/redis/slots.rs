//! Exclusive connections for transactions. What a connection watches belongs to the connection, so an
//! attempt has one for itself; the pool grows to [`SLOTS_MAX`] and hands out the last one used first.
//!
//! A *slot* outlives its connections. It owns the marker key that tells whether a commit whose reply was lost
//! has happened (decisions 20): every commit sets the marker to its sequence number in the same transaction,
//! and every connection watches the marker from before the commit is sent.

use std::sync::Arc;
use std::time::{Duration, Instant};

use juicefs_base::sync::Mutex;
use redis::aio::MultiplexedConnection;
use redis::{Cmd, Pipeline, RedisError, Value};
use tokio::runtime::{Handle, Id};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::connect::Endpoint;
use super::keys;
use crate::error::{Error, Result};

/// Transactions in flight per client: at 1 ms distance 8 instead of 64 costs three times (performance.md 7).
pub(super) const SLOTS_MAX: usize = 64;
/// A marker outlives any dispute about its commit and vanishes after its client.
pub(super) const MARKER_SECONDS: u32 = 86_400;
/// How often a marker in use gets its full time again.
const MARKER_REFRESH: Duration = Duration::from_secs(6 * 3600);
/// Of a sequence number, so that each overwrites all of the one before.
pub(super) const MARKER_DIGITS: usize = 16;
const WAIT_MAX: Duration = Duration::from_secs(30);

pub(super) struct Slots {
    endpoint: Arc<Endpoint>,
    permits: Semaphore,
    stock: Mutex<Stock>,
    /// Part of the marker's names: random, so that two clients never share one.
    client: String,
}

#[derive(Default)]
struct Stock {
    idle: Vec<Slot>,
    made: usize,
}

struct Slot {
    marker: String,
    /// Of the last commit sent. Never repeated, whatever became of that commit.
    sequence: u64,
    /// When the marker was last known to get [`MARKER_SECONDS`].
    refreshed: Option<Instant>,
    link: Option<Link>,
}

struct Link {
    runtime: Id,
    connection: MultiplexedConnection,
    /// The server has confirmed that this connection watches the marker.
    is_guarded: bool,
    /// Other keys may be watched: an attempt ended without a commit.
    is_watching: bool,
}

impl Slots {
    pub(super) fn new(endpoint: Arc<Endpoint>) -> Self {
        Self {
            endpoint,
            permits: Semaphore::new(SLOTS_MAX),
            stock: Mutex::default(),
            client: format!("{:016x}", rand::random::<u64>()),
        }
    }

    /// Waits for a free slot; nothing travels.
    pub(super) async fn lease(&self) -> Result<Lease<'_>> {
        let permit = tokio::time::timeout(WAIT_MAX, self.permits.acquire()).await;
        let Ok(Ok(permit)) = permit else {
            return Err(Error::Unavailable(format!(
                "all {SLOTS_MAX} transaction connections to Redis at {} are busy",
                self.endpoint.name()
            )));
        };
        let mut slot = self.take();
        let runtime = Handle::current().id();
        slot.link = slot.link.filter(|link| link.runtime == runtime);
        Ok(Lease { slots: self, slot: Some(slot), is_in_flight: false, _permit: permit })
    }

    /// Last used first; a connection of this runtime before one that would have to be made.
    fn take(&self) -> Slot {
        let runtime = Handle::current().id();
        let mut stock = self.stock.lock();
        let is_ours = |slot: &Slot| slot.link.as_ref().is_some_and(|link| link.runtime == runtime);
        let idle = &stock.idle;
        let at = idle.iter().rposition(is_ours).or_else(|| idle.iter().rposition(|slot| slot.link.is_none()));
        if let Some(at) = at {
            return stock.idle.remove(at);
        }
        if stock.made < SLOTS_MAX {
            stock.made += 1;
            return Slot {
                marker: keys::marker(&self.client, stock.made),
                sequence: 0,
                refreshed: None,
                link: None,
            };
        }
        stock.idle.pop().expect("a permit means an idle slot or one not made yet")
    }
}

/// A slot in use. Dropped while a flush is under way, it gives up its connection: the answers that are still
/// to come would be taken for the next one's.
pub(super) struct Lease<'s> {
    slots: &'s Slots,
    slot: Option<Slot>,
    is_in_flight: bool,
    _permit: SemaphorePermit<'s>,
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        if let Some(mut slot) = self.slot.take() {
            if self.is_in_flight {
                slot.link = None;
            }
            self.slots.stock.lock().idle.push(slot);
        }
    }
}

/// What a flush came to.
pub(super) enum Flushed {
    Replies(Vec<Value>),
    /// The connection is gone; whether the commands ran is unknown.
    Lost(RedisError),
}

impl<'s> Lease<'s> {
    fn slot(&mut self) -> &mut Slot {
        self.slot.as_mut().expect("a lease holds its slot until it is dropped")
    }

    pub(super) fn endpoint(&self) -> &'s Endpoint {
        &self.slots.endpoint
    }

    pub(super) fn marker(&mut self) -> String {
        self.slot().marker.clone()
    }

    /// The number of the commit that is about to be sent.
    pub(super) fn next_sequence(&mut self) -> u64 {
        let slot = self.slot();
        slot.sequence += 1;
        slot.sequence
    }

    /// The command that writes a commit's number over the marker, and whether it renews the marker's time.
    /// Mostly SETRANGE, which costs the server half of a SET with an expiry and keeps the one there is.
    pub(super) fn mark(&mut self, sequence: u64) -> (Cmd, bool) {
        let slot = self.slot();
        let renews = slot.refreshed.is_none_or(|at| at.elapsed() > MARKER_REFRESH);
        let number = format!("{sequence:0MARKER_DIGITS$x}");
        let mut command = redis::cmd(if renews { "SET" } else { "SETRANGE" });
        command.arg(&slot.marker);
        if renews {
            command.arg(number).arg("EX").arg(MARKER_SECONDS);
        } else {
            command.arg(0).arg(number);
        }
        (command, renews)
    }

    pub(super) fn renewed(&mut self) {
        self.slot().refreshed = Some(Instant::now());
    }

    /// Connects if needed. True: the connection is fresh.
    pub(super) async fn connect(&mut self) -> Result<bool> {
        if self.slot().link.is_some() {
            return Ok(false);
        }
        let connection = self.slots.endpoint.connect().await?;
        let runtime = Handle::current().id();
        self.slot().link = Some(Link { runtime, connection, is_guarded: false, is_watching: false });
        Ok(true)
    }

    pub(super) fn disconnect(&mut self) {
        self.slot().link = None;
    }

    pub(super) fn is_guarded(&mut self) -> bool {
        self.slot().link.as_ref().is_some_and(|link| link.is_guarded)
    }

    pub(super) fn is_watching(&mut self) -> bool {
        self.slot().link.as_ref().is_some_and(|link| link.is_watching)
    }

    /// Notes what the server has confirmed.
    pub(super) fn confirm(&mut self, is_guarded: bool, is_watching: bool) {
        if let Some(link) = &mut self.slot().link {
            (link.is_guarded, link.is_watching) = (is_guarded, is_watching);
        }
    }

    /// One flush on the connection made by [`connect`](Self::connect).
    pub(super) async fn flush(&mut self, commands: &Pipeline) -> Flushed {
        let link = self.slot().link.as_mut().expect("connect comes before flush");
        let mut connection = link.connection.clone();
        self.is_in_flight = true;
        let sent = connection.send_packed_commands(commands, 0, commands.len()).await;
        self.is_in_flight = false;
        match sent {
            Ok(replies) => Flushed::Replies(replies),
            Err(cause) => {
                self.disconnect();
                Flushed::Lost(cause)
            }
        }
    }
}
