//! Counts requests, bytes and errors.

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::Result;
use crate::store::{Key, Limits, Listed, Store};

/// What went over the wire since the start; read by the metrics of a mount.
#[derive(Debug, Default)]
pub struct Traffic {
    pub gets: AtomicU64,
    pub get_bytes: AtomicU64,
    pub puts: AtomicU64,
    pub put_bytes: AtomicU64,
    pub deletes: AtomicU64,
    pub errors: AtomicU64,
}

/// A store whose [`Traffic`] can be read.
#[derive(Debug)]
pub struct Metered {
    inner: Arc<dyn Store>,
    traffic: Arc<Traffic>,
}

impl Metered {
    #[must_use]
    pub fn new(inner: Arc<dyn Store>) -> (Self, Arc<Traffic>) {
        let traffic = Arc::new(Traffic::default());
        (Self { inner, traffic: traffic.clone() }, traffic)
    }

    fn count<T>(&self, result: Result<T>, requests: &AtomicU64) -> Result<T> {
        requests.fetch_add(1, Ordering::Relaxed);
        if matches!(&result, Err(error) if !error.is_not_found()) {
            self.traffic.errors.fetch_add(1, Ordering::Relaxed);
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
        Box::pin(async move {
            let body = self.count(self.inner.get(key, range).await, &self.traffic.gets)?;
            self.traffic.get_bytes.fetch_add(body.len() as u64, Ordering::Relaxed);
            Ok(body)
        })
    }

    fn put<'a>(&'a self, key: &'a Key, body: Bytes) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let bytes = body.len() as u64;
            self.count(self.inner.put(key, body).await, &self.traffic.puts)?;
            self.traffic.put_bytes.fetch_add(bytes, Ordering::Relaxed);
            Ok(())
        })
    }

    fn delete<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move { self.count(self.inner.delete(key).await, &self.traffic.deletes) })
    }

    fn head<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Listed>> {
        Box::pin(async move { self.count(self.inner.head(key).await, &self.traffic.gets) })
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
