//! A store that can be replaced while it is used: requests under way end where they began, the next go to the new one.

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use juicefs_base::sync::RwLock;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use crate::error::Result;
use crate::store::{Key, Limits, Listed, Store, owned_list};

/// The store of the moment.
#[derive(Debug)]
pub struct Switch {
    current: RwLock<Arc<dyn Store>>,
}

impl Switch {
    #[must_use]
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { current: RwLock::new(store) }
    }

    /// Sends what comes from now on to `store`.
    pub fn replace(&self, store: Arc<dyn Store>) {
        *self.current.write() = store;
    }

    fn now(&self) -> Arc<dyn Store> {
        self.current.read().clone()
    }
}

impl fmt::Display for Switch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.now().fmt(f)
    }
}

impl Store for Switch {
    fn get<'a>(&'a self, key: &'a Key, range: Option<Range<u64>>) -> BoxFuture<'a, Result<Bytes>> {
        let store = self.now();
        Box::pin(async move { store.get(key, range).await })
    }

    fn put<'a>(&'a self, key: &'a Key, body: Bytes) -> BoxFuture<'a, Result<()>> {
        let store = self.now();
        Box::pin(async move { store.put(key, body).await })
    }

    fn delete<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<()>> {
        let store = self.now();
        Box::pin(async move { store.delete(key).await })
    }

    fn head<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Listed>> {
        let store = self.now();
        Box::pin(async move { store.head(key).await })
    }

    fn list<'a>(&'a self, prefix: &'a Key, after: &'a Key) -> BoxStream<'a, Result<Listed>> {
        owned_list(self.now(), prefix.to_owned(), after.to_owned())
    }

    fn create_bucket(&self) -> BoxFuture<'_, Result<()>> {
        let store = self.now();
        Box::pin(async move { store.create_bucket().await })
    }

    fn limits(&self) -> Limits {
        self.now().limits()
    }
}
