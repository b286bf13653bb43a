//! What only who writes to a volume keeps, made anew from its rows: statistics of directories, references of slices,
//! usage, files whose data is yet to be deleted. Each may be done again.

use std::collections::{HashMap, HashSet};

use futures::TryStreamExt;
use juicefs_meta::port::{Change, Engine, Get, Got, Hold, Item, Scan};
use juicefs_meta::types::{Attr, CHUNK_BYTES, DirStat, Ino, Kind, Time};
use juicefs_meta::{SliceId, Usage};

use crate::blocks::BlockCopier;
use crate::error::{Error, Result};
use crate::sample::path_of;

/// Changes written, rows read together.
const AT_ONCE: usize = 256;
const SLICES_AT_ONCE: usize = 4096;
/// Broken files that are named.
const NAMED_MAX: usize = 100;

/// The highest numbers that rows bear.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counted {
    pub last_inode: u64,
    pub last_slice: u64,
    pub last_trash: u64,
}

/// Writes in batches.
struct Writer<'a> {
    engine: &'a dyn Engine,
    changes: Vec<Change>,
}

impl<'a> Writer<'a> {
    fn new(engine: &'a dyn Engine) -> Self {
        Self { engine, changes: Vec::new() }
    }

    async fn add(&mut self, change: Change) -> Result<()> {
        self.changes.push(change);
        if self.changes.len() >= AT_ONCE { self.flush().await } else { Ok(()) }
    }

    async fn flush(&mut self) -> Result<()> {
        if !self.changes.is_empty() {
            self.engine.begin(0).await?.commit(&std::mem::take(&mut self.changes)).await?;
        }
        Ok(())
    }
}

pub(crate) async fn count(engine: &dyn Engine, has_stats: bool) -> Result<Counted> {
    forget_former_life(engine).await?;
    let mut counted = delete_nameless(engine).await?;
    if has_stats {
        count_directories(engine).await?;
    }
    counted.last_slice = count_references(engine).await?;
    Ok(counted)
}

/// Sessions, locks and deletions of when the database was a volume before: none of them is of these rows.
async fn forget_former_life(engine: &dyn Engine) -> Result<()> {
    let mut writer = Writer::new(engine);
    for scan in [Scan::Sustained { sid: None }, Scan::DeletedFiles, Scan::DelayedSlices, Scan::Sessions] {
        let found: Vec<Item> = engine.scan(scan).try_collect().await?;
        for item in found {
            match item {
                Item::Sustained { sid, ino } => writer.add(Change::DeleteSustained { sid, ino }).await?,
                Item::DeletedFile { ino, length, .. } => {
                    writer.add(Change::DeleteDeletedFile { ino, length }).await?;
                }
                Item::DelayedSlices { id, deleted_at, .. } => {
                    writer.add(Change::DeleteDelayedSlices { id, deleted_at }).await?;
                }
                Item::Session(row) => {
                    writer.add(Change::DeleteLocks { sid: row.sid }).await?;
                    writer.add(Change::DeleteSession { sid: row.sid }).await?;
                }
                _ => {}
            }
        }
    }
    writer.flush().await
}

/// Files that were open without a name at the source are nobody's now, and data without a file waits for its deletion.
async fn delete_nameless(engine: &dyn Engine) -> Result<Counted> {
    let mut counted = Counted::default();
    let mut usage = Usage::default();
    let mut writer = Writer::new(engine);
    let mut nodes = engine.scan(Scan::Nodes);
    let mut nameless = Vec::new();
    while let Some(item) = nodes.try_next().await? {
        let Item::Node { ino, attr } = item else { continue };
        if ino.is_trash() {
            counted.last_trash = counted.last_trash.max(ino.0 - Ino::TRASH.0);
        } else {
            counted.last_inode = counted.last_inode.max(ino.0);
        }
        if attr.kind != Kind::Directory && attr.nlink == 0 {
            nameless.push((ino, attr));
        } else if ino != Ino::ROOT && ino != Ino::TRASH {
            usage.space += attr.space().cast_signed();
            usage.inodes += 1;
        }
    }
    drop(nodes);
    for (ino, attr) in nameless {
        for change in
            [Change::DeleteNode { ino }, Change::DeleteXattrs { ino }, Change::DeleteParentRefs { ino }]
        {
            writer.add(change).await?;
        }
        writer.add(deleted(ino, attr.length)).await?;
    }
    let known = engine.usage().await?;
    writer
        .add(Change::AddUsage { space: usage.space - known.space, inodes: usage.inodes - known.inodes })
        .await?;
    writer.flush().await?;
    engine.flush().await?;
    delete_ownerless_chunks(engine).await?;
    Ok(counted)
}

