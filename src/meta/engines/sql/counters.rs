//! The rows of `jfs_counter` that numbers and sums are kept in.

use super::statement::{Statement, statement};
use crate::port::{Counters, Sequence};
use crate::types::Usage;

/// Of a new volume; `nextTrash` comes with the first trash directory.
const FRESH: [(&str, i64); 6] = [
    ("nextInode", 2),
    ("nextChunk", 1),
    ("nextSession", 0),
    ("usedSpace", 0),
    ("totalInodes", 0),
    ("nextCleanupSlices", 0),
];

/// Inode and slice counters hold the next free number, the others the last one used.
pub(super) fn holds_next(sequence: Sequence) -> bool {
    matches!(sequence, Sequence::Inode | Sequence::Slice)
}

pub(super) fn insert((name, value): (&str, i64)) -> Statement {
    statement!("INSERT INTO jfs_counter (name, value) VALUES (?1, ?2)", name, value)
}

pub(super) fn fresh() -> impl Iterator<Item = Statement> {
    FRESH.into_iter().map(insert)
}

/// Of the values in the order of [`Counters::named`].
pub(super) fn of_values(values: [i64; 6]) -> Counters {
    let [space, inodes, next_inode, next_slice, last_session, last_trash] = values;
    Counters {
        usage: Usage { space, inodes },
        next_inode: next_inode.cast_unsigned(),
        next_slice: next_slice.cast_unsigned(),
        last_session: last_session.cast_unsigned(),
        last_trash: last_trash.cast_unsigned(),
    }
}
