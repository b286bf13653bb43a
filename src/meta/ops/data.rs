//! The slices of a file's chunks.

use std::sync::Arc;

use juicefs_base::Errno;

use crate::change_log::Entry;
use crate::error::Result;
use crate::meta::Meta;
use crate::port::{Change, Hold, Receipt};
use crate::request::WriteDone;
use crate::txn::{AppendTarget, ChunkOf, NodeOf, Operation, OrNoEntry, ParentsOf, Txn};
use crate::types::{Attr, CHUNK_BYTES, DirStat, FILE_BYTES_MAX, Ino, Kind, Slice, SliceId, Time, Usage};
use crate::usage::{self, signed};

impl Meta {
    /// The records of a chunk in write order; `overlay::build` shows what they mean. Of an open file they are
    /// remembered until something changes it ([`Self::forget_chunk`] for what only the store can tell).
    ///
    /// # Errors
    /// As the engine's; nothing for a missing chunk or file.
    pub async fn read_chunk(&self, ino: Ino, indx: u32) -> Result<Arc<[Slice]>> {
        let known = self.open_files.chunk(ino, indx);
        if let Some((Some(slices), _)) = known {
            return Ok(slices);
        }
        let (slices,) = self.peek((ChunkOf(ino, indx, Hold::Peek),)).await?;
        let slices: Arc<[Slice]> = slices.into();
        if let Some((None, generation)) = known {
            self.open_files.remember(ino, indx, &slices, generation);
        }
        Ok(slices)
    }

    /// Drops what is remembered of a chunk: a block of it was not found.
    pub fn forget_chunk(&self, ino: Ino, indx: u32) {
        self.open_files.forget_chunk(ino, indx);
    }

    /// Appends a slice whose objects are all stored. `mtime` is the time of the write, ctime that of the commit.
    ///
    /// # Errors
    /// ENOENT when the file is gone and ENOSPC when the volume is full, EDQUOT when a quota is (the objects are the caller's to remove),
    /// EPERM for anything but a file, EFBIG, EROFS.
    pub async fn write_slice(&self, ino: Ino, indx: u32, slice: Slice, mtime: Time) -> Result<WriteDone> {
        self.check_writable()?;
        let end = u64::from(slice.pos) + u64::from(slice.len);
        let length = u64::from(indx) * CHUNK_BYTES + end;
        if end > CHUNK_BYTES || slice.off.checked_add(slice.len).is_none_or(|used| used > slice.size) {
            return Err(Errno::EINVAL.into());
        }
        if length > FILE_BYTES_MAX {
            return Err(Errno::EFBIG.into());
        }
        let done = self.transact(&Write { meta: self, ino, indx, slice, length, mtime }).await?;
        self.open_files.wrote(ino, done.mtime_before, &done.attr, indx);
        Ok(done)
    }

    /// # Errors
    /// As the engine's.
    pub async fn new_slice_id(&self) -> Result<SliceId> {
        self.check_writable()?;
        self.number(|meta| &meta.slice_numbers).await
    }

    /// A slice id if one is at hand: a caller that must not wait would waste the range it asked for.
    #[must_use]
    pub fn slice_id_at_hand(&self) -> Option<SliceId> {
        self.check_writable().ok()?;
        self.number_at_hand(|meta| &meta.slice_numbers)
    }

    /// The objects of a freed slice are gone: so is its record.
    ///
    /// # Errors
    /// As the engine's.
    pub async fn forget_slice(&self, id: SliceId, size: u32) -> Result<()> {
        self.check_writable()?;
        self.transact(&ForgetSlice { id, size }).await
    }
}

struct Write<'a> {
    meta: &'a Meta,
    ino: Ino,
    indx: u32,
    slice: Slice,
    /// Of the file, if it was shorter.
    length: u64,
    mtime: Time,
}

impl Operation for Write<'_> {
    type Output = WriteDone;
    const NAME: &'static str = "write";
    const FLUSHES: u32 = 2;

    fn contends_on(&self) -> [Option<Ino>; 2] {
        [Some(self.ino), None]
    }

    async fn run(&self, txn: &mut Txn<'_>) -> Result<WriteDone> {
        let Self { ino, indx, slice, .. } = *self;
        let (was, ()) = txn.read((NodeOf(ino, Hold::Update), AppendTarget(ino, indx))).await?;
        let was = was.or_no_entry()?;
        if was.kind != Kind::File {
            return Err(Errno::EPERM.into());
        }
        let length = was.length.max(self.length);
        let now = Attr { length, mtime: self.mtime, ctime: txn.now(), ..was };
        resized(self.meta, txn, ino, &was, &now).await?;
        txn.change(Change::AppendSlice { ino, indx, slice, only_existing: false });
        txn.log_append(&Entry::Write { ino, indx, slice: &slice, mtime: self.mtime });
        if slice.id > 0 {
            txn.change(Change::TrackSlice { id: slice.id, size: slice.size });
        }
        txn.update_node(ino, &was, &now);
        Ok(WriteDone { attr: now, mtime_before: was.mtime, slices: 0 })
    }

    fn settle(&self, output: WriteDone, receipt: &Receipt) -> WriteDone {
        WriteDone { slices: receipt.slices_after_append.first().copied().unwrap_or(0), ..output }
    }
}

/// Accounts for another length of a file: room, usage, its directories.
/// A file with several names costs one more flush, for the directories they are in.
pub(super) async fn resized(meta: &Meta, txn: &mut Txn<'_>, ino: Ino, was: &Attr, now: &Attr) -> Result<()> {
    if was.length == now.length {
        return Ok(());
    }
    let delta = DirStat {
        length: signed(now.length) - signed(was.length),
        space: signed(now.space()) - signed(was.space()),
        inodes: 0,
    };
    let more = Usage { space: delta.space, inodes: 0 };
    txn.ask_room(was, more)?;
    txn.charge_node(was, more);
    if was.nlink == 0 {
        // Nobody's entry any more.
        return Ok(());
    }
    if was.parent.0 > 0 {
        txn.charge_name(was.parent, delta, Usage::default()).await?;
    } else if meta.format().dir_stats {
        // Who adds or takes a name changes the held node too.
        let (parents,) = txn.read((ParentsOf(ino),)).await?;
        for (parent, count) in parents {
            txn.charge_name(parent, usage::times(delta, count), Usage::default()).await?;
        }
    }
    Ok(())
}

struct ForgetSlice {
    id: SliceId,
    size: u32,
}

impl Operation for ForgetSlice {
    type Output = ();
    const NAME: &'static str = "forget_slice";
    const FLUSHES: u32 = 1;

    fn contends_on(&self) -> [Option<Ino>; 2] {
        [None, None]
    }

    async fn run(&self, txn: &mut Txn<'_>) -> Result<()> {
        txn.change(Change::ForgetSlice { id: self.id, size: self.size });
        txn.log(&Entry::DeleteSlice { id: self.id, size: self.size });
        Ok(())
    }
}
