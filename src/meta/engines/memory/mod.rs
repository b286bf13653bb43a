//! The reference engine: a volume in this process's memory, gone with it. Tests run on it, and it says in the
//! fewest lines what the port means.
//!
//! Attempts are optimistic: they remember what they were told of held rows and commit only if the answers
//! would still be the same. All state is behind one lock that is never held over an await.

mod load;
mod tables;

use std::ops::Range;
use std::sync::Arc;

use futures::future::{self, BoxFuture, FutureExt};
use futures::stream::{self, BoxStream, StreamExt};
use juicefs_base::sync::Mutex;

use crate::error::{Error, Result};
use crate::port::{
    Attempt, Change, Counters, Engine, EngineLimits, Followed, Get, Got, Hold, Item, Job, LogLine, LogPage,
    MaybeNode, NewVolume, Questions, QuotaRow, Receipt, Scan, Sequence,
};
use crate::types::{Attr, Edge, Ino, Name, Time, Usage};
use tables::Tables;

/// A database in memory; clones are clients of the same one.
#[derive(Clone, Default)]
pub struct MemoryEngine {
    tables: Arc<Mutex<Tables>>,
}

impl MemoryEngine {
    /// An empty database.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

fn ready<'a, T: Send + 'a>(output: T) -> BoxFuture<'a, T> {
    future::ready(output).boxed()
}

impl Engine for MemoryEngine {
    fn begin(&self, _attempt: u32) -> BoxFuture<'_, Result<Box<dyn Attempt + '_>>> {
        let attempt: Box<dyn Attempt + '_> = Box::new(MemoryAttempt { engine: self, held: Vec::new() });
        ready(Ok(attempt))
    }

    fn read<'a>(&'a self, gets: &'a [Get]) -> BoxFuture<'a, Result<Vec<Got>>> {
        let tables = self.tables.lock();
        let answers = gets.iter().map(|get| tables.answer(get)).collect();
        drop(tables);
        ready(Ok(answers))
    }

    fn lookup<'a>(
        &'a self,
        parent: Ino,
        name: &'a Name,
    ) -> BoxFuture<'a, Result<Option<(Edge, Option<Attr>)>>> {
        let tables = self.tables.lock();
        let found = tables.edge(parent, name).map(|edge| (edge, tables.nodes.get(&edge.ino).copied()));
        drop(tables);
        ready(Ok(found))
    }

    fn nodes<'a>(&'a self, inos: &'a [Ino]) -> BoxFuture<'a, Result<Vec<MaybeNode>>> {
        let tables = self.tables.lock();
        let found = inos.iter().map(|ino| Ok(tables.nodes.get(ino).copied())).collect();
        drop(tables);
        ready(Ok(found))
    }

    fn scan(&self, scan: Scan) -> BoxStream<'_, Result<Item>> {
        let items = self.tables.lock().scan(&scan);
        stream::iter(items.into_iter().map(Ok)).boxed()
    }

    fn allocate<'a>(
        &'a self,
        sequence: Sequence,
        count: u64,
        line: Option<&'a LogLine>,
    ) -> BoxFuture<'a, Result<Range<u64>>> {
        let mut tables = self.tables.lock();
        let range = tables.allocate(sequence, count);
        line.into_iter().for_each(|line| tables.log(line, &[]));
        drop(tables);
        ready(Ok(range))
    }

    fn claim<'a>(
        &'a self,
        job: Job,
        now: i64,
        gap_sec: i64,
        line: Option<&'a LogLine>,
    ) -> BoxFuture<'a, Result<bool>> {
        let mut tables = self.tables.lock();
        let is_free = tables.claim(job, now, gap_sec);
        line.filter(|_| is_free).into_iter().for_each(|line| tables.log(line, &[]));
        drop(tables);
        ready(Ok(is_free))
    }

    fn read_log(&self, after: u64, max: usize) -> BoxFuture<'_, Result<LogPage>> {
        ready(Ok(self.tables.lock().log_page(after, max)))
    }

    fn follow<'a>(
        &'a self,
        after: u64,
        max: usize,
        questions: Questions<'a>,
    ) -> BoxFuture<'a, Result<Followed>> {
        let tables = self.tables.lock();
        let page = tables.log_page(after, max);
        let is_whole = page.lines.last().map_or(after, |(version, _)| *version) >= page.last;
        let answers = is_whole.then(|| questions(&page.lines).iter().map(|get| tables.answer(get)).collect());
        drop(tables);
        ready(Ok(Followed { page, answers }))
    }

    fn trim_log(&self, upto: u64) -> BoxFuture<'_, Result<()>> {
        self.tables.lock().trim_log(upto);
        ready(Ok(()))
    }

    fn setting(&self) -> BoxFuture<'_, Result<Option<String>>> {
        ready(Ok(self.tables.lock().setting.clone()))
    }

    fn create_volume<'a>(&'a self, volume: &'a NewVolume) -> BoxFuture<'a, Result<()>> {
        let mut tables = self.tables.lock();
        if tables.setting.is_some() {
            return ready(Err(Error::Engine("the database holds a volume already".to_owned())));
        }
        tables.setting = Some(volume.setting.clone());
        tables.nodes.insert(Ino::ROOT, volume.root);
        if let Some(trash) = volume.trash {
            tables.nodes.insert(Ino::TRASH, trash);
        }
        drop(tables);
        ready(Ok(()))
    }

    fn destroy_volume(&self) -> BoxFuture<'_, Result<()>> {
        *self.tables.lock() = Tables::default();
        ready(Ok(()))
    }

    fn update_setting<'a>(
        &'a self,
        setting: &'a str,
        trash: Option<Attr>,
        reset_dir_stats: bool,
    ) -> BoxFuture<'a, Result<()>> {
        let mut tables = self.tables.lock();
        tables.setting = Some(setting.to_owned());
        if let Some(trash) = trash {
            tables.nodes.entry(Ino::TRASH).or_insert(trash);
        }
        if reset_dir_stats {
            tables.dir_stats.clear();
        }
        drop(tables);
        ready(Ok(()))
    }

    fn usage(&self) -> BoxFuture<'_, Result<Usage>> {
        ready(Ok(self.tables.lock().usage))
    }

    fn flush(&self) -> BoxFuture<'_, Result<()>> {
        ready(Ok(()))
    }

    fn foreign_records(&self) -> BoxFuture<'_, Result<Vec<&'static str>>> {
        ready(Ok(Vec::new()))
    }

    fn counters(&self) -> BoxFuture<'_, Result<Counters>> {
        ready(Ok(self.tables.lock().counters()))
    }

    fn start_load(&self) -> BoxFuture<'_, Result<()>> {
        let is_empty = self.tables.lock().is_empty();
        ready(if is_empty { Ok(()) } else { Err(Error::Engine("the database is not empty".to_owned())) })
    }

    fn load<'a>(&'a self, rows: &'a [Item]) -> BoxFuture<'a, Result<()>> {
        let mut tables = self.tables.lock();
        let outcome = rows.iter().try_for_each(|row| tables.load(row));
        drop(tables);
        ready(outcome)
    }

    fn finish_load<'a>(
        &'a self,
        setting: &'a str,
        counters: Counters,
        _last_acl: u32,
    ) -> BoxFuture<'a, Result<()>> {
        let mut tables = self.tables.lock();
        tables.set_counters(&counters);
        tables.setting = Some(setting.to_owned());
        drop(tables);
        ready(Ok(()))
    }

    fn lists_names_in_order(&self) -> bool {
        true
    }

    fn limits(&self) -> EngineLimits {
        EngineLimits { changes_max: 100_000, name: "memory", slices_max: u32::MAX, has_change_log: true }
    }
}

