//! Bytes written and read back on one mount.

use crate::world::*;
use juicefs_base::Errno;
use juicefs_meta::types::FILE_BYTES_MAX;
use juicefs_vfs::VfsConfig;
use std::sync::atomic::Ordering;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_written_is_read_at_once_also_through_another_handle() {
    let world = World::new().await;
    let a = world.client().await;
    let one = a.create("f").await;
    let two = a.open("f", RW).await;
    for round in 0..200u64 {
        let (off, data) = ((round * 7919) % 300_000, pattern(round, 1 + round as usize * 37));
        a.write(one, off, &data).await;
        assert!(a.read(two, off, data.len()).await == data, "round {round}");
        assert!(a.attr(one.0).await.length >= off + data.len() as u64);
    }
    a.close(one).await;
    a.close(two).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_cross_chunk_and_block_borders_and_holes_are_zeros() {
    let world = World::new().await;
    let (a, b) = (world.client().await, world.client().await);
    let handle = a.create("f").await;
    let data = pattern(5, 3 << 20);
    let off = CHUNK - (1 << 20) - 333;
    a.write(handle, off, &data).await;
    a.write(handle, 2 * CHUNK + 17, b"tail").await;
    a.close(handle).await;
    let handle = b.open("f", RO).await;
    assert_eq!(b.attr(handle.0).await.length, 2 * CHUNK + 21);
    assert!(b.read(handle, off, data.len()).await == data);
    assert_eq!(b.read(handle, off - 5, 5).await, [0; 5]);
    assert_eq!(b.read(handle, off + data.len() as u64, 7).await, [0; 7]);
    assert_eq!(b.read(handle, 2 * CHUNK + 10, 100).await, b"\0\0\0\0\0\0\0tail");
    assert_eq!(b.read(handle, 2 * CHUNK + 21, 100).await, b"");
    assert_eq!(b.read(handle, 1 << 50, 100).await, b"");
    b.close(handle).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sequential_bytes_make_one_slice_a_chunk() {
    let world = World::new().await;
    let a = world.client().await;
    let handle = a.create("f").await;
    a.write(handle, 0, &pattern(1, (CHUNK + (5 << 20)) as usize)).await;
    a.close(handle).await;
    for (indx, len) in [(0, CHUNK), (1, 5 << 20)] {
        let slices = a.meta.read_chunk(handle.0, indx).await.unwrap();
        let all: Vec<_> = slices.iter().map(|slice| (slice.pos, u64::from(slice.len))).collect();
        // A pause of a second in a loaded machine may end a slice.
        assert_eq!(all.iter().map(|(_, len)| len).sum::<u64>(), len);
        assert!(all.len() <= 3, "{all:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn truncation_waits_for_what_was_written_and_growth_shows_zeros() {
    let world = World::new().await;
    let (a, b) = (world.client().await, world.client().await);
    let handle = a.create("f").await;
    for round in 0..50u64 {
        let data = pattern(round, 100_000);
        a.write(handle, 0, &data).await;
        let cut = (round * 1999) % 100_000;
        assert_eq!(a.truncate(handle, cut).await.length, cut);
        assert_eq!(a.truncate(handle, 100_000).await.length, 100_000);
        let mut expected = data;
        expected[cut as usize..].fill(0);
        assert!(a.read(handle, 0, 200_000).await == expected, "round {round}");
        assert!(b.cat("f").await == expected, "round {round}");
    }
    a.close(handle).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn appends_from_many_tasks_stand_one_after_the_other() {
    let world = World::new().await;
    let a = world.client().await;
    a.put("log", b"").await;
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..8u8 {
        let vfs = a.vfs.clone();
        let (ino, fh) = a.open("log", APPEND).await;
        tasks.spawn(async move {
            for _ in 0..50 {
                vfs.write(ino, fh, 0, &[task; 1000]).await.unwrap();
                tokio::task::yield_now().await;
            }
            vfs.flush(ino, fh, 0).await.unwrap();
            vfs.release(ino, fh).await.unwrap();
        });
    }
    tasks.join_all().await;
    let all = a.cat("log").await;
    assert_eq!(all.len(), 8 * 50 * 1000);
    let mut counts = [0; 8];
    for record in all.chunks(1000) {
        assert!(record.iter().all(|byte| *byte == record[0]));
        counts[usize::from(record[0])] += 1;
    }
    assert_eq!(counts, [50; 8]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_follow_the_order_of_writing_whatever_the_store_does() {
    let world = World::new().await;
    world.store.put_delay_us.store(3000, Ordering::Relaxed);
    let (a, b) = (world.client().await, world.client().await);
    let handle = a.create("f").await;
    let watch = b.open("f", RO).await;
    let mut expected = Vec::new();
    for round in 0..300u64 {
        // Backwards inside each group of eight, so that every write is a slice of its own over the same bytes.
        let off = (round / 8) * 4096 + (7 - round % 8) * 100;
        let data = vec![(round % 250) as u8 + 1; 3000];
        a.write(handle, off, &data).await;
        expected.resize(expected.len().max((off + 3000) as usize), 0);
        expected[off as usize..off as usize + 3000].copy_from_slice(&data);
        if round % 50 == 0 {
            // Whatever is committed so far, the file has no hole where a byte was written before its end.
            let length = b.attr(watch.0).await.length as usize;
            let seen = b.read(watch, 0, length).await;
            let first = seen.iter().position(|byte| *byte == 0);
            assert!(
                first.is_none_or(|at| at % 4096 < 800 || at % 4096 >= 3000),
                "a hole at {first:?} of {length}"
            );
        }
    }
    a.close(handle).await;
    assert!(b.cat("f").await == expected);
    b.close(watch).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn writes_wait_for_memory_and_never_fail() {
    let world = World::new().await;
    world.store.put_delay_us.store(500, Ordering::Relaxed);
    let budget = 4 << 20;
    let a = world.client_with(budget, VfsConfig::default()).await;
    let mut tasks = tokio::task::JoinSet::new();
    for file in 0..12u64 {
        let vfs = a.vfs.clone();
        let handle = a.create(&format!("f{file}")).await;
        let chunks = a.chunks.clone();
        tasks.spawn(async move {
            let data = pattern(file, 4 << 20);
            for (at, part) in data.chunks(100_000).enumerate() {
                vfs.write(handle.0, handle.1, at as u64 * 100_000, part).await.unwrap();
                assert!(chunks.stats().budget_used_bytes <= budget + BLOCK);
            }
            vfs.flush(handle.0, handle.1, 0).await.unwrap();
            vfs.release(handle.0, handle.1).await.unwrap();
        });
    }
    tasks.join_all().await;
    for file in 0..12u64 {
        assert!(a.cat(&format!("f{file}")).await == pattern(file, 4 << 20), "file {file}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_small_files_left_open_do_not_hold_the_memory() {
    let world = World::new().await;
    let a = world.client_with(2 << 20, VfsConfig::default()).await;
    let mut handles = Vec::new();
    // Each holds a page of 64 KiB: more than the budget has.
    for file in 0..100u64 {
        let handle = a.create(&format!("f{file}")).await;
        a.write(handle, 0, &pattern(file, 1000)).await;
        handles.push(handle);
    }
    for (file, handle) in handles.into_iter().enumerate() {
        assert!(a.read(handle, 0, 2000).await == pattern(file as u64, 1000));
        a.close(handle).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dirty_bytes_reach_the_other_client_without_anybody_asking() {
    let world = World::new().await;
    let (a, b) = (world.client().await, world.client().await);
    let handle = a.create("f").await;
    a.write(handle, 0, b"idle").await;
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while b.cat("f").await != b"idle" {
        assert!(std::time::Instant::now() < deadline, "the idle slice was never committed");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    a.close(handle).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fallocate_extends_and_punches_over_what_was_just_written() {
    use juicefs_meta::request::fallocate::{KEEP_SIZE, PUNCH_HOLE};
    let world = World::new().await;
    let (a, b) = (world.client().await, world.client().await);
    let handle = a.create("f").await;
    let mut expected = pattern(3, 300_000);
    a.write(handle, 0, &expected).await;
    let (ino, fh) = handle;
    a.vfs.fallocate(&caller(), ino, fh, KEEP_SIZE | PUNCH_HOLE, 1000, 200_000).await.unwrap();
    a.vfs.fallocate(&caller(), ino, fh, 0, 290_000, 20_000).await.unwrap();
    expected[1000..201_000].fill(0);
    expected.resize(310_000, 0);
    assert!(a.read(handle, 0, 400_000).await == expected);
    a.close(handle).await;
    assert!(b.cat("f").await == expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn impossible_requests_are_refused() {
    let world = World::new().await;
    let a = world.client().await;
    let (ino, fh) = a.create("f").await;
    let errno = |result: juicefs_vfs::Result<u32>| result.unwrap_err().errno();
    assert_eq!(errno(a.vfs.write(ino, fh, FILE_BYTES_MAX, b"x").await), Errno::EFBIG);
    assert_eq!(errno(a.vfs.write(ino, fh, u64::MAX, b"x").await), Errno::EFBIG);
    assert_eq!(errno(a.vfs.write(ino, 999, 0, b"x").await), Errno::EBADF);
    let (_, reader) = a.open("f", RO).await;
    assert_eq!(errno(a.vfs.write(ino, reader, 0, b"x").await), Errno::EBADF);
    assert_eq!(a.vfs.write(ino, fh, FILE_BYTES_MAX - 1, b"x").await.unwrap(), 1);
    a.close((ino, fh)).await;
    assert_eq!(a.attr(ino).await.length, FILE_BYTES_MAX);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sequential_reader_finds_its_blocks_in_memory() {
    let world = World::new().await;
    let a = world.client().await;
    // Less than the cache holds.
    let b = world.client_with(64 << 20, VfsConfig { readahead_bytes: 1 << 20, ..VfsConfig::default() }).await;
    let data = pattern(9, 8 << 20);
    a.put("f", &data).await;
    let handle = b.open("f", RO).await;
    for at in (0..data.len()).step_by(32 << 10) {
        assert!(b.read(handle, at as u64, 32 << 10).await == data[at..at + (32 << 10)]);
        tokio::task::yield_now().await;
    }
    let stats = b.chunks.stats();
    assert!(
        stats.cache_hits > stats.cache_misses,
        "{} hits, {} misses",
        stats.cache_hits,
        stats.cache_misses
    );
}
