//! `heal`: the full sync of a volume's two buckets, driven by live metadata (decisions 12).
//!
//! A listing alone says nothing: what only one bucket has was either not copied yet or is already deleted. So a block
//! goes where it lacks only if some slice that metadata knows has it, and one that no slice has is deleted from both
//! once it is older than the writers that may be about to commit it. What died while it was copied is found by reading
//! metadata once more. A run that is broken off has left whole copies only; the next one goes on with the rest.

use futures::{StreamExt, TryStreamExt};
use juicefs_base::ExposeSecret;
use juicefs_chunk::Layout;
use juicefs_meta::engines;
use juicefs_meta::format::Format;
use juicefs_meta::port::{Engine, Item, Scan};
use juicefs_meta::replication;
use juicefs_meta::url::MetaUrl;
use juicefs_object::{Bandwidth, Error as StoreError, Listed, Side, Sides, Store, Throttled};
use serde::Serialize;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

use crate::blocks::{BlockName, SliceSizes, live_slices};
use crate::error::{Error, Result};
use crate::format::now;
use crate::gc::Tally;
use crate::progress::{Progress, Silent};
use crate::storage::{StorageAccess, load_own_format, open_both};

/// Keys that a report names at most.
const NAMED_MAX: usize = 100;
/// For one request; a listing has none.
const DEADLINE: Duration = Duration::from_secs(120);
/// Tries of one request.
const TRIES: u32 = 4;
const TRY_PAUSE: Duration = Duration::from_millis(500);

/// What `heal` may do.
#[derive(Clone, Debug)]
pub struct HealRequest {
    /// Only look.
    pub dry: bool,
    /// Copies and deletions at the same time; each copy holds one block in memory.
    pub threads: usize,
    /// Megabits a second, for each direction; 0 = no limit.
    pub bandwidth_mbps: i64,
    /// Objects younger than this that no slice has are passed over (`JFS_GC_SKIPPEDTIME`, 1 h).
    pub skipped_age: Duration,
}

/// What was found, and done about it.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HealReport {
    /// Blocks that metadata knows.
    pub live: Tally,
    /// Of those, what either bucket lacks or has of the wrong size.
    pub missing_first: Tally,
    pub missing_second: Tally,
    /// In neither bucket, or damaged in both.
    pub lost: u64,
    /// No slice has them, and they are old.
    pub dead: Tally,
    /// No slice has them, too young to be judged.
    pub skipped: Tally,
    pub copied: Tally,
    pub deleted: Tally,
    /// Copies taken back, as their slices died meanwhile.
    pub taken_back: u64,
    /// What could not be copied or deleted.
    pub failed: u64,
    /// The first [`NAMED_MAX`] of what is lost or failed.
    pub named: Vec<String>,
}

impl HealReport {
    fn name(&mut self, key: &str) {
        if self.named.len() < NAMED_MAX {
            self.named.push(key.to_owned());
        }
    }
}

/// What one bucket has of a block.
#[derive(Clone, Copy, Debug, Default)]
struct Held {
    /// Bytes by the listing.
    first: Option<u64>,
    second: Option<u64>,
}

/// One copy to be made.
#[derive(Clone, Debug)]
struct Copy {
    key: String,
    to: Side,
}

/// Makes both buckets hold what metadata knows, and nothing else that is old.
///
/// # Errors
/// A volume without a second bucket; an engine or store that does not answer; a record that can't be decoded, as
/// blocks it refers to would be taken for dead.
pub async fn heal(
    url: &MetaUrl,
    access: &StorageAccess,
    request: &HealRequest,
    progress: &dyn Progress,
) -> Result<HealReport> {
    let engine = engines::open(url).await?;
    let format = load_own_format(engine.as_ref(), "heal").await?;
    if let Some(sentence) = format.unsupported() {
        return Err(Error::Meta(juicefs_meta::Error::Unsupported(sentence)));
    }
    let Some(record) = replication::read(engine.as_ref(), &format).await? else {
        return Err(Error::BadRequest(format!(
            "volume {} has one bucket: give it a second one with `juicefs config {url} --bucket2 URL`",
            format.name
        )));
    };
    let sides = open_both(&format, &record, access).await?;
    let bandwidth = Bandwidth::of_mbps(request.bandwidth_mbps, request.bandwidth_mbps);
    let slowed = |store: Arc<dyn Store>| -> Arc<dyn Store> {
        Arc::new(Throttled::new(store, Box::new(move || bandwidth)))
    };
    let sides = Sides { first: slowed(sides.first), second: slowed(sides.second) };
    Healing { engine: engine.as_ref(), format: &format, sides, request, report: HealReport::default() }
        .run(progress)
        .await
}

