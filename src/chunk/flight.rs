//! One fetch per block, however many readers want it.
//!
//! A flight is in the map from its start until its block is cached (or the fetch failed); only its own task takes it
//! out. Readers that give up do not end it.

use crate::error::{Error, Result};
use crate::layout::BlockId;
use bytes::Bytes;
use juicefs_base::sync::Mutex;
use std::collections::HashMap;
use tokio::sync::watch;

type Outcome = Option<Result<Bytes>>;

#[derive(Debug, Default)]
pub(crate) struct Flights {
    map: Mutex<HashMap<BlockId, watch::Receiver<Outcome>>>,
}

/// The right and the duty to fetch one block; dropping it without [`Lead::land`] fails the waiters.
pub(crate) struct Lead {
    block: BlockId,
    outcome: watch::Sender<Outcome>,
}

/// A wait for somebody's fetch.
pub(crate) struct Passenger(watch::Receiver<Outcome>);

impl Flights {
    /// Joins the flight of `block`, and leads it if there was none.
    pub(crate) fn join(&self, block: BlockId) -> (Passenger, Option<Lead>) {
        let mut map = self.map.lock();
        if let Some(flight) = map.get(&block) {
            return (Passenger(flight.clone()), None);
        }
        let (outcome, flight) = watch::channel(None);
        map.insert(block, flight.clone());
        (Passenger(flight), Some(Lead { block, outcome }))
    }

    /// Whether `block` is being fetched, and its bytes if they are there already.
    pub(crate) fn peek(&self, block: BlockId) -> Option<Option<Bytes>> {
        let map = self.map.lock();
        let flight = map.get(&block)?;
        let outcome = flight.borrow();
        Some(outcome.as_ref().and_then(|o| o.as_ref().ok().cloned()))
    }

    /// Ends a flight: who comes now starts another.
    pub(crate) fn forget(&self, block: BlockId) {
        let mut map = self.map.lock();
        map.remove(&block);
        if map.is_empty() && map.capacity() > 1024 {
            map.shrink_to_fit();
        }
    }
}

impl Lead {
    pub(crate) fn block(&self) -> BlockId {
        self.block
    }

    /// Tells everybody.
    pub(crate) fn land(&self, outcome: Result<Bytes>) {
        self.outcome.send_replace(Some(outcome));
    }
}

impl Passenger {
    pub(crate) async fn wait(mut self) -> Result<Bytes> {
        let outcome = self.0.wait_for(Option::is_some).await.map_err(|_| Error::Stopped)?;
        outcome.clone().unwrap_or(Err(Error::Stopped))
    }
}
