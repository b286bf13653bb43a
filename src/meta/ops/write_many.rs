//! Many slices of one file in one transaction: what random writes and long flushes live on.

use juicefs_base::Errno;
use std::time::Instant;

use super::data::resized;
use crate::change_log::Entry;
use crate::error::Result;
use crate::meta::Meta;
use crate::overlay::{narrow, parts};
use crate::port::{Change, Get, Got, Hold, Receipt};
use crate::request::{SliceWrite, SlicesDone};
use crate::txn::{Operation, OrNoEntry, Txn};
use crate::types::{Attr, CHUNK_BYTES, FILE_BYTES_MAX, Ino, Kind, Slice};

/// Slices that one transaction takes; it stays far below what every engine can commit.
pub const SLICES_MAX: usize = 64;

impl Meta {
    /// Appends slices whose objects are all stored, in the given order, all or none; at most [`SLICES_MAX`] and at
    /// least one. Those that append to the file are placed at its end. They have been waiting for it since `since`, and the time of a call is reckoned
    /// from there.
    ///
    /// # Errors
    /// As [`Self::write_slice`].
    pub async fn write_slices(&self, ino: Ino, writes: &[SliceWrite], since: Instant) -> Result<SlicesDone> {
        self.check_writable()?;
        for SliceWrite { slice, .. } in writes {
            let end = u64::from(slice.pos) + u64::from(slice.len);
            if end > CHUNK_BYTES || slice.off.checked_add(slice.len).is_none_or(|used| used > slice.size) {
                return Err(Errno::EINVAL.into());
            }
        }
        if writes.is_empty() || writes.len() > SLICES_MAX {
            return Err(Errno::EINVAL.into());
        }
        let until = self.deadline_of(since);
        let done = self.transact_until(until, &WriteMany { meta: self, ino, writes }).await?;
        for write in &done.placed {
            self.open_files.wrote(ino, done.mtime_before, &done.attr, write.indx);
        }
        Ok(done)
    }
}

struct WriteMany<'a> {
    meta: &'a Meta,
    ino: Ino,
    writes: &'a [SliceWrite],
}

impl WriteMany<'_> {
    /// Where each slice goes in a file that is `length` long, and how long it is then.
    fn place(&self, mut length: u64) -> Result<(Vec<SliceWrite>, u64)> {
        let mut placed = Vec::with_capacity(self.writes.len());
        for write in self.writes {
            let slice = write.slice;
            let asked = u64::from(write.indx) * CHUNK_BYTES + u64::from(slice.pos);
            let begin = if write.appends { length } else { asked };
            let end = begin.checked_add(u64::from(slice.len)).filter(|end| *end <= FILE_BYTES_MAX);
            let end = end.ok_or(Errno::EFBIG)?;
            for (indx, pos, len) in parts(begin, end) {
                let done = narrow(u64::from(indx) * CHUNK_BYTES + u64::from(pos) - begin);
                let slice = Slice { pos, off: slice.off + done, len, ..slice };
                placed.push(SliceWrite { indx, slice, ..*write });
            }
            length = length.max(end);
        }
        Ok((placed, length))
    }
}

impl Operation for WriteMany<'_> {
    type Output = SlicesDone;
    const NAME: &'static str = "write_many";
    const FLUSHES: u32 = 2;

    fn contends_on(&self) -> [Option<Ino>; 2] {
        [Some(self.ino), None]
    }

    async fn run(&self, txn: &mut Txn<'_>) -> Result<SlicesDone> {
        let ino = self.ino;
        let mut gets = vec![Get::Node { ino, hold: Hold::Update }];
        add_targets(&mut gets, ino, self.writes);
        let Some(Got::Node(was)) = txn.read_all(&gets).await?.next() else { return Err(Errno::EIO.into()) };
        let was = was.or_no_entry()?;
        if was.kind != Kind::File {
            return Err(Errno::EPERM.into());
        }
        let (placed, length) = self.place(was.length)?;
        let asked = gets.len();
        add_targets(&mut gets, ino, &placed);
        if gets.len() > asked {
            // Somebody else made the file longer, or shorter.
            txn.read_all(&gets[asked..]).await?;
        }
        let mtime = self.writes.iter().map(|write| write.mtime).max().unwrap_or(was.mtime);
        let now = Attr { length, mtime, ctime: txn.now(), ..was };
        resized(self.meta, txn, ino, &was, &now).await?;
        let mut last = 0;
        for SliceWrite { indx, slice, mtime, .. } in &placed {
            txn.change(Change::AppendSlice { ino, indx: *indx, slice: *slice, only_existing: false });
            txn.log_append(&Entry::Write { ino, indx: *indx, slice, mtime: *mtime });
            let (id, size) = (slice.id, slice.size);
            if id > 0 {
                // The other part of a slice that lies in two chunks.
                let is_shared = id == std::mem::replace(&mut last, id);
                txn.change(if is_shared {
                    Change::ShareSlice { id, size }
                } else {
                    Change::TrackSlice { id, size }
                });
            }
        }
        txn.update_node(ino, &was, &now);
        let (mtime_before, ctime_before) = (was.mtime, was.ctime);
        Ok(SlicesDone { attr: now, mtime_before, ctime_before, placed, slices: Vec::new() })
    }

    fn settle(&self, output: SlicesDone, receipt: &Receipt) -> SlicesDone {
        SlicesDone { slices: receipt.slices_after_append.clone(), ..output }
    }
}

/// Chunks that slices are appended to, each once.
fn add_targets(gets: &mut Vec<Get>, ino: Ino, writes: &[SliceWrite]) {
    for write in writes {
        let get = Get::AppendTarget { ino, indx: write.indx };
        if !gets.contains(&get) {
            gets.push(get);
        }
    }
}
