//! Reads what a near store lacks from a far one. Writes, listings and limits are the near store's alone.

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::Result;
use crate::store::{Key, Limits, Listed, Store};

/// Two stores of the same keys.
#[derive(Debug)]
pub struct Fallback {
    near: Arc<dyn Store>,
    far: Arc<dyn Store>,
    far_reads: Arc<AtomicU64>,
}

impl Fallback {
    #[must_use]
    pub fn new(near: Arc<dyn Store>, far: Arc<dyn Store>) -> Self {
        Self { near, far, far_reads: Arc::default() }
    }

    /// Objects that came from the far store since the start.
    #[must_use]
    pub fn far_reads(&self) -> Arc<AtomicU64> {
        self.far_reads.clone()
    }
}

impl fmt::Display for Fallback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, else {}", self.near, self.far)
    }
}

impl Store for Fallback {
    fn get<'a>(&'a self, key: &'a Key, range: Option<Range<u64>>) -> BoxFuture<'a, Result<Bytes>> {
        Box::pin(async move {
            match self.near.get(key, range.clone()).await {
                // A near store that is away does not end reads, either.
                Err(error) if error.is_not_found() || error.may_retry() => {
                    let body = self.far.get(key, range).await;
                    if body.is_ok() {
                        self.far_reads.fetch_add(1, Ordering::Relaxed);
                    } else if error.may_retry() {
                        return Err(error);
                    }
                    body
                }
                near => near,
            }
        })
    }

    fn put<'a>(&'a self, key: &'a Key, body: Bytes) -> BoxFuture<'a, Result<()>> {
        self.near.put(key, body)
    }

    fn delete<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<()>> {
        self.near.delete(key)
    }

    fn head<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Listed>> {
        Box::pin(async move {
            match self.near.head(key).await {
                Err(error) if error.is_not_found() => self.far.head(key).await,
                near => near,
            }
        })
    }

    fn list<'a>(&'a self, prefix: &'a Key, after: &'a Key) -> BoxStream<'a, Result<Listed>> {
        self.near.list(prefix, after)
    }

    fn create_bucket(&self) -> BoxFuture<'_, Result<()>> {
        self.near.create_bucket()
    }

    fn limits(&self) -> Limits {
        self.near.limits()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backends::file::FileStore;

    #[tokio::test]
    async fn near_first_then_far_and_writes_stay_near() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = |name: &str| -> Arc<dyn Store> {
            Arc::new(FileStore::new(&format!("{}/", folder.path().join(name).display())).expect("a store"))
        };
        let (near, far) = (store("near"), store("far"));
        far.put("a", Bytes::from_static(b"far")).await.expect("stored");
        far.put("b", Bytes::from_static(b"far")).await.expect("stored");
        near.put("b", Bytes::from_static(b"near")).await.expect("stored");
        let both = Fallback::new(near.clone(), far.clone());
        assert_eq!(&both.get("a", None).await.expect("it is far")[..], b"far");
        assert_eq!(&both.get("b", Some(0..2)).await.expect("it is near")[..], b"ne");
        assert!(both.get("c", None).await.expect_err("nowhere").is_not_found());
        assert_eq!(both.far_reads().load(Ordering::Relaxed), 1);
        both.put("d", Bytes::from_static(b"d")).await.expect("stored");
        both.delete("a").await.expect("deleted near");
        assert!(far.head("d").await.expect_err("not far").is_not_found());
        far.head("a").await.expect("still far");
    }
}
