//! The blocks of a mirror that has a bucket of its own: they follow the change log behind the rows.
//!
//! What is done is in a side record: the version up to which every block that the mirror's rows name is near. Slices
//! that the source deleted at or before that version are deleted near, too; nothing else ever is.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::TryStreamExt;
use juicefs_meta::SliceId;
use juicefs_meta::change_log::Line;
use juicefs_meta::mirror::{BucketMode, MirrorRecord, SIDE, State};
use juicefs_meta::port::{Change, Engine, Get, Got, Hold, Item, Scan};
use juicefs_meta::types::Ino;
use serde::{Deserialize, Serialize};

use crate::blocks::BlockCopier;
use crate::error::{Error, Result};

/// Name of the side record.
const DATA_SIDE: &str = "mirror.data";
/// Lines looked at together.
const LINES_MAX: usize = 2000;
/// Slices brought together while everything is walked.
const SLICES_AT_ONCE: usize = 2048;
/// Before the next look when there was nothing to do.
const IDLE: Duration = Duration::from_millis(50);
const OUTAGE_PAUSE: Duration = Duration::from_secs(1);
/// Between two reports of how far a long copy is.
const REPORT_PERIOD: Duration = Duration::from_millis(500);
/// Before blocks that no bucket had are looked for again.
const LACKING_PERIOD: Duration = Duration::from_secs(10);
/// Slices remembered to be in no bucket.
const LACKING_MAX: usize = 10_000;

/// How far the blocks are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataRecord {
    pub v: u32,
    /// Version of the source's change log up to which every block is near.
    pub cursor: u64,
    /// Everything was walked once; from then on the change log tells what is new.
    pub is_whole: bool,
    /// Of the work under way.
    pub pending_blocks: u64,
    pub pending_bytes: u64,
    /// Since the mirror was made.
    pub copied_blocks: u64,
    pub copied_bytes: u64,
    /// Slices that the mirror's files need and that are in no bucket.
    pub lacking_slices: u64,
}

pub(crate) async fn read(mirror: &dyn Engine) -> Result<DataRecord> {
    let got = mirror.read(&[Get::Side { name: DATA_SIDE.to_owned() }]).await?;
    match got.into_iter().next() {
        Some(Got::Bytes(Some(value))) => Ok(parse(&value)),
        _ => Ok(DataRecord::default()),
    }
}

/// Makes every slice be looked at again.
pub(crate) fn removal() -> Change {
    Change::DeleteSide { name: DATA_SIDE.to_owned() }
}

/// A slice and where it was found to be needed.
type Wanted = (Ino, u32, SliceId, u32);

/// Follows one source's blocks into the mirror's bucket.
pub(crate) struct DataFollower {
    source: Arc<dyn Engine>,
    mirror: Arc<dyn Engine>,
    copier: Arc<BlockCopier>,
    lacking: BTreeSet<Wanted>,
    lacking_seen: Instant,
    /// Numbers of the copier that the record holds already.
    reported: (u64, u64),
    reported_at: Instant,
    is_fresh: bool,
    /// The record's cursor and whether it was whole, as this process read or wrote it last: somebody who began anew is not
    /// overwritten.
    known: (u64, bool),
}

impl DataFollower {
    pub(crate) fn new(source: Arc<dyn Engine>, mirror: Arc<dyn Engine>, copier: Arc<BlockCopier>) -> Self {
        let now = Instant::now();
        Self {
            source,
            mirror,
            copier,
            lacking: BTreeSet::new(),
            lacking_seen: now,
            reported: (0, 0),
            reported_at: now,
            is_fresh: true,
            known: (0, false),
        }
    }

