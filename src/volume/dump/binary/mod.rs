//! The binary document (format 12.2): rows by kind in segments, found again by the footer.

pub(crate) mod messages;

use std::collections::HashMap;

use futures::TryStreamExt;
use juicefs_meta::engines::packed;
use juicefs_meta::format::Format;
use juicefs_meta::port::{Engine, Item, QuotaKind, QuotaRow, Scan};
use prost::Message;
use roaring::RoaringTreemap;

use self::messages::{
    Acl, Batch, Chunk, Counter, DelFile, Edge, Footer, MAGIC, Node, Parent, Quota, Segment, Setting,
    SliceRef, Stat, Sustained, Symlink, VERSION, Xattr,
};
use super::DumpRequest;
use super::output::Output;
use crate::error::Result;
use crate::progress::Progress;

/// Rows of a segment.
const ROWS: usize = 10_000;
/// Bytes of a segment after which it ends early.
const SEGMENT_BYTES: usize = 8 << 20;

/// Every kind of row and the segment it goes to.
const KINDS: &[(Segment, Scan)] = &[
    (Segment::Node, Scan::Nodes),
    (Segment::Chunk, Scan::Chunks { ino: None }),
    (Segment::Edge, Scan::Edges),
    (Segment::Parent, Scan::Parents),
    (Segment::Symlink, Scan::Symlinks),
    (Segment::Sustained, Scan::Sustained { sid: None }),
    (Segment::DelFile, Scan::DeletedFiles),
    (Segment::SliceRef, Scan::SliceRefs),
    (Segment::Acl, Scan::Acls),
    (Segment::Xattr, Scan::Xattrs),
    (Segment::Stat, Scan::DirStats),
];

/// Writes the document; returns how many rows had to be left out.
pub(super) async fn write(
    engine: &dyn Engine,
    format: &Format,
    request: &DumpRequest,
    out: &mut Output,
    progress: &dyn Progress,
) -> Result<u64> {
    let mut writer = Writer { out, footer: Footer { magic: MAGIC, version: VERSION, ..Footer::default() } };
    let text = if request.keep_secrets { format.to_text() } else { format.to_shown_text() };
    let setting = Setting { data: text.into() };
    writer.segment(Segment::Format, 1, &setting.encode_to_vec()).await?;
    let counters = engine.counters().await?;
    let counters = counters.named().map(|(key, value)| Counter { key: key.to_owned(), value });
    let batch = Batch { counters: counters.to_vec(), ..Batch::default() };
    writer.batch(Segment::Counter, counters.len() as u64, &batch).await?;
    let mut left_out = 0;
    let quotas = [QuotaKind::Directory, QuotaKind::User, QuotaKind::Group];
    let quotas = quotas.map(|kind| (Segment::Quota, Scan::Quotas { kind }));
    for (segment, scan) in KINDS.iter().chain(&quotas) {
        progress.begin(segment.name(), None);
        left_out += writer.rows(engine, *segment, scan, progress).await?;
    }
    writer.end().await?;
    Ok(left_out)
}

struct Writer<'o> {
    out: &'o mut Output,
    footer: Footer,
}

impl Writer<'_> {
    async fn segment(&mut self, segment: Segment, count: u64, message: &[u8]) -> Result<()> {
        let info = self.footer.segments.entry(segment.name().to_owned()).or_default();
        info.offsets.push(self.out.written());
        info.count += count;
        self.out.put(&(segment as u32).to_be_bytes()).await?;
        self.out.put(&(message.len() as u64).to_be_bytes()).await?;
        self.out.put(message).await
    }

    async fn batch(&mut self, segment: Segment, count: u64, batch: &Batch) -> Result<()> {
        self.segment(segment, count, &batch.encode_to_vec()).await
    }

    async fn rows(
        &mut self,
        engine: &dyn Engine,
        segment: Segment,
        scan: &Scan,
        progress: &dyn Progress,
    ) -> Result<u64> {
        let (mut batch, mut count, mut bytes, mut left_out) = (Batch::default(), 0, 0, 0);
        let mut told = Told::default();
        let mut items = engine.scan(scan.clone());
        while let Some(item) = items.try_next().await? {
            if let Item::Damaged(damage) | Item::DamagedEntry { damage, .. } = &item {
                tracing::warn!("{damage}; the dump is without it");
                left_out += 1;
                continue;
            }
            if !told.is_new(&item) {
                continue;
            }
            progress.advance(1);
            bytes += add(&mut batch, item);
            count += 1;
            if count == ROWS || bytes > SEGMENT_BYTES {
                self.batch(segment, count as u64, &batch).await?;
                (batch, count, bytes) = (Batch::default(), 0, 0);
            }
        }
        if count > 0 || !self.footer.segments.contains_key(segment.name()) {
            self.batch(segment, count as u64, &batch).await?;
        }
        Ok(left_out)
    }

    async fn end(&mut self) -> Result<()> {
        self.out.put(&MAGIC.to_be_bytes()).await?;
        let footer = self.footer.encode_to_vec();
        self.out.put(&footer).await?;
        self.out.put(&(footer.len() as u64).to_be_bytes()).await
    }
}

