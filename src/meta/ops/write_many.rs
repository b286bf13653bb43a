//! Many slices of one file in one transaction: what random writes and long flushes live on.

use juicefs_base::Errno;
use std::time::Instant;

use super::data::resized;
use crate::change_log::Entry;
use crate::error::Result;
use crate::meta::Meta;
use crate::port::{Change, Get, Got, Hold, Receipt};
use crate::request::{SliceWrite, SlicesDone};
use crate::txn::{Operation, OrNoEntry, Txn};
use crate::types::{Attr, CHUNK_BYTES, FILE_BYTES_MAX, Ino, Kind};

/// Slices that one transaction takes; it stays far below what every engine can commit.
pub const SLICES_MAX: usize = 64;

impl Meta {
    /// Appends slices whose objects are all stored, in the given order, all or none; at most [`SLICES_MAX`] and at
    /// least one. They have been waiting for it since `since`, and the time of a call is reckoned
    /// from there.
    ///
    /// # Errors
    /// As [`Self::write_slice`].
    pub async fn write_slices(&self, ino: Ino, writes: &[SliceWrite], since: Instant) -> Result<SlicesDone> {
        self.check_writable()?;
        let mut length = 0;
        for SliceWrite { indx, slice, .. } in writes {
            let end = u64::from(slice.pos) + u64::from(slice.len);
            if end > CHUNK_BYTES || slice.off.checked_add(slice.len).is_none_or(|used| used > slice.size) {
                return Err(Errno::EINVAL.into());
            }
            length = length.max(u64::from(*indx) * CHUNK_BYTES + end);
        }
        if writes.is_empty() || writes.len() > SLICES_MAX {
            return Err(Errno::EINVAL.into());
        }
        if length > FILE_BYTES_MAX {
            return Err(Errno::EFBIG.into());
        }
        let until = self.deadline_of(since);
        let done = self.transact_until(until, &WriteMany { meta: self, ino, writes, length }).await?;
        for write in writes {
            self.open_files.wrote(ino, done.mtime_before, &done.attr, write.indx);
        }
        Ok(done)
    }
}

struct WriteMany<'a> {
    meta: &'a Meta,
    ino: Ino,
    writes: &'a [SliceWrite],
    /// Of the file, if it was shorter.
    length: u64,
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
        for write in self.writes {
            let get = Get::AppendTarget { ino, indx: write.indx };
            if !gets.contains(&get) {
                gets.push(get);
            }
        }
        let Some(Got::Node(was)) = txn.read_all(&gets).await?.next() else { return Err(Errno::EIO.into()) };
        let was = was.or_no_entry()?;
        if was.kind != Kind::File {
            return Err(Errno::EPERM.into());
        }
        let mtime = self.writes.iter().map(|write| write.mtime).max().unwrap_or(was.mtime);
        let now = Attr { length: was.length.max(self.length), mtime, ctime: txn.now(), ..was };
        resized(self.meta, txn, ino, &was, &now).await?;
        for SliceWrite { indx, slice, mtime } in self.writes {
            txn.change(Change::AppendSlice { ino, indx: *indx, slice: *slice, only_existing: false });
            txn.log_append(&Entry::Write { ino, indx: *indx, slice, mtime: *mtime });
            if slice.id > 0 {
                txn.change(Change::TrackSlice { id: slice.id, size: slice.size });
            }
        }
        txn.update_node(ino, &was, &now);
        Ok(SlicesDone { attr: now, mtime_before: was.mtime, ctime_before: was.ctime, slices: Vec::new() })
    }

    fn settle(&self, output: SlicesDone, receipt: &Receipt) -> SlicesDone {
        SlicesDone { slices: receipt.slices_after_append.clone(), ..output }
    }
}
