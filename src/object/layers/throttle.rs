//! Keeps a client within a bandwidth: bytes wait for those before them.
//!
//! The state is, for each direction, when the bytes let through so far are paid for. Whoever wants to pass moves that
//! moment on and waits until its own turn begins, so that an idle client starts at once.

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use juicefs_base::sync::Mutex;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

use crate::error::Result;
use crate::store::{Key, Limits, Listed, Store};

/// Bytes a second of one client; 0 = as fast as it goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bandwidth {
    pub upload: u64,
    pub download: u64,
}

impl Bandwidth {
    /// From the megabits a second of settings and flags; what is not above 0 is no limit.
    #[must_use]
    pub fn of_mbps(upload: i64, download: i64) -> Self {
        let bytes = |mbps: i64| u64::try_from(mbps).unwrap_or(0).saturating_mul(125_000);
        Self { upload: bytes(upload), download: bytes(download) }
    }
}

/// Asked at each request, so that a changed setting holds at once.
pub type BandwidthSource = Box<dyn Fn() -> Bandwidth + Send + Sync>;

/// A store whose bodies keep within a bandwidth.
pub struct Throttled {
    inner: Arc<dyn Store>,
    bandwidth: BandwidthSource,
    up: Pace,
    down: Pace,
}

impl Throttled {
    #[must_use]
    pub fn new(inner: Arc<dyn Store>, bandwidth: BandwidthSource) -> Self {
        Self { inner, bandwidth, up: Pace::default(), down: Pace::default() }
    }
}

#[derive(Default)]
struct Pace {
    paid_at: Mutex<Option<Instant>>,
}

impl Pace {
    async fn pass(&self, bytes: usize, per_second: u64) {
        if per_second == 0 {
            return;
        }
        let cost = Duration::from_secs_f64(bytes as f64 / per_second as f64);
        let turn = {
            let mut paid_at = self.paid_at.lock();
            let turn = paid_at.unwrap_or_else(Instant::now).max(Instant::now());
            *paid_at = Some(turn + cost);
            turn
        };
        tokio::time::sleep_until(turn).await;
    }
}

impl fmt::Display for Throttled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl fmt::Debug for Throttled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Throttled").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl Store for Throttled {
    /// How long a body is, is known when it is there: it is held back until the ones before it are paid for.
    fn get<'a>(&'a self, key: &'a Key, range: Option<Range<u64>>) -> BoxFuture<'a, Result<Bytes>> {
        Box::pin(async move {
            let body = self.inner.get(key, range).await?;
            self.down.pass(body.len(), (self.bandwidth)().download).await;
            Ok(body)
        })
    }

    fn put<'a>(&'a self, key: &'a Key, body: Bytes) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            self.up.pass(body.len(), (self.bandwidth)().upload).await;
            self.inner.put(key, body).await
        })
    }

    fn delete<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<()>> {
        self.inner.delete(key)
    }

    fn head<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Listed>> {
        self.inner.head(key)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{StoreSpec, open};
    use std::sync::atomic::{AtomicI64, Ordering};

    /// 8 Mbps are 1 MB a second.
    #[tokio::test]
    async fn bodies_keep_within_the_bandwidth_that_is_set_at_the_moment() {
        let folder = tempfile::tempdir().expect("temp");
        let bucket = format!("{}/", folder.path().display());
        let inner = open(&StoreSpec { storage: "file".into(), bucket, ..StoreSpec::default() })
            .await
            .expect("a folder");
        let mbps = Arc::new(AtomicI64::new(8));
        let setting = mbps.clone();
        let source =
            move || Bandwidth::of_mbps(setting.load(Ordering::Relaxed), setting.load(Ordering::Relaxed));
        let store = Throttled::new(inner, Box::new(source));
        let body = Bytes::from(vec![7; 100_000]);
        let begun = Instant::now();
        let put = |n: usize| store.put(["a", "b", "c", "d"][n], body.clone());
        let (a, b, c, d) = tokio::join!(put(0), put(1), put(2), put(3));
        [a, b, c, d].into_iter().for_each(|done| done.expect("stored"));
        // The first goes at once, the fourth when three are paid for.
        assert!(begun.elapsed() >= Duration::from_millis(300), "{:?}", begun.elapsed());
        let begun = Instant::now();
        for _ in 0..3 {
            assert_eq!(store.get("a", None).await.expect("there"), body);
        }
        assert!(begun.elapsed() >= Duration::from_millis(200), "{:?}", begun.elapsed());
        mbps.store(0, Ordering::Relaxed);
        let begun = Instant::now();
        for _ in 0..20 {
            store.get("a", None).await.expect("there");
        }
        assert!(begun.elapsed() < Duration::from_secs(2), "no limit any more: {:?}", begun.elapsed());
        assert_eq!(Bandwidth::of_mbps(-1, 0), Bandwidth::default());
    }
}