fn deleted(ino: Ino, length: u64) -> Change {
    Change::InsertDeletedFile { ino, length, deleted_at: Time::now().sec }
}

async fn delete_ownerless_chunks(engine: &dyn Engine) -> Result<()> {
    let mut group: HashMap<Ino, u32> = HashMap::new();
    let mut ends: HashMap<Ino, u32> = HashMap::new();
    let mut chunks = engine.scan(Scan::Chunks { ino: None });
    loop {
        let item = chunks.try_next().await?;
        let is_end = item.is_none();
        if let Some(Item::Chunk { ino, indx, .. }) = item {
            let last = group.entry(ino).or_default();
            *last = indx.max(*last);
        }
        if is_end || group.len() >= AT_ONCE {
            let inos: Vec<Ino> = group.keys().copied().collect();
            for (ino, node) in inos.iter().zip(engine.nodes(&inos).await?) {
                if let (Ok(None), Some(last)) = (node, group.get(ino)) {
                    let end = ends.entry(*ino).or_default();
                    *end = (*last).max(*end);
                }
            }
            group.clear();
        }
        if is_end {
            break;
        }
    }
    drop(chunks);
    // A second record of a file that has one would delete it twice.
    let known: Vec<Item> = engine.scan(Scan::DeletedFiles).try_collect().await?;
    let known: HashSet<Ino> = known
        .iter()
        .filter_map(|item| if let Item::DeletedFile { ino, .. } = item { Some(*ino) } else { None })
        .collect();
    let mut writer = Writer::new(engine);
    for (ino, last) in ends.into_iter().filter(|(ino, _)| !known.contains(ino)) {
        writer.add(deleted(ino, (u64::from(last) + 1) * CHUNK_BYTES)).await?;
    }
    writer.flush().await
}

async fn count_directories(engine: &dyn Engine) -> Result<()> {
    let mut writer = Writer::new(engine);
    let mut nodes = engine.scan(Scan::Nodes);
    while let Some(item) = nodes.try_next().await? {
        let Item::Node { ino, attr } = item else { continue };
        if attr.kind == Kind::Directory && ino != Ino::TRASH {
            let stat = count_directory(engine, ino).await?;
            writer.add(Change::SetDirStat { ino, stat }).await?;
        }
    }
    drop(nodes);
    writer.flush().await
}

async fn count_directory(engine: &dyn Engine, parent: Ino) -> Result<DirStat> {
    let mut stat = DirStat::default();
    let mut inos = Vec::with_capacity(AT_ONCE);
    let mut entries = engine.scan(Scan::Entries { parent });
    loop {
        let item = entries.try_next().await?;
        let is_end = item.is_none();
        if let Some(Item::Entry { edge, .. }) = item {
            inos.push(edge.ino);
        }
        if inos.len() >= AT_ONCE || is_end {
            for attr in engine.nodes(&inos).await?.into_iter().flatten().flatten() {
                add(&mut stat, &attr);
            }
            inos.clear();
        }
        if is_end {
            return Ok(stat);
        }
    }
}

fn add(stat: &mut DirStat, attr: &Attr) {
    stat.inodes += 1;
    stat.space += attr.space().cast_signed();
    if attr.kind == Kind::File {
        stat.length = stat.length.saturating_add_unsigned(attr.length);
    }
}

