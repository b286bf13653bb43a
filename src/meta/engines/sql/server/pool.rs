//! Connections, as many as are asked for at once up to a bound, last used first. A connection belongs to the runtime
//! that made it. Those for transactions are *slots*: a slot outlives its connections and owns the marker row that
//! tells whether a commit whose answer was lost has happened (decisions 20).

use std::sync::Arc;
use std::time::Duration;

use juicefs_base::sync::Mutex;
use tokio::runtime::{Handle, Id};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::driver::{Command, Driver, Failure, Flushed, Mode};
use crate::error::{Error, Result};

const WAIT_MAX: Duration = Duration::from_secs(30);
/// A server that answers nothing for so long is taken for gone.
const ANSWER_MAX: Duration = Duration::from_secs(30);
const CONNECT_MAX: Duration = Duration::from_secs(10);

pub(super) struct Pool<D: Driver> {
    driver: Arc<D>,
    permits: Semaphore,
    slots_max: usize,
    idle: Mutex<Vec<Slot<D>>>,
}

struct Slot<D: Driver> {
    link: Option<(Id, D::Link)>,
    marker: Option<Marker>,
}

/// The row that counts a slot's commits.
#[derive(Clone, Debug)]
pub(super) struct Marker {
    pub(super) name: String,
    /// Of the last commit that is known to have happened.
    pub(super) sequence: i64,
}

impl<D: Driver> Pool<D> {
    pub(super) fn new(driver: Arc<D>, slots_max: usize) -> Self {
        Self { driver, permits: Semaphore::new(slots_max), slots_max, idle: Mutex::default() }
    }

    /// Waits for a free slot; nothing travels.
    pub(super) async fn lease(&self) -> Result<Lease<'_, D>> {
        let permit = tokio::time::timeout(WAIT_MAX, self.permits.acquire()).await;
        let Ok(Ok(permit)) = permit else {
            return Err(Error::Unavailable(format!(
                "all {} connections to {} are busy",
                self.slots_max,
                self.driver.place()
            )));
        };
        let runtime = Handle::current().id();
        let mut slot = self.take(runtime);
        slot.link = slot.link.filter(|(made_in, link)| *made_in == runtime && self.driver.is_usable(link));
        Ok(Lease { pool: self, slot, is_in_flight: false, _permit: permit })
    }

    fn take(&self, runtime: Id) -> Slot<D> {
        let mut idle = self.idle.lock();
        let is_ours = |slot: &Slot<D>| slot.link.as_ref().is_some_and(|(made_in, _)| *made_in == runtime);
        match idle.iter().rposition(is_ours) {
            Some(at) => idle.remove(at),
            // One of another runtime keeps its connection as long as there is room for a new slot.
            None if idle.len() + self.in_use() <= self.slots_max => Slot { link: None, marker: None },
            None => idle.pop().unwrap_or(Slot { link: None, marker: None }),
        }
    }

    /// This one included.
    fn in_use(&self) -> usize {
        self.slots_max - self.permits.available_permits()
    }
}

/// A slot in use. Dropped while a flush is under way it gives up connection and marker: nobody will learn what became
/// of that flush.
pub(super) struct Lease<'p, D: Driver> {
    pool: &'p Pool<D>,
    slot: Slot<D>,
    is_in_flight: bool,
    _permit: SemaphorePermit<'p>,
}

impl<D: Driver> Drop for Lease<'_, D> {
    fn drop(&mut self) {
        if self.is_in_flight {
            return;
        }
        let slot = Slot { link: self.slot.link.take(), marker: self.slot.marker.take() };
        if slot.link.is_some() || slot.marker.is_some() {
            self.pool.idle.lock().push(slot);
        }
    }
}

impl<D: Driver> Lease<'_, D> {
    pub(super) fn driver(&self) -> &D {
        &self.pool.driver
    }

    pub(super) fn marker(&mut self) -> &mut Option<Marker> {
        &mut self.slot.marker
    }

    /// Whether the connection was made before and may have died since.
    fn is_old(&self) -> bool {
        self.slot.link.is_some()
    }

    async fn connect(&mut self) -> Result<()> {
        if self.slot.link.is_none() {
            let made = tokio::time::timeout(CONNECT_MAX, self.pool.driver.connect()).await;
            let silent = |_| {
                Error::Unavailable(format!(
                    "{} took the connection and did not answer within {} s",
                    self.pool.driver.place(),
                    CONNECT_MAX.as_secs()
                ))
            };
            self.slot.link = Some((Handle::current().id(), made.map_err(silent)??));
        }
        Ok(())
    }

    /// One flush. After a loss the connection is gone.
    pub(super) async fn flush(&mut self, mode: Mode, commands: &[Command]) -> Flushed {
        self.connect().await.map_err(Failure::Before)?;
        let Some((_, link)) = &mut self.slot.link else { unreachable!("just connected") };
        self.is_in_flight = true;
        let flushed = tokio::time::timeout(ANSWER_MAX, self.pool.driver.flush(link, mode, commands)).await;
        self.is_in_flight = false;
        let flushed = flushed.unwrap_or_else(|_| {
            Err(Failure::Lost(format!(
                "{} did not answer within {} s",
                self.pool.driver.place(),
                ANSWER_MAX.as_secs()
            )))
        });
        if matches!(flushed, Err(Failure::Lost(_))) {
            self.slot.link = None;
        }
        flushed
    }

    /// One flush of statements that may be sent twice: an old connection that turns out dead is replaced once.
    pub(super) async fn ask(&mut self, mode: Mode, commands: &[Command]) -> Flushed {
        let was_old = self.is_old();
        match self.flush(mode, commands).await {
            Err(Failure::Lost(_)) if was_old => self.flush(mode, commands).await,
            flushed => flushed,
        }
    }
}
