//! What a chunk's list of slices shows: each record hides what it overlaps of the earlier ones. Pure.

use crate::types::{CHUNK_BYTES, Slice};

/// The visible pieces, sorted by position and without gaps from 0 to the end of the last record: what no record
/// covers is a hole (id 0). After the last piece a file reads as zeros.
#[must_use]
pub fn build(slices: &[Slice]) -> Vec<Slice> {
    let mut pieces: Vec<Slice> = Vec::with_capacity(slices.len() + 1);
    for slice in slices {
        if slice.len > 0 {
            lay_over(&mut pieces, normal(*slice));
        }
    }
    let gaps = pieces.windows(2).filter(|pair| end(&pair[0]) < pair[1].pos).count();
    if gaps == 0 && pieces.first().is_none_or(|first| first.pos == 0) {
        return pieces;
    }
    let mut filled = Vec::with_capacity(pieces.len() + gaps + 1);
    let mut pos = 0;
    for piece in pieces {
        if pos < piece.pos {
            filled.push(hole(pos, piece.pos - pos));
        }
        pos = end(&piece);
        filled.push(piece);
    }
    filled
}

/// A record that reads as zeros.
#[must_use]
pub fn hole(pos: u32, len: u32) -> Slice {
    Slice { pos, id: 0, size: 0, off: 0, len }
}

/// Chunk index and in-chunk range of each part of `[off, end)`, cut at chunk borders.
pub(crate) fn parts(off: u64, end: u64) -> impl Iterator<Item = (u32, u32, u32)> {
    let mut at = off;
    std::iter::from_fn(move || {
        if at >= end {
            return None;
        }
        let indx = at / CHUNK_BYTES;
        let pos = at % CHUNK_BYTES;
        let len = (CHUNK_BYTES - pos).min(end - at);
        at += len;
        Some((narrow(indx), narrow(pos), narrow(len)))
    })
}

/// Chunk indexes and in-chunk offsets fit by the largest file's size.
pub(crate) fn narrow(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn end(piece: &Slice) -> u32 {
    piece.pos.saturating_add(piece.len)
}

/// Visible holes carry no slice size, wherever they were cut.
fn normal(piece: Slice) -> Slice {
    if piece.id == 0 { hole(piece.pos, piece.len) } else { piece }
}

fn from(piece: &Slice, pos: u32) -> Slice {
    let cut = pos - piece.pos;
    normal(Slice { pos, off: piece.off.saturating_add(cut), len: piece.len - cut, ..*piece })
}

fn up_to(piece: &Slice, pos: u32) -> Slice {
    normal(Slice { len: pos - piece.pos, ..*piece })
}

fn lay_over(pieces: &mut Vec<Slice>, top: Slice) {
    let first = pieces.partition_point(|piece| end(piece) <= top.pos);
    let after = first + pieces[first..].partition_point(|piece| piece.pos < end(&top));
    if first == after {
        pieces.insert(first, top);
        return;
    }
    let left = (pieces[first].pos < top.pos).then(|| up_to(&pieces[first], top.pos));
    let right = (end(&pieces[after - 1]) > end(&top)).then(|| from(&pieces[after - 1], end(&top)));
    pieces.splice(first..after, left.into_iter().chain([top]).chain(right));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record(pos: u32, id: u64, len: u32) -> Slice {
        Slice { pos, id, size: if id == 0 { 0 } else { len }, off: 0, len }
    }

    fn piece(pos: u32, id: u64, size: u32, off: u32, len: u32) -> Slice {
        Slice { pos, id, size, off, len }
    }

    #[test]
    fn the_peers_sequence_of_writes_shows_what_it_showed() {
        // Format 17.3: seven writes, seen from 500 on for 20000 bytes.
        let list = [
            record(0, 9, 4096),
            record(4096, 10, 4096),
            record(8192, 11, 4096),
            record(12288, 12, 4096),
            record(16384, 13, 4096),
            record(20480, 14, 4096),
            record(1000, 15, 100),
        ];
        assert_eq!(
            build(&list),
            [
                piece(0, 9, 4096, 0, 1000),
                piece(1000, 15, 100, 0, 100),
                piece(1100, 9, 4096, 1100, 2996),
                record(4096, 10, 4096),
                record(8192, 11, 4096),
                record(12288, 12, 4096),
                record(16384, 13, 4096),
                record(20480, 14, 4096),
            ]
        );
    }

    #[test]
    fn a_truncated_and_grown_chunk_ends_in_holes() {
        let list = [
            record(0, 5, 100_000),
            record(50_000, 6, 10),
            record(300_000, 7, 10),
            hole(300_010, 66_808_854),
            hole(150_000, 66_958_864),
        ];
        assert_eq!(
            build(&list),
            [
                piece(0, 5, 100_000, 0, 50_000),
                piece(50_000, 6, 10, 0, 10),
                piece(50_010, 5, 100_000, 50_010, 49_990),
                hole(100_000, 50_000),
                hole(150_000, 66_958_864),
            ]
        );
    }

    #[test]
    fn nothing_shows_nothing_and_a_late_start_begins_with_a_hole() {
        assert!(build(&[]).is_empty());
        assert_eq!(build(&[record(7, 1, 3)]), [hole(0, 7), record(7, 1, 3)]);
    }

    #[test]
    fn parts_end_at_chunk_borders() {
        let chunk = u32::try_from(CHUNK_BYTES).unwrap();
        let cut: Vec<_> = parts(CHUNK_BYTES - 10, 2 * CHUNK_BYTES + 5).collect();
        assert_eq!(cut, [(0, chunk - 10, 10), (1, 0, chunk), (2, 0, 5)]);
    }

    proptest! {
        #[test]
        fn every_byte_shows_the_last_record_over_it(
            list in prop::collection::vec((0u32..200, 0u64..20, 0u32..60), 0..20)
        ) {
            let list: Vec<_> = list.into_iter().map(|(pos, id, len)| record(pos, id, len)).collect();
            let mut bytes = [(0u64, 0u32); 300];
            for slice in &list {
                for i in 0..slice.len {
                    let shown = if slice.id == 0 { (0, 0) } else { (slice.id, i) };
                    bytes[(slice.pos + i) as usize] = shown;
                }
            }
            let pieces = build(&list);
            let mut pos = 0;
            for piece in &pieces {
                prop_assert_eq!(piece.pos, pos);
                for i in 0..piece.len {
                    let expected = if piece.id == 0 { (0, 0) } else { (piece.id, piece.off + i) };
                    let (id, at) = bytes[(pos + i) as usize];
                    prop_assert_eq!(id, expected.0);
                    prop_assert_eq!(at, expected.1);
                }
                pos += piece.len;
            }
            let last = list.iter().filter(|slice| slice.len > 0).map(end).max().unwrap_or(0);
            prop_assert_eq!(pos, last);
        }
    }
}
