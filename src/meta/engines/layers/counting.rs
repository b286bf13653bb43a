//! Counts flushes, so that the price of an operation is a test.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use futures::future::BoxFuture;
use futures::stream::BoxStream;

use crate::error::Result;
use crate::port::{
    Attempt, Change, Counters, Engine, EngineLimits, Followed, Get, Got, Item, Job, LogLine, LogPage,
    MaybeNode, NewVolume, Questions, Receipt, Scan, Sequence,
};
use crate::types::{Attr, Edge, Ino, Name, Usage};

/// An engine whose flushes are counted: each batch of reads, each commit, each lookup and bulk read. Scans,
/// numbers and what concerns the whole volume are not counted: they are rare.
pub struct Counting {
    inner: Arc<dyn Engine>,
    flushes: AtomicU32,
}

impl Counting {
    #[must_use]
    pub fn new(inner: Arc<dyn Engine>) -> Self {
        Self { inner, flushes: AtomicU32::new(0) }
    }

    /// Flushes since the last call.
    pub fn take_flushes(&self) -> u32 {
        self.flushes.swap(0, Ordering::AcqRel)
    }

    fn count(&self) {
        self.flushes.fetch_add(1, Ordering::AcqRel);
    }
}

impl Engine for Counting {
    fn begin(&self, attempt: u32) -> BoxFuture<'_, Result<Box<dyn Attempt + '_>>> {
        Box::pin(async move {
            let inner = self.inner.begin(attempt).await?;
            let attempt: Box<dyn Attempt + '_> = Box::new(CountingAttempt { counting: self, inner });
            Ok(attempt)
        })
    }

    fn read<'a>(&'a self, gets: &'a [Get]) -> BoxFuture<'a, Result<Vec<Got>>> {
        self.count();
        self.inner.read(gets)
    }

    fn lookup<'a>(
        &'a self,
        parent: Ino,
        name: &'a Name,
    ) -> BoxFuture<'a, Result<Option<(Edge, Option<Attr>)>>> {
        self.count();
        self.inner.lookup(parent, name)
    }

    fn nodes<'a>(&'a self, inos: &'a [Ino]) -> BoxFuture<'a, Result<Vec<MaybeNode>>> {
        self.count();
        self.inner.nodes(inos)
    }

    fn scan(&self, scan: Scan) -> BoxStream<'_, Result<Item>> {
        self.inner.scan(scan)
    }

    fn allocate<'a>(
        &'a self,
        sequence: Sequence,
        count: u64,
        line: Option<&'a LogLine>,
    ) -> BoxFuture<'a, Result<std::ops::Range<u64>>> {
        self.inner.allocate(sequence, count, line)
    }

    fn claim<'a>(
        &'a self,
        job: Job,
        now: i64,
        gap_sec: i64,
        line: Option<&'a LogLine>,
    ) -> BoxFuture<'a, Result<bool>> {
        self.inner.claim(job, now, gap_sec, line)
    }

    fn read_log(&self, after: u64, max: usize) -> BoxFuture<'_, Result<LogPage>> {
        self.inner.read_log(after, max)
    }

    fn follow<'a>(
        &'a self,
        after: u64,
        max: usize,
        questions: Questions<'a>,
    ) -> BoxFuture<'a, Result<Followed>> {
        self.inner.follow(after, max, questions)
    }

    fn trim_log(&self, upto: u64) -> BoxFuture<'_, Result<()>> {
        self.inner.trim_log(upto)
    }

    fn setting(&self) -> BoxFuture<'_, Result<Option<String>>> {
        self.inner.setting()
    }

    fn create_volume<'a>(&'a self, volume: &'a NewVolume) -> BoxFuture<'a, Result<()>> {
        self.inner.create_volume(volume)
    }

    fn destroy_volume(&self) -> BoxFuture<'_, Result<()>> {
        self.inner.destroy_volume()
    }

    fn update_setting<'a>(
        &'a self,
        setting: &'a str,
        trash: Option<Attr>,
        reset_dir_stats: bool,
    ) -> BoxFuture<'a, Result<()>> {
        self.inner.update_setting(setting, trash, reset_dir_stats)
    }

    fn usage(&self) -> BoxFuture<'_, Result<Usage>> {
        self.inner.usage()
    }

    fn flush(&self) -> BoxFuture<'_, Result<()>> {
        self.inner.flush()
    }

    fn sync(&self) -> BoxFuture<'_, Result<()>> {
        self.inner.sync()
    }

    fn settle(&self) -> BoxFuture<'_, Result<()>> {
        self.inner.settle()
    }

    fn foreign_records(&self) -> BoxFuture<'_, Result<Vec<&'static str>>> {
        self.inner.foreign_records()
    }

    fn counters(&self) -> BoxFuture<'_, Result<Counters>> {
        self.inner.counters()
    }

    fn start_load(&self) -> BoxFuture<'_, Result<()>> {
        self.inner.start_load()
    }

    fn load<'a>(&'a self, rows: &'a [Item]) -> BoxFuture<'a, Result<()>> {
        self.inner.load(rows)
    }

    fn finish_load<'a>(
        &'a self,
        setting: &'a str,
        counters: Counters,
        last_acl: u32,
    ) -> BoxFuture<'a, Result<()>> {
        self.inner.finish_load(setting, counters, last_acl)
    }

    fn limits(&self) -> EngineLimits {
        self.inner.limits()
    }
}

struct CountingAttempt<'e> {
    counting: &'e Counting,
    inner: Box<dyn Attempt + 'e>,
}

impl Attempt for CountingAttempt<'_> {
    fn read<'a>(&'a mut self, gets: &'a [Get]) -> BoxFuture<'a, Result<Vec<Got>>> {
        self.counting.count();
        self.inner.read(gets)
    }

    fn commit<'a>(self: Box<Self>, changes: &'a [Change]) -> BoxFuture<'a, Result<Receipt>>
    where
        Self: 'a,
    {
        self.counting.count();
        self.inner.commit(changes)
    }
}
