//! Counts requests: how many, how long, how many bytes, how many failed. Each try counts.

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::time::Instant;

use crate::error::Result;
use crate::store::{Key, Limits, Listed, Store};

/// One kind of request since the start.
#[derive(Debug, Default)]
pub struct Requests {
    count: AtomicU64,
    nanos: AtomicU64,
    bytes: AtomicU64,
}

impl Requests {
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// How long all of them took together.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        self.nanos.load(Ordering::Relaxed) as f64 / 1e9
    }

    /// Bytes of objects, where there are any.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

/// What went over the wire since the start; read by the metrics of a mount.
#[derive(Debug, Default)]
pub struct Traffic {
    pub gets: Requests,
    pub puts: Requests,
    pub deletes: Requests,
    pub heads: Requests,
    errors: AtomicU64,
}

impl Traffic {
    /// The requests by the names of their methods.
    #[must_use]
    pub fn by_method(&self) -> [(&'static str, &Requests); 4] {
        [("GET", &self.gets), ("PUT", &self.puts), ("DELETE", &self.deletes), ("HEAD", &self.heads)]
    }

    /// Requests that failed, other than for a missing object.
    #[must_use]
    pub fn errors(&self) -> u64 {
        self.errors.load(Ordering::Relaxed)
    }
}

/// A store whose [`Traffic`] can be read.
#[derive(Debug)]
pub struct Metered {
    inner: Arc<dyn Store>,
    traffic: Arc<Traffic>,
}

impl Metered {
    #[must_use]
    pub fn new(inner: Arc<dyn Store>, traffic: Arc<Traffic>) -> Self {
        Self { inner, traffic }
    }

    async fn count<T>(
        &self,
        requests: &Requests,
        request: impl Future<Output = Result<T>>,
        bytes: impl Fn(&T) -> usize,
    ) -> Result<T> {
        let begun = Instant::now();
        let result = request.await;
        requests.count.fetch_add(1, Ordering::Relaxed);
        let nanos = u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
        requests.nanos.fetch_add(nanos, Ordering::Relaxed);
        match &result {
            Ok(answer) => drop(requests.bytes.fetch_add(bytes(answer) as u64, Ordering::Relaxed)),
            Err(error) if !error.is_not_found() => drop(self.traffic.errors.fetch_add(1, Ordering::Relaxed)),
            Err(_) => {}
        }
        result
    }
}

impl fmt::Display for Metered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl Store for Metered {
    fn get<'a>(&'a self, key: &'a Key, range: Option<Range<u64>>) -> BoxFuture<'a, Result<Bytes>> {
        Box::pin(self.count(&self.traffic.gets, self.inner.get(key, range), Bytes::len))
    }

    fn put<'a>(&'a self, key: &'a Key, body: Bytes) -> BoxFuture<'a, Result<()>> {
        let bytes = body.len();
        Box::pin(self.count(&self.traffic.puts, self.inner.put(key, body), move |()| bytes))
    }

    fn delete<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.count(&self.traffic.deletes, self.inner.delete(key), |()| 0))
    }

    fn head<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Listed>> {
        Box::pin(self.count(&self.traffic.heads, self.inner.head(key), |_| 0))
    }

    fn list<'a>(&'a self, prefix: &'a Key, after: &'a Key) -> BoxStream<'a, Result<Listed>> {
        self.inner.list(prefix, after)
    }

    fn create_bucket(&self) -> BoxFuture<'_, Result<()>> {
        self.inner.create_bucket()
    }

    fn limits(&self) -> Limits {
        self.inner.limits()
    }
}