struct Healing<'a> {
    engine: &'a dyn Engine,
    format: &'a Format,
    sides: Sides,
    request: &'a HealRequest,
    report: HealReport,
}

impl Healing<'_> {
    async fn run(mut self, progress: &dyn Progress) -> Result<HealReport> {
        // A bucket that is gone must not look like one without objects.
        for store in [&self.sides.first, &self.sides.second] {
            match store.get(crate::format::UUID_KEY, None).await {
                Err(error) if !error.is_not_found() => return Err(error.into()),
                _ => {}
            }
        }
        let known = known_slices(self.engine, progress).await?;
        let block_bytes = self.format.block_size_kib * 1024;
        let (mut held, dead) = self.list(&known, block_bytes, progress).await?;
        let copies = self.judge(&known, &mut held);
        if self.request.dry {
            return Ok(self.report);
        }
        let copied = self.copy(copies, progress).await;
        self.take_back(copied).await?;
        self.delete(dead, progress).await?;
        Ok(self.report)
    }

    /// Both listings: of known blocks what is held where, of others what is old enough to go.
    async fn list(
        &mut self,
        known: &SliceSizes,
        block_bytes: u32,
        progress: &dyn Progress,
    ) -> Result<(HashMap<String, Held>, Vec<(Side, Listed)>)> {
        progress.begin("objects", None);
        let newest = now().sec - i64::try_from(self.request.skipped_age.as_secs()).unwrap_or(i64::MAX);
        let (mut held, mut dead) = (HashMap::<String, Held>::new(), Vec::new());
        for side in [Side::First, Side::Second] {
            let store = self.sides.of(side).clone();
            let mut objects = store.list("chunks/", "");
            while let Some(object) = objects.try_next().await? {
                let Some(block) = BlockName::parse(&object.key).filter(|_| !object.is_prefix) else {
                    continue;
                };
                progress.advance(1);
                if is_known(known, block, block_bytes) {
                    let held = held.entry(object.key).or_default();
                    match side {
                        Side::First => held.first = Some(object.size),
                        Side::Second => held.second = Some(object.size),
                    }
                } else if object.modified_at > newest {
                    self.report.skipped.add(object.size);
                } else {
                    self.report.dead.add(object.size);
                    dead.push((side, object));
                }
            }
        }
        Ok((held, dead))
    }

    /// What has to go where, by metadata.
    fn judge(&mut self, known: &SliceSizes, held: &mut HashMap<String, Held>) -> Vec<Copy> {
        let layout =
            Layout { block_bytes: self.format.block_size_kib * 1024, hash_prefix: self.format.hash_prefix };
        // Stored as it is, a block has the bytes of its name.
        let is_plain = matches!(self.format.compression.to_lowercase().as_str(), "" | "none")
            && self.format.encrypt_key.expose_secret().is_empty();
        let mut copies = Vec::new();
        for (id, size) in known {
            for block in layout.blocks(*id, *size) {
                let (key, bytes) = (layout.key(block), block.size);
                let mut has = held.remove(&key).unwrap_or_default();
                self.report.live.add(u64::from(bytes));
                if is_plain {
                    let is_whole = |size: &u64| *size == u64::from(bytes);
                    (has.first, has.second) = (has.first.filter(is_whole), has.second.filter(is_whole));
                }
                match (has.first, has.second) {
                    // Sealed or compressed: which one is whole is not known by its size, and none is overwritten.
                    (Some(first), Some(second)) if first != second => {
                        tracing::warn!(
                            "{key} has {first} bytes in the first bucket and {second} in the second"
                        );
                        self.report.failed += 1;
                        self.report.name(&key);
                    }
                    (Some(_), Some(_)) => {}
                    (None, Some(_)) => {
                        self.report.missing_first.add(u64::from(bytes));
                        copies.push(Copy { key, to: Side::First });
                    }
                    (Some(_), None) => {
                        self.report.missing_second.add(u64::from(bytes));
                        copies.push(Copy { key, to: Side::Second });
                    }
                    (None, None) => {
                        self.report.lost += 1;
                        self.report.name(&key);
                    }
                }
            }
        }
        copies
    }

    /// Makes the copies; gives those that are there.
    async fn copy(&mut self, copies: Vec<Copy>, progress: &dyn Progress) -> Vec<Copy> {
        progress.begin("copies", Some(copies.len() as u64));
        let sides = &self.sides;
        let mut made = futures::stream::iter(copies)
            .map(|copy| async move { (copy_one(sides, &copy).await, copy) })
            .buffer_unordered(self.request.threads.max(1));
        let (mut done, mut failed) = (Vec::new(), Vec::new());
        let mut copied = Tally::default();
        while let Some((outcome, copy)) = made.next().await {
            progress.advance(1);
            match outcome {
                Ok(Some(bytes)) => {
                    copied.add(bytes);
                    done.push(copy);
                }
                // Deleted since it was listed.
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!("{} could not be copied: {error}", copy.key);
                    failed.push(copy.key);
                }
            }
        }
        drop(made);
        self.report.copied = copied;
        self.report.failed += failed.len() as u64;
        failed.iter().for_each(|key| self.report.name(key));
        done
    }

    /// Copies whose slice died while they were made: its deleter may have been there before the copy was.
    async fn take_back(&mut self, copied: Vec<Copy>) -> Result<()> {
        if copied.is_empty() {
            return Ok(());
        }
        let known = known_slices(self.engine, &Silent).await?;
        let block_bytes = self.format.block_size_kib * 1024;
        for copy in copied {
            let is_dead =
                BlockName::parse(&copy.key).is_some_and(|block| !is_known(&known, block, block_bytes));
            if is_dead {
                tries(|| self.sides.of(copy.to).delete(&copy.key), &copy.key).await?;
                self.report.taken_back += 1;
            }
        }
        Ok(())
    }

    /// Deletes what is still unknown: a writer that took long may have committed meanwhile.
    async fn delete(&mut self, dead: Vec<(Side, Listed)>, progress: &dyn Progress) -> Result<()> {
        if dead.is_empty() {
            return Ok(());
        }
        let known = known_slices(self.engine, &Silent).await?;
        let block_bytes = self.format.block_size_kib * 1024;
        let is_dead = |object: &Listed| {
            BlockName::parse(&object.key).is_some_and(|block| !is_known(&known, block, block_bytes))
        };
        progress.begin("deletions", Some(dead.len() as u64));
        let sides = &self.sides;
        let mut deletions = futures::stream::iter(dead.into_iter().filter(|(_, object)| is_dead(object)))
            .map(|(side, object)| async move {
                (tries(|| sides.of(side).delete(&object.key), &object.key).await, object)
            })
            .buffer_unordered(self.request.threads.max(1));
        let (mut deleted, mut failed) = (Tally::default(), Vec::new());
        while let Some((outcome, object)) = deletions.next().await {
            progress.advance(1);
            match outcome {
                Ok(()) => deleted.add(object.size),
                Err(error) => {
                    tracing::warn!("dead object {} stays: {error}", object.key);
                    failed.push(object.key);
                }
            }
        }
        drop(deletions);
        self.report.deleted = deleted;
        self.report.failed += failed.len() as u64;
        failed.iter().for_each(|key| self.report.name(key));
        Ok(())
    }
}

