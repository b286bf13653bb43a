//! Two stores that are to hold the same objects: reads prefer the near one, writes are acknowledged by it or by both,
//! what the other lacks is a debt.
//!
//! Objects are immutable, so that it never matters which store answers. Only two answers of "not there" are one: a
//! store that does not answer may have the object.

mod debts;
mod journal;

pub use debts::{DebtCounts, Debts, PAYERS};

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use juicefs_base::sync::Mutex;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

use crate::error::{Error, Result};
use crate::store::{Key, Limits, Listed, Store};

/// How long the near store may take for a read before the far one is asked.
const NEAR_PATIENCE: Duration = Duration::from_secs(5);
/// How long the far store comes first after the near one did not answer.
const NEAR_AVOIDED: Duration = Duration::from_secs(5);

/// One of the two stores, by what it is to the volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The bucket of the setting, the only one that stock clients know.
    First,
    Second,
}

impl Side {
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::First => Self::Second,
            Self::Second => Self::First,
        }
    }
}

/// The two stores by their sides.
#[derive(Clone, Debug)]
pub struct Sides {
    pub first: Arc<dyn Store>,
    pub second: Arc<dyn Store>,
}

impl Sides {
    #[must_use]
    pub fn of(&self, side: Side) -> &Arc<dyn Store> {
        match side {
            Side::First => &self.first,
            Side::Second => &self.second,
        }
    }
}

/// See the module.
#[derive(Debug)]
pub struct Twin {
    sides: Sides,
    near: Side,
    /// Who copies later. Without anybody, or with `acks_both`, a write is in both stores when it returns.
    debts: Option<Arc<Debts>>,
    acks_both: bool,
    avoids_near_until: Mutex<Option<Instant>>,
}

impl Twin {
    #[must_use]
    pub fn new(sides: Sides, near: Side, debts: Option<Arc<Debts>>, acks_both: bool) -> Self {
        Self { sides, near, debts, acks_both, avoids_near_until: Mutex::new(None) }
    }

    fn near(&self) -> &Arc<dyn Store> {
        self.sides.of(self.near)
    }

    fn far(&self) -> &Arc<dyn Store> {
        self.sides.of(self.near.other())
    }

    fn avoids_near(&self) -> bool {
        self.avoids_near_until.lock().is_some_and(|until| Instant::now() < until)
    }

    /// One read from whichever store has the answer.
    async fn read<T>(
        &self,
        key: &Key,
        read: impl for<'s> Fn(&'s Arc<dyn Store>) -> BoxFuture<'s, Result<T>>,
    ) -> Result<T> {
        if self.avoids_near()
            && let Ok(answer) = read(self.far()).await
        {
            self.count_fallback();
            return Ok(answer);
        }
        let from_near = match tokio::time::timeout(NEAR_PATIENCE, read(self.near())).await {
            Ok(Ok(answer)) => {
                *self.avoids_near_until.lock() = None;
                return Ok(answer);
            }
            Ok(Err(error)) => error,
            Err(_) => Error::Unreachable {
                store: self.near().to_string(),
                key: key.to_owned(),
                cause: format!("no answer within {} s", NEAR_PATIENCE.as_secs()),
            },
        };
        if matches!(from_near, Error::Unreachable { .. }) {
            *self.avoids_near_until.lock() = Some(Instant::now() + NEAR_AVOIDED);
        }
        match read(self.far()).await {
            Ok(answer) => {
                self.count_fallback();
                Ok(answer)
            }
            // Not there: only if neither has it.
            Err(from_far) if from_near.is_not_found() => Err(from_far),
            Err(_) => Err(from_near),
        }
    }

    fn count_fallback(&self) {
        if let Some(debts) = &self.debts {
            debts.count_fallback();
        }
    }
}

impl fmt::Display for Twin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} and {}", self.near(), self.far())
    }
}

impl Store for Twin {
    fn get<'a>(&'a self, key: &'a Key, range: Option<Range<u64>>) -> BoxFuture<'a, Result<Bytes>> {
        Box::pin(async move {
            let key_owned = key.to_owned();
            self.read(key, move |store| {
                let (store, key, range) = (store.clone(), key_owned.clone(), range.clone());
                Box::pin(async move { store.get(&key, range).await })
            })
            .await
        })
    }

    fn put<'a>(&'a self, key: &'a Key, body: Bytes) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            match &self.debts {
                Some(debts) if !self.acks_both => {
                    self.near().put(key, body.clone()).await?;
                    debts.owe_copy(key, self.near.other(), Some(body));
                    Ok(())
                }
                _ => {
                    let (near, far) = (self.near().put(key, body.clone()), self.far().put(key, body));
                    futures::future::try_join(near, far).await.map(drop)
                }
            }
        })
    }

    fn delete<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            if let Some(debts) = &self.debts {
                debts.forget_copy(key);
            }
            self.near().delete(key).await?;
            match (self.far().delete(key).await, &self.debts) {
                (Err(error), Some(debts)) if error.may_retry() => {
                    debts.owe_deletion(key, self.near.other());
                    Ok(())
                }
                (done, _) => done,
            }
        })
    }

    fn head<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Listed>> {
        Box::pin(async move {
            let key_owned = key.to_owned();
            self.read(key, move |store| {
                let (store, key) = (store.clone(), key_owned.clone());
                Box::pin(async move { store.head(&key).await })
            })
            .await
        })
    }

    /// The near store's objects: who needs to know both lists both.
    fn list<'a>(&'a self, prefix: &'a Key, after: &'a Key) -> BoxStream<'a, Result<Listed>> {
        self.near().list(prefix, after)
    }

    fn create_bucket(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            self.near().create_bucket().await?;
            self.far().create_bucket().await
        })
    }

    fn limits(&self) -> Limits {
        let (near, far) = (self.near().limits(), self.far().limits());
        Limits { lists_in_order: near.lists_in_order, reads_ranges: near.reads_ranges && far.reads_ranges }
    }
}

#[cfg(test)]
mod tests;