    /// Copies until it is dropped. Whatever fails is tried again: the rows go on meanwhile.
    pub(crate) async fn run(&mut self) {
        let mut is_failing = false;
        loop {
            let pause = match self.step().await {
                Ok(has_worked) => {
                    if std::mem::take(&mut is_failing) {
                        tracing::info!("blocks are copied again");
                    }
                    if has_worked { Duration::ZERO } else { IDLE }
                }
                Err(Error::Overtaken | Error::Meta(juicefs_meta::Error::Conflict)) => IDLE,
                Err(error) => {
                    if !std::mem::replace(&mut is_failing, true) {
                        tracing::warn!(%error, "blocks can't be copied at the moment");
                    }
                    OUTAGE_PAUSE
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// Whether there was anything to do.
    async fn step(&mut self) -> Result<bool> {
        let Some(record) = self.record().await? else { return Ok(false) };
        if record.state == State::Copying && record.bucket != BucketMode::DataFirst {
            return Ok(false);
        }
        let mut data = self.read().await?;
        // What an earlier process found to lack is not known any more.
        if std::mem::take(&mut self.is_fresh) && data.lacking_slices > 0 {
            data.is_whole = false;
        }
        if !data.is_whole {
            if record.state == State::Copying {
                return Ok(false);
            }
            self.bring_all(record.cursor).await?;
            return Ok(true);
        }
        self.look_for_lacking(&mut data).await?;
        let page = self.source.read_log(data.cursor, LINES_MAX).await?;
        if page.first > data.cursor.saturating_add(1) || page.last < data.cursor {
            tracing::warn!(
                "the source does not keep what the bucket has yet to see: every slice is looked at"
            );
            data.is_whole = false;
            self.report(data).await?;
            return Ok(true);
        }
        let lines: Vec<_> =
            page.lines.into_iter().take_while(|(version, _)| *version <= record.cursor).collect();
        let Some((last, _)) = lines.last() else { return Ok(false) };
        let told = Told::of(&lines);
        data.is_whole = !told.is_unknown;
        let chunks: Vec<Get> =
            told.chunks.iter().map(|&(ino, indx)| Get::Chunk { ino, indx, hold: Hold::Peek }).collect();
        for part in chunks.chunks(256) {
            let answers = self.mirror.read(part).await?;
            let wanted = wanted_of(part, &answers);
            self.bring(&mut data, wanted).await?;
        }
        for &(id, size) in &told.deleted {
            self.copier.delete(id, size).await?;
        }
        data.cursor = *last;
        self.report(data).await?;
        Ok(true)
    }

    async fn read(&mut self) -> Result<DataRecord> {
        let data = read(&*self.mirror).await?;
        self.known = (data.cursor, data.is_whole);
        Ok(data)
    }

    async fn record(&self) -> Result<Option<MirrorRecord>> {
        let got = self.mirror.read(&[Get::Side { name: SIDE.to_owned() }]).await?;
        Ok(match got.into_iter().next() {
            Some(Got::Bytes(Some(value))) => {
                Some(MirrorRecord::parse(&value)?).filter(|record| record.state.is_followed())
            }
            _ => None,
        })
    }

    /// Every slice that the mirror's rows name; `cursor` is a version that they have all of.
    pub(crate) async fn bring_all(&mut self, cursor: u64) -> Result<()> {
        let mut data = self.read().await?;
        let (mut blocks, mut bytes) = (0_u64, 0_u64);
        let mut chunks = self.mirror.scan(Scan::Chunks { ino: None });
        while let Some(item) = chunks.try_next().await? {
            for slice in slices_of(item).filter(|wanted| wanted.2 > 0) {
                blocks += u64::from(self.copier.layout().block_count(slice.3));
                bytes += u64::from(slice.3);
            }
        }
        drop(chunks);
        tracing::info!(blocks, bytes, "bringing the blocks of the whole volume");
        (data.pending_blocks, data.pending_bytes) = (blocks, bytes);
        self.report(data.clone()).await?;
        let mirror = self.mirror.clone();
        let mut chunks = mirror.scan(Scan::Chunks { ino: None });
        let mut group: Vec<Wanted> = Vec::new();
        loop {
            let item = chunks.try_next().await?;
            let is_end = item.is_none();
            group.extend(item.into_iter().flat_map(slices_of));
            if is_end || group.len() >= SLICES_AT_ONCE {
                let (blocks, bytes) = self.amount(&group);
                let rest =
                    (data.pending_blocks.saturating_sub(blocks), data.pending_bytes.saturating_sub(bytes));
                self.bring(&mut data, std::mem::take(&mut group)).await?;
                (data.pending_blocks, data.pending_bytes) = rest;
                if self.reported_at.elapsed() >= REPORT_PERIOD {
                    data = self.report(data).await?;
                }
            }
            if is_end {
                break;
            }
        }
        (data.cursor, data.is_whole, data.pending_blocks, data.pending_bytes) = (cursor, true, 0, 0);
        let data = self.report(data).await?;
        tracing::info!(
            copied = data.copied_blocks,
            lacking = data.lacking_slices,
            "every slice was looked at"
        );
        Ok(())
    }

    fn amount(&self, wanted: &[Wanted]) -> (u64, u64) {
        let used = wanted.iter().filter(|wanted| wanted.2 > 0);
        used.fold((0, 0), |(blocks, bytes), wanted| {
            (blocks + u64::from(self.copier.layout().block_count(wanted.3)), bytes + u64::from(wanted.3))
        })
    }

    async fn bring(&mut self, data: &mut DataRecord, wanted: Vec<Wanted>) -> Result<()> {
        let (blocks, bytes) = self.amount(&wanted);
        if data.is_whole {
            (data.pending_blocks, data.pending_bytes) = (blocks, bytes);
        }
        let slices = wanted.iter().map(|&(_, _, id, size)| (id, size)).collect::<Vec<_>>();
        let begun = self.copier.bring(slices);
        tokio::pin!(begun);
        let lacking = loop {
            tokio::select! {
                done = &mut begun => break done?,
                () = tokio::time::sleep(REPORT_PERIOD) => {
                    // A large batch is seen to go on.
                    let copied = &self.copier.copied;
                    let now = (copied.blocks.load(Ordering::Relaxed), copied.bytes.load(Ordering::Relaxed));
                    let mut seen = data.clone();
                    seen.copied_blocks += now.0 - self.reported.0;
                    seen.copied_bytes += now.1 - self.reported.1;
                    put(&*self.mirror, &seen, self.known).await?;
                }
            }
        };
        let lacking: BTreeSet<SliceId> = lacking.into_iter().collect();
        self.lacking
            .extend(wanted.into_iter().filter(|wanted| lacking.contains(&wanted.2)).take(LACKING_MAX));
        data.lacking_slices = self.lacking.len() as u64;
        if data.is_whole {
            (data.pending_blocks, data.pending_bytes) = (0, 0);
        }
        Ok(())
    }

    /// Slices that were deleted at the source before they were copied are soon needed no more; others are lost.
    async fn look_for_lacking(&mut self, data: &mut DataRecord) -> Result<()> {
        if self.lacking.is_empty() || self.lacking_seen.elapsed() < LACKING_PERIOD {
            return Ok(());
        }
        self.lacking_seen = Instant::now();
        let lacking: Vec<Wanted> = std::mem::take(&mut self.lacking).into_iter().collect();
        let mut still = Vec::new();
        for part in lacking.chunks(256) {
            let gets: Vec<_> =
                part.iter().map(|w| Get::Chunk { ino: w.0, indx: w.1, hold: Hold::Peek }).collect();
            let answers = self.mirror.read(&gets).await?;
            let needed: BTreeSet<Wanted> = wanted_of(&gets, &answers).into_iter().collect();
            still.extend(part.iter().filter(|wanted| needed.contains(wanted)));
        }
        self.bring(data, still).await?;
        for (ino, indx, id, _) in &self.lacking {
            tracing::error!("slice {id} of chunk {indx} of inode {ino} is in neither bucket");
        }
        self.report(data.clone()).await.map(drop)
    }

    async fn report(&mut self, mut data: DataRecord) -> Result<DataRecord> {
        let copied = &self.copier.copied;
        let now = (copied.blocks.load(Ordering::Relaxed), copied.bytes.load(Ordering::Relaxed));
        data.v = 1;
        data.copied_blocks += now.0 - self.reported.0;
        data.copied_bytes += now.1 - self.reported.1;
        put(&*self.mirror, &data, self.known).await?;
        self.known = (data.cursor, data.is_whole);
        self.reported = now;
        self.reported_at = Instant::now();
        Ok(data)
    }
}

/// As long as the mirror is one, and the record what is `known` of it.
async fn put(mirror: &dyn Engine, data: &DataRecord, known: (u64, bool)) -> Result<()> {
    let mut attempt = mirror.begin(0).await?;
    let names = [SIDE, DATA_SIDE].map(|name| Get::Side { name: name.to_owned() });
    let got = attempt.read(&names).await?;
    let [Got::Bytes(Some(record)), Got::Bytes(stored)] = &got[..] else { return Err(Error::Overtaken) };
    let stored = stored.as_ref().map(|value| parse(value)).unwrap_or_default();
    if !MirrorRecord::parse(record)?.state.is_followed() || (stored.cursor, stored.is_whole) != known {
        return Err(Error::Overtaken);
    }
    let value = Bytes::from(serde_json::to_vec(data).unwrap_or_default());
    attempt.commit(&[Change::PutSide { name: DATA_SIDE.to_owned(), value }]).await?;
    Ok(())
}

/// What can't be read is begun anew.
fn parse(value: &[u8]) -> DataRecord {
    serde_json::from_slice(value).unwrap_or_default()
}

fn slices_of(item: Item) -> impl Iterator<Item = Wanted> {
    let (ino, indx, slices) = match item {
        Item::Chunk { ino, indx, slices } => (ino, indx, slices),
        _ => (Ino(0), 0, Vec::new()),
    };
    slices.into_iter().map(move |slice| (ino, indx, slice.id, slice.size))
}

/// The slices in answers to questions for chunks.
pub(crate) fn wanted_of(gets: &[Get], answers: &[Got]) -> Vec<Wanted> {
    let pairs = gets.iter().zip(answers);
    pairs
        .filter_map(|(get, got)| match (get, got) {
            (Get::Chunk { ino, indx, .. }, Got::Slices(slices)) => Some((*ino, *indx, slices)),
            _ => None,
        })
        .flat_map(|(ino, indx, slices)| slices.iter().map(move |s| (ino, indx, s.id, s.size)))
        .filter(|wanted| wanted.2 > 0)
        .collect()
}

/// What lines say of blocks: only writes and compactions make new ones, copies and clones share.
#[derive(Default)]
struct Told {
    chunks: BTreeSet<(Ino, u32)>,
    deleted: BTreeSet<(SliceId, u32)>,
    is_unknown: bool,
}

impl Told {
    fn of(lines: &[(u64, Bytes)]) -> Self {
        let mut told = Self::default();
        for (_, text) in lines {
            if Line::parse(text).and_then(|line| told.note(&line)).is_none() {
                told.is_unknown = true;
            }
        }
        told
    }

    fn note(&mut self, line: &Line) -> Option<()> {
        match &*line.operation {
            "WRITE" | "COMPACTCHUNK" => {
                self.chunks.insert((Ino(line.number_at(0)?), u32::try_from(line.number_at(1)?).ok()?));
            }
            "DELETESLICE" => {
                self.deleted.insert((line.number_at(0)?, u32::try_from(line.number_at(1)?).ok()?));
            }
            _ => {}
        }
        Some(())
    }
}
