//! Lists get short under the hands of who reads and writes, and no byte is lost by it.

use crate::world::*;
use juicefs_meta::port::{Get, Got, Hold};
use juicefs_meta::{Ino, Slice};
use juicefs_object::layers::faulty::Fault;
use juicefs_vfs::{Compacted, VfsConfig};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

async fn list(world: &World, ino: Ino) -> Vec<Slice> {
    let got = world.engine.read(&[Get::Chunk { ino, indx: 0, hold: Hold::Peek }]).await.unwrap();
    match got.into_iter().next() {
        Some(Got::Slices(slices)) => slices,
        other => panic!("{other:?}"),
    }
}

/// `count` pieces of 100 bytes one after the other, each a record.
async fn fragments(client: &Client, file: &str, count: usize) -> (Ino, Vec<u8>) {
    let handle = client.create(file).await;
    let data = pattern(7, count * 100);
    for (at, part) in data.chunks(100).enumerate() {
        client.write(handle, at as u64 * 100, part).await;
        client.vfs.fsync(handle.0, handle.1).await.unwrap();
    }
    client.close(handle).await;
    (handle.0, data)
}

/// Waits for all that nobody waits for.
async fn settled(client: &Client) {
    client.vfs.wait_for_compactions().await;
    client.vfs.wait_for_deletions().await;
}

