//! How long calls wait for the engine, and who can see it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use juicefs_base::sync::Mutex;

/// Longest wait of one call for the engine; then EIO.
pub const DEADLINE: Duration = Duration::from_secs(60);
/// A wait longer than this is logged and shown in the gauge.
const QUIET: Duration = Duration::from_secs(5);

/// The gauge of calls that wait for an engine which does not answer.
pub(crate) struct Waiting {
    state: Mutex<(usize, Option<Instant>)>,
    restarts: AtomicU64,
    transactions: AtomicU64,
    transaction_nanos: AtomicU64,
    questions: AtomicU64,
    question_nanos: AtomicU64,
    deadline_ms: AtomicU64,
}

impl Default for Waiting {
    fn default() -> Self {
        let deadline_ms = AtomicU64::new(DEADLINE.as_secs() * 1000);
        Self {
            state: Mutex::default(),
            restarts: AtomicU64::new(0),
            transactions: AtomicU64::new(0),
            transaction_nanos: AtomicU64::new(0),
            questions: AtomicU64::new(0),
            question_nanos: AtomicU64::new(0),
            deadline_ms,
        }
    }
}

/// One waiting call.
pub(super) struct Outage<'a>(&'a Waiting);

impl Waiting {
    pub(crate) fn since(&self) -> Option<Instant> {
        self.state.lock().1
    }

    pub(crate) fn restarts(&self) -> u64 {
        self.restarts.load(Ordering::Relaxed)
    }

    /// Transactions so far and the seconds they took together, waits included.
    pub(crate) fn transactions(&self) -> (u64, f64) {
        let nanos = self.transaction_nanos.load(Ordering::Relaxed);
        (self.transactions.load(Ordering::Relaxed), nanos as f64 / 1e9)
    }

    pub(super) fn count_transaction(&self, spent: Duration) {
        self.transactions.fetch_add(1, Ordering::Relaxed);
        let nanos = u64::try_from(spent.as_nanos()).unwrap_or(u64::MAX);
        self.transaction_nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    /// Transactions and questions outside any so far, and the seconds they took together, waits included.
    pub(crate) fn calls(&self) -> (u64, f64) {
        let (transactions, seconds) = self.transactions();
        let nanos = self.question_nanos.load(Ordering::Relaxed);
        (transactions + self.questions.load(Ordering::Relaxed), seconds + nanos as f64 / 1e9)
    }

    pub(super) fn count_question(&self, spent: Duration) {
        self.questions.fetch_add(1, Ordering::Relaxed);
        let nanos = u64::try_from(spent.as_nanos()).unwrap_or(u64::MAX);
        self.question_nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    pub(super) fn deadline(&self) -> Duration {
        Duration::from_millis(self.deadline_ms.load(Ordering::Relaxed))
    }

    pub(super) fn quiet(&self) -> Duration {
        QUIET.min(self.deadline() / 2)
    }

    #[cfg(test)]
    pub(crate) fn set_deadline(&self, deadline: Duration) {
        let deadline_ms = u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX);
        self.deadline_ms.store(deadline_ms, Ordering::Relaxed);
    }

    pub(super) fn count_restart(&self) {
        self.restarts.fetch_add(1, Ordering::Relaxed);
    }

    /// The first of many logs the line.
    pub(super) fn begin(&self, operation: &'static str, why: &dyn std::fmt::Display) -> Outage<'_> {
        let mut state = self.state.lock();
        state.0 += 1;
        if state.1.is_none() {
            state.1 = Instant::now().checked_sub(self.quiet()).or_else(|| Some(Instant::now()));
            tracing::warn!(operation, %why, "waiting for the metadata engine for {} s", self.quiet().as_secs());
        }
        Outage(self)
    }
}

impl Drop for Outage<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.0 -= 1;
        if state.0 == 0
            && let Some(since) = state.1.take()
        {
            tracing::info!(
                seconds = since.elapsed().as_secs(),
                "no call waits for the metadata engine any more"
            );
        }
    }
}
