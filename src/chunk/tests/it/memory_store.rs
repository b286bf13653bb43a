//! A store in memory for tests: requests wait at gates, are counted, and fail on demand.

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream, StreamExt as _};
use juicefs_base::sync::Mutex;
use juicefs_object::{Error, Limits, Listed, Result, Store};
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::Semaphore;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    Get,
    GetRange,
    Put,
    Delete,
}

#[derive(Debug)]
pub struct MemoryStore {
    objects: Mutex<BTreeMap<String, Bytes>>,
    log: Mutex<Vec<(Op, String)>>,
    /// Keys that fail, by operation and part of the name.
    failing: Mutex<Vec<(Op, String)>>,
    gate: Semaphore,
    in_flight: AtomicUsize,
    most_in_flight: AtomicUsize,
}

const OPEN: usize = 1 << 20;

impl MemoryStore {
    pub fn new() -> Self {
        Self {
            objects: Mutex::default(),
            log: Mutex::default(),
            failing: Mutex::default(),
            gate: Semaphore::new(OPEN),
            in_flight: AtomicUsize::new(0),
            most_in_flight: AtomicUsize::new(0),
        }
    }

    pub fn keys(&self) -> Vec<String> {
        self.objects.lock().keys().cloned().collect()
    }

    pub fn object(&self, key: &str) -> Option<Bytes> {
        self.objects.lock().get(key).cloned()
    }

    pub fn count(&self, op: Op) -> usize {
        self.log.lock().iter().filter(|(other, _)| *other == op).count()
    }

    pub fn fail(&self, op: Op, part: &str) {
        self.failing.lock().push((op, part.to_owned()));
    }

    pub fn heal(&self) {
        self.failing.lock().clear();
    }

    /// Requests that have begun wait from now on.
    pub fn close_gate(&self) {
        self.gate.forget_permits(OPEN * 2);
    }

    pub fn open_gate(&self) {
        self.gate.add_permits(OPEN);
    }

    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::SeqCst)
    }

    pub fn most_in_flight(&self) -> usize {
        self.most_in_flight.load(Ordering::SeqCst)
    }

    async fn enter(&self, op: Op, key: &str) -> Result<InFlight<'_>> {
        self.log.lock().push((op, key.to_owned()));
        let now = self.in_flight.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_in_flight.fetch_max(now, Ordering::SeqCst);
        let in_flight = InFlight(&self.in_flight);
        self.gate.acquire().await.expect("never closed").forget();
        if self.gate.available_permits() > OPEN / 2 {
            self.gate.add_permits(1);
        }
        let failing = self.failing.lock().iter().any(|(other, part)| *other == op && key.contains(part));
        if failing {
            let (store, key, cause) = (self.to_string(), key.to_owned(), "injected".to_owned());
            return Err(Error::Other { store, key, cause });
        }
        Ok(in_flight)
    }
}

struct InFlight<'a>(&'a AtomicUsize);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl fmt::Display for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("memory")
    }
}

impl Store for MemoryStore {
    fn get<'a>(&'a self, key: &'a str, range: Option<Range<u64>>) -> BoxFuture<'a, Result<Bytes>> {
        Box::pin(async move {
            let op = if range.is_some() { Op::GetRange } else { Op::Get };
            let _in_flight = self.enter(op, key).await?;
            let whole = self.object(key);
            let whole =
                whole.ok_or_else(|| Error::NotFound { store: self.to_string(), key: key.to_owned() })?;
            Ok(match range {
                Some(range) => whole.slice(range.start as usize..range.end as usize),
                None => whole,
            })
        })
    }

    fn put<'a>(&'a self, key: &'a str, body: Bytes) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let _in_flight = self.enter(Op::Put, key).await?;
            // A copy: the pages behind `body` must not be pinned by the test's store.
            self.objects.lock().insert(key.to_owned(), Bytes::copy_from_slice(&body));
            Ok(())
        })
    }

    fn delete<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let _in_flight = self.enter(Op::Delete, key).await?;
            let gone = self.objects.lock().remove(key);
            gone.map(drop).ok_or_else(|| Error::NotFound { store: self.to_string(), key: key.to_owned() })
        })
    }

    fn head<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Listed>> {
        Box::pin(async move { Err(Error::NotFound { store: self.to_string(), key: key.to_owned() }) })
    }

    fn list<'a>(&'a self, _: &'a str, _: &'a str) -> BoxStream<'a, Result<Listed>> {
        stream::empty().boxed()
    }

    fn create_bucket(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async { Ok(()) })
    }

    fn limits(&self) -> Limits {
        Limits { lists_in_order: true, reads_ranges: true }
    }
}
