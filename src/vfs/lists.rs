//! What is visible of one chunk: its slice list laid over itself, kept in order and brought up to date slice by
//! slice.

use juicefs_meta::Slice;
use std::collections::BTreeMap;

/// A visible run of bytes of one slice, or of a hole (`id` 0).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) id: u64,
    /// Of the whole slice.
    pub(crate) size: u32,
    /// Start inside the slice.
    pub(crate) off: u32,
    pub(crate) len: u32,
}

/// The visible pieces of a chunk; what no piece covers is zeros.
#[derive(Clone, Debug, Default)]
pub(crate) struct ChunkList {
    pieces: BTreeMap<u32, Piece>,
    /// Records of the stored list that this was made of.
    records: usize,
}

impl ChunkList {
    pub(crate) fn new(slices: &[Slice]) -> Self {
        let mut list = Self::default();
        for slice in slices {
            list.push(slice);
        }
        list
    }

    /// Records of the stored list.
    pub(crate) fn records(&self) -> usize {
        self.records
    }

    /// Lays one more record over what is there.
    pub(crate) fn push(&mut self, slice: &Slice) {
        self.records += 1;
        if slice.len == 0 {
            return;
        }
        let (start, end) = (slice.pos, slice.pos.saturating_add(slice.len));
        // The piece that begins before and reaches in loses its tail, and may go on behind.
        if let Some((&before, piece)) = self.pieces.range_mut(..start).next_back() {
            let piece_end = before + piece.len;
            if piece_end > start {
                let whole = *piece;
                piece.len = start - before;
                if piece_end > end {
                    self.pieces.insert(end, behind(whole, end - before));
                }
            }
        }
        let covered: Vec<u32> = self.pieces.range(start..end).map(|(&at, _)| at).collect();
        for at in covered {
            if let Some(piece) = self.pieces.remove(&at)
                && at + piece.len > end
            {
                self.pieces.insert(end, behind(piece, end - at));
            }
        }
        if slice.id > 0 {
            self.pieces
                .insert(start, Piece { id: slice.id, size: slice.size, off: slice.off, len: slice.len });
        }
    }

    /// The pieces of `start..end` in order with where each begins, cut to it; holes are left out.
    pub(crate) fn range(&self, start: u32, end: u32) -> impl Iterator<Item = (u32, Piece)> + '_ {
        let first = self.pieces.range(..start).next_back().filter(|(at, piece)| *at + piece.len > start);
        first.into_iter().chain(self.pieces.range(start..end)).map(move |(&at, piece)| {
            let cut = start.saturating_sub(at);
            let len = (piece.len - cut).min(end - (at + cut));
            (at + cut, Piece { off: piece.off + cut, len, ..*piece })
        })
    }
}

fn behind(piece: Piece, cut: u32) -> Piece {
    Piece { off: piece.off + cut, len: piece.len - cut, ..piece }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn slice() -> impl Strategy<Value = Slice> {
        (0u32..300, 0u64..4, 0u32..50, 1u32..120).prop_map(|(pos, id, off, len)| Slice {
            pos,
            id,
            size: off + len,
            off,
            len,
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn pieces_are_what_painting_byte_by_byte_shows(
            slices in proptest::collection::vec(slice(), 0..20), start in 0u32..400, len in 1u32..200,
        ) {
            let mut painted = vec![(0u64, 0u32); 700];
            for slice in &slices {
                for at in 0..slice.len {
                    let colour = if slice.id == 0 { (0, 0) } else { (slice.id, slice.off + at) };
                    painted[(slice.pos + at) as usize] = colour;
                }
            }
            let list = ChunkList::new(&slices);
            prop_assert_eq!(list.records(), slices.len());
            let end = start + len;
            let mut shown = vec![(0u64, 0u32); len as usize];
            let mut last = start;
            for (at, piece) in list.range(start, end) {
                prop_assert!(at >= last && at + piece.len <= end && piece.id > 0 && piece.len > 0);
                last = at + piece.len;
                for byte in 0..piece.len {
                    shown[(at - start + byte) as usize] = (piece.id, piece.off + byte);
                }
            }
            prop_assert_eq!(&shown[..], &painted[start as usize..end as usize]);
        }
    }
}
