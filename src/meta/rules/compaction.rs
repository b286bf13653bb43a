//! Which of a chunk's records a compaction takes together, and what the slice that takes their place shows. Pure;
//! the thresholds are the peer's, so that clients of both kinds work towards the same list.

use crate::overlay;
use crate::types::Slice;

/// Records looked at in one go; those behind them wait for the next.
const RECORDS_MAX: usize = 1000;
/// A record at the head of a list stays as it is from this size on, if it makes up a good part of what is visible.
const KEPT_BYTES_MIN: u32 = 1 << 20;
const KEPT_SHARE: u64 = 5;

/// A planned compaction of one chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compaction {
    /// The records at the head of the list that this was planned on: the list must still begin with them.
    pub read: Vec<Slice>,
    /// How many of `read` stay as they are.
    pub kept: usize,
    /// Where the new slice lies in the chunk.
    pub pos: u32,
    /// Of the new slice; never 0.
    pub size: u32,
    /// What the new slice holds, from its first byte to its last without gaps; id 0 is zeros.
    pub pieces: Vec<Slice>,
}

impl Compaction {
    /// The records that the new slice takes the place of; never fewer than two.
    #[must_use]
    pub fn replaced(&self) -> &[Slice] {
        &self.read[self.kept..]
    }

    /// Whether the pieces are so small that reading them one by one costs more than copying all of them once.
    #[must_use]
    pub fn pays_for_readers(&self) -> bool {
        u64::from(self.size) <= self.replaced().len() as u64 * u64::from(KEPT_BYTES_MIN)
    }
}

/// What there is to compact in `list`, at most `most` records at once.
#[must_use]
pub fn plan(list: &[Slice], most: usize) -> Option<Compaction> {
    let read = &list[..list.len().min(most).min(RECORDS_MAX)];
    let mut kept = 0;
    while read.len() - kept >= 2 {
        let rest = &read[kept..];
        let shown = Shown::of(rest);
        if shown.size == 0 {
            return None;
        }
        if !shown.begins_with_a_large(rest[0]) || rest[1..].contains(&rest[0]) {
            let Shown { pos, size, pieces } = shown;
            return Some(Compaction { read: read.to_vec(), kept, pos, size, pieces });
        }
        kept += 1;
    }
    None
}

/// What records show, without the holes before and behind.
struct Shown {
    pos: u32,
    size: u32,
    pieces: Vec<Slice>,
}

impl Shown {
    fn of(records: &[Slice]) -> Self {
        let mut pieces = overlay::build(records);
        while pieces.len() > 1 && pieces.last().is_some_and(is_hole) {
            pieces.pop();
        }
        let leading = pieces.iter().take_while(|piece| is_hole(piece)).count();
        pieces.drain(..leading.min(pieces.len().saturating_sub(1)));
        if let [only] = &mut pieces[..]
            && is_hole(only)
        {
            // Nothing but zeros: one says so as well as many.
            only.len = 1;
        }
        let size = pieces.iter().map(|piece| piece.len).sum();
        Self { pos: pieces.first().map_or(0, |piece| piece.pos), size, pieces }
    }

    /// Copying so much again for what little lies behind would not pay.
    fn begins_with_a_large(&self, first: Slice) -> bool {
        first.len >= KEPT_BYTES_MIN
            && u64::from(first.len) * KEPT_SHARE >= u64::from(self.size)
            && self.pieces.first() == Some(&first)
    }
}

