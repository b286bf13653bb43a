//! Engines that fail.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use futures::stream::{BoxStream, StreamExt};
use juicefs_base::Errno;
use juicefs_base::sync::Mutex;

use super::{Volume, mount, name, root};
use crate::error::{Error, Result};
use crate::port::{
    Attempt, Change, Counters, Engine, EngineLimits, Followed, Get, Got, Item, Job, LogLine, LogPage,
    MaybeNode, NewVolume, Questions, Receipt, Scan, Sequence,
};
use crate::request::NewNode;
use crate::types::{Attr, DirStat, Ino, Usage};

/// What happens to the next reads and commits, in order; `None` = nothing.
struct Failing {
    inner: Arc<dyn Engine>,
    plan: Mutex<VecDeque<Option<Fault>>>,
    /// So many scans break off at their end.
    scans_fail: AtomicUsize,
}

enum Fault {
    Error(Error),
    Silence,
    /// A commit that happens, and nobody hears of it.
    Unheard,
}

const UNHEARD: &str = "unheard";

impl Failing {
    async fn mount(volume: &Volume) -> (Arc<Self>, Arc<crate::Meta>) {
        let engine = Arc::new(Self {
            inner: volume.counting.clone(),
            plan: Mutex::default(),
            scans_fail: AtomicUsize::new(0),
        });
        let meta = mount(engine.clone(), 9).await;
        // Numbers are at hand, so that only transactions meet the plan.
        meta.mknod(&root(), Ino::ROOT, &name("warm"), &NewNode::file(0, 0)).await.unwrap();
        (engine, meta)
    }

    fn plan(&self, faults: impl IntoIterator<Item = Option<Fault>>) {
        *self.plan.lock() = faults.into_iter().collect();
    }

    async fn strike(&self) -> Result<()> {
        let fault = self.plan.lock().pop_front().flatten();
        match fault {
            None => Ok(()),
            Some(Fault::Error(error)) => Err(error),
            Some(Fault::Silence) => std::future::pending().await,
            Some(Fault::Unheard) => Err(Error::InDoubt(UNHEARD.to_owned())),
        }
    }
}

impl Engine for Failing {
    fn begin(&self, attempt: u32) -> BoxFuture<'_, Result<Box<dyn Attempt + '_>>> {
        Box::pin(async move {
            let inner = self.inner.begin(attempt).await?;
            let attempt: Box<dyn Attempt + '_> = Box::new(FailingAttempt { failing: self, inner });
            Ok(attempt)
        })
    }

    fn read<'a>(&'a self, gets: &'a [Get]) -> BoxFuture<'a, Result<Vec<Got>>> {
        Box::pin(async move {
            self.strike().await?;
            self.inner.read(gets).await
        })
    }

    fn nodes<'a>(&'a self, inos: &'a [Ino]) -> BoxFuture<'a, Result<Vec<MaybeNode>>> {
        self.inner.nodes(inos)
    }

    fn scan(&self, scan: Scan) -> BoxStream<'_, Result<Item>> {
        let fails = self.scans_fail.fetch_update(SeqCst, SeqCst, |left: usize| left.checked_sub(1)).is_ok();
        let end = fails.then(|| Err(Error::Unavailable("cut".to_owned())));
        self.inner.scan(scan).chain(futures::stream::iter(end)).boxed()
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

    fn update_setting<'a>(
        &'a self,
        setting: &'a str,
        trash: Option<Attr>,
        reset_dir_stats: bool,
    ) -> BoxFuture<'a, Result<()>> {
        self.inner.update_setting(setting, trash, reset_dir_stats)
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

    fn usage(&self) -> BoxFuture<'_, Result<Usage>> {
        self.inner.usage()
    }

    fn flush(&self) -> BoxFuture<'_, Result<()>> {
        self.inner.flush()
    }

    fn settle(&self) -> BoxFuture<'_, Result<()>> {
        self.inner.settle()
    }

    fn foreign_records(&self) -> BoxFuture<'_, Result<Vec<&'static str>>> {
        self.inner.foreign_records()
    }

    fn limits(&self) -> EngineLimits {
        self.inner.limits()
    }
}

struct FailingAttempt<'e> {
    failing: &'e Failing,
    inner: Box<dyn Attempt + 'e>,
}

impl Attempt for FailingAttempt<'_> {
    fn read<'a>(&'a mut self, gets: &'a [Get]) -> BoxFuture<'a, Result<Vec<Got>>> {
        Box::pin(async move {
            self.failing.strike().await?;
            self.inner.read(gets).await
        })
    }

    fn commit<'a>(self: Box<Self>, changes: &'a [Change]) -> BoxFuture<'a, Result<Receipt>>
    where
        Self: 'a,
    {
        Box::pin(async move {
            match self.failing.strike().await {
                Err(Error::InDoubt(why)) if why == UNHEARD => {
                    self.inner.commit(changes).await?;
                    Err(Error::InDoubt(why))
                }
                struck => {
                    struck?;
                    self.inner.commit(changes).await
                }
            }
        })
    }
}

fn down() -> Option<Fault> {
    Some(Fault::Error(Error::Unavailable("down".to_owned())))
}

fn conflict() -> Option<Fault> {
    Some(Fault::Error(Error::Conflict))
}

async fn touch(meta: &crate::Meta, text: &str) -> Result<(Ino, Attr)> {
    meta.mknod(&root(), Ino::ROOT, &name(text), &NewNode::file(0, 0)).await
}

