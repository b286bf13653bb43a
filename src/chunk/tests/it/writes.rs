use crate::memory_store::{MemoryStore, Op};
use crate::rig::{BLOCK, Rig, bare, bytes, eventually};
use juicefs_base::Errno;
use juicefs_chunk::{ChunkConfig, Compression, Error};
use std::sync::Arc;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn slices_of_odd_sizes_come_back_under_every_compression() {
    for compression in [Compression::None, Compression::Lz4, Compression::Zstd] {
        let rig = Rig::new(ChunkConfig { compression, ..bare() });
        for (id, size) in
            [1, 2, 4095, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK, 1_000_003].into_iter().enumerate()
        {
            let id = id as u64 + 1;
            let data = rig.write(id, size).await;
            assert_eq!(rig.chunks.read(id, size as u32, 0, size as u32).await.unwrap(), data);
            let (from, to) = (size / 3, size - size / 5);
            let mut buf = vec![0; to - from];
            rig.chunks.read_into(id, size as u32, from as u32, &mut buf).await.unwrap();
            assert_eq!(buf, data[from..to], "{compression:?} {size}");
            let keys: Vec<_> = rig.chunks.layout().block_keys(id, size as u32).collect();
            assert!(keys.iter().all(|key| rig.store.object(key).is_some()), "{keys:?}");
            rig.chunks.remove(id, size as u32).await.unwrap();
        }
        assert_eq!(rig.store.keys(), [] as [String; 0]);
        eventually("all memory is free", || {
            let stats = rig.chunks.stats();
            stats.dirty_bytes == 0 && stats.uploads_in_flight == 0
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn uncompressed_objects_are_the_bytes_under_the_peer_s_names() {
    let rig = Rig::new(bare());
    let data = rig.write(4097, 100_000).await;
    assert_eq!(rig.store.keys(), ["chunks/0/4/4097_0_65536", "chunks/0/4/4097_1_34464"]);
    assert_eq!(rig.store.object("chunks/0/4/4097_1_34464").unwrap(), data[BLOCK..]);
}

#[tokio::test(flavor = "multi_thread")]
async fn full_blocks_upload_while_the_slice_grows_and_the_tail_stays_writable() {
    let rig = Rig::new(bare());
    let mut writer = rig.chunks.writer(1);
    let mut pages = rig.chunks.pages().acquire(BLOCK).await;
    writer.write_at(0, &vec![1; BLOCK], &mut pages).unwrap();
    let mut pages = rig.chunks.pages().acquire(BLOCK).await;
    writer.write_at(BLOCK as u32, &[2; 100], &mut pages).unwrap();
    writer.write_at(BLOCK as u32 + 50, &[3; 100], &mut pages).unwrap();
    writer.flush_full_blocks();
    assert_eq!((writer.uploaded_bytes() as usize, writer.length() as usize), (BLOCK, BLOCK + 150));
    eventually("the first block is stored", || rig.store.object("chunks/0/0/1_0_65536").is_some()).await;
    let uploaded = writer.write_at(BLOCK as u32 - 1, b"x", &mut pages).unwrap_err();
    let gap = writer.write_at(BLOCK as u32 + 151, b"x", &mut pages).unwrap_err();
    assert_eq!((uploaded.errno(), gap.errno()), (Errno::EINVAL, Errno::EINVAL));
    writer.finish(BLOCK as u32 + 150).await.unwrap();
    let tail = rig.store.object("chunks/0/0/1_1_150").unwrap();
    assert_eq!((&tail[..50], &tail[50..]), (&[2; 50][..], &[3; 100][..]));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_uploads_than_allowed_run_at_once() {
    let rig = Rig::new(ChunkConfig { max_uploads: 3, ..bare() });
    rig.store.close_gate();
    let mut writer = rig.chunks.writer(1);
    for indx in 0..10 {
        let mut pages = rig.chunks.pages().acquire(BLOCK).await;
        writer.write_at(indx * BLOCK as u32, &vec![1; BLOCK], &mut pages).unwrap();
    }
    writer.flush_full_blocks();
    eventually("three are under way", || rig.store.in_flight() == 3).await;
    let stats = rig.chunks.stats();
    assert_eq!((stats.uploads_in_flight, stats.dirty_bytes), (3, 10 * BLOCK));
    assert!(stats.oldest_upload.is_some());
    rig.store.open_gate();
    writer.finish(10 * BLOCK as u32).await.unwrap();
    assert_eq!((rig.store.most_in_flight(), rig.store.count(Op::Put)), (3, 10));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_upload_surfaces_in_finish_and_leaves_nothing() {
    let rig = Rig::new(bare());
    rig.store.fail(Op::Put, "7_2_");
    let failed = crate::rig::store(&rig.chunks, 7, &bytes(7, 5 * BLOCK + 9)).await.unwrap_err();
    assert_eq!(failed.errno(), Errno::EIO);
    assert!(failed.to_string().contains("injected"), "{failed}");
    eventually("what was stored is gone", || rig.store.keys().is_empty()).await;
    eventually("pages are free", || rig.chunks.stats().dirty_bytes == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn abort_and_drop_remove_what_was_stored_even_what_lands_late() {
    for dropped in [false, true] {
        let rig = Rig::new(ChunkConfig { max_uploads: 2, ..bare() });
        let mut writer = rig.chunks.writer(1);
        for indx in 0..6 {
            let mut pages = rig.chunks.pages().acquire(BLOCK).await;
            writer.write_at(indx * BLOCK as u32, &vec![1; BLOCK], &mut pages).unwrap();
            if indx == 2 {
                writer.flush_full_blocks();
                eventually("three are stored", || rig.store.keys().len() == 3).await;
                rig.store.close_gate();
            }
        }
        writer.flush_full_blocks();
        eventually("two hang", || rig.store.in_flight() == 2).await;
        let mut ending = (!dropped).then(|| Box::pin(writer.abort()));
        if let Some(ending) = &mut ending {
            // It has begun before the gate opens.
            assert!(futures::poll!(ending).is_pending());
        }
        rig.store.open_gate();
        if let Some(ending) = ending {
            ending.await;
        }
        eventually("nothing is left", || rig.store.keys().is_empty() && rig.store.in_flight() == 0).await;
        assert!(rig.store.count(Op::Put) <= 5, "uploads that had not begun were dropped");
        eventually("pages are free", || rig.chunks.stats().dirty_bytes == 0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_length_that_is_not_the_slice_s_is_refused() {
    let rig = Rig::new(bare());
    let mut writer = rig.chunks.writer(1);
    let mut pages = rig.chunks.pages().acquire(10).await;
    writer.write_at(0, &[1; 10], &mut pages).unwrap();
    assert!(matches!(writer.finish(11).await, Err(Error::Range { .. })));
    let mut writer = rig.chunks.writer(2);
    writer.write_at(0, &[1; 10], &mut pages).unwrap();
    writer.finish(4).await.unwrap();
    assert_eq!(rig.store.keys(), ["chunks/0/0/2_0_4"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn remove_tries_every_block_and_ignores_missing_ones() {
    let rig = Rig::new(ChunkConfig { max_deletes: 2, ..bare() });
    rig.write(1, 10 * BLOCK).await;
    rig.store.fail(Op::Delete, "1_3_");
    assert!(rig.chunks.remove(1, 10 * BLOCK as u32).await.is_err());
    assert_eq!(rig.store.keys(), ["chunks/0/0/1_3_65536"]);
    rig.store.heal();
    rig.chunks.remove(1, 10 * BLOCK as u32).await.unwrap();
    assert_eq!(rig.store.keys(), [] as [String; 0]);
    assert_eq!(rig.store.count(Op::Delete), 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn memory_stays_inside_the_budget_and_everybody_gets_on_under_load() {
    for compression in [Compression::None, Compression::Lz4] {
        let store = Arc::new(MemoryStore::new());
        let rig = {
            let budget = juicefs_base::budget::Budget::new(4 << 20);
            let config = ChunkConfig { compression, memory_cache_bytes: 2 << 20, prefetch: 2, ..bare() };
            let chunks = juicefs_chunk::ChunkStore::new(store.clone(), config, budget.clone()).unwrap();
            Rig { store, budget, chunks }
        };
        let size = 20 * BLOCK + 17;
        let work = (1..=24_u64).map(|id| {
            let chunks = rig.chunks.clone();
            tokio::spawn(async move {
                let data = bytes(id, size);
                crate::rig::store(&chunks, id, &data).await.unwrap();
                for step in 0..20_usize {
                    let off = (step * 70_001 + id as usize * 13) % (size - 100_000);
                    let read = chunks.read(id, size as u32, off as u32, 100_000).await.unwrap();
                    assert_eq!(read, data[off..off + 100_000]);
                }
            })
        });
        let all = futures::future::try_join_all(work);
        tokio::time::timeout(Duration::from_secs(120), all).await.expect("nobody starves").unwrap();
        let stats = rig.chunks.stats();
        assert!(stats.dirty_bytes_most <= 3 << 20, "{stats:?}");
        assert!(rig.budget.used_bytes() <= 4 << 20, "{stats:?}");
        let arena = nix::sys::stat::fstat(rig.chunks.pages().fd()).unwrap().st_blocks * 512;
        assert!(arena <= 3 << 20, "{arena} bytes of pages");
    }
}
