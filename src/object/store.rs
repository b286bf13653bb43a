//! What a bucket must do. Conveniences are in [`StoreExt`], which no backend can override.

use bytes::Bytes;
use futures::SinkExt;
use futures::future::BoxFuture;
use futures::stream::{BoxStream, StreamExt};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use crate::error::Result;

/// A key relative to the store's root, as the format names it (`NAME/chunks/0/0/1_0_4096`).
pub type Key = str;

/// One object as a listing shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    pub key: String,
    pub size: u64,
    /// Unix seconds.
    pub modified_at: i64,
    /// A key that ends in `/` or a directory of the `file` store.
    pub is_prefix: bool,
}

/// What a backend can do; callers ask, never guess by name.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Listings come in byte order of the keys.
    pub lists_in_order: bool,
    /// `get` with a range reads only that range.
    pub reads_ranges: bool,
}

/// What a bucket must do. Every call is one request; retries and deadlines are a layer.
pub trait Store: fmt::Display + fmt::Debug + Send + Sync {
    /// The whole object, or `range` of it. A missing key is [`crate::Error::NotFound`].
    fn get<'a>(&'a self, key: &'a Key, range: Option<Range<u64>>) -> BoxFuture<'a, Result<Bytes>>;
    /// Stores `body` under `key`, replacing what was there; durable when it returns.
    fn put<'a>(&'a self, key: &'a Key, body: Bytes) -> BoxFuture<'a, Result<()>>;
    /// Removes `key`; a missing key is success.
    fn delete<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<()>>;
    /// Size and time of one object.
    fn head<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Listed>>;
    /// Every object whose key begins with `prefix` and sorts after `after`.
    fn list<'a>(&'a self, prefix: &'a Key, after: &'a Key) -> BoxStream<'a, Result<Listed>>;
    /// Makes the bucket if it is missing; fails with a sentence when it can't be made or reached.
    fn create_bucket(&self) -> BoxFuture<'_, Result<()>>;
    fn limits(&self) -> Limits;
}

/// [`Store::list`] of a store and a prefix that the listing keeps for itself.
pub(crate) fn owned_list(
    store: Arc<dyn Store>,
    prefix: String,
    after: String,
) -> BoxStream<'static, Result<Listed>> {
    let (mut sender, receiver) = futures::channel::mpsc::channel(64);
    // The store's stream borrows its arguments, so that it is driven where they live.
    let drive = async move {
        let mut items = store.list(&prefix, &after);
        while let Some(item) = items.next().await {
            if sender.send(item).await.is_err() {
                break;
            }
        }
    };
    let driven = futures::stream::once(drive).filter_map(|()| std::future::ready(None));
    futures::stream::select(driven, receiver).boxed()
}

/// Comfort over the port, the same for every backend.
pub trait StoreExt: Store {
    /// Every listed object in memory; for small prefixes only.
    fn list_all<'a>(&'a self, prefix: &'a Key) -> BoxFuture<'a, Result<Vec<Listed>>> {
        use futures::TryStreamExt;
        Box::pin(async move { self.list(prefix, "").try_collect().await })
    }

    /// The object, or `None` when there is none.
    fn get_if_exists<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Option<Bytes>>> {
        Box::pin(async move {
            match self.get(key, None).await {
                Ok(body) => Ok(Some(body)),
                Err(error) if error.is_not_found() => Ok(None),
                Err(error) => Err(error),
            }
        })
    }
}

impl<S: Store + ?Sized> StoreExt for S {}
