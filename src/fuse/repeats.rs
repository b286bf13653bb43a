//! Questions that the kernel asks twice for one system call.
//!
//! When a name's revalidation or a readahead fails, the kernel asks for the same name or page once more before it
//! tells the caller. A question that took long to fail (the database or the store is away) would then take twice
//! its time. The second asking, if it comes at once, gets the first one's answer; a third waits again.

use juicefs_base::Errno;
use juicefs_base::sync::Mutex;
use juicefs_vfs::Ino;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// A failure that came sooner may be looked for again.
const SLOW: Duration = Duration::from_secs(5);
/// The kernel comes back within this time.
const FRESH: Duration = Duration::from_secs(1);
/// Failures remembered; callers are asking in vain for more than that only if their number is beyond reason.
const KEPT_MAX: usize = 1024;

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Question {
    Name(Ino, bytes::Bytes),
    Bytes(Ino, Range<u64>),
}

impl Question {
    /// Whether `later` asks for a part of this.
    fn covers(&self, later: &Self) -> bool {
        match (self, later) {
            (Self::Bytes(ino, range), Self::Bytes(of, part)) => ino == of && range.contains(&part.start),
            _ => self == later,
        }
    }
}

/// Slow failures of the last moment, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Repeats {
    failed: Mutex<VecDeque<(Question, Errno, Instant)>>,
    /// As many as are in `failed`, for those who find none.
    count: AtomicUsize,
}

impl Repeats {
    /// The answer to a question that has just been answered, once.
    pub(crate) fn take(&self, question: &Question) -> Option<Errno> {
        if self.count.load(Ordering::Acquire) == 0 {
            return None;
        }
        let mut failed = self.failed.lock();
        failed.retain(|(_, _, at)| at.elapsed() < FRESH);
        let at = failed.iter().position(|(known, ..)| known.covers(question));
        let errno = at.and_then(|at| failed.remove(at)).map(|(_, errno, _)| errno);
        self.count.store(failed.len(), Ordering::Release);
        errno
    }

    /// `question`, begun at `begun`, has failed.
    pub(crate) fn failed(&self, question: Question, begun: Instant, errno: Errno) {
        if begun.elapsed() < SLOW {
            return;
        }
        let mut failed = self.failed.lock();
        if failed.len() >= KEPT_MAX {
            failed.pop_front();
        }
        failed.push_back((question, errno, Instant::now()));
        self.count.store(failed.len(), Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn long_ago() -> Instant {
        Instant::now().checked_sub(SLOW).expect("the machine is up for longer")
    }

    fn name(text: &'static str) -> Question {
        Question::Name(Ino(7), bytes::Bytes::from_static(text.as_bytes()))
    }

    #[test]
    fn a_slow_failure_answers_one_more_question() {
        let repeats = Repeats::default();
        assert_eq!(repeats.take(&name("a")), None);
        repeats.failed(name("a"), long_ago(), Errno::EIO);
        assert_eq!(repeats.take(&name("b")), None);
        assert_eq!(repeats.take(&name("a")), Some(Errno::EIO));
        assert_eq!(repeats.take(&name("a")), None, "once");
        repeats.failed(name("a"), Instant::now(), Errno::EIO);
        assert_eq!(repeats.take(&name("a")), None, "a quick failure is asked about again");
    }

    #[test]
    fn a_page_of_a_failed_readahead_is_a_repetition() {
        let repeats = Repeats::default();
        repeats.failed(Question::Bytes(Ino(7), 4096..8192), long_ago(), Errno::EIO);
        assert_eq!(repeats.take(&Question::Bytes(Ino(8), 4096..8192)), None);
        assert_eq!(repeats.take(&Question::Bytes(Ino(7), 8192..9000)), None);
        assert_eq!(repeats.take(&Question::Bytes(Ino(7), 5000..6000)), Some(Errno::EIO));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let repeats = Repeats::default();
        for number in 0..2 * KEPT_MAX as u64 {
            repeats.failed(Question::Bytes(Ino(number), 0..1), long_ago(), Errno::EIO);
        }
        assert_eq!(repeats.failed.lock().len(), KEPT_MAX);
    }
}
