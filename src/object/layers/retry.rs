//! A deadline for each request and tries until the whole has taken too long.

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream, StreamExt};
use juicefs_base::backoff;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::Instant;

use crate::error::{Error, Result};
use crate::store::{Key, Limits, Listed, Store};

/// First pause after a failure; it doubles up to [`PAUSE_MAX`], so that a store that comes back is noticed soon.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(3);
/// One line in the log when a request has waited this long.
const LOG_AFTER: Duration = Duration::from_secs(5);

/// How long to go on (`--get-timeout`, `--put-timeout`, `--io-retries`).
#[derive(Clone, Copy, Debug)]
pub struct RetryPolicy {
    /// For one request that reads.
    pub get_timeout: Duration,
    /// For one request that writes, deletes or lists.
    pub put_timeout: Duration,
    /// The whole of a request's tries may take `retries` times its timeout.
    pub retries: u32,
}

impl RetryPolicy {
    /// The longest that a read can take.
    #[must_use]
    pub fn longest_get(&self) -> Duration {
        self.get_timeout.saturating_mul(self.retries.max(1))
    }
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { get_timeout: Duration::from_secs(60), put_timeout: Duration::from_secs(60), retries: 10 }
    }
}

/// A store whose requests end: with an answer, or with the last error when the time is over.
#[derive(Debug)]
pub struct Retrying {
    inner: Arc<dyn Store>,
    policy: RetryPolicy,
    waiting: AtomicUsize,
}

impl Retrying {
    #[must_use]
    pub fn new(inner: Arc<dyn Store>, policy: RetryPolicy) -> Self {
        Self { inner, policy, waiting: AtomicUsize::new(0) }
    }

    /// Requests that failed at least once and are being tried again.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    fn silent(&self, verb: &str, key: &Key, timeout: Duration) -> Error {
        Error::Unreachable {
            store: self.inner.to_string(),
            key: key.to_owned(),
            cause: format!("no answer to {verb} within {} s", timeout.as_secs()),
        }
    }

    async fn tries<T, F>(
        &self,
        verb: &str,
        key: &Key,
        timeout: Duration,
        mut request: impl FnMut() -> F,
    ) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let begun = Instant::now();
        let deadline = begun + timeout.saturating_mul(self.policy.retries.max(1));
        let mut attempt = 0;
        let mut waiting = None;
        loop {
            let error = match tokio::time::timeout(timeout, request()).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) => error,
                Err(_) => self.silent(verb, key, timeout),
            };
            let pause = backoff::doubling(attempt, PAUSE_FIRST, PAUSE_MAX);
            if !error.may_retry() || Instant::now() + pause >= deadline {
                return Err(error);
            }
            let mark = waiting.get_or_insert_with(|| Waiting::new(&self.waiting));
            if !mark.is_logged && begun.elapsed() >= LOG_AFTER {
                mark.is_logged = true;
                tracing::warn!(verb, key, attempt, "object store does not answer, trying on: {error}");
            }
            tokio::time::sleep(pause).await;
            attempt += 1;
        }
    }
}

/// Counts one waiting request for as long as it lives.
struct Waiting<'a> {
    count: &'a AtomicUsize,
    is_logged: bool,
}

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self { count, is_logged: false }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
    }
}

impl fmt::Display for Retrying {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl Store for Retrying {
    fn get<'a>(&'a self, key: &'a Key, range: Option<Range<u64>>) -> BoxFuture<'a, Result<Bytes>> {
        Box::pin(self.tries("GET", key, self.policy.get_timeout, move || self.inner.get(key, range.clone())))
    }

    fn put<'a>(&'a self, key: &'a Key, body: Bytes) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.tries("PUT", key, self.policy.put_timeout, move || self.inner.put(key, body.clone())))
    }

    fn delete<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.tries("DELETE", key, self.policy.put_timeout, move || self.inner.delete(key)))
    }

    fn head<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Listed>> {
        Box::pin(self.tries("HEAD", key, self.policy.get_timeout, move || self.inner.head(key)))
    }

    /// Pages are the backend's own, each with a deadline; a listing that breaks off reports its error and is begun
    /// again by the caller from the last key.
    fn list<'a>(&'a self, prefix: &'a Key, after: &'a Key) -> BoxStream<'a, Result<Listed>> {
        let timeout = self.policy.put_timeout;
        let listing = stream::unfold(Some(self.inner.list(prefix, after)), move |listing| async move {
            let mut listing = listing?;
            match tokio::time::timeout(timeout, listing.next()).await {
                Ok(item) => Some((item?, Some(listing))),
                Err(_) => Some((Err(self.silent("LIST", prefix, timeout)), None)),
            }
        });
        listing.boxed()
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
    use crate::layers::faulty::{Fault, Faulty};
    use crate::{StoreSpec, open};

    async fn faulty_store(folder: &tempfile::TempDir) -> Arc<Faulty> {
        let spec = StoreSpec {
            storage: "file".into(),
            bucket: format!("{}/", folder.path().display()),
            ..StoreSpec::default()
        };
        Arc::new(Faulty::new(open(&spec).await.expect("a folder")))
    }

    #[tokio::test]
    async fn a_store_that_comes_back_is_asked_again() {
        let folder = tempfile::tempdir().expect("temp");
        let faulty = faulty_store(&folder).await;
        faulty.fail_next(3, Fault::Unreachable);
        let store = Retrying::new(faulty.clone(), RetryPolicy::default());
        store.put("k", Bytes::from_static(b"v")).await.expect("the fourth try");
        assert_eq!(store.get("k", None).await.expect("there"), "v");
        assert_eq!(store.waiting(), 0);
    }

    #[tokio::test]
    async fn a_refusal_is_final_and_a_dead_store_ends_at_the_deadline() {
        let folder = tempfile::tempdir().expect("temp");
        let faulty = faulty_store(&folder).await;
        faulty.fail_next(1, Fault::PermissionDenied);
        let policy = RetryPolicy {
            get_timeout: Duration::from_millis(300),
            put_timeout: Duration::from_millis(300),
            retries: 3,
        };
        let store = Retrying::new(faulty.clone(), policy);
        assert!(matches!(store.get("k", None).await, Err(Error::PermissionDenied { .. })));
        faulty.fail_next(u32::MAX, Fault::Hang);
        let begun = Instant::now();
        assert!(matches!(store.get("k", None).await, Err(Error::Unreachable { .. })));
        assert!(begun.elapsed() <= Duration::from_millis(1300));
        let listed: Vec<_> = store.list("", "").collect().await;
        assert!(matches!(listed[..], [Err(Error::Unreachable { .. })]), "{listed:?}");
    }
}
