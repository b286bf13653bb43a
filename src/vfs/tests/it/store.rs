//! A bucket in memory whose requests take turns at random, so that nothing may rely on their order.

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream, StreamExt};
use juicefs_base::sync::Mutex;
use juicefs_object::{Error, Key, Limits, Listed, Result, Store};
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

#[derive(Debug, Default)]
pub struct MemoryStore {
    objects: Mutex<BTreeMap<String, Bytes>>,
    /// Longest random delay of a put, in microseconds.
    pub put_delay_us: AtomicU64,
    pub puts: AtomicU64,
}

impl MemoryStore {
    pub fn keys(&self) -> Vec<String> {
        self.objects.lock().keys().cloned().collect()
    }

    async fn delay(&self) {
        let most = self.put_delay_us.load(Ordering::Relaxed);
        if most > 0 {
            let number = self.puts.load(Ordering::Relaxed).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33;
            tokio::time::sleep(Duration::from_micros(number % most)).await;
        }
    }
}

impl fmt::Display for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("memory")
    }
}

impl Store for MemoryStore {
    fn get<'a>(&'a self, key: &'a Key, range: Option<Range<u64>>) -> BoxFuture<'a, Result<Bytes>> {
        Box::pin(async move {
            tokio::task::yield_now().await;
            let objects = self.objects.lock();
            let missing = || Error::NotFound { store: "memory".into(), key: key.to_owned() };
            let body = objects.get(key).cloned().ok_or_else(missing)?;
            Ok(match range {
                Some(range) => body.slice(range.start as usize..(range.end as usize).min(body.len())),
                None => body,
            })
        })
    }

    fn put<'a>(&'a self, key: &'a Key, body: Bytes) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            self.puts.fetch_add(1, Ordering::Relaxed);
            self.delay().await;
            let old = self.objects.lock().insert(key.to_owned(), Bytes::copy_from_slice(&body));
            assert!(old.is_none(), "{key} was overwritten");
            Ok(())
        })
    }

    fn delete<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<()>> {
        self.objects.lock().remove(key);
        Box::pin(async { Ok(()) })
    }

    fn head<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Listed>> {
        Box::pin(async move {
            let size = self.get(key, None).await?.len() as u64;
            Ok(Listed { key: key.to_owned(), size, modified_at: 0, is_prefix: false })
        })
    }

    fn list<'a>(&'a self, prefix: &'a Key, after: &'a Key) -> BoxStream<'a, Result<Listed>> {
        let objects = self.objects.lock();
        let listed: Vec<_> = objects
            .iter()
            .filter(|(key, _)| key.starts_with(prefix) && key.as_str() > after)
            .map(|(key, body)| {
                Ok(Listed { key: key.clone(), size: body.len() as u64, modified_at: 0, is_prefix: false })
            })
            .collect();
        stream::iter(listed).boxed()
    }

    fn create_bucket(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async { Ok(()) })
    }

    fn limits(&self) -> Limits {
        Limits { lists_in_order: true, reads_ranges: true }
    }
}
