//! One try: reads that are remembered, and a commit that depends on them.

use std::collections::BTreeSet;

use futures::future::BoxFuture;

use super::changes::Plan;
use super::known::Known;
use super::store::{Ask, Batch, Check, Found, Key, Range, Store};
use super::{KvEngine, gets, keys, records};
use crate::engines::inside::inside;
use crate::error::{Error, Result};
use crate::port::{Attempt, Change, Get, Got, Hold, QuotaRow, Receipt};

pub(super) struct KvAttempt<'e, S: Store> {
    engine: &'e KvEngine<S>,
    known: Known,
    /// Keys that must not have changed.
    held: BTreeSet<Key>,
    /// Nodes that others may move by amounts that commute.
    touched: BTreeSet<Key>,
    /// The child by which a directory was found to have some.
    children: Vec<(Key, Check)>,
    /// Directories that were found without children.
    childless: Vec<Range>,
    quotas: Vec<(Get, Option<QuotaRow>)>,
}

impl<'e, S: Store> KvAttempt<'e, S> {
    pub(super) fn new(engine: &'e KvEngine<S>) -> Self {
        Self {
            engine,
            known: Known::default(),
            held: BTreeSet::new(),
            touched: BTreeSet::new(),
            children: Vec::new(),
            childless: Vec::new(),
            quotas: Vec::new(),
        }
    }

    async fn ask(&mut self, questions: &[Get]) -> Result<Vec<Got>> {
        let mut asks = Vec::with_capacity(questions.len());
        let mut ends = Vec::with_capacity(questions.len());
        for get in questions {
            gets::asks(get, &mut asks);
            ends.push(asks.len());
        }
        let found = self.engine.read_all(&asks).await?;
        let mut from = 0;
        let mut answers = Vec::with_capacity(questions.len());
        for (get, end) in questions.iter().zip(ends) {
            let (asks, found) = (&asks[from..end], &found[from..end]);
            let got = gets::answer(get, &mut found.iter())?;
            self.remember(get, &got, asks, found);
            answers.push(got);
            from = end;
        }
        Ok(answers)
    }

    fn remember(&mut self, get: &Get, got: &Got, asks: &[Ask], found: &[Found]) {
        for (ask, found) in asks.iter().zip(found) {
            self.known.learn(ask, found);
        }
        match (get, got) {
            (_, _) if get.hold() == Hold::Peek => {}
            (Get::HasChildren { ino }, Got::Flag(false)) => self.childless.push(gets::children(*ino)),
            (Get::HasChildren { .. }, _) => {
                let moment = found[0].moment;
                let child = found[0].records.first().map(|record| {
                    let check = Check::Unchanged { version: record.version, moment, or_gone: false };
                    (record.key.clone(), check)
                });
                self.children.extend(child);
            }
            // The node is held, without which no chunk comes to be; those that are there are checked when appended to.
            (Get::Chunks { .. }, _) => {}
            // What is used may move.
            (Get::Quota { .. }, Got::Quota(row)) => self.quotas.push((get.clone(), *row)),
            _ => {
                for ask in asks {
                    let Ask::Key(key) = ask else { continue };
                    self.held.insert(key.clone());
                    if get.hold() == Hold::Touch {
                        self.touched.insert(key.clone());
                    }
                }
            }
        }
    }

    async fn write(mut self, changes: &[Change]) -> Result<Receipt> {
        self.complete(changes).await?;
        let mut plan = Plan::new(&self.known, self.held.iter().cloned());
        for (key, check) in std::mem::take(&mut self.children) {
            plan.check(key, check);
        }
        for change in changes {
            plan.apply(change)?;
        }
        if plan.has_writes() {
            // The peer's rmdir looks at the directory's own record for creations that it has missed.
            self.touched.iter().for_each(|key| plan.renew(key.clone()));
        }
        let (receipt, usage) = (std::mem::take(&mut plan.receipt), plan.usage);
        let batch = plan.into_batch(self.childless);
        if !batch.checks.is_empty()
            || !batch.empty.is_empty()
            || !batch.writes.is_empty()
            || !batch.cleared.is_empty()
        {
            let batch = self.engine.settle_checks(batch).await?;
            self.engine.store.commit(batch).await?;
        }
        self.engine.pending.add(usage);
        Ok(receipt)
    }

    /// Reads what the changes build on and nobody has asked for, and held quotas again.
    async fn complete(&mut self, changes: &[Change]) -> Result<()> {
        for (get, _) in &self.quotas {
            let Get::Quota { kind, key } = get else { continue };
            self.known.forget(&keys::quota(*kind, *key));
        }
        let mut asks = self.known.lacks(changes);
        for (get, _) in &self.quotas {
            let Get::Quota { kind, key } = get else { continue };
            let ask = Ask::Key(keys::quota(*kind, *key));
            if !asks.contains(&ask) {
                asks.push(ask);
            }
        }
        if asks.is_empty() {
            return Ok(());
        }
        let found = self.engine.read_all(&asks).await?;
        for (ask, found) in asks.iter().zip(&found) {
            self.known.learn(ask, found);
        }
        for (get, was) in std::mem::take(&mut self.quotas) {
            let Get::Quota { kind, key } = get else { continue };
            let at = keys::quota(kind, key);
            let value = self.known.get(&at).and_then(|seen| seen.value.clone());
            let row = value.map(|value| records::quota(kind, key, &at, &value)).transpose()?;
            let limits = |row: Option<QuotaRow>| row.map(|row| (row.space_max, row.inodes_max));
            if limits(row) != limits(was) {
                return Err(Error::Conflict);
            }
            self.held.insert(at);
        }
        Ok(())
    }
}

impl<S: Store> KvEngine<S> {
    /// A commit that is larger than the database compares and writes at a time says of every key as what it was seen.
    async fn settle_checks(&self, mut batch: Batch) -> Result<Batch> {
        let largest = (batch.checks.len() + batch.empty.len()).max(batch.writes.len() + batch.cleared.len());
        if largest <= self.store.checks_max() {
            return Ok(batch);
        }
        let is_open = |check: &Check| !matches!(check, Check::Unchanged { .. });
        let open: Vec<_> = batch.checks.iter_mut().filter(|(_, check)| is_open(check)).collect();
        let asks: Vec<_> = open.iter().map(|(key, _)| Ask::Key(key.clone())).collect();
        let found = self.read_all(&asks).await?;
        for ((_, check), found) in open.into_iter().zip(found) {
            let record = found.records.first();
            let fits = match check {
                Check::Present => record.is_some(),
                Check::Absent => record.is_none(),
                Check::Equals(value) => record.is_some_and(|record| record.value == *value),
                Check::Unchanged { .. } => true,
            };
            if !fits {
                return Err(Error::Conflict);
            }
            let version = record.map_or(super::store::ABSENT, |record| record.version);
            *check = Check::Unchanged { version, moment: found.moment, or_gone: false };
        }
        Ok(batch)
    }
}

impl<S: Store> Attempt for KvAttempt<'_, S> {
    fn read<'a>(&'a mut self, gets: &'a [Get]) -> BoxFuture<'a, Result<Vec<Got>>> {
        let engine = self.engine;
        inside(&engine.home, self.ask(gets))
    }

    fn commit<'a>(self: Box<Self>, changes: &'a [Change]) -> BoxFuture<'a, Result<Receipt>>
    where
        Self: 'a,
    {
        let engine = self.engine;
        inside(&engine.home, async move {
            if changes.is_empty() {
                return Ok(Receipt::default());
            }
            self.write(changes).await
        })
    }
}
