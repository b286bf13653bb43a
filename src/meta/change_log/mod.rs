//! The volume's change log (format 7.7): one line for each change, in the change's own transaction.
//!
//! An operation says its [`Entry`] to its transaction; whether the volume keeps a log is decided there, once an
//! attempt. The state here are the numbers that this process gives its lines: they have no gap, so that a reader sees
//! whether it has all. A number whose commit did not happen is given to the next line.

mod entry;
mod parse;
mod retention;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::atomic::Ordering;

use juicefs_base::sync::Mutex;

use crate::meta::Meta;
use crate::port::{Job, LogLine, Sequence};
use crate::types::Time;
pub use entry::{Entry, set};
pub use parse::{Line, time_of};
pub(crate) use retention::trim_regularly;

/// Numbers of this process's lines.
#[derive(Default)]
pub(crate) struct LineNumbers {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    last: u64,
    /// Given out, and not used after all.
    returned: BinaryHeap<Reverse<u64>>,
}

impl LineNumbers {
    pub(crate) fn take(&self) -> u64 {
        let mut state = self.state.lock();
        if let Some(Reverse(number)) = state.returned.pop() {
            return number;
        }
        state.last += 1;
        state.last
    }

    #[cfg(test)]
    pub(crate) fn has_returned(&self) -> bool {
        !self.state.lock().returned.is_empty()
    }

    pub(crate) fn give_back(&self, number: u64) {
        self.state.lock().returned.push(Reverse(number));
    }
}

/// The counters whose movements the peer's log tells; those of trash directories are not told.
fn counter_of(sequence: Sequence) -> Option<&'static str> {
    (sequence != Sequence::TrashDir).then(|| sequence.counter())
}

impl Sequence {
    /// The counter that its numbers come from, as the log and the SQL tables name it.
    #[must_use]
    pub fn counter(self) -> &'static str {
        match self {
            Self::Inode => "nextInode",
            Self::Slice => "nextChunk",
            Self::Session => "nextSession",
            Self::TrashDir => "nextTrash",
        }
    }
}

impl Job {
    /// The counter that keeps when the job was done last.
    #[must_use]
    pub fn counter(self) -> &'static str {
        match self {
            Self::CleanSessions => "lastCleanupSessions",
            Self::CleanFiles => "lastCleanupFiles",
            Self::CleanSlices => "nextCleanupSlices",
            Self::CleanTrash => "lastCleanupTrash",
            Self::CleanChangeLog => "lastCleanupChangelog",
        }
    }
}

impl Meta {
    /// Whether the volume keeps a change log, as its setting said last.
    pub(crate) fn keeps_change_log(&self) -> bool {
        self.format.read().change_log && self.engine.limits().has_change_log
    }

    /// Numbers a line that begins with `head`; the number goes to [`LineNumbers::give_back`] when it is certain that
    /// the line was not written.
    pub(crate) fn numbered(&self, head: String, appended: Option<usize>) -> (LogLine, u64) {
        let number = self.line_numbers.take();
        let sid = self.sid.load(Ordering::Acquire);
        (LogLine { head, appended, tail: format!("|({sid},{number})") }, number)
    }

    /// A line for what is no transaction of operations; `None` on a volume without a log.
    fn line_outside(&self, entry: &Entry<'_>) -> Option<(LogLine, u64)> {
        self.keeps_change_log().then(|| self.numbered(head(Time::now(), entry), None))
    }

    /// Takes numbers of a sequence from the volume.
    pub(crate) async fn allocate(
        &self,
        sequence: Sequence,
        count: u64,
    ) -> crate::Result<std::ops::Range<u64>> {
        let entry = counter_of(sequence).map(|counter| Entry::IncrCounter { counter, by: count });
        let line = entry.and_then(|entry| self.line_outside(&entry)).map(|(line, _)| line);
        self.ask(|engine| engine.allocate(sequence, count, line.as_ref())).await
    }

    /// Whether this client does a job now; see [`crate::port::Engine::claim`].
    pub(crate) async fn claim(&self, job: Job, now: i64, gap_sec: i64) -> crate::Result<bool> {
        let line = self.line_outside(&Entry::Set { counter: job.counter(), value: now });
        let (line, number) = line.unzip();
        let is_ours = self.ask(|engine| engine.claim(job, now, gap_sec, line.as_ref())).await?;
        if let Some(number) = number.filter(|_| !is_ours) {
            self.line_numbers.give_back(number);
        }
        Ok(is_ours)
    }
}

/// The beginning of a line, up to where its session stands.
pub(crate) fn head(now: Time, entry: &Entry<'_>) -> String {
    format!("{}.{:09}|{entry}", now.sec, now.nsec)
}
