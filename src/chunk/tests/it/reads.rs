use crate::memory_store::{MemoryStore, Op};
use crate::rig::{BLOCK, Rig, bare, cached, eventually};
use bytes::Bytes;
use juicefs_chunk::{ChunkConfig, Compression};
use juicefs_object::Store as _;
use std::sync::Arc;

const SIZE: u32 = 4 * BLOCK as u32;

#[tokio::test(flavor = "multi_thread")]
async fn many_readers_of_one_block_make_one_request() {
    let rig = Rig::new(ChunkConfig { memory_cache_bytes: 8 << 20, ..bare() });
    let data = rig.write(1, SIZE as usize).await;
    rig.store.close_gate();
    let readers: Vec<_> = (0..50)
        .map(|_| {
            let chunks = rig.chunks.clone();
            tokio::spawn(async move { chunks.read(1, SIZE, 0, BLOCK as u32).await.unwrap() })
        })
        .collect();
    eventually("the request is under way", || rig.store.in_flight() == 1).await;
    assert_eq!(rig.chunks.stats().downloads_in_flight, 1);
    // A reader that gives up takes nobody with it.
    readers[0].abort();
    rig.store.open_gate();
    for reader in readers.into_iter().skip(1) {
        assert_eq!(reader.await.unwrap(), data[..BLOCK]);
    }
    assert_eq!(rig.store.count(Op::Get), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_fetch_fails_its_readers_and_the_next_one_tries_again() {
    let rig = Rig::new(ChunkConfig { memory_cache_bytes: 8 << 20, ..bare() });
    let data = rig.write(1, SIZE as usize).await;
    rig.store.fail(Op::Get, "1_0_");
    let failed = rig.chunks.read(1, SIZE, 0, 100).await.unwrap_err();
    assert!(!failed.is_missing() && failed.to_string().contains("injected"), "{failed}");
    rig.store.heal();
    assert_eq!(rig.chunks.read(1, SIZE, 0, 100).await.unwrap(), data[..100]);
    let missing = rig.chunks.read(99, 10, 0, 10).await.unwrap_err();
    assert!(missing.is_missing(), "{missing}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_of_the_wrong_length_is_damage() {
    let rig = Rig::new(bare());
    rig.store.put("chunks/0/0/1_0_10", Bytes::from_static(b"123456789")).await.unwrap();
    let damaged = rig.chunks.read(1, 10, 0, 10).await.unwrap_err();
    assert!(damaged.to_string().contains("chunks/0/0/1_0_10"), "{damaged}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_read_inside_a_block_asks_for_its_bytes_and_the_block_follows() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::new(ChunkConfig { prefetch: 1, ..cached(dir.path()) });
    let data = rig.write(1, SIZE as usize).await;
    assert_eq!(rig.chunks.read(1, SIZE, 5000, 4096).await.unwrap(), data[5000..9096]);
    assert_eq!(rig.store.count(Op::GetRange), 1);
    eventually("the block is cached", || rig.chunks.stats().disk_cache_blocks == 1).await;
    assert_eq!(rig.store.count(Op::Get), 1);
    eventually("the small read is at hand", || {
        rig.chunks.try_read_cached(1, SIZE, 5000, 4096).is_some_and(|read| read == data[5000..9096])
    })
    .await;
    // From the start of a block, or a quarter of it and more: the whole block.
    rig.chunks.read(1, SIZE, BLOCK as u32, 4096).await.unwrap();
    rig.chunks.read(1, SIZE, 2 * BLOCK as u32 + 1, BLOCK as u32 / 2).await.unwrap();
    assert_eq!((rig.store.count(Op::GetRange), rig.store.count(Op::Get)), (1, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn compressed_blocks_are_never_read_in_part() {
    let rig = Rig::new(ChunkConfig { compression: Compression::Lz4, ..bare() });
    let data = rig.write(1, SIZE as usize).await;
    assert_eq!(rig.chunks.read(1, SIZE, 5000, 4096).await.unwrap(), data[5000..9096]);
    assert_eq!((rig.store.count(Op::GetRange), rig.store.count(Op::Get)), (0, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_answers_without_waiting_and_across_blocks() {
    let rig = Rig::new(ChunkConfig { memory_cache_bytes: 8 << 20, prefetch: 4, ..bare() });
    let data = rig.write(1, SIZE as usize).await;
    assert_eq!(rig.chunks.try_read_cached(1, SIZE, 0, 10), None);
    rig.chunks.prefetch(1, SIZE, 0, SIZE);
    let (from, len) = (BLOCK - 100, BLOCK + 200);
    eventually("three blocks are in memory", || {
        let read = rig.chunks.try_read_cached(1, SIZE, from as u32, len as u32);
        read.is_some_and(|read| read == data[from..from + len])
    })
    .await;
    rig.store.close_gate();
    assert_eq!(rig.chunks.read(1, SIZE, 0, 10).await.unwrap(), data[..10]);
    rig.chunks.remove(1, 0).await.unwrap();
    assert_eq!(rig.chunks.try_read_cached(1, SIZE, SIZE - 1, 2), None, "outside the slice");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_small_is_read_from_memory() {
    let rig = Rig::new(ChunkConfig { memory_cache_bytes: 8 << 20, ..bare() });
    let data = rig.write(1, BLOCK + 100).await;
    let read = rig.chunks.read(1, BLOCK as u32 + 100, BLOCK as u32, 100).await.unwrap();
    assert_eq!(read, data[BLOCK..]);
    assert_eq!(rig.store.count(Op::Get) + rig.store.count(Op::GetRange), 0);
    assert_eq!(rig.chunks.stats().memory_cache_blocks, 1, "the full block was not kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_store_holds_no_memory() {
    let dir = tempfile::tempdir().unwrap();
    let config = ChunkConfig { block_bytes: 4 << 20, memory_cache_bytes: 32 << 20, ..cached(dir.path()) };
    let rig = Rig::over(Arc::new(MemoryStore::new()), config);
    let arena = nix::sys::stat::fstat(rig.chunks.pages().fd()).unwrap().st_blocks;
    assert_eq!((rig.budget.used_bytes(), arena), (0, 0));
}
