//! Transactions that happen exactly once.
//!
//! Each moves a marker from one value to the next and compares what it was (decisions 20). When the answer is lost, the
//! marker is changed unless it is moved already: a transaction that is still on its way then fails, and what the marker
//! was says whether it had happened. A marker that was in such a dispute, or whose commit was dropped, is not used again.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use juicefs_base::backoff;
use juicefs_base::sync::Mutex;

use super::link::Failure;
use super::proto::compare::CompareResult;
use super::proto::request_op::Request;
use super::proto::response_op::Response;
use super::proto::{Compare, DeleteRangeRequest, PutRequest, RangeRequest, TxnRequest, TxnResponse};
use super::txn::{Value, compare};
use super::{EtcdStore, operation};
use crate::engines::kv::keys;
use crate::engines::kv::store::{Batch, Range};
use crate::error::{Error, Result};
use crate::types::Time;

/// From sending a commit to giving up on learning what became of it (decisions 24).
const RESOLVE_MAX: Duration = Duration::from_secs(60);
/// Markers outlive any dispute about a commit.
const MARKER_SECONDS: i64 = 86_400;
/// Old markers removed at a time.
const SWEPT_MAX: i64 = 100;
/// In the place of a marker's number once there was a dispute.
const FENCE: u64 = u64::MAX;

/// One of the markers that commits of this client take turns with.
struct Marker {
    key: Bytes,
    number: u64,
    /// Empty before the first commit.
    value: Bytes,
}

pub(super) struct Markers {
    free: Mutex<Vec<Marker>>,
    /// Part of the markers' names.
    client: u64,
    count: AtomicU64,
    has_swept: AtomicBool,
}

impl Default for Markers {
    fn default() -> Self {
        Self {
            free: Mutex::new(Vec::new()),
            client: rand::random(),
            count: AtomicU64::new(0),
            has_swept: AtomicBool::new(false),
        }
    }
}

impl Markers {
    fn put_back(&self, marker: Marker) {
        self.free.lock().push(marker);
    }

    /// They went away with everything else.
    pub(super) fn forget(&self) {
        self.free.lock().clear();
    }
}

/// Number and unix seconds, by which old ones are found.
fn value(number: u64) -> Bytes {
    [number.to_be_bytes(), Time::now().sec.to_be_bytes()].concat().into()
}

fn seconds_of(value: &[u8]) -> Option<i64> {
    value.get(8..16)?.try_into().ok().map(i64::from_be_bytes)
}

impl EtcdStore {
    fn take_marker(&self) -> Marker {
        let free = self.markers.free.lock().pop();
        free.unwrap_or_else(|| {
            let count = self.markers.count.fetch_add(1, Ordering::Relaxed);
            let name = format!("{:016x}.{count}", self.markers.client);
            let key = self.whole(&[keys::MARKERS, name.as_bytes()].concat());
            Marker { key, number: 0, value: Bytes::new() }
        })
    }

    pub(super) async fn commit_once(&self, batch: Batch) -> Result<()> {
        self.sweep().await;
        let mut request = self.transaction(batch)?;
        let marker = self.take_marker();
        let next = value(marker.number + 1);
        request.compare.push(marker.is_as_it_was());
        request.success.push(marker.put(next.clone()));
        let look = RangeRequest { key: marker.key.clone(), ..RangeRequest::default() };
        request.failure.push(operation(Request::RequestRange(look)));
        let sent = Instant::now();
        match self.links.send(&request).await {
            Ok(answer) if answer.succeeded => {
                self.markers.put_back(Marker { value: next, number: marker.number + 1, ..marker });
                Ok(())
            }
            Ok(answer) => {
                // One that was swept while the client slept is given up: the next try takes another.
                if marker.is_in(answer) {
                    self.markers.put_back(marker);
                }
                Err(Error::Conflict)
            }
            Err(Failure::Lost(why)) => self.resolve(&marker, &next, why, sent + RESOLVE_MAX).await,
            Err(failure) => {
                self.markers.put_back(marker);
                Err(failure.plain())
            }
        }
    }

    /// Finds out whether a commit has happened, and makes sure that it never will if not.
    async fn resolve(&self, marker: &Marker, next: &Bytes, why: String, deadline: Instant) -> Result<()> {
        tracing::debug!(why, "the answer to a metadata commit was lost");
        let has_happened = compare(marker.key.clone(), CompareResult::Equal, Value::Is(next.clone()));
        let dispute = TxnRequest {
            compare: vec![has_happened],
            success: Vec::new(),
            failure: vec![marker.put(value(FENCE))],
        };
        for round in 0.. {
            // It may be said twice.
            let error = match self.links.read(&dispute).await {
                Ok(answer) if answer.succeeded => {
                    tracing::info!(why, "the answer to a commit was lost; it had happened");
                    return Ok(());
                }
                Ok(_) => {
                    tracing::info!(why, "the answer to a commit was lost; it had not happened");
                    return Err(Error::Conflict);
                }
                Err(error) => error,
            };
            let pause = backoff::doubling(round, Duration::from_millis(10), Duration::from_secs(1));
            if Instant::now() + pause > deadline {
                tracing::error!(%error, "what became of a metadata commit stays unknown");
                return Err(Error::InDoubt(error.to_string()));
            }
            tokio::time::sleep(pause).await;
        }
        Err(Error::InDoubt(why))
    }

    /// Removes markers that clients left behind long ago; once, before this client has its own. What fails here fails
    /// in the commit, too.
    async fn sweep(&self) {
        if self.markers.has_swept.swap(true, Ordering::Relaxed) {
            return;
        }
        if let Err(error) = self.remove_old_markers().await {
            tracing::debug!(%error, "old markers stay");
        }
    }

    async fn remove_old_markers(&self) -> Result<()> {
        let all = Range::prefix(keys::MARKERS.to_vec());
        let look = RangeRequest {
            key: self.whole(&all.from),
            range_end: self.whole(&all.to),
            limit: SWEPT_MAX,
            ..RangeRequest::default()
        };
        let found = self.links.read(&look).await?;
        let edge = Time::now().sec - MARKER_SECONDS;
        for kv in found.kvs {
            if seconds_of(&kv.value).is_some_and(|at| at >= edge) {
                continue;
            }
            let delete = DeleteRangeRequest { key: kv.key.clone(), range_end: Bytes::new() };
            let remove = TxnRequest {
                compare: vec![compare(kv.key, CompareResult::Equal, Value::Changed(kv.mod_revision))],
                success: vec![operation(Request::RequestDeleteRange(delete))],
                failure: Vec::new(),
            };
            self.links.read(&remove).await?;
        }
        Ok(())
    }
}

impl Marker {
    fn is_as_it_was(&self) -> Compare {
        let was = if self.value.is_empty() { Value::Made(0) } else { Value::Is(self.value.clone()) };
        compare(self.key.clone(), CompareResult::Equal, was)
    }

    fn put(&self, value: Bytes) -> super::proto::RequestOp {
        operation(Request::RequestPut(PutRequest { key: self.key.clone(), value }))
    }

    /// Whether it is still what it was by what a failed commit found.
    fn is_in(&self, answer: TxnResponse) -> bool {
        let found = answer.responses.into_iter().next_back().and_then(|response| match response.response {
            Some(Response::ResponseRange(range)) => range.kvs.into_iter().next(),
            _ => None,
        });
        found.map(|kv| kv.value).unwrap_or_default() == self.value
    }
}
