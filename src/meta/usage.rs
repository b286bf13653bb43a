//! Sums this process keeps between commits: the volume's usage as last seen, and what each directory's
//! statistics still have to be told.
//!
//! The limits of the volume are checked against a cached sum, as the peer does: two clients may pass a limit
//! by what each did since its last look.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicI64, Ordering};

use futures::TryStreamExt;
use juicefs_base::Errno;
use juicefs_base::sync::Mutex;

use crate::change_log::Entry;
use crate::error::{Error, Result};
use crate::meta::Meta;
use crate::port::{Change, Hold, Item, Scan};
use crate::txn::{DirStatOf, NodeOf, Operation, Txn};
use crate::types::{Attr, DirStat, Ino, Kind, Usage};

/// Directories whose statistics move in one transaction.
const FLUSH_AT_ONCE: usize = 64;
/// Entries whose attributes are read together.
const NODES_AT_ONCE: usize = 1024;

/// The volume's usage as last read, with what this process did since.
#[derive(Default)]
pub(crate) struct UsageCache {
    space: AtomicI64,
    inodes: AtomicI64,
}

impl UsageCache {
    pub(crate) fn add(&self, space: i64, inodes: i64) {
        self.space.fetch_add(space, Ordering::Relaxed);
        self.inodes.fetch_add(inodes, Ordering::Relaxed);
    }

    fn set(&self, usage: Usage) {
        self.space.store(usage.space, Ordering::Relaxed);
        self.inodes.store(usage.inodes, Ordering::Relaxed);
    }
}

/// What one node counts for in its directory's statistics.
pub(crate) fn share_of(attr: &Attr) -> DirStat {
    let length = if attr.kind == Kind::File { attr.length } else { 0 };
    DirStat { length: signed(length), space: signed(attr.space()), inodes: 1 }
}

pub(crate) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(crate) fn negated(stat: DirStat) -> DirStat {
    DirStat { length: -stat.length, space: -stat.space, inodes: -stat.inodes }
}

fn sum(a: DirStat, b: DirStat) -> DirStat {
    DirStat { length: a.length + b.length, space: a.space + b.space, inodes: a.inodes + b.inodes }
}

pub(crate) fn times(stat: DirStat, count: i64) -> DirStat {
    DirStat { length: stat.length * count, space: stat.space * count, inodes: stat.inodes * count }
}

/// Movements of directory statistics that are committed in the tree but not yet in the statistics.
#[derive(Default)]
pub(crate) struct DirStatDeltas {
    pending: Mutex<HashMap<Ino, DirStat>>,
    /// Of these it is unknown whether a movement was committed: they are counted anew.
    doubtful: Mutex<HashSet<Ino>>,
    /// Held while what was taken is not yet written or put back: the end of a session waits for it.
    writing: tokio::sync::Mutex<()>,
}

impl DirStatDeltas {
    /// The trash root has no statistics: the peer counts its directories out but not in.
    pub(crate) fn add_all(&self, deltas: &[(Ino, DirStat)]) {
        if deltas.is_empty() {
            return;
        }
        let mut pending = self.pending.lock();
        for (ino, delta) in deltas.iter().filter(|(ino, _)| *ino != Ino::TRASH) {
            let entry = pending.entry(*ino).or_default();
            *entry = sum(*entry, *delta);
        }
    }

    pub(crate) fn doubt(&self, directories: impl Iterator<Item = Ino>) {
        let mut directories = directories.filter(|ino| *ino != Ino::TRASH).peekable();
        if directories.peek().is_some() {
            self.doubtful.lock().extend(directories);
        }
    }

    fn take_doubtful(&self) -> HashSet<Ino> {
        std::mem::take(&mut *self.doubtful.lock())
    }

    fn take(&self) -> HashMap<Ino, DirStat> {
        std::mem::take(&mut *self.pending.lock())
    }

    fn take_one(&self, ino: Ino) -> DirStat {
        self.pending.lock().remove(&ino).unwrap_or_default()
    }
}

impl Meta {
    /// The volume's usage, root and `.trash` excluded.
    ///
    /// # Errors
    /// As the engine's.
    pub async fn usage(&self) -> Result<Usage> {
        let usage = self.ask(|engine| engine.usage()).await?;
        self.usage.set(usage);
        Ok(usage)
    }

