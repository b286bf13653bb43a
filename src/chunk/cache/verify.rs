//! The checksums of a cached block: for each 32 KiB of data one big-endian CRC-32C, in a trailer after the data. Pure.

use crate::config::ChecksumLevel;
use std::ops::Range;

/// One checksum covers this much.
pub(super) const WINDOW: usize = 32 << 10;
/// Bytes of one checksum.
pub(super) const SUM: usize = 4;

pub(super) fn trailer(data: &[u8]) -> Vec<u8> {
    data.chunks(WINDOW).flat_map(|window| crc32c::crc32c(window).to_be_bytes()).collect()
}

pub(super) fn parse_trailer(trailer: &[u8]) -> Box<[u32]> {
    let sums =
        trailer.chunks_exact(SUM).map(|sum| sum.iter().fold(0, |acc, byte| acc << 8 | u32::from(*byte)));
    sums.collect()
}

/// How many bytes of checksums a file has that is `extra` bytes longer than its `size` bytes of data, or `None` if no
/// such file was ever written. What follows the checksums is the footer of a staged block.
pub(super) fn trailer_bytes(size: usize, extra: u64) -> Option<usize> {
    let expected = size.div_ceil(WINDOW) * SUM;
    match extra {
        0 => Some(0),
        extra if extra % SUM as u64 != 0 => Some(0),
        extra => (extra >= expected as u64).then_some(expected),
    }
}

/// The bytes to read and the windows to verify for a read of `want` from a block of `size` bytes.
pub(super) fn plan(level: ChecksumLevel, want: &Range<usize>, size: usize) -> (Range<usize>, Range<usize>) {
    let whole = *want == (0..size);
    let nothing = (want.clone(), 0..0);
    match level {
        ChecksumLevel::None => nothing,
        ChecksumLevel::Full if !whole => nothing,
        ChecksumLevel::Shrink => {
            let first = want.start.div_ceil(WINDOW);
            let last = if want.end == size { size.div_ceil(WINDOW) } else { want.end / WINDOW };
            (want.clone(), first..last.max(first))
        }
        ChecksumLevel::Full | ChecksumLevel::Extend => {
            let windows = want.start / WINDOW..want.end.div_ceil(WINDOW);
            (windows.start * WINDOW..(windows.end * WINDOW).min(size), windows)
        }
    }
}

/// Whether `windows` of a block, of which `data` begins at `start`, are what was stored.
pub(super) fn verify(data: &[u8], start: usize, windows: Range<usize>, sums: &[u32]) -> Result<(), String> {
    for window in windows {
        let from = window * WINDOW - start;
        let bytes = &data[from..data.len().min(from + WINDOW)];
        if sums.get(window).copied() != Some(crc32c::crc32c(bytes)) {
            return Err(format!("checksum of bytes {}.. does not match", window * WINDOW));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_trailer_is_one_big_endian_castagnoli_sum_a_window() {
        // The check value of CRC-32C.
        assert_eq!(trailer(b"123456789"), 0xE306_9283_u32.to_be_bytes());
        let data = vec![0; 2 * WINDOW + 1];
        let sums = parse_trailer(&trailer(&data));
        // 32 KiB of zeros; one zero byte.
        assert_eq!((sums.len(), sums[0] == sums[1], sums[2]), (3, true, 0x527D_5351));
    }

    #[test]
    fn a_file_s_length_tells_what_follows_the_data() {
        assert_eq!(trailer_bytes(100_000, 0), Some(0));
        assert_eq!(trailer_bytes(100_000, 16), Some(16));
        assert_eq!(trailer_bytes(100_000, 32), Some(16), "a staged block's footer of 16 bytes follows");
        assert_eq!(trailer_bytes(100_000, 14), Some(0), "a footer without checksums");
        assert_eq!(trailer_bytes(100_000, 12), None);
    }

    #[test]
    fn each_level_reads_and_verifies_its_own_windows() {
        let (size, want) = (100_000, 40_000..70_000);
        assert_eq!(plan(ChecksumLevel::None, &want, size), (want.clone(), 0..0));
        assert_eq!(plan(ChecksumLevel::Full, &want, size), (want.clone(), 0..0));
        assert_eq!(plan(ChecksumLevel::Full, &(0..size), size), (0..size, 0..4));
        assert_eq!(plan(ChecksumLevel::Shrink, &want, size), (want.clone(), 2..2));
        assert_eq!(plan(ChecksumLevel::Shrink, &(1..size), size), (1..size, 1..4));
        assert_eq!(plan(ChecksumLevel::Extend, &want, size), (32_768..98_304, 1..3));
        assert_eq!(plan(ChecksumLevel::Extend, &(99_999..size), size), (98_304..size, 3..4));
    }

    #[test]
    fn one_flipped_bit_is_found_where_it_is() {
        let mut data: Vec<u8> = (0..100_000_u32).map(|i| i as u8).collect();
        let sums = parse_trailer(&trailer(&data));
        assert_eq!(verify(&data, 0, 0..4, &sums), Ok(()));
        data[99_999] ^= 1;
        assert_eq!(verify(&data[WINDOW..3 * WINDOW], WINDOW, 1..3, &sums), Ok(()));
        assert!(verify(&data[WINDOW..], WINDOW, 1..4, &sums).is_err());
        assert!(verify(&data, 0, 0..4, &sums[..3]).is_err());
    }
}
