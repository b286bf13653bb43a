//! Metadata in a key-value database, in the peer's records (format 5), over any [`store::Store`].
//!
//! An attempt reads without locks and remembers the versions of what it read; its commit writes whole values under the
//! condition that those versions still hold. So an operation costs its reads and one flush, and a dropped attempt
//! leaves nothing behind. The state here is the usage that is committed but not yet added to the counters.

mod attempt;
mod changes;
pub mod etcd;
mod gets;
mod keys;
mod known;
mod load;
mod records;
mod scan;
mod store;
mod volume;

use std::ops::Range;

use futures::future::BoxFuture;
use futures::stream::BoxStream;
use tokio::runtime::Handle;

use crate::engines::inside::inside;
use crate::engines::pending::PendingUsage;
use crate::error::{Error, Result, or_damage};
use crate::port::{
    Attempt, Counters, Engine, EngineLimits, Followed, Get, Got, Item, Job, LogLine, LogPage, MaybeNode,
    NewVolume, Questions, Scan, Sequence,
};
use crate::types::{Attr, Ino, Usage};
use attempt::KvAttempt;
use store::{Ask, Found, Store};

/// Changes of one commit: far below what a driver can put into one.
const CHANGES_MAX: usize = 2_000;
/// Nodes asked for in one flush.
const NODES_PER_READ: usize = 128;

/// A database that holds one volume, or none yet.
struct KvEngine<S: Store> {
    store: S,
    /// The runtime it was opened in.
    home: Handle,
    pending: PendingUsage,
}

impl<S: Store> KvEngine<S> {
    /// # Errors
    /// As the driver's, when the database does not answer.
    async fn open(store: S) -> Result<Self> {
        let engine = Self { store, home: Handle::current(), pending: PendingUsage::default() };
        engine.read_setting().await?;
        Ok(engine)
    }

    async fn read_all(&self, asks: &[Ask]) -> Result<Vec<Found>> {
        if asks.is_empty() { Ok(Vec::new()) } else { self.store.read(asks).await }
    }

    async fn answers(&self, questions: &[Get]) -> Result<Vec<Got>> {
        let mut asks = Vec::with_capacity(questions.len());
        questions.iter().for_each(|get| gets::asks(get, &mut asks));
        let found = self.read_all(&asks).await?;
        let mut found = found.iter();
        questions.iter().map(|get| gets::answer(get, &mut found)).collect()
    }

    async fn read_nodes(&self, inos: &[Ino]) -> Result<Vec<MaybeNode>> {
        let mut nodes = Vec::with_capacity(inos.len());
        for inos in inos.chunks(NODES_PER_READ) {
            let asks: Vec<_> = inos.iter().map(|ino| Ask::Key(keys::node(*ino))).collect();
            for found in self.read_all(&asks).await? {
                nodes.push(or_damage(found.records.first().map(gets::attr).transpose())?);
            }
        }
        Ok(nodes)
    }

    fn has_no_log(&self) -> Error {
        Error::no_change_log(self.store.name())
    }
}

impl<S: Store> Engine for KvEngine<S> {
    fn begin(&self, _attempt: u32) -> BoxFuture<'_, Result<Box<dyn Attempt + '_>>> {
        let attempt: Box<dyn Attempt + '_> = Box::new(KvAttempt::new(self));
        Box::pin(std::future::ready(Ok(attempt)))
    }

    fn read<'a>(&'a self, gets: &'a [Get]) -> BoxFuture<'a, Result<Vec<Got>>> {
        inside(&self.home, self.answers(gets))
    }

    fn nodes<'a>(&'a self, inos: &'a [Ino]) -> BoxFuture<'a, Result<Vec<MaybeNode>>> {
        inside(&self.home, self.read_nodes(inos))
    }

    fn scan(&self, scan: Scan) -> BoxStream<'_, Result<Item>> {
        scan::items(self, scan)
    }

    fn allocate<'a>(
        &'a self,
        sequence: Sequence,
        count: u64,
        _line: Option<&'a LogLine>,
    ) -> BoxFuture<'a, Result<Range<u64>>> {
        inside(&self.home, self.next_numbers(sequence, count))
    }

    fn claim<'a>(
        &'a self,
        job: Job,
        now: i64,
        gap_sec: i64,
        _line: Option<&'a LogLine>,
    ) -> BoxFuture<'a, Result<bool>> {
        inside(&self.home, self.win(job, now, gap_sec))
    }

    fn read_log(&self, _after: u64, _max: usize) -> BoxFuture<'_, Result<LogPage>> {
        Box::pin(std::future::ready(Err(self.has_no_log())))
    }

    fn follow<'a>(
        &'a self,
        _after: u64,
        _max: usize,
        _questions: Questions<'a>,
    ) -> BoxFuture<'a, Result<Followed>> {
        Box::pin(std::future::ready(Err(self.has_no_log())))
    }

    fn trim_log(&self, _upto: u64) -> BoxFuture<'_, Result<()>> {
        // There is nothing to trim.
        Box::pin(std::future::ready(Ok(())))
    }

    fn setting(&self) -> BoxFuture<'_, Result<Option<String>>> {
        inside(&self.home, self.read_setting())
    }

    fn create_volume<'a>(&'a self, volume: &'a NewVolume) -> BoxFuture<'a, Result<()>> {
        inside(&self.home, self.make_volume(volume))
    }

    fn destroy_volume(&self) -> BoxFuture<'_, Result<()>> {
        inside(&self.home, self.store.clear())
    }

    fn update_setting<'a>(
        &'a self,
        setting: &'a str,
        trash: Option<Attr>,
        reset_dir_stats: bool,
    ) -> BoxFuture<'a, Result<()>> {
        inside(&self.home, self.write_setting(setting, trash, reset_dir_stats))
    }

    fn usage(&self) -> BoxFuture<'_, Result<Usage>> {
        inside(&self.home, async move { Ok(self.read_counters().await?.usage + self.pending.get()) })
    }

    fn flush(&self) -> BoxFuture<'_, Result<()>> {
        inside(&self.home, self.write_usage())
    }

    fn foreign_records(&self) -> BoxFuture<'_, Result<Vec<&'static str>>> {
        inside(&self.home, self.find_foreign())
    }

    fn counters(&self) -> BoxFuture<'_, Result<Counters>> {
        inside(&self.home, async move {
            let mut counters = self.read_counters().await?;
            counters.usage = counters.usage + self.pending.get();
            Ok(counters)
        })
    }

    fn start_load(&self) -> BoxFuture<'_, Result<()>> {
        inside(&self.home, self.check_empty())
    }

    fn load<'a>(&'a self, rows: &'a [Item]) -> BoxFuture<'a, Result<()>> {
        inside(&self.home, self.load_rows(rows))
    }

    fn finish_load<'a>(
        &'a self,
        setting: &'a str,
        counters: Counters,
        last_acl: u32,
    ) -> BoxFuture<'a, Result<()>> {
        inside(&self.home, self.write_loaded(setting, counters, last_acl))
    }

    fn limits(&self) -> EngineLimits {
        EngineLimits {
            changes_max: CHANGES_MAX,
            name: self.store.name(),
            slices_max: self.store.slices_max(),
            has_change_log: false,
        }
    }

    fn lists_chunks_by_inode(&self) -> bool {
        true
    }

    fn lists_names_in_order(&self) -> bool {
        true
    }
}
