//! Work that nobody waits for.

pub(crate) mod compaction;
pub(crate) mod deletion;
