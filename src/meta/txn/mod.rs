//! The transaction layer: runs an [`Operation`] as attempts until one commits.
//!
//! Operations of one process that fight over an inode take turns (stripes), so that conflicts are with other
//! processes only. A conflict or an unreachable engine starts the operation again from its first read; what an
//! operation wants done after the commit (statistics, deletions) is kept in [`After`] and happens once.

mod charge;
mod rows;
mod stripes;
mod waiting;

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use futures::TryStreamExt;
use juicefs_base::Errno;
use juicefs_base::backoff;
use tokio::sync::MutexGuard;

use crate::change_log::{self, Entry};
use crate::error::{Error, Result};
use crate::meta::Meta;
use crate::port::{Attempt, Change, Engine, Get, Got, Item, Receipt, Scan};
use crate::types::{Attr, Ino, Time};
pub(crate) use rows::{
    AppendTarget, ChunkOf, DelayedSlicesOf, DirStatOf, EdgeOf, FlocksOf, NodeOf, ParentsOf, RangeLocksOf,
    Rows, SymlinkOf, XattrNamesOf, XattrOf,
};
pub(crate) use stripes::Stripes;
pub use waiting::DEADLINE;
pub(crate) use waiting::Waiting;

/// Conflicts after which an operation gives up with EIO.
const CONFLICTS_MAX: u32 = 50;
/// A scan that breaks off is begun anew.
const SCAN_TRIES: u32 = 5;

/// An operation is a value; its rule is [`Operation::run`], run again for every attempt.
pub trait Operation: Sync {
    type Output: Send;
    /// The system call's name, for metrics and logs.
    const NAME: &'static str;
    /// Flushes of an undisturbed run; tests hold every engine to it.
    const FLUSHES: u32;
    /// Inodes this operation fights over; attempts on them take turns inside one process.
    fn contends_on(&self) -> [Option<Ino>; 2];
    /// Reads, decides and says the changes. Must not change anything but `txn`.
    fn run(&self, txn: &mut Txn<'_>) -> impl Future<Output = Result<Self::Output>> + Send;
    /// Folds in what only the commit could tell.
    fn settle(&self, output: Self::Output, _receipt: &Receipt) -> Self::Output {
        output
    }
}

/// One attempt as its operation sees it.
pub struct Txn<'e> {
    meta: &'e Meta,
    attempt: Box<dyn Attempt + 'e>,
    changes: Vec<Change>,
    now: Time,
    after: After,
    removal: Option<MutexGuard<'e, ()>>,
    /// Whether the volume keeps a change log.
    logs: bool,
    /// Beginnings of lines, and which append's list length each tells.
    lines: Vec<(String, Option<usize>)>,
    /// Something was said to the change log, kept or not.
    has_told: bool,
}

/// What happens in this process once the commit has run.
#[derive(Default)]
pub(crate) struct After {
    charges: charge::Charges,
    pub(crate) deleted_files: Vec<(Ino, u64)>,
    pub(crate) sustained: Vec<Ino>,
    /// Files without a name that stay for other clients for now.
    pub(crate) kept: Vec<Ino>,
    pub(crate) changed_chunks: Vec<Ino>,
    /// Files that got their first name.
    pub(crate) named: Vec<Ino>,
}

impl<'e> Txn<'e> {
    /// The moment of this attempt; all times it sets.
    #[must_use]
    pub fn now(&self) -> Time {
        self.now
    }

    /// Reads one row or a tuple of rows in one flush.
    ///
    /// # Errors
    /// As the engine's.
    pub async fn read<R: Rows>(&mut self, rows: R) -> Result<R::Values> {
        let gets = rows.gets();
        let got = self.attempt.read(gets.as_ref()).await?;
        R::values(got)
    }

    /// Reads any rows in one flush.
    ///
    /// # Errors
    /// As the engine's.
    pub async fn read_all(&mut self, gets: &[Get]) -> Result<std::vec::IntoIter<Got>> {
        Ok(self.attempt.read(gets).await?.into_iter())
    }

