//! Metadata in etcd 3.4 and later, one volume below a prefix of its keys.
//!
//! A version is a key's revision of its last change, a moment the revision of the store. A commit is one transaction of
//! etcd that compares and then writes ([`txn`]), with a marker by which its fate is found out when the answer is lost
//! ([`commit`]).

mod commit;
mod link;
mod txn;
#[rustfmt::skip]
#[allow(clippy::all, clippy::pedantic, clippy::allow_attributes_without_reason, reason = "generated")]
mod proto;

use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{FuturesOrdered, TryStreamExt};

use super::KvEngine;
use super::store::{Ask, Batch, Found, Key, Record, Store};
use crate::error::Result;
use crate::port::Engine;
use crate::url::EtcdUrl;
use commit::Markers;
use link::Links;
use proto::request_op::Request;
use proto::response_op::Response;
use proto::{KeyValue, PutRequest, RangeRequest, RangeResponse, RequestOp, TxnRequest};

/// Operations in one transaction, as etcd has it when its `--max-txn-ops` says nothing.
const OPERATIONS_MAX: usize = 128;
/// Bytes of a transaction that only puts: far below etcd's limit of 1.5 MiB for a request.
const FILL_BYTES: usize = 512 << 10;
/// A list of that many records is 480 KiB, and three of them fit a request; compaction comes long before.
const SLICES_MAX: u32 = 20_000;
/// Keys removed in one request.
const CLEAR_KEYS: i64 = 10_000;

/// Connects to the cluster.
///
/// # Errors
/// `Unavailable` when no member answers, `Engine` with a sentence when it refuses.
pub async fn open(url: &EtcdUrl) -> Result<Arc<dyn Engine>> {
    Ok(Arc::new(KvEngine::open(EtcdStore::new(url)?).await?))
}

pub(super) struct EtcdStore {
    links: Links,
    markers: Markers,
    /// Before every key: the address's path and a byte that ends it.
    prefix: Vec<u8>,
    place: String,
}

impl EtcdStore {
    /// # Errors
    /// Certificates that can't be used.
    pub(super) fn new(url: &EtcdUrl) -> Result<Self> {
        let mut prefix = url.path.clone().into_bytes();
        prefix.push(0xFD);
        let place = format!("etcd at {}", url.place());
        Ok(Self { links: Links::new(url, &place)?, markers: Markers::default(), prefix, place })
    }

    fn whole(&self, key: &[u8]) -> Bytes {
        [&self.prefix, key].concat().into()
    }

    fn range_request(&self, ask: &Ask) -> RangeRequest {
        match ask {
            Ask::Key(key) => RangeRequest { key: self.whole(key), ..RangeRequest::default() },
            Ask::Range { range, records_max, keys_only } => RangeRequest {
                key: self.whole(&range.from),
                range_end: self.whole(&range.to),
                limit: i64::try_from(*records_max).unwrap_or(i64::MAX),
                keys_only: *keys_only,
                ..RangeRequest::default()
            },
        }
    }

    fn found(&self, answer: RangeResponse, moment: i64) -> Found {
        let record = |kv: KeyValue| Record {
            key: kv.key.get(self.prefix.len()..).unwrap_or_default().to_vec(),
            value: kv.value,
            version: kv.mod_revision,
        };
        Found { records: answer.kvs.into_iter().map(record).collect(), has_more: answer.more, moment }
    }

    async fn ask(&self, asks: &[Ask]) -> Result<Vec<Found>> {
        if let [ask] = asks {
            let request = self.range_request(ask);
            let answer = self.links.read(&request).await?;
            let moment = answer.header.as_ref().map_or(0, |header| header.revision);
            return Ok(vec![self.found(answer, moment)]);
        }
        let success =
            asks.iter().map(|ask| operation(Request::RequestRange(self.range_request(ask)))).collect();
        let request = TxnRequest { success, ..TxnRequest::default() };
        let answer = self.links.read(&request).await?;
        let moment = answer.header.as_ref().map_or(0, |header| header.revision);
        let found = answer.responses.into_iter().map(|response| match response.response {
            Some(Response::ResponseRange(range)) => self.found(range, moment),
            _ => Found::default(),
        });
        Ok(found.collect())
    }
}

fn operation(request: Request) -> RequestOp {
    RequestOp { request: Some(request) }
}

impl Store for EtcdStore {
    fn name(&self) -> &'static str {
        "etcd"
    }

    fn place(&self) -> String {
        self.place.clone()
    }

    fn read<'a>(&'a self, asks: &'a [Ask]) -> BoxFuture<'a, Result<Vec<Found>>> {
        Box::pin(async move {
            let parts: FuturesOrdered<_> = asks.chunks(OPERATIONS_MAX).map(|asks| self.ask(asks)).collect();
            Ok(parts.try_collect::<Vec<_>>().await?.into_iter().flatten().collect())
        })
    }

    fn commit(&self, batch: Batch) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.commit_once(batch))
    }

    fn fill<'a>(&'a self, records: &'a [(Key, Bytes)]) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let mut left = records;
            while !left.is_empty() {
                let mut bytes = 0;
                let fits = |(key, value): &&(Key, Bytes)| {
                    bytes += key.len() + value.len() + self.prefix.len();
                    bytes <= FILL_BYTES
                };
                // Two rows of one key can't go into one transaction; a load brings each once.
                let count = left.iter().take(OPERATIONS_MAX).take_while(fits).count().max(1);
                let put = |(key, value): &(Key, Bytes)| {
                    operation(Request::RequestPut(PutRequest { key: self.whole(key), value: value.clone() }))
                };
                let request =
                    TxnRequest { success: left[..count].iter().map(put).collect(), ..TxnRequest::default() };
                self.links.read(&request).await?;
                left = &left[count..];
            }
            Ok(())
        })
    }

    fn clear(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            // A database whose setting is gone is mounted by nobody, whatever is still there.
            self.remove(self.whole(super::keys::SETTING), Bytes::new()).await?;
            let end = self.whole(&[0xFF]);
            loop {
                let page = RangeRequest {
                    key: self.whole(&[]),
                    range_end: end.clone(),
                    limit: CLEAR_KEYS,
                    keys_only: true,
                    ..RangeRequest::default()
                };
                let page = self.links.read(&page).await?;
                let (Some(first), Some(last)) = (page.kvs.first(), page.kvs.last()) else { break };
                let behind = [&last.key[..], &[0]].concat();
                self.remove(first.key.clone(), behind.into()).await?;
            }
            self.markers.forget();
            Ok(())
        })
    }

    fn checks_max(&self) -> usize {
        txn::COMPARES_MAX
    }

    fn slices_max(&self) -> u32 {
        SLICES_MAX
    }
}

impl EtcdStore {
    async fn remove(&self, key: Bytes, range_end: Bytes) -> Result<()> {
        let request = proto::DeleteRangeRequest { key, range_end };
        self.links.read(&request).await.map(drop)
    }
}

#[cfg(test)]
pub(crate) mod tests;