    /// Reads the usage again if a limit depends on it.
    pub(crate) async fn refresh_usage(&self) -> Result<()> {
        let has_limit = {
            let format = self.format.read();
            format.capacity > 0 || format.inodes > 0
        };
        if has_limit {
            self.usage().await?;
        }
        Ok(())
    }

    /// # Errors
    /// ENOSPC when `space` bytes or `inodes` more would pass a limit of the volume.
    pub(crate) fn check_room(&self, space: i64, inodes: i64) -> Result<()> {
        let format = self.format.read();
        let passes = |limit: u64, used: &AtomicI64, more: i64| {
            limit > 0 && more > 0 && used.load(Ordering::Relaxed).saturating_add(more) > signed(limit)
        };
        if passes(format.capacity, &self.usage.space, space)
            || passes(format.inodes, &self.usage.inodes, inodes)
        {
            return Err(Errno::ENOSPC.into());
        }
        Ok(())
    }

    /// Writes what was added up since the last time, quotas included; what could not be written is kept for the next
    /// time. Called at the end of a session and of work without one.
    ///
    /// # Errors
    /// The first failure.
    pub async fn flush_statistics(&self) -> Result<()> {
        let statistics = self.flush_volume_statistics().await;
        let is_gone = self.gone_reason().is_some();
        let quotas = if is_gone { Ok(()) } else { self.flush_quotas().await };
        let settled = if is_gone { Ok(()) } else { self.ask(|engine| engine.settle()).await };
        statistics.and(quotas).and(settled)
    }

    /// The same for usage and directory statistics; called every second by the session.
    ///
    /// # Errors
    /// The first failure.
    pub(crate) async fn flush_volume_statistics(&self) -> Result<()> {
        // A session whose volume takes no more changes still owes the sums of those that were made; not so when
        // the volume is another one by now.
        let is_reader = self.session_id() == 0 && self.read_only_reason.read().is_some();
        if is_reader || self.gone_reason().is_some() {
            return Ok(());
        }
        let stats = self.flush_dir_stats().await;
        let flushed = self.ask(|engine| engine.flush()).await;
        stats.and(flushed)?;
        self.refresh_usage().await
    }

    async fn flush_dir_stats(&self) -> Result<()> {
        let _turn = self.dir_stats.writing.lock().await;
        let directories = self.dir_stats.take();
        let mut failure = None;
        // What came and went in one second leaves no sum, but a record that is missing is still made: the peer's
        // fsck takes the root's for granted.
        let deltas: Vec<_> = directories.into_iter().collect();
        for group in deltas.chunks(FLUSH_AT_ONCE) {
            match self.transact(&AddDirStats { deltas: group }).await {
                Ok(missing) => {
                    for ino in missing {
                        if let Err(error) = self.recompute_dir_stat(ino).await {
                            failure = Some(error);
                        }
                    }
                }
                Err(error @ Error::InDoubt(_)) => {
                    self.dir_stats.doubt(group.iter().map(|(ino, _)| *ino));
                    failure = Some(error);
                }
                Err(error) => {
                    self.dir_stats.add_all(group);
                    failure = Some(error);
                }
            }
        }
        for ino in self.dir_stats.take_doubtful() {
            if let Err(error) = self.recompute_dir_stat(ino).await {
                self.dir_stats.doubt(std::iter::once(ino));
                failure = Some(error);
            }
        }
        failure.map_or(Ok(()), Err)
    }

    /// Counts a directory's entries and writes the sums; nothing for a directory that is gone.
    ///
    /// # Errors
    /// As the engine's.
    pub async fn recompute_dir_stat(&self, ino: Ino) -> Result<Option<DirStat>> {
        // Entries of this directory come and go under its stripe: none is counted twice or missed.
        let _turn = self.stripes.lock(ino).await;
        let known = self.dir_stats.take_one(ino);
        match self.count_and_set(ino).await {
            Ok(stat) => Ok(stat),
            Err(error) => {
                self.dir_stats.add_all(&[(ino, known)]);
                Err(error)
            }
        }
    }

