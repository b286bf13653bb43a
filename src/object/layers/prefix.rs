//! Keys below a prefix, as if it were the root.

use bytes::Bytes;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use crate::error::Result;
use crate::store::{Key, Limits, Listed, Store, owned_list};

/// A store that sees only what lies below its prefix.
#[derive(Debug)]
pub struct Prefixed {
    inner: Arc<dyn Store>,
    prefix: String,
}

impl Prefixed {
    #[must_use]
    pub fn new(inner: Arc<dyn Store>, prefix: String) -> Self {
        Self { inner, prefix }
    }

    fn full(&self, key: &Key) -> String {
        format!("{}{key}", self.prefix)
    }

    fn strip(&self, listed: Listed) -> Listed {
        let key = listed.key.strip_prefix(&self.prefix).unwrap_or(&listed.key).to_owned();
        Listed { key, ..listed }
    }
}

impl fmt::Display for Prefixed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = self.inner.to_string();
        let separator = if inner.ends_with('/') { "" } else { "/" };
        write!(f, "{inner}{separator}{}", self.prefix)
    }
}

impl Store for Prefixed {
    fn get<'a>(&'a self, key: &'a Key, range: Option<Range<u64>>) -> BoxFuture<'a, Result<Bytes>> {
        Box::pin(async move { self.inner.get(&self.full(key), range).await })
    }

    fn put<'a>(&'a self, key: &'a Key, body: Bytes) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move { self.inner.put(&self.full(key), body).await })
    }

    fn delete<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move { self.inner.delete(&self.full(key)).await })
    }

    fn head<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Listed>> {
        Box::pin(async move { self.inner.head(&self.full(key)).await.map(|listed| self.strip(listed)) })
    }

    fn list<'a>(&'a self, prefix: &'a Key, after: &'a Key) -> BoxStream<'a, Result<Listed>> {
        let prefix = self.full(prefix);
        let after = if after.is_empty() { String::new() } else { self.full(after) };
        owned_list(self.inner.clone(), prefix, after)
            .map(|item| item.map(|listed| self.strip(listed)))
            .boxed()
    }

    fn create_bucket(&self) -> BoxFuture<'_, Result<()>> {
        self.inner.create_bucket()
    }

    fn limits(&self) -> Limits {
        self.inner.limits()
    }
}
