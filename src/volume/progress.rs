//! How long work tells how far it is; the command line draws it.

/// Told by long work as it goes. Calls are cheap and may come from any thread.
pub trait Progress: Send + Sync {
    /// A stage of the work begins; `total` is unknown for streams.
    fn begin(&self, stage: &str, total: Option<u64>);
    fn advance(&self, count: u64);
}

/// Tells nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn begin(&self, _stage: &str, _total: Option<u64>) {}
    fn advance(&self, _count: u64) {}
}
