//! truncate and fallocate: lengths move, ranges become zeros. Slices are never removed, only masked.

use juicefs_base::Errno;

use super::data::resized;
use crate::change_log::Entry;
use crate::error::Result;
use crate::meta::Meta;
use crate::overlay::{hole, narrow, parts};
use crate::port::{Change, Get, Got, Hold};
use crate::request::fallocate;
use crate::rules;
use crate::txn::{NodeOf, Operation, OrNoEntry, Txn};
use crate::types::{Attr, CHUNK_BYTES, Caller, FILE_BYTES_MAX, Ino, Kind, flags};

impl Meta {
    /// Sets a file's length. `opened`: by a handle open for writing, whose rights were checked when it was opened.
    /// The same length changes nothing.
    ///
    /// # Errors
    /// ENOENT, EPERM (not a file, trash, immutable), EACCES, EFBIG, ENOSPC, EROFS.
    pub async fn truncate(&self, caller: &Caller, ino: Ino, length: u64, opened: bool) -> Result<Attr> {
        self.check_writable()?;
        if length > FILE_BYTES_MAX {
            return Err(Errno::EFBIG.into());
        }
        let attr = self.transact(&Truncate { meta: self, caller, ino, length, opened }).await?;
        self.open_files.saw(ino, &attr);
        Ok(attr)
    }

    /// `fallocate(2)` on an open file: extends it, or makes a range read as zeros.
    ///
    /// # Errors
    /// EINVAL, ENOTSUP for ranges that collapse or are inserted, EFBIG, EPERM, ENOSPC, ENOENT, EROFS.
    pub async fn fallocate(&self, caller: &Caller, ino: Ino, mode: u8, off: u64, size: u64) -> Result<Attr> {
        self.check_writable()?;
        check_mode(mode, size)?;
        let end = off.checked_add(size).filter(|end| *end <= FILE_BYTES_MAX).ok_or(Errno::EFBIG)?;
        let attr = self.transact(&Fallocate { meta: self, caller, ino, mode, off, end }).await?;
        self.open_files.saw(ino, &attr);
        Ok(attr)
    }
}

fn check_mode(mode: u8, size: u64) -> Result<()> {
    use fallocate::{COLLAPSE_RANGE, INSERT_RANGE, KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE};
    let shifts = mode & (COLLAPSE_RANGE | INSERT_RANGE);
    if size == 0 || (shifts != 0 && mode != shifts) || shifts == COLLAPSE_RANGE | INSERT_RANGE {
        return Err(Errno::EINVAL.into());
    }
    if mode & !(KEEP_SIZE | PUNCH_HOLE | ZERO_RANGE) != 0 {
        return Err(Errno::ENOTSUP.into());
    }
    let punches = mode & PUNCH_HOLE != 0;
    if punches && (mode & KEEP_SIZE == 0 || mode & ZERO_RANGE != 0) {
        return Err(Errno::EINVAL.into());
    }
    Ok(())
}

/// The node after somebody changed its data.
pub(super) fn rewritten(caller: &Caller, txn: &Txn<'_>, was: &Attr, length: u64) -> Attr {
    let mut now = Attr { length, mtime: txn.now(), ctime: txn.now(), ..*was };
    if caller.uid != 0 {
        now.mode = rules::without_suid(was);
    }
    now
}

/// Masks `[left, right)`. Its first and last chunk get a hole also when they hold nothing, those between only
/// when they exist. Costs one flush.
async fn mask(txn: &mut Txn<'_>, ino: Ino, left: u64, right: u64) -> Result<()> {
    let mut ends = [None, None];
    let (first, last) = (left / CHUNK_BYTES, (right.max(1) - 1) / CHUNK_BYTES);
    if left < right {
        ends[0] = parts(left, right.min((first + 1) * CHUNK_BYTES)).next();
        if last > first {
            ends[1] = parts(last * CHUNK_BYTES, right).next();
        }
    }
    // A last chunk that is masked whole is like those between.
    let whole_last = ends[1].is_some_and(|(_, _, len)| u64::from(len) == CHUNK_BYTES);
    if whole_last {
        ends[1] = None;
    }
    let mut gets: Vec<Get> =
        ends.iter().flatten().map(|(indx, _, _)| Get::AppendTarget { ino, indx: *indx }).collect();
    let between_end = if whole_last { last + 1 } else { last };
    if first + 1 < between_end {
        gets.push(Get::Chunks { ino, first: narrow(first + 1), last: narrow(between_end - 1) });
    }
    let answers = txn.read_all(&gets).await?;
    for (indx, pos, len) in ends.into_iter().flatten() {
        txn.change(Change::AppendSlice { ino, indx, slice: hole(pos, len), only_existing: false });
    }
    for got in answers {
        if let Got::Indexes(between) = got {
            for indx in between {
                let slice = hole(0, narrow(CHUNK_BYTES));
                txn.change(Change::AppendSlice { ino, indx, slice, only_existing: true });
            }
        }
    }
    txn.after().changed_chunks.push(ino);
    Ok(())
}

