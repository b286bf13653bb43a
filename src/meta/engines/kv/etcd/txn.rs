//! A batch as one transaction of etcd.
//!
//! etcd takes 128 operations and as many comparisons, and counts along each path of transactions within transactions.
//! Batches that fit are flat. In larger ones the writes go into inner transactions that always run. What can't be
//! compared key by key is compared by ranges of keys, none of which may have changed since they were read: that sees
//! everything but deletions, and a key that was missing can't be deleted, while a write for a key that may be gone
//! ([`Check::Unchanged`]) stands under a condition of its own.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::proto::compare::{CompareResult, CompareTarget, TargetUnion};
use super::proto::request_op::Request;
use super::proto::{Compare, DeleteRangeRequest, PutRequest, RequestOp, TxnRequest};
use super::{EtcdStore, OPERATIONS_MAX, operation};
use crate::engines::kv::store::{ABSENT, Batch, Check};
use crate::error::{Error, Result};

/// Comparisons beside the marker's.
pub(super) const COMPARES_MAX: usize = OPERATIONS_MAX - 1;
/// Comparisons, or inner transactions, of a large batch's outer transaction.
const OUTER_MAX: usize = OPERATIONS_MAX / 2;
/// What an inner transaction takes then; those below it take one.
const INNER_MAX: usize = OPERATIONS_MAX - OUTER_MAX - 1;

impl EtcdStore {
    /// The batch without a marker.
    ///
    /// # Errors
    /// More than etcd takes.
    pub(super) fn transaction(&self, batch: Batch) -> Result<TxnRequest> {
        let operations = batch.writes.len() + batch.cleared.len();
        let compares = batch.checks.len() + batch.empty.len();
        if operations < OPERATIONS_MAX && compares <= COMPARES_MAX {
            self.flat(batch)
        } else {
            self.nested(batch)
        }
    }

    fn flat(&self, batch: Batch) -> Result<TxnRequest> {
        let mut compare: Vec<_> = batch.empty.iter().map(|range| self.is_empty(range)).collect();
        compare.extend(batch.checks.iter().map(|(key, check)| self.compare(key, check)));
        let mut success: Vec<_> = batch.cleared.iter().map(|range| self.clear_range(range)).collect();
        success.extend(batch.writes.into_iter().map(|(key, value)| self.write(&key, value)));
        Ok(TxnRequest { compare, success, failure: Vec::new() })
    }

    fn nested(&self, batch: Batch) -> Result<TxnRequest> {
        let mut compare: Vec<_> = batch.empty.iter().map(|range| self.is_empty(range)).collect();
        let mut conditions = BTreeMap::new();
        let mut spans = Spans::default();
        for (key, check) in &batch.checks {
            match check {
                Check::Unchanged { version, moment, or_gone } if *or_gone || *version == ABSENT => {
                    spans.add(self.whole(key), *moment);
                    if *or_gone && *version != ABSENT {
                        conditions.insert(key.clone(), self.compare(key, check));
                    }
                }
                _ => compare.push(self.compare(key, check)),
            }
        }
        // One is the marker's.
        let room = (OUTER_MAX - 1).checked_sub(compare.len()).filter(|room| *room > 0 || spans.is_empty());
        let room = room.ok_or_else(|| too_much(compare.len()))?;
        compare.extend(spans.compares(room));
        let mut inner: Vec<_> = batch.cleared.iter().map(|range| self.clear_range(range)).collect();
        for (key, value) in batch.writes {
            let write = self.write(&key, value);
            inner.push(match conditions.remove(&key) {
                Some(condition) => operation(Request::RequestTxn(TxnRequest {
                    compare: vec![condition],
                    success: vec![write],
                    failure: Vec::new(),
                })),
                None => write,
            });
        }
        if inner.len() > (OUTER_MAX - 1) * INNER_MAX {
            return Err(too_much(inner.len()));
        }
        let outer = |operations: &[RequestOp]| {
            let success = operations.to_vec();
            operation(Request::RequestTxn(TxnRequest { success, ..TxnRequest::default() }))
        };
        let success = inner.chunks(INNER_MAX).map(outer).collect();
        Ok(TxnRequest { compare, success, failure: Vec::new() })
    }

    fn write(&self, key: &[u8], value: Option<Bytes>) -> RequestOp {
        let key = self.whole(key);
        operation(match value {
            Some(value) => Request::RequestPut(PutRequest { key, value }),
            None => Request::RequestDeleteRange(DeleteRangeRequest { key, range_end: Bytes::new() }),
        })
    }

    fn clear_range(&self, range: &crate::engines::kv::store::Range) -> RequestOp {
        let (key, range_end) = (self.whole(&range.from), self.whole(&range.to));
        operation(Request::RequestDeleteRange(DeleteRangeRequest { key, range_end }))
    }

    /// Keys that are there were made at a revision.
    fn is_empty(&self, range: &crate::engines::kv::store::Range) -> Compare {
        let made = Value::Made(0);
        Compare {
            range_end: self.whole(&range.to),
            ..compare(self.whole(&range.from), CompareResult::Equal, made)
        }
    }

    fn compare(&self, key: &[u8], check: &Check) -> Compare {
        let key = self.whole(key);
        match check {
            Check::Unchanged { version, .. } => compare(key, CompareResult::Equal, Value::Changed(*version)),
            Check::Present => compare(key, CompareResult::Greater, Value::Made(0)),
            Check::Absent => compare(key, CompareResult::Equal, Value::Made(0)),
            Check::Equals(value) => compare(key, CompareResult::Equal, Value::Is(value.clone())),
        }
    }
}

fn too_much(count: usize) -> Error {
    Error::Engine(format!("{count} conditions or writes are more than one transaction of etcd takes"))
}

/// What of a key is compared.
pub(super) enum Value {
    /// The revision that made it, 0 = it is not there.
    Made(i64),
    Changed(i64),
    Is(Bytes),
}

pub(super) fn compare(key: Bytes, result: CompareResult, value: Value) -> Compare {
    let (target, union) = match value {
        Value::Made(revision) => (CompareTarget::Create, TargetUnion::CreateRevision(revision)),
        Value::Changed(revision) => (CompareTarget::Mod, TargetUnion::ModRevision(revision)),
        Value::Is(value) => (CompareTarget::Value, TargetUnion::Value(value)),
    };
    Compare {
        result: result.into(),
        target: target.into(),
        key,
        target_union: Some(union),
        range_end: Bytes::new(),
    }
}

/// Keys of which none may have changed since a moment, in as few ranges as there is room for.
#[derive(Default)]
struct Spans(BTreeMap<Bytes, i64>);

impl Spans {
    fn add(&mut self, key: Bytes, moment: i64) {
        self.0.insert(key, moment);
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Neighbours share a range, as many as there must.
    fn compares(self, room: usize) -> Vec<Compare> {
        let keys: Vec<_> = self.0.into_iter().collect();
        let share = keys.len().div_ceil(room.max(1)).max(1);
        let span = |keys: &[(Bytes, i64)]| {
            let moment = keys.iter().map(|(_, moment)| *moment).min().unwrap_or(0);
            let behind = [&keys[keys.len() - 1].0[..], &[0]].concat();
            Compare {
                range_end: behind.into(),
                ..compare(keys[0].0.clone(), CompareResult::Less, Value::Changed(moment + 1))
            }
        };
        keys.chunks(share).map(span).collect()
    }
}