    pub fn change(&mut self, change: Change) {
        self.changes.push(change);
    }

    /// Changes a node unless nothing differs.
    pub fn update_node(&mut self, ino: Ino, was: &Attr, now: &Attr) {
        if was != now {
            self.changes.push(Change::UpdateNode { ino, was: *was, now: *now });
        }
    }

    pub(crate) fn after(&mut self) -> &mut After {
        &mut self.after
    }

    /// Says to the change log what this transaction does. Each that changes more than statistics and sessions says
    /// so, for readers that follow the volume by its log.
    pub fn log(&mut self, entry: &Entry<'_>) {
        self.tell(entry, None);
    }

    /// As [`Self::log`] for the append that was said last: the line tells how long its list is then.
    pub fn log_append(&mut self, entry: &Entry<'_>) {
        let appends =
            self.changes.iter().filter(|change| matches!(change, Change::AppendSlice { .. })).count();
        self.tell(entry, appends.checked_sub(1));
    }

    fn tell(&mut self, entry: &Entry<'_>, appended: Option<usize>) {
        self.has_told = true;
        if self.logs {
            self.lines.push((change_log::head(self.now, entry), appended));
        }
    }

    /// From here to the end of the attempt nobody of this process opens or deletes `ino`. Once per attempt.
    pub(crate) async fn hold_removal(&mut self, ino: Ino) {
        debug_assert!(self.removal.is_none(), "a second removal lock could deadlock");
        self.removal = Some(self.meta.removals.lock(ino).await);
    }
}

impl Meta {
    /// Until when a call that begins now may wait for the engine.
    pub(crate) fn deadline(&self) -> Instant {
        Instant::now() + self.waiting.deadline()
    }

    /// The same for what has been waiting since `since`, with some time in any case: this process may have been
    /// stopped meanwhile.
    pub(crate) fn deadline_of(&self, since: Instant) -> Instant {
        (since + self.waiting.deadline()).max(Instant::now() + self.waiting.quiet())
    }

    fn silent(&self, what: &str) -> Error {
        Error::Unavailable(format!("{what} had no answer within {} s", self.waiting.deadline().as_secs()))
    }

    /// Runs an operation until it commits, is refused, or time is up.
    pub(crate) async fn transact<O: Operation>(&self, operation: &O) -> Result<O::Output> {
        self.transact_until(self.deadline(), operation).await
    }

    /// As [`Self::transact`] for what has been waiting already.
    pub(crate) async fn transact_until<O: Operation>(
        &self,
        until: Instant,
        operation: &O,
    ) -> Result<O::Output> {
        let committing = AtomicBool::new(false);
        // Waiting for a turn counts too: who holds it may be waiting for the engine.
        let work = async {
            let _turn = self.stripes.lock_both(operation.contends_on()).await;
            self.attempts(operation, until, &committing).await
        };
        let begun = Instant::now();
        let outcome = self.bounded(O::NAME, until, work).await;
        self.waiting.count_transaction(begun.elapsed());
        match outcome? {
            Some(output) => Ok(output),
            None => Err(match self.silent(O::NAME) {
                Error::Unavailable(why) if committing.load(Ordering::Relaxed) => Error::InDoubt(why),
                error => error,
            }),
        }
    }

    async fn attempts<O: Operation>(
        &self,
        operation: &O,
        until: Instant,
        committing: &AtomicBool,
    ) -> Result<O::Output> {
        let (mut conflicts, mut failures) = (0, 0);
        loop {
            let error = match self.attempt(operation, conflicts + failures, committing).await {
                Ok(output) => return Ok(output),
                Err(error) => error,
            };
            committing.store(false, Ordering::Relaxed);
            let pause = match &error {
                Error::Conflict if conflicts < CONFLICTS_MAX => {
                    conflicts += 1;
                    self.waiting.count_restart();
                    backoff::quadratic_jitter(conflicts - 1)
                }
                Error::Unavailable(_) | Error::Replica(_) => {
                    failures += 1;
                    backoff::doubling(failures, Duration::from_millis(10), Duration::from_secs(2))
                }
                Error::InDoubt(_) => {
                    tracing::error!(operation = O::NAME, %error, "answered EIO");
                    return Err(error);
                }
                _ => return Err(error),
            };
            if Instant::now() + pause >= until {
                return Err(error);
            }
            self.sleep(pause).await;
        }
    }

