//! `.accesslog`: each one who has it open gets the lines of all operations that end meanwhile.
//!
//! The state is who reads, each with a queue of his own; only open and close of the file change it. A reader who is slow
//! loses lines, never the mount its pace. While nobody reads, an operation pays for one look at a number.

use juicefs_base::sync::{Mutex, RwLock};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::Notify;

/// Lines kept for a reader, as many as the peer keeps.
const LINES_MAX: usize = 10_240;
/// Readers at the same time; their queues are what this log may take of memory.
const READERS_MAX: usize = 64;
/// A read with nothing to tell for so long says so.
const QUIET: Duration = Duration::from_secs(1);
const NOTHING: &[u8] = b"#\n";

/// Who reads along.
#[derive(Debug, Default)]
pub struct AccessLog {
    readers: RwLock<HashMap<u64, Arc<Lines>>>,
    /// How many there are.
    count: AtomicUsize,
    next: AtomicU64,
}

#[derive(Debug, Default)]
struct Lines {
    queue: Mutex<VecDeque<Arc<str>>>,
    came: Notify,
}

/// One open `.accesslog`.
#[derive(Debug)]
pub(crate) struct LogReader {
    log: Arc<AccessLog>,
    number: u64,
    lines: Arc<Lines>,
    /// What is left of a line that did not fit.
    rest: Mutex<Vec<u8>>,
}

impl AccessLog {
    /// Whether lines are worth making.
    #[must_use]
    pub fn is_read(&self) -> bool {
        self.count.load(Ordering::Relaxed) > 0
    }

    /// Gives `line`, which ends with a newline, to all who read.
    pub fn write(&self, line: &str) {
        let line: Arc<str> = line.into();
        for lines in self.readers.read().values() {
            let mut queue = lines.queue.lock();
            if queue.len() < LINES_MAX {
                queue.push_back(Arc::clone(&line));
            }
            drop(queue);
            lines.came.notify_one();
        }
    }

    /// A new reader; `None` when there are too many.
    pub(crate) fn open(self: &Arc<Self>) -> Option<LogReader> {
        let mut readers = self.readers.write();
        if readers.len() >= READERS_MAX {
            return None;
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let lines = Arc::<Lines>::default();
        readers.insert(number, Arc::clone(&lines));
        self.count.store(readers.len(), Ordering::Relaxed);
        Some(LogReader { log: Arc::clone(self), number, lines, rest: Mutex::default() })
    }
}

impl LogReader {
    /// Up to `size` bytes of what came since the last read; a comment when nothing does.
    pub(crate) async fn read(&self, size: usize) -> Vec<u8> {
        let found = self.take(size);
        if !found.is_empty() {
            return found;
        }
        let _ = tokio::time::timeout(QUIET, self.lines.came.notified()).await;
        match self.take(size) {
            found if found.is_empty() => NOTHING[..size.min(NOTHING.len())].to_vec(),
            found => found,
        }
    }

    fn take(&self, size: usize) -> Vec<u8> {
        let mut bytes = std::mem::take(&mut *self.rest.lock());
        let mut queue = self.lines.queue.lock();
        while bytes.len() < size
            && let Some(line) = queue.pop_front()
        {
            bytes.extend_from_slice(line.as_bytes());
        }
        drop(queue);
        if bytes.len() > size {
            *self.rest.lock() = bytes.split_off(size);
        }
        bytes
    }
}

impl Drop for LogReader {
    fn drop(&mut self) {
        let mut readers = self.log.readers.write();
        readers.remove(&self.number);
        self.log.count.store(readers.len(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_reader_gets_every_line_and_a_comment_when_there_is_none() {
        let log = Arc::<AccessLog>::default();
        assert!(!log.is_read());
        log.write("before\n");
        let (one, two) = (log.open().unwrap(), log.open().unwrap());
        assert!(log.is_read());
        log.write("first\n");
        log.write("second\n");
        assert_eq!(one.read(8).await, b"first\nse", "a line may be cut");
        assert_eq!(one.read(100).await, b"cond\n");
        assert_eq!(two.read(100).await, b"first\nsecond\n");
        assert_eq!(two.read(100).await, b"#\n");
        drop((one, two));
        assert!(!log.is_read());
    }

    #[tokio::test]
    async fn a_reader_who_does_not_read_costs_so_much_and_no_more() {
        let log = Arc::<AccessLog>::default();
        let slow = log.open().unwrap();
        for number in 0..LINES_MAX + 7 {
            log.write(&format!("{number}\n"));
        }
        let text = String::from_utf8(slow.read(10 << 20).await).unwrap();
        assert_eq!(text.lines().count(), LINES_MAX);
        assert_eq!(text.lines().last(), Some((LINES_MAX - 1).to_string().as_str()));
        let readers: Vec<_> = std::iter::from_fn(|| log.open()).take(READERS_MAX).collect();
        assert_eq!(readers.len(), READERS_MAX - 1);
    }

    #[tokio::test]
    async fn who_waits_is_told_at_once() {
        let log = Arc::<AccessLog>::default();
        let reader = log.open().unwrap();
        let begin = std::time::Instant::now();
        let (found, ()) = tokio::join!(reader.read(100), async { log.write("line\n") });
        assert_eq!(found, b"line\n");
        assert!(begin.elapsed() < QUIET);
    }
}
