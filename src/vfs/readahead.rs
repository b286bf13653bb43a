//! Guessing what will be read next: a handle has a few streams, each with a window that doubles while its reads
//! follow one another.

use std::ops::Range;

/// Streams followed per handle (a merge sort or a few threads on one descriptor).
const STREAMS_MAX: usize = 4;
/// Reads may come this much out of order (the kernel sends several at once) and still count as sequential.
const SLACK_BYTES: u64 = 2 << 20;
const WINDOW_FIRST: u64 = 1 << 20;

#[derive(Clone, Copy, Debug, Default)]
struct Stream {
    /// Where the next read is expected.
    next: u64,
    /// Bytes to have ready beyond `next`.
    window: u64,
    /// Everything below was asked for already.
    asked: u64,
    /// When it was last read, in reads of this handle.
    used: u64,
}

/// The streams of one handle.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    streams: Vec<Stream>,
    reads: u64,
}

impl Streams {
    /// Notes a read and says what should be fetched next, whole blocks of `block` bytes, below `length`.
    pub(crate) fn read(
        &mut self,
        off: u64,
        len: u64,
        length: u64,
        block: u64,
        most: u64,
    ) -> Option<Range<u64>> {
        self.reads += 1;
        let end = off + len;
        let follows = |stream: &Stream| off <= stream.next + SLACK_BYTES && off + SLACK_BYTES >= stream.next;
        let Some(stream) = self.streams.iter_mut().find(|stream| follows(stream)) else {
            self.begin(off, end);
            return None;
        };
        stream.used = self.reads;
        if off != stream.next && stream.window == 0 {
            // Near but not next: a random reader of a small file must not set off readahead.
            stream.next = end;
            stream.asked = end;
            return None;
        }
        if end > stream.next {
            stream.next = end;
            stream.window = (stream.window * 2).clamp(WINDOW_FIRST.min(most), most.max(1));
        }
        let ahead = stream.asked.saturating_sub(stream.next);
        if most == 0 || ahead > stream.window / 2 {
            return None;
        }
        let from = stream.asked.max(stream.next);
        let to = (stream.next + stream.window).next_multiple_of(block).min(length);
        if from >= to {
            return None;
        }
        stream.asked = to;
        Some(from..to)
    }

    fn begin(&mut self, off: u64, end: u64) {
        // A read from the start is taken as the begin of a whole read.
        let window = if off == 0 { WINDOW_FIRST } else { 0 };
        let stream = Stream { next: end, window, asked: end, used: self.reads };
        if self.streams.len() < STREAMS_MAX {
            self.streams.push(stream);
        } else if let Some(oldest) = self.streams.iter_mut().min_by_key(|stream| stream.used) {
            *oldest = stream;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: u64 = 4 << 20;
    const LENGTH: u64 = 1 << 30;

    #[test]
    fn a_sequential_reader_gets_a_growing_window_without_gaps_or_repeats() {
        let mut streams = Streams::default();
        let (mut asked, mut most_ahead) = (0, 0);
        for read in 0..512 {
            let (off, len) = (read << 17, 1 << 17);
            if let Some(range) = streams.read(off, len, LENGTH, BLOCK, 32 << 20) {
                assert!(range.start >= asked && range.start >= off && range.end > range.start);
                asked = range.end;
                most_ahead = most_ahead.max(asked - off);
            }
        }
        assert!(most_ahead > 24 << 20 && most_ahead <= (32 << 20) + 2 * BLOCK, "{most_ahead}");
    }

    #[test]
    fn random_reads_fetch_nothing_ahead() {
        let mut streams = Streams::default();
        let mut place = 12345u64;
        for _ in 0..10_000 {
            place = place.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let off = (place >> 20) % (LENGTH / 4096) * 4096 + 4096;
            assert_eq!(streams.read(off, 4096, LENGTH, BLOCK, 32 << 20), None);
        }
    }

    #[test]
    fn interleaved_readers_are_told_apart_and_the_end_is_the_end() {
        let mut streams = Streams::default();
        let mut fetched = 0;
        for step in 0..64u64 {
            for stream in 0..3u64 {
                let off = (stream << 28) + (step << 17);
                fetched += streams.read(off, 1 << 17, LENGTH, BLOCK, 32 << 20).map_or(0, |r| r.end - r.start);
            }
        }
        assert!(fetched > 3 * (8 << 20), "{fetched}");
        let mut streams = Streams::default();
        for step in 0..16u64 {
            if let Some(range) = streams.read(step << 17, 1 << 17, 2 << 20, BLOCK, 32 << 20) {
                assert!(range.end <= 2 << 20);
            }
        }
    }
}