    async fn count_and_set(&self, ino: Ino) -> Result<Option<DirStat>> {
        let stat = self.count_directory(ino).await?;
        let is_set = self.transact(&SetDirStat { ino, stat, only_missing: false }).await?;
        Ok(is_set.then_some(stat))
    }

    /// Makes the root's statistics, which no mkdir made, before this session changes anything: whoever found them
    /// missing later would count entries that others have yet to add.
    ///
    /// # Errors
    /// As the engine's.
    pub(crate) async fn begin_root_stat(&self) -> Result<()> {
        let ino = Ino::ROOT;
        if !self.format.read().dir_stats || self.dir_stat(ino).await?.is_some() {
            return Ok(());
        }
        let stat = self.count_directory(ino).await?;
        self.transact(&SetDirStat { ino, stat, only_missing: true }).await?;
        Ok(())
    }

    /// A directory's statistics as their record has them.
    ///
    /// # Errors
    /// As the engine's.
    pub async fn dir_stat(&self, ino: Ino) -> Result<Option<DirStat>> {
        Ok(self.peek((DirStatOf(ino),)).await?.0)
    }

    /// Sums over a directory's entries as they are now.
    ///
    /// # Errors
    /// As the engine's.
    pub async fn count_directory(&self, ino: Ino) -> Result<DirStat> {
        let mut total = DirStat::default();
        let mut inos = Vec::with_capacity(NODES_AT_ONCE);
        let mut entries = self.engine.scan(Scan::Entries { parent: ino });
        loop {
            let item = entries.try_next().await?;
            let is_last = item.is_none();
            if let Some(Item::Entry { edge, .. }) = item {
                inos.push(edge.ino);
            }
            if inos.len() >= NODES_AT_ONCE || (is_last && !inos.is_empty()) {
                let nodes = self.ask(|engine| engine.nodes(&inos)).await?;
                total =
                    nodes.iter().flatten().flatten().fold(total, |total, attr| sum(total, share_of(attr)));
                inos.clear();
            }
            if is_last {
                return Ok(total);
            }
        }
    }
}

/// Moves existing statistics and tells which are missing.
struct AddDirStats<'a> {
    deltas: &'a [(Ino, DirStat)],
}

impl Operation for AddDirStats<'_> {
    type Output = Vec<Ino>;
    const NAME: &'static str = "add_dir_stats";
    const FLUSHES: u32 = 2;

    fn contends_on(&self) -> [Option<Ino>; 2] {
        [None, None]
    }

    async fn run(&self, txn: &mut Txn<'_>) -> Result<Vec<Ino>> {
        let gets: Vec<_> =
            self.deltas.iter().map(|(ino, _)| crate::port::Get::DirStat { ino: *ino }).collect();
        let mut answers = txn.read_all(&gets).await?;
        let mut missing = Vec::new();
        for (ino, delta) in self.deltas {
            let stat = match answers.next() {
                Some(crate::port::Got::DirStat(stat)) => stat,
                _ => None,
            };
            // A negative sum is another client's delta on its way.
            if stat.is_some() && *delta == DirStat::default() {
                continue;
            }
            if stat.is_some() {
                txn.change(Change::AddDirStat { ino: *ino, delta: *delta });
            } else {
                missing.push(*ino);
            }
        }
        Ok(missing)
    }
}

struct SetDirStat {
    ino: Ino,
    stat: DirStat,
    only_missing: bool,
}

impl Operation for SetDirStat {
    type Output = bool;
    const NAME: &'static str = "set_dir_stat";
    const FLUSHES: u32 = 2;

    fn contends_on(&self) -> [Option<Ino>; 2] {
        // Called under the directory's stripe.
        [None, None]
    }

    async fn run(&self, txn: &mut Txn<'_>) -> Result<bool> {
        let (node, known) = txn.read((NodeOf(self.ino, Hold::Guard), DirStatOf(self.ino))).await?;
        if node.is_none() || (self.only_missing && known.is_some()) {
            return Ok(false);
        }
        let (ino, DirStat { length, space, inodes }) = (self.ino, self.stat);
        txn.change(Change::SetDirStat { ino, stat: self.stat });
        txn.log(&Entry::DirStat { ino, length, space, inodes });
        Ok(true)
    }
}