/// What a document has: each row once, whatever a scan repeats, and no row that goes without saying. About a bit a row.
#[derive(Default)]
struct Told {
    numbers: RoaringTreemap,
    chunks: HashMap<u32, RoaringTreemap>,
}

impl Told {
    fn is_new(&mut self, item: &Item) -> bool {
        match item {
            Item::Node { ino, .. } | Item::Symlink { ino, .. } | Item::DirStat { ino, .. } => {
                self.numbers.insert(ino.0)
            }
            Item::Chunk { ino, indx, .. } => self.chunks.entry(*indx).or_default().insert(ino.0),
            // A slice in a chunk's list has one reference unless something else is said.
            Item::SliceRefs { id, refs, .. } => *refs != 1 && self.numbers.insert(*id),
            Item::Acl { id, .. } => self.numbers.insert(u64::from(*id)),
            Item::Quota(row) => self.numbers.insert(row.key),
            Item::Parent { count, .. } => *count > 0,
            _ => true,
        }
    }
}

/// Adds a row and says about how long it is.
fn add(batch: &mut Batch, item: Item) -> usize {
    match item {
        Item::Node { ino, attr } => {
            let data = packed::encode_attr(&attr).into();
            batch.nodes.push(Node { inode: ino.0, data });
            96
        }
        Item::Edge { parent, name, edge } => {
            let name = bytes::Bytes::copy_from_slice(name.as_bytes());
            let length = name.len();
            let kind = u32::from(edge.kind.code());
            batch.edges.push(Edge { parent: parent.0, inode: edge.ino.0, name, kind });
            length + 24
        }
        Item::Chunk { ino, indx, slices } => {
            let slices = bytes::Bytes::from(packed::encode_slices(&slices));
            let length = slices.len();
            batch.chunks.push(Chunk { inode: ino.0, index: indx, slices });
            length + 24
        }
        Item::SliceRefs { id, size, refs } => {
            batch.slice_refs.push(SliceRef { id, size, refs });
            24
        }
        Item::Xattr { ino, name, value } => {
            let length = name.len() + value.len();
            batch.xattrs.push(Xattr { inode: ino.0, name, value });
            length + 24
        }
        Item::Parent { ino, parent, count } => {
            batch.parents.push(Parent { inode: ino.0, parent: parent.0, count });
            24
        }
        Item::Symlink { ino, target } => {
            let length = target.len();
            batch.symlinks.push(Symlink { inode: ino.0, target });
            length + 16
        }
        Item::Sustained { sid, ino } => {
            match batch.sustained.last_mut().filter(|last| last.sid == sid) {
                Some(last) => last.inodes.push(ino.0),
                None => batch.sustained.push(Sustained { sid, inodes: vec![ino.0] }),
            }
            16
        }
        Item::DeletedFile { ino, length, deleted_at } => {
            batch.delfiles.push(DelFile { inode: ino.0, length, expire: deleted_at });
            24
        }
        Item::DirStat { ino, stat } => {
            batch.dir_stats.push(Stat {
                inode: ino.0,
                data_length: stat.length,
                used_space: stat.space,
                used_inodes: stat.inodes,
            });
            40
        }
        Item::Acl { id, rule } => {
            let data = packed::encode_acl(&rule);
            let length = data.len();
            batch.acls.push(Acl { id, data });
            length + 8
        }
        Item::Quota(row) => {
            quota_list(batch, row.kind).push(quota(&row));
            48
        }
        Item::Entry { .. }
        | Item::Session(_)
        | Item::DelayedSlices { .. }
        | Item::FreedSlice { .. }
        | Item::Side { .. }
        | Item::Damaged(_)
        | Item::DamagedEntry { .. } => 0,
    }
}

fn quota_list(batch: &mut Batch, kind: QuotaKind) -> &mut Vec<Quota> {
    match kind {
        QuotaKind::Directory => &mut batch.quotas,
        QuotaKind::User => &mut batch.user_quotas,
        QuotaKind::Group => &mut batch.group_quotas,
    }
}

fn quota(row: &QuotaRow) -> Quota {
    Quota {
        key: row.key,
        max_space: row.space_max,
        max_inodes: row.inodes_max,
        used_space: row.used.space,
        used_inodes: row.used.inodes,
        kind: row.kind as u32,
    }
}