/// A slice without a record of its references has one, on every engine: a mirror's rows are written so.
async fn count_references(engine: &dyn Engine) -> Result<SliceId> {
    let mut last = 0;
    let mut seen = roaring::RoaringTreemap::new();
    let mut shared: HashMap<SliceId, (u32, i64)> = HashMap::new();
    let mut chunks = engine.scan(Scan::Chunks { ino: None });
    while let Some(item) = chunks.try_next().await? {
        match item {
            Item::Chunk { slices, .. } => {
                for slice in slices.iter().filter(|slice| slice.id > 0) {
                    last = last.max(slice.id);
                    if !seen.insert(slice.id) {
                        shared.entry(slice.id).or_insert((slice.size, 1)).1 += 1;
                    }
                }
            }
            Item::Damaged(damage) => {
                return Err(Error::BadRequest(format!("{}: {}", damage.record, damage.cause)));
            }
            _ => {}
        }
    }
    drop(chunks);
    let known: Vec<Item> = engine
        .scan(Scan::SliceRefs)
        .try_filter(|item| {
            let is_right = match item {
                Item::SliceRefs { id, refs, .. } => {
                    *refs == 1 && seen.contains(*id) && !shared.contains_key(id)
                }
                _ => true,
            };
            std::future::ready(!is_right)
        })
        .try_collect()
        .await?;
    let mut writer = Writer::new(engine);
    for item in known {
        let Item::SliceRefs { id, size, refs } = item else { continue };
        last = last.max(id);
        let wanted = match shared.remove(&id) {
            Some((_, wanted)) => wanted,
            None => i64::from(seen.contains(id)),
        };
        move_references(&mut writer, id, size, wanted - refs).await?;
        if wanted == 0 {
            writer.add(Change::ForgetSlice { id, size }).await?;
        }
    }
    for (id, (size, wanted)) in shared {
        move_references(&mut writer, id, size, wanted - 1).await?;
    }
    writer.flush().await?;
    Ok(last)
}

async fn move_references(writer: &mut Writer<'_>, id: SliceId, size: u32, by: i64) -> Result<()> {
    for _ in 0..by.unsigned_abs() {
        let change = if by > 0 { Change::ShareSlice { id, size } } else { Change::ReleaseSlice { id, size } };
        writer.add(change).await?;
    }
    Ok(())
}

/// Files that can't be read whole.
#[derive(Debug, Default)]
pub(crate) struct Broken {
    pub named: Vec<String>,
    pub count: u64,
}

/// Brings what the source's bucket still has; what is then lacking is lost.
pub(crate) async fn broken_files(engine: &dyn Engine, copier: &BlockCopier) -> Result<Broken> {
    let mut lost: HashSet<Ino> = HashSet::new();
    let mut group: Vec<(Ino, SliceId, u32)> = Vec::new();
    let mut chunks = engine.scan(Scan::Chunks { ino: None });
    loop {
        let item = chunks.try_next().await?;
        let is_end = item.is_none();
        if let Some(Item::Chunk { ino, slices, .. }) = item {
            group.extend(slices.iter().filter(|slice| slice.id > 0).map(|slice| (ino, slice.id, slice.size)));
        }
        if is_end || group.len() >= SLICES_AT_ONCE {
            let lacking: HashSet<SliceId> =
                copier.bring(group.iter().map(|&(_, id, size)| (id, size))).await?.into_iter().collect();
            lost.extend(group.drain(..).filter(|(_, id, _)| lacking.contains(id)).map(|(ino, ..)| ino));
        }
        if is_end {
            break;
        }
    }
    drop(chunks);
    let mut broken = Broken::default();
    for ino in lost {
        let got = engine.read(&[Get::Node { ino, hold: Hold::Peek }]).await?;
        if !matches!(&got[..], [Got::Node(Some(_))]) {
            continue;
        }
        broken.count += 1;
        if broken.named.len() < NAMED_MAX {
            broken.named.push(path_of(engine, ino).await?);
        }
    }
    broken.named.sort();
    Ok(broken)
}
