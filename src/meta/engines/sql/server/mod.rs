//! The engine of database servers, over any [`Driver`] of the family.
//!
//! An attempt reads without locks and remembers what it holds; its commit is one flush: it begins a transaction,
//! moves the slot's marker, finds and locks what was held, makes the changes and commits. The server ends it when a
//! row is not as it was. So an operation costs its reads and one flush, no lock is held while a caller thinks, and a
//! dropped attempt leaves nothing behind. The state here is the usage that is committed but not yet added to the
//! counters, and what was learned on the way about tables and the change log.

mod attempt;
mod commit;
mod driver;
mod hold;
mod log;
mod pool;
#[cfg(test)]
pub(super) mod tests;
mod volume;

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::future::BoxFuture;
use futures::stream::{BoxStream, StreamExt, TryStreamExt};
use tokio::runtime::Handle;

use super::pending;
use super::rows::{self, NODE_COLUMNS, Row};
use super::statement::{Statement, Value, statement};
use super::{gets, load, scan};
use crate::engines::inside::inside;
use crate::engines::pending::PendingUsage;
use crate::error::{Error, Result, or_damage};
use crate::port::{
    Attempt, Counters, Engine, EngineLimits, Followed, Found, Get, Got, Item, Job, LogLine, LogPage,
    MaybeNode, NewVolume, Questions, Scan, Sequence,
};
use crate::types::{Attr, Edge, Ino, Name, Usage};
use attempt::ServerAttempt;
use commit::Commits;
use log::LogMemory;
use pool::Pool;

pub(super) use driver::{Cell, Command, Demand, Dialect, Driver, Failure, Flushed, Mode, Refusal, Table};

/// Connections for reads.
const READERS_MAX: usize = 8;
/// Transactions in flight when the address does not say.
const SLOTS_MAX: usize = 16;
/// Nodes that one statement asks for.
const NODES_PER_STATEMENT: usize = 64;
/// Rows that one transaction of a load inserts.
const LOAD_ROWS: usize = 500;

/// A database server that holds one volume, or none yet.
pub(super) struct ServerEngine<D: Driver> {
    driver: Arc<D>,
    /// The runtime it was opened in.
    home: Handle,
    readers: Pool<D>,
    commits: Commits<D>,
    pending: PendingUsage,
    log: LogMemory,
    has_side_table: AtomicBool,
}

impl<D: Driver> ServerEngine<D> {
    /// Connects, and completes the tables of a volume that an older release made. `connections_max`: of the address.
    ///
    /// # Errors
    /// As the driver's.
    pub(super) async fn open(driver: D, connections_max: Option<usize>) -> Result<Self> {
        let driver = Arc::new(driver);
        let (readers, slots) = match connections_max {
            Some(max) => (max.div_ceil(3).clamp(1, READERS_MAX), max.saturating_sub(max.div_ceil(3)).max(1)),
            None => (READERS_MAX, SLOTS_MAX),
        };
        let engine = Self {
            home: Handle::current(),
            readers: Pool::new(Arc::clone(&driver), readers),
            commits: Commits::new(Pool::new(Arc::clone(&driver), slots)),
            driver,
            pending: PendingUsage::default(),
            log: LogMemory::default(),
            has_side_table: AtomicBool::new(false),
        };
        if engine.read_setting().await?.is_some() {
            match engine.complete_schema().await {
                // One that may not or can't write mounts read-only.
                Err(error @ (Error::Engine(_) | Error::Replica(_))) => {
                    tracing::warn!(%error, "the tables of the volume can't be completed");
                }
                other => other?,
            }
        }
        Ok(engine)
    }

    fn has_sides(&self) -> bool {
        self.has_side_table.load(Ordering::Relaxed)
    }

    async fn ask(&self, mode: Mode, commands: &[Command]) -> Flushed {
        if commands.is_empty() {
            return Ok(Vec::new());
        }
        self.readers.lease().await.map_err(Failure::Before)?.ask(mode, commands).await
    }

    async fn answers(&self, gets: &[Get]) -> Result<Vec<Got>> {
        if gets.iter().any(|get| matches!(get, Get::Side { .. })) && !self.look_for_sides().await? {
            let gets = gets.to_vec();
            let rest: Vec<_> = gets.iter().filter(|get| !matches!(get, Get::Side { .. })).cloned().collect();
            let mut rest = Box::pin(self.answers(&rest)).await?.into_iter();
            let fill = |get: &Get| {
                if matches!(get, Get::Side { .. }) { Some(Got::Bytes(None)) } else { rest.next() }
            };
            return Ok(gets.iter().filter_map(fill).collect());
        }
        let questions: Vec<_> = gets.iter().filter_map(question).map(Command::any).collect();
        let answers = self.ask(Mode::Alone, &questions).await.map_err(Failure::plain)?;
        let mut rows = answers.iter();
        gets.iter().map(|get| answer(get, &mut rows)).collect()
    }