    async fn attempt<O: Operation>(
        &self,
        operation: &O,
        number: u32,
        committing: &AtomicBool,
    ) -> Result<O::Output> {
        let mut txn = Txn {
            meta: self,
            attempt: self.engine.begin(number).await?,
            changes: Vec::with_capacity(8),
            now: Time::now(),
            after: After::default(),
            removal: None,
            logs: self.keeps_change_log(),
            lines: Vec::new(),
            has_told: false,
        };
        let output = operation.run(&mut txn).await?;
        let Txn { attempt, mut changes, after, removal, lines, has_told, .. } = txn;
        if changes.is_empty() {
            return Ok(output);
        }
        debug_assert!(
            has_told || !changes.iter().any(Change::is_followed),
            "{} changes what followers of the change log copy and says nothing: call `Txn::log`",
            O::NAME
        );
        let mut numbers = Vec::with_capacity(lines.len());
        for (head, appended) in lines {
            let (line, number) = self.numbered(head, appended);
            changes.push(Change::Log(line));
            numbers.push(number);
        }
        committing.store(true, Ordering::Relaxed);
        let doubt = Doubt { meta: self, after };
        let committed = attempt.commit(&changes).await;
        for change in &changes {
            if let Change::UpdateNode { ino, .. } | Change::DeleteNode { ino } = change {
                self.open_cache.forget(*ino);
            }
        }
        let receipt = match committed {
            Err(error @ Error::InDoubt(_)) => return Err(error),
            Err(error) => {
                numbers.into_iter().for_each(|number| self.line_numbers.give_back(number));
                doubt.settled();
                return Err(error);
            }
            Ok(receipt) => receipt,
        };
        let after = doubt.settled();
        let output = operation.settle(output, &receipt);
        self.after_commit(&changes, after, receipt);
        drop(removal);
        Ok(output)
    }

    fn after_commit(&self, changes: &[Change], after: After, receipt: Receipt) {
        for change in changes {
            if let Change::AddUsage { space, inodes } = change {
                self.usage.add(*space, *inodes);
            }
        }
        if self.format.read().dir_stats {
            self.dir_stats.add_all(&after.charges.dir_stats);
        }
        self.quotas.add_all(&after.charges.quotas);
        for ino in after.kept {
            self.kept.keep(ino);
        }
        for ino in after.sustained {
            self.open_files.sustain(ino);
        }
        for ino in after.named {
            self.open_files.named(ino);
        }
        for ino in after.changed_chunks {
            self.open_files.forget_chunks(ino);
        }
        self.hand_over_freed(receipt.slices_freed);
        for (ino, length) in after.deleted_files {
            self.delete_soon(ino, length);
        }
    }

    /// Asks the engine outside any transaction, again while it is unavailable.
    pub(crate) async fn ask<'a, T, F>(&'a self, question: impl Fn(&'a dyn Engine) -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        self.ask_until(self.deadline(), question).await
    }

