//! The binary document (format 12.2): segments one after the other, each held while its rows are sent on.

use std::io::Read;

use juicefs_meta::engines::packed::{self, PackedError};
use juicefs_meta::format::Format;
use juicefs_meta::port::{Counters, Item, QuotaKind, QuotaRow};
use juicefs_meta::{DirStat, Edge, Ino, Kind, Name, Usage};
use prost::Message;
use tokio::sync::mpsc;

use super::rows::{self, Rows, Volume};
use super::source::Source;
use crate::dump::binary::messages::{Batch, MAGIC, Quota, Segment, Setting};
use crate::error::{Error, Result};

/// Longest segment that is taken: the peer's have 10 000 rows.
pub(super) const SEGMENT_BYTES_MAX: u64 = 1 << 30;

/// Reads the whole document and sends its rows on.
pub(super) fn read(source: Source, to: mpsc::Sender<rows::Batch>) -> Result<Volume> {
    let mut document =
        Document { format: None, counters: Counters::default(), last_ino: 1, rows: Rows::new(to) };
    let mut segments = Segments::new(source.into_reader());
    while let Some((segment, offset, body)) = segments.next()? {
        document.segment(segment, &body).map_err(|error| match error {
            Error::BadDump(cause) => {
                Error::BadDump(format!("{cause}, in the segment {:?} at byte {offset}", segment.name()))
            }
            other => other,
        })?;
    }
    document.finish()
}

/// The segments of a document in their order.
pub(super) struct Segments<R> {
    reader: R,
    offset: u64,
}

impl<R: Read> Segments<R> {
    pub(super) fn new(reader: R) -> Self {
        Self { reader, offset: 0 }
    }

    fn fill(&mut self, bytes: &mut [u8], what: &str) -> Result<()> {
        let offset = self.offset;
        self.reader
            .read_exact(bytes)
            .map_err(|cause| Error::BadDump(format!("it ends within {what} at byte {offset}: {cause}")))?;
        self.offset += bytes.len() as u64;
        Ok(())
    }

    /// What it is, where it begins and its message; nothing at the end mark.
    pub(super) fn next(&mut self) -> Result<Option<(Segment, u64, Vec<u8>)>> {
        let start = self.offset;
        let mut code = [0; 4];
        self.fill(&mut code, "the head of a segment")?;
        let code = u32::from_be_bytes(code);
        if code == MAGIC {
            return Ok(None);
        }
        let Some(segment) = Segment::of(code) else {
            return Err(Error::BadDump(format!(
                "a segment of type {code} at byte {start}: is it a binary dump? JSON is loaded without --binary"
            )));
        };
        let mut length = [0; 8];
        self.fill(&mut length, "the head of a segment")?;
        let length = u64::from_be_bytes(length);
        if length > SEGMENT_BYTES_MAX {
            return Err(Error::BadDump(format!("a segment of {length} bytes at byte {start}")));
        }
        // Grown as it comes: the length is the document's word.
        let mut body = Vec::new();
        let read = (&mut self.reader).take(length).read_to_end(&mut body);
        let read = read.map_err(|cause| Error::BadDump(format!("the segment at byte {start}: {cause}")))?;
        if read as u64 != length {
            return Err(Error::BadDump(format!("it ends within the segment at byte {start}")));
        }
        self.offset += length;
        Ok(Some((segment, start, body)))
    }
}

struct Document {
    format: Option<Format>,
    counters: Counters,
    last_ino: u64,
    rows: Rows,
}

fn bad(what: impl std::fmt::Display, cause: impl std::fmt::Display) -> Error {
    Error::BadDump(format!("{what}: {cause}"))
}

impl Document {
    fn segment(&mut self, segment: Segment, body: &[u8]) -> Result<()> {
        match segment {
            Segment::Format => {
                let setting = Setting::decode(body).map_err(|cause| bad("the setting", cause))?;
                let text = std::str::from_utf8(&setting.data).map_err(|cause| bad("the setting", cause))?;
                let format = Format::parse(text)?;
                format.check_version()?;
                self.format = Some(format);
                Ok(())
            }
            // Lines of another database's log mean nothing here.
            Segment::ChangeLog => Ok(()),
            _ => self.batch(Batch::decode(body).map_err(|cause| bad("a list of rows", cause))?),
        }
    }

