//! Inode and slice numbers, taken from the volume in ranges so that most cost no trip.
//!
//! A range belongs to this process; what is left of it at the end is wasted, as the format allows.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use juicefs_base::sync::Mutex;

use crate::error::Result;
use crate::meta::Meta;
use crate::port::Sequence;

/// The ranges of one sequence.
pub(crate) struct Numbers {
    sequence: Sequence,
    at_once: u64,
    ranges: Mutex<Ranges>,
    refill: tokio::sync::Mutex<()>,
    prefetching: AtomicBool,
}

#[derive(Default)]
struct Ranges {
    now: Range<u64>,
    next: Range<u64>,
}

impl Ranges {
    fn take(&mut self) -> Option<u64> {
        if self.now.is_empty() {
            self.now = std::mem::take(&mut self.next);
        }
        self.now.next()
    }

    fn put(&mut self, range: Range<u64>) {
        if self.now.is_empty() {
            self.now = range;
        } else if self.next.is_empty() {
            self.next = range;
        }
    }
}

impl Numbers {
    pub(crate) fn new(sequence: Sequence, at_once: u64) -> Self {
        Self {
            sequence,
            at_once,
            ranges: Mutex::new(Ranges::default()),
            refill: tokio::sync::Mutex::new(()),
            prefetching: AtomicBool::new(false),
        }
    }

    fn take(&self) -> (Option<u64>, bool) {
        let mut ranges = self.ranges.lock();
        let number = ranges.take();
        let is_low = ranges.next.is_empty() && ranges.now.end - ranges.now.start < self.at_once / 10;
        (number, is_low)
    }
}

impl Meta {
    /// The next number if one is at hand; never asks the engine.
    pub(crate) fn number_at_hand(&self, which: fn(&Self) -> &Numbers) -> Option<u64> {
        let numbers = which(self);
        let (number, is_low) = numbers.take();
        if is_low && number.is_some() && !numbers.prefetching.swap(true, Ordering::AcqRel) {
            self.prefetch(which);
        }
        number
    }

    /// The next number; waits for the engine only when the prefetch came too late.
    pub(crate) async fn number(&self, which: fn(&Self) -> &Numbers) -> Result<u64> {
        if let Some(number) = self.number_at_hand(which) {
            return Ok(number);
        }
        let numbers = which(self);
        let _turn = numbers.refill.lock().await;
        loop {
            if let (Some(number), _) = numbers.take() {
                return Ok(number);
            }
            let range = self.allocate(numbers.sequence, numbers.at_once).await?;
            numbers.ranges.lock().put(range);
        }
    }

    fn prefetch(&self, which: fn(&Self) -> &Numbers) {
        let Some(me) = self.me.upgrade() else { return };
        self.runtime.spawn(async move {
            let numbers = which(&me);
            let turn = numbers.refill.lock().await;
            // A failure is found again by the call that needs the number.
            if let Ok(range) = me.allocate(numbers.sequence, numbers.at_once).await {
                numbers.ranges.lock().put(range);
            }
            drop(turn);
            numbers.prefetching.store(false, Ordering::Release);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::Ranges;

    #[test]
    fn a_second_range_follows_the_first_without_a_gap() {
        let mut ranges = Ranges::default();
        assert_eq!(ranges.take(), None);
        ranges.put(2..4);
        ranges.put(10..12);
        let taken: Vec<_> = std::iter::from_fn(|| ranges.take()).collect();
        assert_eq!(taken, [2, 3, 10, 11]);
    }
}