#[tokio::test]
async fn a_failure_at_any_flush_is_tried_again_and_done_once() {
    let volume = Volume::new().await;
    let (engine, meta) = Failing::mount(&volume).await;
    for (number, at) in [0, 1].into_iter().flat_map(|at| [(at * 2, at), (at * 2 + 1, at)]) {
        let fault = if number % 2 == 0 { down() } else { conflict() };
        engine.plan(std::iter::repeat_with(|| None).take(at).chain([fault]));
        touch(&meta, &format!("f{number}")).await.unwrap();
    }
    assert_eq!(meta.restarts(), 2);
    assert_eq!(meta.readdir(&root(), Ino::ROOT, false).await.unwrap().len(), 5);
    super::audit::audit(&*volume.engine, &[&meta]).await;
}

#[tokio::test]
async fn an_engine_that_stays_away_is_eio_after_the_deadline() {
    let volume = Volume::new().await;
    let (engine, meta) = Failing::mount(&volume).await;
    meta.waiting.set_deadline(Duration::from_millis(300));
    engine.plan((0..1000).map(|_| down()));
    let started = Instant::now();
    let error = touch(&meta, "f").await.unwrap_err();
    assert!(matches!(error, Error::Unavailable(_)) && error.errno() == Errno::EIO);
    assert!(started.elapsed() < Duration::from_secs(10));
    engine.plan([]);
    touch(&meta, "f").await.unwrap();
}

#[tokio::test]
async fn a_silent_engine_is_seen_in_the_gauge_and_given_up() {
    let volume = Volume::new().await;
    let (engine, meta) = Failing::mount(&volume).await;
    meta.waiting.set_deadline(Duration::from_millis(400));
    engine.plan([Some(Fault::Silence)]);
    let asking = tokio::spawn({
        let meta = meta.clone();
        async move { meta.getattr(Ino::ROOT).await }
    });
    let started = Instant::now();
    while meta.waiting_since().is_none() {
        assert!(started.elapsed() < Duration::from_secs(10), "the gauge shows it");
        tokio::task::yield_now().await;
    }
    assert_eq!(asking.await.unwrap().unwrap_err().errno(), Errno::EIO);
    assert!(meta.waiting_since().is_none());
}

#[tokio::test]
async fn a_silent_commit_is_in_doubt() {
    let volume = Volume::new().await;
    let (engine, meta) = Failing::mount(&volume).await;
    meta.waiting.set_deadline(Duration::from_millis(200));
    engine.plan([None, Some(Fault::Silence)]);
    assert!(matches!(touch(&meta, "f").await, Err(Error::InDoubt(_))));
}

#[tokio::test]
async fn a_lost_reply_is_not_tried_again() {
    let volume = Volume::new().await;
    let (engine, meta) = Failing::mount(&volume).await;
    engine.plan([None, Some(Fault::Error(Error::InDoubt("cut".to_owned()))), down()]);
    let error = touch(&meta, "f").await.unwrap_err();
    assert!(matches!(error, Error::InDoubt(_)) && error.errno() == Errno::EIO);
    assert_eq!(engine.plan.lock().len(), 1, "nothing was asked after it");
}

#[tokio::test]
async fn a_commit_that_may_have_happened_has_its_directory_counted_anew() {
    let volume = Volume::new().await;
    let (engine, meta) = Failing::mount(&volume).await;
    touch(&meta, "a").await.unwrap();
    meta.flush_statistics().await.unwrap();
    engine.plan([None, Some(Fault::Unheard)]);
    assert!(matches!(touch(&meta, "b").await, Err(Error::InDoubt(_))));
    meta.flush_statistics().await.unwrap();
    super::audit::audit(&*volume.engine, &[&meta]).await;
    // The statistics' own commit, too.
    touch(&meta, "c").await.unwrap();
    engine.plan([None, Some(Fault::Unheard)]);
    assert!(matches!(meta.flush_statistics().await, Ok(()) | Err(Error::InDoubt(_))));
    meta.flush_statistics().await.unwrap();
    super::audit::audit(&*volume.engine, &[&meta]).await;
}

/// A session that ends while its last second is being written does not lose it.
#[tokio::test]
async fn a_flush_of_statistics_waits_for_the_one_under_way() {
    let volume = Volume::new().await;
    let (engine, meta) = Failing::mount(&volume).await;
    meta.flush_statistics().await.unwrap();
    touch(&meta, "f").await.unwrap();
    // The first meets an engine that is away at its commit, and pauses.
    engine.plan([None, down()]);
    let last = async {
        meta.flush_statistics().await.unwrap();
        volume.engine.read(&[Get::DirStat { ino: Ino::ROOT }]).await.unwrap()
    };
    let (first, got) = tokio::join!(meta.flush_statistics(), last);
    first.unwrap();
    assert!(matches!(got[..], [Got::DirStat(Some(DirStat { inodes: 2, .. }))]), "{got:?}");
}

#[tokio::test]
async fn a_listing_that_breaks_off_is_begun_anew() {
    let volume = Volume::new().await;
    let (engine, meta) = Failing::mount(&volume).await;
    engine.scans_fail.store(2, SeqCst);
    assert_eq!(meta.readdir(&root(), Ino::ROOT, true).await.unwrap().len(), 1);
    engine.scans_fail.store(1000, SeqCst);
    assert_eq!(meta.readdir(&root(), Ino::ROOT, true).await.unwrap_err().errno(), Errno::EIO);
}

#[tokio::test]
async fn statistics_wait_for_an_engine_that_comes_back() {
    let volume = Volume::new().await;
    let (engine, meta) = Failing::mount(&volume).await;
    meta.flush_statistics().await.unwrap();
    touch(&meta, "f").await.unwrap();
    meta.waiting.set_deadline(Duration::from_millis(50));
    engine.plan((0..1000).map(|_| down()));
    assert!(meta.flush_statistics().await.is_err());
    engine.plan([]);
    super::audit::audit(&*volume.engine, &[&meta]).await;
}
