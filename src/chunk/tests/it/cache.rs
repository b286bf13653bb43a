use crate::memory_store::Op;
use crate::rig::{BLOCK, Rig, bare, bytes, cached, eventually, store};
use juicefs_chunk::{ChecksumLevel, ChunkConfig, ChunkStore, Compression, Eviction};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// Every file below `raw/`, sorted.
fn files(dir: &Path) -> Vec<PathBuf> {
    let (mut found, mut open) = (Vec::new(), vec![dir.join("raw")]);
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(dir).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() { open.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    found
}

/// A slice of one full block, read so that it is on disk.
async fn one_cached_block(rig: &Rig) -> Vec<u8> {
    let data = rig.write(1, BLOCK).await;
    rig.chunks.read(1, BLOCK as u32, 0, 10).await.unwrap();
    eventually("the block is on disk", || rig.chunks.stats().cache_writes == 1).await;
    data
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cached_block_is_the_plain_bytes_and_a_sum_for_each_window() {
    for compression in [Compression::None, Compression::Zstd] {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("uuid");
        let rig = Rig::new(ChunkConfig { compression, ..cached(&root) });
        let data = one_cached_block(&rig).await;
        let path = root.join("raw/chunks/0/0/1_0_65536");
        let file = fs::read(&path).unwrap();
        assert_eq!(file[..BLOCK], data);
        let sum = |window: &[u8]| crc32c::crc32c(window).to_be_bytes();
        assert_eq!(file[BLOCK..], [sum(&data[..32768]), sum(&data[32768..])].concat());
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap()), mode(&root)), (0o600, 0o700, 0o700));
        assert_eq!(fs::read_to_string(root.join(".lock")).unwrap().len(), 36);
        assert_eq!(files(&root).len(), 1, "no temporary file is left");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn modes_and_the_lack_of_checksums_are_as_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let config =
        ChunkConfig { cache_mode: 0o664, verify: ChecksumLevel::None, ..cached(&dir.path().join("c")) };
    let rig = Rig::new(config);
    one_cached_block(&rig).await;
    let meta = fs::metadata(dir.path().join("c/raw/chunks/0/0/1_0_65536")).unwrap();
    assert_eq!((meta.permissions().mode() & 0o777, meta.len()), (0o664, BLOCK as u64));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_cached_block_is_fetched_again_and_replaced() {
    for (level, verified) in [(ChecksumLevel::Extend, true), (ChecksumLevel::Shrink, false)] {
        let dir = tempfile::tempdir().unwrap();
        let config = ChunkConfig { verify: level, ..cached(dir.path()) };
        let rig = Rig::new(config.clone());
        let data = one_cached_block(&rig).await;
        let path = files(dir.path()).remove(0);
        let mut file = fs::read(&path).unwrap();
        file[100] ^= 1;
        fs::write(&path, &file).unwrap();
        let rig = Rig::over(rig.store.clone(), config);
        let gets = rig.store.count(Op::Get);
        // A small read does not hold a whole window; extend verifies the window, shrink does not.
        let read = rig.chunks.read(1, BLOCK as u32, 0, 200).await.unwrap();
        assert_eq!(read == data[..200], verified, "{level:?}");
        let whole = rig.chunks.read(1, BLOCK as u32, 0, BLOCK as u32).await.unwrap();
        assert_eq!(whole, data, "{level:?}");
        assert_eq!(rig.store.count(Op::Get), gets + 1);
        assert_eq!(rig.chunks.stats().cache_damaged, 1);
        eventually("the block is sound again", || fs::read(&path).is_ok_and(|file| file[..BLOCK] == data))
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_or_vanished_file_is_only_a_miss() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::new(cached(dir.path()));
    let data = one_cached_block(&rig).await;
    let path = files(dir.path()).remove(0);
    for round in 0..2 {
        if round == 0 {
            fs::write(&path, &data[..1000]).unwrap();
        } else {
            fs::remove_file(&path).unwrap();
        }
        let rig = Rig::over(rig.store.clone(), cached(dir.path()));
        eventually("the scan is over", || rig.chunks.try_read_cached(1, BLOCK as u32, 0, 1).is_none()).await;
        assert_eq!(rig.chunks.read(1, BLOCK as u32, 0, 300).await.unwrap(), data[..300]);
        eventually("it is whole again", || fs::read(&path).is_ok_and(|file| file.len() == BLOCK + 8)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_process_finds_what_the_last_one_cached() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::new(ChunkConfig { cache_large_write: true, ..cached(dir.path()) });
    let data = rig.write(1, 20 * BLOCK + 5).await;
    eventually("all are on disk", || rig.chunks.stats().cache_writes == 21).await;
    fs::write(dir.path().join("raw/chunks/0/0/foreign"), b"kept").unwrap();
    drop(rig.chunks);
    rig.store.close_gate();
    let rig = Rig::over(rig.store, cached(dir.path()));
    eventually("the scan found them", || rig.chunks.stats().disk_cache_blocks == 21).await;
    let (size, across) = (20 * BLOCK as u32 + 5, BLOCK - 50);
    let read = rig.chunks.read(1, size, across as u32, 100).await.unwrap();
    assert_eq!(read, data[across..across + 100]);
    assert!(dir.path().join("raw/chunks/0/0/foreign").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn each_policy_keeps_within_bytes_and_items() {
    for eviction in [Eviction::Lru, Eviction::TwoRandom, Eviction::None] {
        for by_items in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            // What one block costs: its data and sums in whole pages, and one more.
            let cost = (BLOCK + 4096 + 4096) as u64;
            let (cache_bytes, cache_items) = if by_items { (1 << 30, 5) } else { (5 * cost, 0) };
            let config =
                ChunkConfig { cache_eviction: eviction, cache_bytes, cache_items, ..cached(dir.path()) };
            let rig = Rig::new(config);
            for id in 1..=12 {
                rig.write(id, BLOCK).await;
                rig.chunks.read(id, BLOCK as u32, 0, 10).await.unwrap();
                eventually("the block was looked at", || {
                    let stats = rig.chunks.stats();
                    stats.cache_writes + stats.cache_drops == id
                })
                .await;
                if eviction == Eviction::Lru {
                    // The first block is used again and again, so it stays.
                    eventually("the first stays", || {
                        rig.chunks.try_read_cached(1, BLOCK as u32, 0, 10).is_some()
                    })
                    .await;
                }
            }
            let stats = rig.chunks.stats();
            assert_eq!((stats.disk_cache_blocks, files(dir.path()).len()), (5, 5), "{eviction:?} {by_items}");
            let left = if eviction == Eviction::None { (0, 7) } else { (7, 0) };
            assert_eq!((stats.cache_evictions, stats.cache_drops), left, "{eviction:?} {by_items}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_too_full_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::new(ChunkConfig { free_space_ratio: 0.999_999, ..cached(dir.path()) });
    let data = rig.write(1, BLOCK).await;
    assert_eq!(rig.chunks.read(1, BLOCK as u32, 0, 10).await.unwrap(), data[..10]);
    eventually("it was dropped", || rig.chunks.stats().cache_drops == 1).await;
    assert_eq!(files(dir.path()), [] as [PathBuf; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_removed_under_us_is_dropped_and_the_others_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (dir.path().join("one"), dir.path().join("two"));
    let rig = Rig::new(ChunkConfig { cache_dirs: vec![one.clone(), two.clone()], ..bare() });
    rig.write(1, 40 * BLOCK).await;
    let read_all = async || {
        for indx in 0..40 {
            let read =
                rig.chunks.read(1, 40 * BLOCK as u32, indx * BLOCK as u32, BLOCK as u32).await.unwrap();
            assert_eq!(read, bytes(1, 40 * BLOCK)[indx as usize * BLOCK..][..BLOCK]);
        }
    };
    read_all().await;
    eventually("both are used", || files(&one).len() > 5 && files(&two).len() > 5).await;
    fs::remove_dir_all(&one).unwrap();
    fs::create_dir(&one).unwrap();
    rig.chunks.remove(1, 40 * BLOCK as u32).await.unwrap();
    rig.write(1, 40 * BLOCK).await;
    read_all().await;
    eventually("one is down", || rig.chunks.stats().cache_dirs_down == 1).await;
    read_all().await;
    assert_eq!(files(&one), [] as [PathBuf; 0], "a mount point without its disk is not filled");
    eventually("the other has all", || files(&two).len() == 40).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unusable_directory_at_start_is_left_out_with_a_word_and_refused_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (bad, good) = (dir.path().join("file/cache"), dir.path().join("good"));
    fs::write(dir.path().join("file"), b"").unwrap();
    let open = |dirs: Vec<PathBuf>| {
        let store = std::sync::Arc::new(crate::memory_store::MemoryStore::new());
        let config = ChunkConfig { cache_dirs: dirs, ..bare() };
        ChunkStore::new(store, config, juicefs_base::budget::Budget::new(16 << 20))
    };
    let refused = open(vec![bad.clone()]).err().unwrap().to_string();
    assert!(refused.contains(bad.to_str().unwrap()) && refused.contains("--cache-dir"), "{refused}");
    let chunks = open(vec![bad.clone(), good]).unwrap();
    let said = chunks.notices();
    assert!(said.len() == 1 && said[0].contains(bad.to_str().unwrap()), "{said:?}");
    let stats = chunks.stats();
    assert_eq!((stats.cache_dirs_up, stats.cache_dirs_down), (1, 1));
    store(&chunks, 1, &bytes(1, BLOCK)).await.unwrap();
    assert_eq!(chunks.read(1, BLOCK as u32, 0, 10).await.unwrap(), bytes(1, BLOCK)[..10]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_with_less_free_than_asked_for_is_said_to_be_no_cache() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::new(ChunkConfig { free_space_ratio: 0.9999, ..cached(dir.path()) });
    let said = rig.chunks.notices();
    assert!(
        said.len() == 1 && said[0].contains("free") && said[0].contains("--free-space-ratio"),
        "{said:?}"
    );
    rig.write(1, BLOCK).await;
    rig.chunks.read(1, BLOCK as u32, 0, 10).await.unwrap();
    eventually("it was not cached", || rig.chunks.stats().cache_drops == 1).await;
    assert_eq!(files(dir.path()), [] as [PathBuf; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn full_blocks_are_kept_only_where_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::new(ChunkConfig { cache_full_blocks: false, prefetch: 1, ..cached(dir.path()) });
    let size = 2 * BLOCK as u32 + 10;
    rig.write(1, size as usize).await;
    eventually("the small last block is kept when written", || rig.chunks.stats().cache_writes == 1).await;
    rig.chunks.read(1, size, 0, BLOCK as u32).await.unwrap();
    rig.chunks.read(1, size, BLOCK as u32 + 100, 100).await.unwrap();
    eventually("a random read keeps its block", || rig.chunks.stats().cache_writes == 2).await;
    let names = ["raw/chunks/0/0/1_1_65536", "raw/chunks/0/0/1_2_10"].map(|name| dir.path().join(name));
    assert_eq!(files(dir.path()), names);
}

#[tokio::test(flavor = "multi_thread")]
async fn remove_takes_the_cached_blocks_too() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::new(ChunkConfig { memory_cache_bytes: 8 << 20, ..cached(dir.path()) });
    one_cached_block(&rig).await;
    rig.chunks.remove(1, BLOCK as u32).await.unwrap();
    let stats = rig.chunks.stats();
    assert_eq!((stats.disk_cache_blocks, stats.disk_cache_bytes, stats.memory_cache_blocks), (0, 0, 0));
    assert_eq!(files(dir.path()), [] as [PathBuf; 0]);
}