fn is_known(known: &SliceSizes, block: BlockName, block_bytes: u32) -> bool {
    known.get(&block.id).is_some_and(|size| block.belongs_to(*size, block_bytes))
}

/// Slices that files use, or that are kept for the trash.
async fn known_slices(engine: &dyn Engine, progress: &dyn Progress) -> Result<SliceSizes> {
    let mut known = live_slices(engine, progress).await?;
    let mut items = engine.scan(Scan::DelayedSlices);
    while let Some(item) = items.try_next().await? {
        match item {
            Item::DelayedSlices { slices, .. } => known.extend(slices),
            Item::Damaged(damage) => return Err(Error::Damaged(damage)),
            _ => {}
        }
    }
    Ok(known)
}

/// The bytes that were copied, byte for byte as they are stored; `None` when the source has gone.
async fn copy_one(sides: &Sides, copy: &Copy) -> juicefs_object::Result<Option<u64>> {
    let (from, to) = (sides.of(copy.to.other()), sides.of(copy.to));
    let body = match tries(|| from.get(&copy.key, None), &copy.key).await {
        Ok(body) => body,
        Err(error) if error.is_not_found() => return Ok(None),
        Err(error) => return Err(error),
    };
    let bytes = body.len() as u64;
    tries(|| to.put(&copy.key, body.clone()), &copy.key).await?;
    Ok(Some(bytes))
}

async fn tries<T, F>(mut request: impl FnMut() -> F, key: &str) -> juicefs_object::Result<T>
where
    F: Future<Output = juicefs_object::Result<T>>,
{
    let mut left = TRIES;
    loop {
        left -= 1;
        let error = match timeout(DEADLINE, request()).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => error,
            Err(_) => StoreError::Unreachable {
                store: "the store".to_owned(),
                key: key.to_owned(),
                cause: format!("no answer within {} s", DEADLINE.as_secs()),
            },
        };
        if left == 0 || !error.may_retry() {
            return Err(error);
        }
        tokio::time::sleep(TRY_PAUSE).await;
    }
}