struct Truncate<'a> {
    meta: &'a Meta,
    caller: &'a Caller,
    ino: Ino,
    length: u64,
    opened: bool,
}

impl Operation for Truncate<'_> {
    type Output = Attr;
    const NAME: &'static str = "truncate";
    const FLUSHES: u32 = 3;

    fn contends_on(&self) -> [Option<Ino>; 2] {
        [Some(self.ino), None]
    }

    async fn run(&self, txn: &mut Txn<'_>) -> Result<Attr> {
        let Self { meta, caller, ino, length, opened } = *self;
        let (was,) = txn.read((NodeOf(ino, Hold::Update),)).await?;
        let was = was.or_no_entry()?;
        let is_refused = was.kind != Kind::File
            || was.flags & (flags::IMMUTABLE | flags::APPEND) != 0
            || (was.parent.is_trash() && !opened);
        if is_refused {
            return Err(Errno::EPERM.into());
        }
        if !opened {
            rules::check(caller, &was, rules::WRITE)?;
        }
        if length == was.length {
            return Ok(was);
        }
        let now = rewritten(caller, txn, &was, length);
        resized(meta, txn, ino, &was, &now).await?;
        // Growing masks too: another client may have left data beyond the end.
        mask(txn, ino, was.length.min(length), was.length.max(length)).await?;
        txn.update_node(ino, &was, &now);
        txn.log(&Entry::Truncate { ino, from: was.length, to: length, is_open: opened });
        Ok(now)
    }
}

struct Fallocate<'a> {
    meta: &'a Meta,
    caller: &'a Caller,
    ino: Ino,
    mode: u8,
    off: u64,
    end: u64,
}

impl Operation for Fallocate<'_> {
    type Output = Attr;
    const NAME: &'static str = "fallocate";
    const FLUSHES: u32 = 3;

    fn contends_on(&self) -> [Option<Ino>; 2] {
        [Some(self.ino), None]
    }

    async fn run(&self, txn: &mut Txn<'_>) -> Result<Attr> {
        let Self { meta, caller, ino, mode, off, end } = *self;
        let (was,) = txn.read((NodeOf(ino, Hold::Update),)).await?;
        let was = was.or_no_entry()?;
        let zeroes = mode & (fallocate::PUNCH_HOLE | fallocate::ZERO_RANGE) != 0;
        match was.kind {
            Kind::File => {}
            Kind::Fifo => return Err(Errno::EPIPE.into()),
            _ => return Err(Errno::EPERM.into()),
        }
        if was.flags & flags::IMMUTABLE != 0 || (was.flags & flags::APPEND != 0 && zeroes) {
            return Err(Errno::EPERM.into());
        }
        let extends = end > was.length && mode & fallocate::KEEP_SIZE == 0;
        let now = rewritten(caller, txn, &was, if extends { end } else { was.length });
        resized(meta, txn, ino, &was, &now).await?;
        let zero_end = end.min(was.length);
        if zeroes && off < zero_end {
            mask(txn, ino, off, zero_end).await?;
        }
        txn.update_node(ino, &was, &now);
        txn.log(&Entry::Fallocate { ino, off, size: end - off, mode });
        Ok(now)
    }
}

#[cfg(test)]
mod tests {
    use super::check_mode;

    #[test]
    fn modes_are_refused_as_the_system_call_says() {
        let errno = |mode| check_mode(mode, 1).map_err(|error| error.errno());
        use juicefs_base::Errno;
        for fine in [0, 1, 3, 16, 17] {
            assert_eq!(errno(fine), Ok(()), "{fine}");
        }
        for invalid in [2, 9, 33, 40, 18, 19] {
            assert_eq!(errno(invalid), Err(Errno::EINVAL), "{invalid}");
        }
        for unsupported in [8, 32, 64] {
            assert_eq!(errno(unsupported), Err(Errno::ENOTSUP), "{unsupported}");
        }
        assert!(check_mode(0, 0).is_err());
    }
}
