//! Refuses every write: whatever goes wrong above, nothing reaches the bucket.

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::store::{Key, Limits, Listed, Store};

/// A store that is only read.
#[derive(Debug)]
pub struct ReadOnly {
    inner: Arc<dyn Store>,
    why: String,
}

impl ReadOnly {
    /// `why` is told to whoever tries to write.
    #[must_use]
    pub fn new(inner: Arc<dyn Store>, why: String) -> Self {
        Self { inner, why }
    }

    fn refuse<T>(&self, key: &Key) -> BoxFuture<'_, Result<T>>
    where
        T: Send + 'static,
    {
        let refusal = Error::PermissionDenied {
            store: self.inner.to_string(),
            key: key.to_owned(),
            cause: self.why.clone(),
        };
        Box::pin(std::future::ready(Err(refusal)))
    }
}

impl fmt::Display for ReadOnly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl Store for ReadOnly {
    fn get<'a>(&'a self, key: &'a Key, range: Option<Range<u64>>) -> BoxFuture<'a, Result<Bytes>> {
        self.inner.get(key, range)
    }

    fn put<'a>(&'a self, key: &'a Key, _: Bytes) -> BoxFuture<'a, Result<()>> {
        self.refuse(key)
    }

    fn delete<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<()>> {
        self.refuse(key)
    }

    fn head<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Listed>> {
        self.inner.head(key)
    }

    fn list<'a>(&'a self, prefix: &'a Key, after: &'a Key) -> BoxStream<'a, Result<Listed>> {
        self.inner.list(prefix, after)
    }

    fn create_bucket(&self) -> BoxFuture<'_, Result<()>> {
        self.refuse("the bucket")
    }

    fn limits(&self) -> Limits {
        self.inner.limits()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backends::file::FileStore;

    #[tokio::test]
    async fn nothing_is_written() {
        let folder = tempfile::tempdir().expect("a folder");
        let inner: Arc<dyn Store> =
            Arc::new(FileStore::new(&format!("{}/", folder.path().display())).expect("a store"));
        inner.put("a", Bytes::from_static(b"a")).await.expect("stored");
        let store = ReadOnly::new(inner, "a mirror".to_owned());
        let refused = store.delete("a").await.expect_err("refused");
        assert!(refused.to_string().contains("a mirror") && !refused.may_retry());
        store.put("b", Bytes::new()).await.expect_err("refused");
        assert_eq!(&store.get("a", None).await.expect("it is there")[..], b"a");
    }
}
