//! Bytes of one file become bytes of another by reference: no object is read or written.

use juicefs_base::Errno;

use super::data::resized;
use super::resize::rewritten;
use crate::change_log::Entry;
use crate::error::Result;
use crate::meta::Meta;
use crate::overlay::{self, hole, narrow, parts};
use crate::port::{Change, Get, Got, Hold};
use crate::request::RangeCopy;
use crate::txn::{Operation, OrNoEntry, Txn};
use crate::types::{Attr, CHUNK_BYTES, Caller, FILE_BYTES_MAX, Ino, Kind, Slice, flags};

/// Chunks of the source that one transaction reads; a longer copy ends short, as the system call may.
const CHUNKS_MAX: usize = 16;
/// Records that one transaction appends before it ends short.
const RECORDS_MAX: usize = 1000;

impl Meta {
    /// Copies up to `copy.len` bytes between two open files, or within one. Answers how many, and the attributes of
    /// the file they are in now.
    ///
    /// # Errors
    /// EINVAL for anything but files and for ranges that overlap in one file, EFBIG, EPERM (immutable and append-only
    /// files), ENOSPC, ENOENT, EROFS.
    pub async fn copy_file_range(&self, caller: &Caller, copy: &RangeCopy) -> Result<(u64, Attr)> {
        self.check_writable()?;
        let end = |off: u64| off.checked_add(copy.len).filter(|end| *end <= FILE_BYTES_MAX);
        let (Some(src_end), Some(dst_end)) = (end(copy.src_off), end(copy.dst_off)) else {
            return Err(Errno::EFBIG.into());
        };
        if copy.src == copy.dst && copy.src_off < dst_end && copy.dst_off < src_end {
            return Err(Errno::EINVAL.into());
        }
        let (copied, attr) = self.transact(&Copy { meta: self, caller, copy }).await?;
        self.open_files.saw(copy.dst, &attr);
        Ok((copied, attr))
    }
}

struct Copy<'a> {
    meta: &'a Meta,
    caller: &'a Caller,
    copy: &'a RangeCopy,
}

impl Operation for Copy<'_> {
    type Output = (u64, Attr);
    const NAME: &'static str = "copy_file_range";
    const FLUSHES: u32 = 3;

    fn contends_on(&self) -> [Option<Ino>; 2] {
        [Some(self.copy.dst), Some(self.copy.src)]
    }

    async fn run(&self, txn: &mut Txn<'_>) -> Result<(u64, Attr)> {
        let Self { meta, caller, copy } = *self;
        let RangeCopy { src, src_off, dst, dst_off, len } = *copy;
        let (source, was) = self.nodes(txn).await?;
        if source.kind != Kind::File || was.kind != Kind::File {
            return Err(Errno::EINVAL.into());
        }
        if was.flags & (flags::IMMUTABLE | flags::APPEND) != 0 {
            return Err(Errno::EPERM.into());
        }
        let end = source.length.min(src_off + len);
        if src_off >= end {
            return Ok((0, was));
        }
        let pieces = self.pieces(txn, end).await?;
        let copied: u64 = pieces.iter().map(|piece| u64::from(piece.len)).sum();
        let now = rewritten(caller, txn, &was, was.length.max(dst_off + copied));
        resized(meta, txn, dst, &was, &now).await?;
        let mut at = dst_off;
        for piece in pieces {
            // A chunk of the other file may end inside the piece.
            for (indx, pos, len) in parts(at, at + u64::from(piece.len)) {
                let done = narrow(u64::from(indx) * CHUNK_BYTES + u64::from(pos) - at);
                let mut slice = Slice { pos, off: piece.off + done, len, ..piece };
                if piece.id == 0 {
                    slice = hole(pos, len);
                } else {
                    txn.change(Change::ShareSlice { id: piece.id, size: piece.size });
                }
                txn.change(Change::AppendSlice { ino: dst, indx, slice, only_existing: false });
            }
            at += u64::from(piece.len);
        }
        txn.update_node(dst, &was, &now);
        txn.after().changed_chunks.push(dst);
        txn.log(&Entry::CopyFileRange { src, src_off, dst, dst_off, size: end - src_off, copied });
        Ok((copied, now))
    }
}