/// What an attempt was told of the rows it holds.
struct MemoryAttempt<'a> {
    engine: &'a MemoryEngine,
    held: Vec<(Get, Got)>,
}

impl Attempt for MemoryAttempt<'_> {
    fn read<'a>(&'a mut self, gets: &'a [Get]) -> BoxFuture<'a, Result<Vec<Got>>> {
        let tables = self.engine.tables.lock();
        let answers: Vec<Got> = gets.iter().map(|get| tables.answer(get)).collect();
        drop(tables);
        let held = gets.iter().zip(&answers).filter(|(get, _)| get.hold() != Hold::Peek);
        self.held.extend(held.map(|(get, got)| (get.clone(), got.clone())));
        ready(Ok(answers))
    }

    fn commit<'a>(self: Box<Self>, changes: &'a [Change]) -> BoxFuture<'a, Result<Receipt>>
    where
        Self: 'a,
    {
        let mut tables = self.engine.tables.lock();
        let is_same = |(get, got): &(Get, Got)| {
            let now = tables.answer(get);
            match (now, got) {
                (now, got) if get.hold() == Hold::Touch => {
                    without_moving_parts(now) == without_moving_parts(got.clone())
                }
                // What is used moves by amounts that commute.
                (Got::Quota(Some(now)), Got::Quota(Some(was))) => QuotaRow { used: was.used, ..now } == *was,
                (now, got) => now == *got,
            }
        };
        let outcome =
            if self.held.iter().all(is_same) { tables.check(changes) } else { Err(Error::Conflict) };
        let receipt = outcome.map(|()| {
            let mut receipt = Receipt::default();
            for change in changes {
                tables.apply(change, &mut receipt);
            }
            receipt
        });
        drop(tables);
        ready(receipt)
    }
}

/// A touched node may gain and lose links and get new times under our hands.
fn without_moving_parts(got: Got) -> Got {
    match got {
        Got::Node(Some(attr)) => {
            let epoch = Time::default();
            Got::Node(Some(Attr { nlink: 0, atime: epoch, mtime: epoch, ctime: epoch, ..attr }))
        }
        other => other,
    }
}