    /// Whether somebody has made the table of side records.
    async fn look_for_sides(&self) -> Result<bool> {
        if !self.has_sides() {
            let look = [Command::any(statement!(self.driver.dialect().list_tables))];
            let answers = self.ask(Mode::Alone, &look).await.map_err(Failure::plain)?;
            let wanted = format!("{}rs_record", self.driver.prefix());
            for row in &answers[0] {
                if row.bytes(0)? == wanted.as_bytes() {
                    self.has_side_table.store(true, Ordering::Relaxed);
                }
            }
        }
        Ok(self.has_sides())
    }

    async fn read_node(&self, ino: Ino) -> Result<Option<Attr>> {
        let answers =
            self.ask(Mode::Alone, &[Command::any(gets::node(ino))]).await.map_err(Failure::plain)?;
        match answers[0].first() {
            Some(row) => rows::attr(&row, 0, ino),
            None => Ok(None),
        }
    }

    async fn read_nodes(&self, inos: &[Ino]) -> Result<Vec<MaybeNode>> {
        let commands: Vec<_> = inos.chunks(NODES_PER_STATEMENT).map(nodes).map(Command::any).collect();
        let answers = self.ask(Mode::Alone, &commands).await.map_err(Failure::plain)?;
        let mut found = std::collections::HashMap::with_capacity(inos.len());
        for row in answers.iter().flatten() {
            let ino = Ino(row.number(0)?);
            found.insert(ino, or_damage(rows::attr(&row, 1, ino))?);
        }
        Ok(inos.iter().map(|ino| found.get(ino).cloned().unwrap_or(Ok(None))).collect())
    }

    async fn page(&self, scan: &Scan, after: Option<Value>) -> Result<(Vec<Item>, Option<Value>)> {
        if *scan == Scan::Sides && !self.look_for_sides().await? {
            return Ok((Vec::new(), None));
        }
        let page = [Command::any(scan::page(scan, after))];
        let answers = self.ask(Mode::Alone, &page).await.map_err(Failure::plain)?;
        scan::items(scan, &mut driver::Read::new(&answers[0]))
    }
}

/// The statement of a question; none where nothing needs to be asked.
fn question(get: &Get) -> Option<Statement> {
    gets::question(get)
}

/// The answer to a question from the tables of those that were asked.
fn answer<'t>(get: &Get, tables: &mut impl Iterator<Item = &'t Table>) -> Result<Got> {
    static EMPTY: Table = Vec::new();
    let table = if question(get).is_some() { tables.next() } else { None };
    gets::answer(get, &mut driver::Read::new(table.unwrap_or(&EMPTY)))
}

/// Up to [`NODES_PER_STATEMENT`] nodes by one statement, whose text depends on a rounded number of them only.
fn nodes(inos: &[Ino]) -> Statement {
    use std::fmt::Write;
    let count = inos.len().next_power_of_two();
    let mut text =
        concat!("SELECT n.inode, ", NODE_COLUMNS!(), " FROM jfs_node n WHERE n.inode IN (").to_owned();
    for at in 1..=count {
        let _ = write!(text, "{}?{at}", if at == 1 { "" } else { ", " });
    }
    text.push(')');
    let last = inos.last().copied().unwrap_or(Ino::ROOT);
    let padded = inos.iter().copied().chain(std::iter::repeat(last)).take(count);
    Statement { text: text.into(), values: padded.map(Value::from).collect() }
}

impl<D: Driver> Engine for ServerEngine<D> {
    fn begin(&self, _attempt: u32) -> BoxFuture<'_, Result<Box<dyn Attempt + '_>>> {
        let attempt: Box<dyn Attempt + '_> = Box::new(ServerAttempt::new(self));
        Box::pin(std::future::ready(Ok(attempt)))
    }

    fn read<'a>(&'a self, gets: &'a [Get]) -> BoxFuture<'a, Result<Vec<Got>>> {
        inside(&self.home, self.answers(gets))
    }

