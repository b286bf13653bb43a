//! Objects spread over several buckets by a hash of their names (format 6.3).

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{BoxStream, StreamExt};
use std::fmt;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::store::{Key, Limits, Listed, Store};

/// Most buckets a volume may have.
pub const SHARDS_MAX: u32 = 256;
const PLACE: &str = "%d";

/// Several stores as one; the key decides, so that every client finds the same.
#[derive(Debug)]
pub struct Sharded {
    shards: Vec<Arc<dyn Store>>,
    /// The template of the buckets, for sentences.
    bucket: String,
}

impl Sharded {
    #[must_use]
    pub fn new(shards: Vec<Arc<dyn Store>>, bucket: &str) -> Self {
        Self { shards, bucket: bucket.to_owned() }
    }

    fn of(&self, key: &Key) -> Result<&Arc<dyn Store>> {
        let at = fnv1a(key.as_bytes()) as usize % self.shards.len().max(1);
        self.shards.get(at).ok_or_else(|| Error::BadSpec(format!("`{}` has no shards", self.bucket)))
    }
}

/// The buckets that `template` stands for.
///
/// # Errors
/// [`Error::BadSpec`]: too many of them, or a template without a place for the number.
pub fn buckets(template: &str, shards: u32) -> Result<Vec<String>> {
    if shards > SHARDS_MAX {
        return Err(Error::BadSpec(format!("{shards} shards are too many: at most {SHARDS_MAX}")));
    }
    if template.matches(PLACE).count() != 1 || template.matches('%').count() != 1 {
        return Err(Error::BadSpec(format!(
            "bucket `{template}` of a volume with {shards} shards must hold {PLACE} once, where the number of the \
             bucket goes"
        )));
    }
    Ok((0..shards).map(|shard| template.replace(PLACE, &shard.to_string())).collect())
}

/// FNV-1a of 32 bits.
fn fnv1a(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

impl fmt::Display for Sharded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.shards.first() {
            Some(first) => write!(f, "{first} and {} more shards", self.shards.len() - 1),
            None => f.write_str(&self.bucket),
        }
    }
}

impl Store for Sharded {
    fn get<'a>(&'a self, key: &'a Key, range: Option<Range<u64>>) -> BoxFuture<'a, Result<Bytes>> {
        Box::pin(async move { self.of(key)?.get(key, range).await })
    }

    fn put<'a>(&'a self, key: &'a Key, body: Bytes) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move { self.of(key)?.put(key, body).await })
    }

    fn delete<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move { self.of(key)?.delete(key).await })
    }

    fn head<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Listed>> {
        Box::pin(async move { self.of(key)?.head(key).await })
    }

    /// The listings of all shards merged in byte order, one object of each in memory.
    fn list<'a>(&'a self, prefix: &'a Key, after: &'a Key) -> BoxStream<'a, Result<Listed>> {
        type Listing<'a> = Pin<Box<futures::stream::Peekable<BoxStream<'a, Result<Listed>>>>>;
        let listings: Vec<Listing<'a>> =
            self.shards.iter().map(|shard| Box::pin(shard.list(prefix, after).peekable())).collect();
        let merged = futures::stream::unfold(listings, |mut listings| async move {
            let mut next: Option<(usize, String)> = None;
            for (at, listing) in listings.iter_mut().enumerate() {
                match listing.as_mut().peek().await {
                    None => {}
                    Some(Err(_)) => {
                        next = Some((at, String::new()));
                        break;
                    }
                    Some(Ok(item)) if next.as_ref().is_none_or(|(_, least)| item.key < *least) => {
                        next = Some((at, item.key.clone()));
                    }
                    Some(Ok(_)) => {}
                }
            }
            let (at, _) = next?;
            let item = listings.get_mut(at)?.next().await?;
            Some((item, listings))
        });
        merged.boxed()
    }

    fn create_bucket(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            for shard in &self.shards {
                shard.create_bucket().await?;
            }
            Ok(())
        })
    }

    fn limits(&self) -> Limits {
        let every = |has: fn(Limits) -> bool| self.shards.iter().all(|shard| has(shard.limits()));
        Limits {
            lists_in_order: every(|limits| limits.lists_in_order),
            reads_ranges: every(|limits| limits.reads_ranges),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_fnv_1a() {
        // The function's published vectors.
        for (text, hash) in [("", 0x811c_9dc5), ("a", 0xe40c_292c), ("foobar", 0xbf9c_f968)] {
            assert_eq!(fnv1a(text.as_bytes()), hash, "{text}");
        }
    }

    #[test]
    fn a_template_has_one_place_for_the_number() {
        assert_eq!(
            buckets("http://h/b-%d", 3).expect("three"),
            ["http://h/b-0", "http://h/b-1", "http://h/b-2"]
        );
        for (template, shards) in [("http://h/b", 3), ("b%d-%d", 3), ("b%s%d", 3), ("b%d", 257)] {
            assert!(buckets(template, shards).is_err(), "{template} {shards}");
        }
    }
}
