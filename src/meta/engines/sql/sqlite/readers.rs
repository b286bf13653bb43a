//! Reading connections. A point read takes some microseconds of page cache, less than waking another thread,
//! so it runs where it is asked as long as a connection is free. Scans, and reads that find all connections
//! busy, travel to a thread of their own.

use std::sync::Arc;

use juicefs_base::sync::Mutex;

use super::connection::{Place, Slot, Worker};
use crate::error::Result;

const INLINE_MAX: usize = 4;

pub(super) struct Readers {
    slots: [Mutex<Slot>; INLINE_MAX],
    worker: Worker,
}

impl Readers {
    pub(super) fn start(place: &Arc<Place>) -> Result<Self> {
        Ok(Self {
            slots: std::array::from_fn(|_| Mutex::new(Slot::new(Arc::clone(place)))),
            worker: Worker::start("meta-sqlite-r", Arc::clone(place))?,
        })
    }

    /// Runs a read of a few rows here and now, or on the reading thread.
    pub(super) async fn point<T: Send + 'static>(
        &self,
        body: impl FnOnce(&mut Slot) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        for slot in &self.slots {
            if let Some(mut slot) = slot.try_lock() {
                return body(&mut slot);
            }
        }
        self.worker.run(body).await
    }

    /// Runs a read of many rows on the reading thread.
    pub(super) async fn long<T: Send + 'static>(
        &self,
        body: impl FnOnce(&mut Slot) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.worker.run(body).await
    }
}