    fn lookup<'a>(
        &'a self,
        parent: Ino,
        name: &'a Name,
    ) -> BoxFuture<'a, Result<Option<(Edge, Option<Attr>)>>> {
        inside(&self.home, async move {
            let question = [Command::any(gets::lookup(parent, name))];
            let answers = self.ask(Mode::Alone, &question).await.map_err(Failure::plain)?;
            let found: Found = gets::found(parent, name, &mut driver::Read::new(&answers[0]))?;
            Ok(found)
        })
    }

    fn nodes<'a>(&'a self, inos: &'a [Ino]) -> BoxFuture<'a, Result<Vec<MaybeNode>>> {
        inside(&self.home, self.read_nodes(inos))
    }

    fn scan(&self, scan: Scan) -> BoxStream<'_, Result<Item>> {
        let scan = Arc::new(scan);
        futures::stream::try_unfold(Some(None), move |after| {
            let scan = Arc::clone(&scan);
            inside(&self.home, async move {
                let Some(after) = after else { return Ok::<_, Error>(None) };
                let (items, last) = self.page(&scan, after).await?;
                Ok(Some((futures::stream::iter(items.into_iter().map(Ok)), last.map(Some))))
            })
        })
        .try_flatten()
        .boxed()
    }

    fn allocate<'a>(
        &'a self,
        sequence: Sequence,
        count: u64,
        line: Option<&'a LogLine>,
    ) -> BoxFuture<'a, Result<Range<u64>>> {
        inside(&self.home, self.next_numbers(sequence, count, line))
    }

    fn claim<'a>(
        &'a self,
        job: Job,
        now: i64,
        gap_sec: i64,
        line: Option<&'a LogLine>,
    ) -> BoxFuture<'a, Result<bool>> {
        inside(&self.home, self.win(job, now, gap_sec, line))
    }

    fn read_log(&self, after: u64, max: usize) -> BoxFuture<'_, Result<LogPage>> {
        inside(&self.home, self.log_page(after, max))
    }

    fn follow<'a>(
        &'a self,
        after: u64,
        max: usize,
        questions: Questions<'a>,
    ) -> BoxFuture<'a, Result<Followed>> {
        inside(&self.home, self.page_and_rows(after, max, questions))
    }

    fn trim_log(&self, upto: u64) -> BoxFuture<'_, Result<()>> {
        inside(&self.home, self.trim(upto))
    }

    fn setting(&self) -> BoxFuture<'_, Result<Option<String>>> {
        inside(&self.home, self.read_setting())
    }

    fn create_volume<'a>(&'a self, volume: &'a NewVolume) -> BoxFuture<'a, Result<()>> {
        inside(&self.home, self.make_volume(volume))
    }

    fn destroy_volume(&self) -> BoxFuture<'_, Result<()>> {
        inside(&self.home, self.drop_all())
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
        inside(&self.home, async move { self.counters().await.map(|counters| counters.usage) })
    }

    fn flush(&self) -> BoxFuture<'_, Result<()>> {
        inside(&self.home, async move {
            let delta = self.pending.get();
            if delta == Usage::default() {
                return Ok(());
            }
            self.commits.write(&pending::write(delta).map(Command::any)).await?;
            self.pending.take(delta);
            Ok(())
        })
    }

    fn foreign_records(&self) -> BoxFuture<'_, Result<Vec<&'static str>>> {
        inside(&self.home, self.find_foreign())
    }

    fn counters(&self) -> BoxFuture<'_, Result<Counters>> {
        inside(&self.home, async move {
            let mut counters = self.read_counters().await?;
            let pending = self.pending.get();
            counters.usage.space += pending.space;
            counters.usage.inodes += pending.inodes;
            Ok(counters)
        })
    }

    fn start_load(&self) -> BoxFuture<'_, Result<()>> {
        inside(&self.home, self.begin_load())
    }

    fn load<'a>(&'a self, rows: &'a [Item]) -> BoxFuture<'a, Result<()>> {
        inside(&self.home, async move {
            let inserts = rows.iter().map(load::insert).collect::<Result<Vec<_>>>()?;
            let commands: Vec<_> = inserts.into_iter().flatten().map(Command::any).collect();
            for batch in commands.chunks(LOAD_ROWS) {
                self.commits.write(batch).await?;
            }
            Ok(())
        })
    }

    fn finish_load<'a>(
        &'a self,
        setting: &'a str,
        counters: Counters,
        last_acl: u32,
    ) -> BoxFuture<'a, Result<()>> {
        inside(&self.home, async move {
            let mut commands: Vec<_> =
                load::finish(setting, &counters).into_iter().map(Command::any).collect();
            if let Some(skip) = self.driver.dialect().skip_acls.filter(|_| last_acl > 0) {
                commands.push(Command::any(statement!(skip, u64::from(last_acl))));
            }
            self.commits.write(&commands).await
        })
    }

    fn limits(&self) -> EngineLimits {
        let dialect = self.driver.dialect();
        EngineLimits {
            changes_max: 4_000,
            name: dialect.name,
            slices_max: dialect.slices_max,
            has_change_log: true,
        }
    }

    fn lists_chunks_by_inode(&self) -> bool {
        true
    }

    fn lists_names_in_order(&self) -> bool {
        true
    }
}
