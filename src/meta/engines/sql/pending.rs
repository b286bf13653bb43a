//! The statements that move the volume's counters, which the family does outside the operations' transactions.

use super::statement::{Statement, statement};
use crate::types::Usage;

pub(super) fn write(delta: Usage) -> [Statement; 2] {
    [("totalInodes", delta.inodes), ("usedSpace", delta.space)].map(|(name, by)| {
        statement!(
            "INSERT INTO jfs_counter (name, value) VALUES (?1, ?2) \
             ON CONFLICT (name) DO UPDATE SET value = jfs_counter.value + excluded.value",
            name,
            by
        )
    })
}