impl Copy<'_> {
    /// Source and destination, which may be one.
    async fn nodes(&self, txn: &mut Txn<'_>) -> Result<(Attr, Attr)> {
        let RangeCopy { src, dst, .. } = *self.copy;
        let mut gets = vec![Get::Node { ino: dst, hold: Hold::Update }];
        if src != dst {
            gets.push(Get::Node { ino: src, hold: Hold::Guard });
        }
        let mut nodes = txn.read_all(&gets).await?.map(|got| super::victim::node(Some(got)));
        let was = nodes.next().flatten().or_no_entry()?;
        let source = if src == dst { was } else { nodes.next().flatten().or_no_entry()? };
        Ok((source, was))
    }

    /// What the source shows from its offset towards `end`, in order and without gaps. Its lists are held: a compaction
    /// that replaces a slice before we refer to it conflicts.
    async fn pieces(&self, txn: &mut Txn<'_>, end: u64) -> Result<Vec<Slice>> {
        let RangeCopy { src, src_off, dst, dst_off, .. } = *self.copy;
        let ranges: Vec<_> = parts(src_off, end).take(CHUNKS_MAX).collect();
        let bytes: u64 = ranges.iter().map(|(_, _, len)| u64::from(*len)).sum();
        let mut gets: Vec<Get> = ranges
            .iter()
            .map(|(indx, _, _)| Get::Chunk { ino: src, indx: *indx, hold: Hold::Guard })
            .collect();
        let targets = parts(dst_off, dst_off + bytes);
        gets.extend(targets.map(|(indx, _, _)| Get::AppendTarget { ino: dst, indx }));
        let mut answers = txn.read_all(&gets).await?;
        let mut pieces = Vec::new();
        for (_, pos, len) in ranges {
            let Some(Got::Slices(list)) = answers.next() else { return Err(Errno::EIO.into()) };
            if !pieces.is_empty() && pieces.len() + list.len() > RECORDS_MAX {
                break;
            }
            for piece in shown(&list, pos, pos + len) {
                pieces.push(piece);
                if pieces.len() >= RECORDS_MAX {
                    return Ok(pieces);
                }
            }
        }
        Ok(pieces)
    }
}

/// The pieces of `[from, to)` of a chunk, holes included.
fn shown(list: &[Slice], from: u32, to: u32) -> Vec<Slice> {
    let mut pieces = Vec::new();
    let mut at = from;
    for piece in overlay::build(list) {
        let (begin, end) = (piece.pos.max(from), piece.pos.saturating_add(piece.len).min(to));
        if begin >= end {
            continue;
        }
        let cut = begin - piece.pos;
        pieces.push(if piece.id == 0 {
            hole(begin, end - begin)
        } else {
            Slice { pos: begin, off: piece.off + cut, len: end - begin, ..piece }
        });
        at = end;
    }
    if at < to {
        pieces.push(hole(at, to - at));
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peers_copy_is_ours() {
        // Format 17.3: from 500 on, 20000 bytes.
        let record = |pos, id, len| Slice { pos, id, size: len, off: 0, len };
        let mut list: Vec<_> = (0..6).map(|at| record(at * 4096, u64::from(9 + at), 4096)).collect();
        list.push(record(1000, 15, 100));
        let copied: Vec<_> = shown(&list, 500, 20_500)
            .into_iter()
            .map(|piece| (piece.pos - 493, piece.id, piece.size, piece.off, piece.len))
            .collect();
        let expected = [
            (7, 9, 4096, 500, 500),
            (507, 15, 100, 0, 100),
            (607, 9, 4096, 1100, 2996),
            (3603, 10, 4096, 0, 4096),
            (7699, 11, 4096, 0, 4096),
            (11795, 12, 4096, 0, 4096),
            (15891, 13, 4096, 0, 4096),
            (19987, 14, 4096, 0, 20),
        ];
        assert_eq!(copied, expected);
    }

    #[test]
    fn what_no_record_covers_is_a_hole() {
        assert_eq!(shown(&[], 5, 9), [hole(5, 4)]);
        let one = Slice { pos: 10, id: 3, size: 10, off: 0, len: 10 };
        let holes: Vec<_> =
            shown(&[one], 5, 30).iter().map(|piece| (piece.pos, piece.id, piece.len)).collect();
        assert_eq!(holes, [(5, 0, 5), (10, 3, 10), (20, 0, 10)]);
    }
}