    async fn ask_until<'a, T, F>(
        &'a self,
        until: Instant,
        question: impl Fn(&'a dyn Engine) -> F,
    ) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let work = async {
            let mut failures = 0;
            loop {
                let error = match question(&*self.engine).await {
                    Err(error) if error.may_retry() => error,
                    other => return other,
                };
                failures += 1;
                let pause = backoff::doubling(failures, Duration::from_millis(10), Duration::from_secs(2));
                if Instant::now() + pause >= until {
                    return Err(error);
                }
                self.sleep(pause).await;
            }
        };
        let begun = Instant::now();
        let answer = self.bounded("read", until, work).await;
        self.waiting.count_question(begun.elapsed());
        let answer = answer?;
        answer.ok_or_else(|| self.silent("read"))
    }

    /// Reads rows outside any transaction.
    pub(crate) async fn peek<R: Rows>(&self, rows: R) -> Result<R::Values> {
        let gets = rows.gets();
        let got = self.ask(|engine| engine.read(gets.as_ref())).await?;
        R::values(got)
    }

    /// Reads a scan whole, from its beginning again when it breaks off. However long it is, each of its answers may
    /// take the time that one call has.
    pub(crate) async fn collect<T>(&self, scan: Scan, keep: impl Fn(Item) -> Option<T>) -> Result<Vec<T>> {
        for _ in 0..SCAN_TRIES {
            let mut kept = Vec::new();
            let mut items = self.engine.scan(scan.clone());
            let until = loop {
                let until = self.deadline();
                match self.bounded("list", until, items.try_next()).await {
                    Ok(Some(Some(item))) => kept.extend(keep(item)),
                    Ok(Some(None)) => return Ok(kept),
                    Ok(None) => return Err(self.silent("list")),
                    Err(Error::Unavailable(why)) => {
                        tracing::debug!(?scan, why, "a scan broke off");
                        break until;
                    }
                    Err(error) => return Err(error),
                }
            };
            drop(items);
            // Any answer says that the engine is back.
            self.ask_until(until, |engine| engine.setting()).await?;
        }
        Err(Error::Unavailable(format!("a scan broke off {SCAN_TRIES} times")))
    }

    /// `None` when time is up. Answers that come at once cost no timer.
    async fn bounded<T>(
        &self,
        what: &'static str,
        until: Instant,
        work: impl Future<Output = Result<T>>,
    ) -> Result<Option<T>> {
        let mut work = pin!(work);
        let first = std::future::poll_fn(|context| Poll::Ready(work.as_mut().poll(context))).await;
        if let Poll::Ready(output) = first {
            return output.map(Some);
        }
        let left = || until.saturating_duration_since(Instant::now());
        tokio::select! {
            biased;
            output = &mut work => return output.map(Some),
            () = self.sleep(self.waiting.quiet().min(left())) => {}
        }
        let _outage = self.waiting.begin(what, &"no answer yet");
        tokio::select! {
            biased;
            output = &mut work => output.map(Some),
            () = self.sleep(left()) => Ok(None),
        }
    }

    /// May be called from a thread that has not entered the runtime.
    pub(crate) fn sleep(&self, duration: Duration) -> tokio::time::Sleep {
        let _inside = self.runtime.enter();
        tokio::time::sleep(duration)
    }

    /// Removes a deleted file's data in the background, or leaves it to the hourly job when much is under way.
    fn delete_soon(&self, ino: Ino, length: u64) {
        let (Some(me), Ok(permit)) = (self.me.upgrade(), self.deletions.clone().try_acquire_owned()) else {
            return;
        };
        self.runtime.spawn(async move {
            let _permit = permit;
            if let Err(error) = me.delete_file_data(ino, length).await {
                tracing::warn!(%ino, %error, "data of a deleted file stays until the hourly job");
            }
        });
    }
}

/// A commit under way. Given up before it is known whether it has happened, it leaves directories whose statistics
/// must be counted anew, and quotas that may be off.
struct Doubt<'m> {
    meta: &'m Meta,
    after: After,
}

impl Doubt<'_> {
    fn settled(mut self) -> After {
        std::mem::take(&mut self.after)
    }
}

impl Drop for Doubt<'_> {
    fn drop(&mut self) {
        let charges = &self.after.charges;
        if !charges.dir_stats.is_empty() && self.meta.format.read().dir_stats {
            self.meta.dir_stats.doubt(charges.dir_stats.iter().map(|(ino, _)| *ino));
        }
        if !charges.quotas.is_empty() {
            self.meta.doubt_quotas();
        }
    }
}

/// The value of a row that must be there.
pub(crate) trait OrNoEntry<T> {
    fn or_no_entry(self) -> Result<T>;
}

impl<T> OrNoEntry<T> for Option<T> {
    fn or_no_entry(self) -> Result<T> {
        self.ok_or(Error::Errno(Errno::ENOENT))
    }
}