fn is_hole(piece: &Slice) -> bool {
    piece.id == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::overlay::{build, hole};
    use proptest::prelude::*;

    const MIB: u32 = 1 << 20;

    fn record(pos: u32, id: u64, len: u32) -> Slice {
        Slice { pos, id, size: if id == 0 { 0 } else { len }, off: 0, len }
    }

    #[test]
    fn the_peers_example_becomes_what_it_became() {
        // Format 6.6: seven records of one chunk became (0, 16, 24576, 0, 24576).
        let list = [
            record(0, 9, 4096),
            record(4096, 10, 4096),
            record(8192, 11, 4096),
            record(12288, 12, 4096),
            record(16384, 13, 4096),
            record(20480, 14, 4096),
            record(1000, 15, 100),
        ];
        let plan = plan(&list, usize::MAX).unwrap();
        assert_eq!((plan.kept, plan.pos, plan.size, plan.replaced()), (0, 0, 24576, &list[..]));
        assert_eq!(plan.pieces, build(&list));
    }

    #[test]
    fn holes_at_both_ends_are_left_out() {
        // Format 17.3: after a truncate up and down again, one slice of 100000 bytes.
        let list = [
            record(0, 5, 100_000),
            record(50_000, 6, 10),
            record(300_000, 7, 10),
            hole(300_010, 66_808_854),
            hole(150_000, 66_958_864),
        ];
        let planned = plan(&list, usize::MAX).unwrap();
        assert_eq!((planned.pos, planned.size), (0, 100_000));
        let late = plan(&[record(700, 1, 10), record(710, 2, 10)], usize::MAX).unwrap();
        assert_eq!((late.pos, late.size), (700, 20));
        let zeros = plan(&[record(0, 1, 100), hole(0, 100)], usize::MAX).unwrap();
        assert_eq!((zeros.pos, zeros.size, zeros.pieces), (0, 1, vec![hole(0, 1)]));
    }

    #[test]
    fn a_large_slice_at_the_head_stays() {
        let list = [record(0, 1, 4 * MIB), record(4 * MIB, 2, 4096), record(4 * MIB + 4096, 3, 4096)];
        let planned = plan(&list, usize::MAX).unwrap();
        assert_eq!((planned.kept, planned.pos, planned.size), (1, 4 * MIB, 8192));
        // Overwritten in part it does not.
        let list = [record(0, 1, 4 * MIB), record(5, 2, 10)];
        assert_eq!(plan(&list, usize::MAX).unwrap().kept, 0);
        // Less than a fifth of all neither.
        let list = [record(0, 1, MIB), record(MIB, 2, 9 * MIB)];
        assert_eq!(plan(&list, usize::MAX).unwrap().kept, 0);
    }

    #[test]
    fn nothing_is_planned_where_nothing_is_gained() {
        assert_eq!(plan(&[], usize::MAX), None);
        assert_eq!(plan(&[record(0, 1, 5)], usize::MAX), None);
        assert_eq!(plan(&[record(0, 1, 40 * MIB), record(40 * MIB, 2, 20 * MIB)], usize::MAX), None);
        assert_eq!(plan(&[record(0, 1, 0), record(0, 2, 0)], usize::MAX), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn a_compacted_list_shows_what_it_showed_and_compacting_ends(
            list in prop::collection::vec((0u32..40, 0u64..20, 1u32..30), 0..20), most in 2usize..20
        ) {
            // In units of 256 KiB, so that some heads are large.
            let unit = 256 << 10;
            let mut list: Vec<_> =
                list.into_iter().map(|(pos, id, len)| record(pos * unit, id, len * unit)).collect();
            let mut shown = painted(&list, &[], 80);
            for round in 0..100 {
                let Some(planned) = plan(&list, most) else { break };
                prop_assert!(round < 99 && planned.replaced().len() >= 2);
                let id = 1000 + round;
                let new = Slice { pos: planned.pos, id, size: planned.size, off: 0, len: planned.size };
                let copied = planned.pieces.clone();
                let mut after = planned.read[..planned.kept].to_vec();
                after.push(new);
                after.extend_from_slice(&list[planned.read.len()..]);
                prop_assert!(after.len() < list.len());
                prop_assert_eq!(&painted(&after, &[(new, copied)], 80), &shown);
                list = after;
                shown = painted(&list, &[], 80);
            }
        }
    }

    /// Which byte of which slice each unit shows; a slice that was compacted shows what was copied into it.
    fn painted(list: &[Slice], copies: &[(Slice, Vec<Slice>)], units: usize) -> Vec<(u64, u32)> {
        let unit = 256 << 10;
        let mut shown = vec![(0, 0); units];
        for piece in build(list) {
            // A list of nothing but zeros becomes one byte: what lies behind it begins within a unit.
            for at in (piece.pos.next_multiple_of(unit)..piece.pos + piece.len).step_by(unit as usize) {
                let colour = match copies.iter().find(|(new, _)| new.id == piece.id) {
                    None => (piece.id, piece.off + (at - piece.pos)),
                    Some((_, copied)) => {
                        let source = copied.iter().find(|copy| copy.pos <= at && at < copy.pos + copy.len);
                        source.map_or((0, 0), |copy| (copy.id, copy.off + (at - copy.pos)))
                    }
                };
                shown[(at / unit) as usize] = if colour.0 == 0 { (0, 0) } else { colour };
            }
        }
        shown
    }
}