/// Every object belongs to a record, and every record's objects are there.
async fn nothing_is_left_or_lost(world: &World, client: &Client, inos: &[Ino]) {
    let mut expected = Vec::new();
    for ino in inos {
        for slice in list(world, *ino).await.iter().filter(|slice| slice.id > 0) {
            expected.extend(client.chunks.layout().block_keys(slice.id, slice.size));
        }
    }
    expected.sort();
    expected.dedup();
    assert_eq!(world.store.keys(), expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_that_grows_is_compacted_in_the_background() {
    let world = World::new().await;
    let a = world.client().await;
    let (ino, data) = fragments(&a, "f", 130).await;
    settled(&a).await;
    let records = list(&world, ino).await.len();
    assert!(records < 99, "{records} records");
    assert!(a.cat("f").await == data);
    settled(&a).await;
    nothing_is_left_or_lost(&world, &a, &[ino]).await;
    a.vfs.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_of_many_small_records_has_them_compacted() {
    let world = World::new().await;
    let (a, b) = (world.client().await, world.client().await);
    let (ino, data) = fragments(&a, "f", 6).await;
    let open = a.open("f", RO).await;
    assert!(a.read(open, 0, 50).await == data[..50]);
    assert!(b.cat("f").await == data);
    settled(&b).await;
    settled(&a).await;
    assert_eq!(list(&world, ino).await.len(), 1);
    // Who still knows the old list reads on: the objects of it are gone.
    assert!(a.read(open, 0, 1000).await == data);
    a.close(open).await;
    nothing_is_left_or_lost(&world, &a, &[ino]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mount_that_changes_nothing_compacts_nothing() {
    let world = World::new().await;
    let a = world.client().await;
    let (ino, data) = fragments(&a, "f", 6).await;
    let reader = world.client_with(64 << 20, VfsConfig { read_only: true, ..VfsConfig::default() }).await;
    assert!(reader.cat("f").await == data);
    settled(&reader).await;
    assert_eq!(list(&world, ino).await.len(), 6);
    assert!(reader.vfs.compact_chunk(ino, 0).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_records_are_not_copied_for_a_reader() {
    let world = World::new().await;
    let a = world.client().await;
    let handle = a.create("f").await;
    a.write(handle, 0, &pattern(1, 20 << 20)).await;
    for at in 0..5 {
        a.write(handle, at * 3_000_000, b"in between").await;
        a.vfs.fsync(handle.0, handle.1).await.unwrap();
    }
    a.close(handle).await;
    let records = list(&world, handle.0).await.len();
    let b = world.client().await;
    b.cat("f").await;
    settled(&b).await;
    assert_eq!(list(&world, handle.0).await.len(), records);
    let copied = b.vfs.compact_chunk(handle.0, 0).await.unwrap();
    assert_eq!(copied.bytes, 20 << 20, "asked for by name it is done");
    assert_eq!(b.vfs.compact_chunk(handle.0, 0).await.unwrap(), Compacted::default(), "once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_and_compactors_that_race_lose_nothing() {
    for trash_days in [0, 1] {
        let world = World::with_format(|format| format.trash_days = trash_days).await;
        world.store.put_delay_us.store(300, Ordering::Relaxed);
        let (a, b, c) =
            (world.client().await, Arc::new(world.client().await), Arc::new(world.client().await));
        let (ino, mut data) = fragments(&a, "f", 10).await;
        let is_over = Arc::new(AtomicBool::new(false));
        let compactors = [b, c].map(|client| {
            let is_over = Arc::clone(&is_over);
            tokio::spawn(async move {
                while !is_over.load(Ordering::Relaxed) {
                    client.vfs.compact_chunk(ino, 0).await.unwrap();
                    // A memory engine answers at once: nobody else would have a turn.
                    tokio::task::yield_now().await;
                }
                settled(&client).await;
            })
        });
        let handle = a.open("f", RW).await;
        for round in 0..150_usize {
            let (off, len) = ((round * 7919) % 5000, 1 + (round * 31) % 400);
            let part = pattern(round as u64, len);
            a.write(handle, off as u64, &part).await;
            data.resize(data.len().max(off + len), 0);
            data[off..off + len].copy_from_slice(&part);
            a.vfs.fsync(handle.0, handle.1).await.unwrap();
            if round % 10 == 0 {
                assert!(a.read(handle, 0, 10_000).await == data, "round {round}");
            }
        }
        is_over.store(true, Ordering::Relaxed);
        for compactor in compactors {
            compactor.await.unwrap();
        }
        a.close(handle).await;
        assert!(a.cat("f").await == data);
        settled(&a).await;
        if trash_days == 0 {
            nothing_is_left_or_lost(&world, &a, &[ino]).await;
        } else {
            a.meta.release_delayed_slices(i64::MAX).await.unwrap();
            settled(&a).await;
            nothing_is_left_or_lost(&world, &a, &[ino]).await;
        }
        assert!(world.client().await.cat("f").await == data);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_fails_leaves_the_chunk_as_it_was() {
    let world = World::new().await;
    let a = world.client().await;
    let (ino, data) = fragments(&a, "f", 20).await;
    settled(&a).await;
    let before = list(&world, ino).await;
    let keys = world.store.keys();
    let fresh = world.client().await;
    for (count, fault) in [(1, Fault::PermissionDenied), (1_000_000, Fault::Full)] {
        world.faulty.fail_next(count, fault);
        fresh.vfs.compact_chunk(ino, 0).await.unwrap_err();
        world.faulty.fail_next(0, fault);
        assert_eq!((list(&world, ino).await, world.store.keys()), (before.clone(), keys.clone()));
    }
    fresh.vfs.compact_chunk(ino, 0).await.unwrap();
    assert_eq!(list(&world, ino).await.len(), 1);
    assert!(fresh.cat("f").await == data);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn little_memory_suffices_while_others_write() {
    let world = World::new().await;
    let a = world.client().await;
    let mut inos = Vec::new();
    for file in 0..4 {
        let handle = a.create(&format!("f{file}")).await;
        a.write(handle, 0, &pattern(file, 4 << 20)).await;
        a.vfs.fsync(handle.0, handle.1).await.unwrap();
        a.write(handle, 1000, &pattern(file + 10, 3 << 20)).await;
        a.close(handle).await;
        inos.push(handle.0);
    }
    let small = Arc::new(world.client_with(1 << 20, VfsConfig::default()).await);
    let compactions = inos.iter().map(|ino| {
        let small = Arc::clone(&small);
        let ino = *ino;
        tokio::spawn(async move { small.vfs.compact_chunk(ino, 0).await.unwrap() })
    });
    let compactions: Vec<_> = compactions.collect();
    small.put("other", &pattern(99, 5 << 20)).await;
    for compaction in compactions {
        assert_eq!(compaction.await.unwrap().bytes, 4 << 20);
    }
    for (file, ino) in inos.iter().enumerate() {
        assert_eq!(list(&world, *ino).await.len(), 1);
        let mut expected = pattern(file as u64, 4 << 20);
        expected[1000..1000 + (3 << 20)].copy_from_slice(&pattern(file as u64 + 10, 3 << 20));
        assert!(a.cat(&format!("f{file}")).await == expected);
    }
    assert!(a.cat("other").await == pattern(99, 5 << 20));
}