    fn batch(&mut self, batch: Batch) -> Result<()> {
        for counter in batch.counters {
            self.counter(&counter.key, counter.value);
        }
        for node in batch.nodes {
            let ino = Ino(node.inode);
            let attr = packed::decode_attr(&node.data).map_err(|cause| bad(format!("node {ino}"), cause))?;
            if !ino.is_trash() {
                self.last_ino = self.last_ino.max(ino.0);
            }
            self.rows.entry();
            self.rows.add(Item::Node { ino, attr })?;
        }
        for edge in batch.edges {
            let (parent, name) = (Ino(edge.parent), Name::from_record(edge.name));
            let kind = u8::try_from(edge.kind).ok().and_then(Kind::from_code);
            let kind =
                kind.ok_or_else(|| bad(format!("{name} of inode {parent}"), format!("type {}", edge.kind)))?;
            self.rows.add(Item::Edge { parent, name, edge: Edge { ino: Ino(edge.inode), kind } })?;
        }
        for chunk in batch.chunks {
            let (ino, indx) = (Ino(chunk.inode), chunk.index);
            let slices = packed::decode_slices(&chunk.slices);
            let slices = slices.map_err(|cause| bad(format!("chunk {indx} of inode {ino}"), cause))?;
            for slice in &slices {
                self.rows.references(slice.id, slice.size, None)?;
            }
            self.rows.add(Item::Chunk { ino, indx, slices })?;
        }
        for refs in batch.slice_refs {
            self.rows.references(refs.id, refs.size, Some(refs.refs))?;
        }
        for xattr in batch.xattrs {
            self.rows.add(Item::Xattr { ino: Ino(xattr.inode), name: xattr.name, value: xattr.value })?;
        }
        for parent in batch.parents {
            let (ino, count) = (Ino(parent.inode), parent.count);
            self.rows.add(Item::Parent { ino, parent: Ino(parent.parent), count })?;
        }
        for symlink in batch.symlinks {
            self.rows.add(Item::Symlink { ino: Ino(symlink.inode), target: symlink.target })?;
        }
        for sustained in batch.sustained {
            for ino in sustained.inodes {
                self.rows.add(Item::Sustained { sid: sustained.sid, ino: Ino(ino) })?;
            }
        }
        for file in batch.delfiles {
            let (ino, length) = (Ino(file.inode), file.length);
            self.last_ino = self.last_ino.max(if ino.is_trash() { 0 } else { ino.0 });
            self.rows.add(Item::DeletedFile { ino, length, deleted_at: file.expire })?;
        }
        for stat in batch.dir_stats {
            let ino = Ino(stat.inode);
            let stat = DirStat { length: stat.data_length, space: stat.used_space, inodes: stat.used_inodes };
            self.rows.add(Item::DirStat { ino, stat })?;
        }
        for acl in batch.acls {
            let rule = packed::decode_acl(&acl.data);
            let rule = rule.map_err(|cause: PackedError| bad(format!("ACL {}", acl.id), cause))?;
            self.rows.numbered_rule(acl.id, rule)?;
        }
        for (kind, quotas) in [
            (QuotaKind::Directory, batch.quotas),
            (QuotaKind::User, batch.user_quotas),
            (QuotaKind::Group, batch.group_quotas),
        ] {
            for quota in quotas {
                self.rows.add(Item::Quota(row(kind, &quota)))?;
            }
        }
        Ok(())
    }

    fn counter(&mut self, name: &str, value: i64) {
        let number = u64::try_from(value).unwrap_or(0);
        match name {
            "usedSpace" => self.counters.usage.space = value,
            "totalInodes" => self.counters.usage.inodes = value,
            "nextInode" => self.counters.next_inode = number,
            "nextChunk" => self.counters.next_slice = number,
            "nextSession" => self.counters.last_session = number,
            "nextTrash" => self.counters.last_trash = number,
            // When jobs last ran: they run again.
            _ => {}
        }
    }

    fn finish(mut self) -> Result<Volume> {
        self.rows.send()?;
        let format = self.format.ok_or_else(|| Error::BadDump("it has no setting".to_owned()))?;
        let mut counters = self.counters;
        counters.next_inode = counters.next_inode.max(self.last_ino.saturating_add(1));
        counters.next_slice = counters.next_slice.max(self.rows.last_slice().saturating_add(1));
        Ok(Volume { format, counters, last_acl: self.rows.last_acl() })
    }
}

fn row(kind: QuotaKind, quota: &Quota) -> QuotaRow {
    QuotaRow {
        kind,
        key: quota.key,
        space_max: quota.max_space,
        inodes_max: quota.max_inodes,
        used: Usage { space: quota.used_space, inodes: quota.used_inodes },
    }
}
