//! Faults on demand, for tests of everything above.

use bytes::Bytes;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use juicefs_base::sync::Mutex;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use tokio::sync::Notify;

use crate::error::{Error, Result};
use crate::store::{Key, Limits, Listed, Store};

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Unreachable,
    PermissionDenied,
    Full,
    /// Never answers.
    Hang,
    /// Answers when the store is healed.
    Stall,
}

/// Fails the next requests as told, then passes them on.
#[derive(Debug)]
pub struct Faulty {
    inner: Arc<dyn Store>,
    planned: Mutex<Option<(u32, Fault)>>,
    healed: Notify,
}

impl Faulty {
    #[must_use]
    pub fn new(inner: Arc<dyn Store>) -> Self {
        Self { inner, planned: Mutex::new(None), healed: Notify::new() }
    }

    /// The next `count` requests meet `fault`; 0 heals the store.
    pub fn fail_next(&self, count: u32, fault: Fault) {
        *self.planned.lock() = (count > 0).then_some((count, fault));
        if count == 0 {
            self.healed.notify_waiters();
        }
    }

    async fn meet(&self, key: &Key) -> Result<()> {
        let healed = self.healed.notified();
        let fault = {
            let mut planned = self.planned.lock();
            let Some((left, fault)) = planned.as_mut() else { return Ok(()) };
            let fault = *fault;
            *left -= 1;
            if *left == 0 {
                *planned = None;
            }
            fault
        };
        let (store, key, cause) = (self.inner.to_string(), key.to_owned(), "injected".to_owned());
        Err(match fault {
            Fault::Unreachable => Error::Unreachable { store, key, cause },
            Fault::PermissionDenied => Error::PermissionDenied { store, key, cause },
            Fault::Full => Error::Full { store, key },
            Fault::Hang => {
                std::future::pending::<()>().await;
                return Ok(());
            }
            Fault::Stall => {
                healed.await;
                return Ok(());
            }
        })
    }
}

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl Store for Faulty {
    fn get<'a>(&'a self, key: &'a Key, range: Option<Range<u64>>) -> BoxFuture<'a, Result<Bytes>> {
        Box::pin(async move {
            self.meet(key).await?;
            self.inner.get(key, range).await
        })
    }

    fn put<'a>(&'a self, key: &'a Key, body: Bytes) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            self.meet(key).await?;
            self.inner.put(key, body).await
        })
    }

    fn delete<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            self.meet(key).await?;
            self.inner.delete(key).await
        })
    }

    fn head<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Listed>> {
        Box::pin(async move {
            self.meet(key).await?;
            self.inner.head(key).await
        })
    }

    fn list<'a>(&'a self, prefix: &'a Key, after: &'a Key) -> BoxStream<'a, Result<Listed>> {
        let met =
            futures::stream::once(self.meet(prefix)).filter_map(|met| std::future::ready(met.err().map(Err)));
        met.chain(self.inner.list(prefix, after)).boxed()
    }

    fn create_bucket(&self) -> BoxFuture<'_, Result<()>> {
        self.inner.create_bucket()
    }

    fn limits(&self) -> Limits {
        self.inner.limits()
    }
}
