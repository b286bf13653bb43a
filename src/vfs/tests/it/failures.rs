//! What happens when the store or the volume refuses.

use crate::world::*;
use futures::TryStreamExt;
use juicefs_base::Errno;
use juicefs_meta::port::{Change, Get, Got, Hold, Item, Scan};
use juicefs_meta::{Ino, Slice};
use juicefs_object::Store;
use juicefs_object::layers::faulty::Fault;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_write_is_said_once_to_each_handle_and_then_the_file_works_again() {
    let world = World::new().await;
    let a = world.client().await;
    let one = a.create("f").await;
    let two = a.open("f", RW).await;
    a.write(one, 0, b"first").await;
    a.vfs.fsync(one.0, one.1).await.unwrap();
    world.faulty.fail_next(1_000_000, Fault::PermissionDenied);
    a.write(one, 0, b"lost!").await;
    assert_eq!(a.vfs.fsync(one.0, one.1).await.unwrap_err().errno(), Errno::EIO);
    world.faulty.fail_next(0, Fault::PermissionDenied);
    a.vfs.fsync(one.0, one.1).await.unwrap();
    assert_eq!(a.vfs.write(two.0, two.1, 0, b"x").await.unwrap_err().errno(), Errno::EIO);
    assert_eq!(a.read(two, 0, 10).await, b"first");
    a.write(two, 5, b" second").await;
    a.close(one).await;
    a.close(two).await;
    assert_eq!(a.cat("f").await, b"first second");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_volume_says_enospc_and_keeps_no_blocks() {
    let world = World::with_format(|format| format.capacity = 1 << 20).await;
    let a = world.client().await;
    a.put("small", &pattern(1, 100_000)).await;
    let kept = world.store.keys();
    let handle = a.create("big").await;
    let (ino, fh) = handle;
    let mut refused = None;
    for (at, part) in pattern(2, 2 << 20).chunks(256 << 10).enumerate() {
        if let Err(error) = a.vfs.write(ino, fh, (at * (256 << 10)) as u64, part).await {
            refused = Some(error.errno());
            break;
        }
    }
    let closed = a.vfs.flush(ino, fh, 0).await.map_err(|error| error.errno());
    assert_eq!(refused.or(closed.err()), Some(Errno::ENOSPC));
    a.vfs.release(ino, fh).await.unwrap();
    assert_eq!(a.attr(ino).await.length, 0);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while world.store.keys() != kept {
        assert!(std::time::Instant::now() < deadline, "blocks of the refused slice are left");
        tokio::task::yield_now().await;
    }
    assert!(a.cat("small").await == pattern(1, 100_000));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_for_a_file_that_another_client_deleted_are_stale() {
    let world = World::new().await;
    let (a, b) = (world.client().await, world.client_that_keeps_nothing().await);
    let handle = a.create("f").await;
    a.write(handle, 0, b"data").await;
    b.unlink("f").await;
    assert_eq!(a.vfs.fsync(handle.0, handle.1).await.unwrap_err().errno(), Errno::ESTALE);
    assert_eq!(a.attr(handle.0).await.nlink, 0, "fstat of an open file still answers");
    a.vfs.release(handle.0, handle.1).await.unwrap();
}

/// Fresh metadata says the same and the store has nothing: nobody is compacting, the block is lost.
#[tokio::test]
async fn a_missing_object_is_eio_within_seconds() {
    let world = World::new().await;
    let a = world.client().await;
    a.put("f", &pattern(1, 3 * BLOCK)).await;
    for key in world.store.keys() {
        world.store.delete(&key).await.unwrap();
    }
    let b = world.client().await;
    let handle = b.open("f", RW).await;
    let begun = std::time::Instant::now();
    let read = b.vfs.read(handle.0, handle.1, 0, 3 * BLOCK as u32).await;
    assert_eq!(read.unwrap_err().errno(), Errno::EIO);
    assert!(begun.elapsed() < std::time::Duration::from_secs(4), "{:?}", begun.elapsed());
    b.vfs.release(handle.0, handle.1).await.unwrap();
}

/// The end of a mount waits until the blocks of a refused slice are gone: only `gc` would find them.
#[tokio::test]
async fn the_end_of_a_mount_leaves_no_blocks_of_refused_writes() {
    let world = World::new().await;
    let (a, b) = (world.client().await, world.client_that_keeps_nothing().await);
    let handle = a.create("f").await;
    // A whole block is stored while it is still dirty.
    a.write(handle, 0, &pattern(1, BLOCK)).await;
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while world.store.keys().len() != 1 {
        assert!(std::time::Instant::now() < deadline, "stored: {:?}", world.store.keys());
        tokio::task::yield_now().await;
    }
    b.unlink("f").await;
    world.faulty.fail_next(1, Fault::Stall);
    assert_eq!(a.vfs.fsync(handle.0, handle.1).await.unwrap_err().errno(), Errno::ESTALE);
    a.vfs.release(handle.0, handle.1).await.unwrap();
    let end = async {
        a.vfs.shutdown().await;
        world.store.keys()
    };
    let heal = async {
        for _ in 0..1000 {
            tokio::task::yield_now().await;
        }
        world.faulty.fail_next(0, Fault::Stall);
    };
    let (left, ()) = tokio::join!(end, heal);
    assert_eq!(left, Vec::<String>::new());
}

/// What another client's compaction does: one new slice instead of all, the old objects gone.
async fn compact(world: &World, client: &Client, ino: Ino, data: &[u8]) {
    let id = client.meta.new_slice_id().await.unwrap();
    let mut writer = client.chunks.writer(id);
    for (at, part) in data.chunks(BLOCK).enumerate() {
        let mut pages = client.chunks.pages().acquire(part.len()).await;
        writer.write_at((at * BLOCK) as u32, part, &mut pages).unwrap();
    }
    writer.finish(data.len() as u32).await.unwrap();
    let mut attempt = world.engine.begin(0).await.unwrap();
    let got = attempt.read(&[Get::Chunk { ino, indx: 0, hold: Hold::Guard }]).await.unwrap();
    let Some(Got::Slices(old)) = got.into_iter().next() else { panic!("no list") };
    let slice = Slice { pos: 0, id, size: data.len() as u32, off: 0, len: data.len() as u32 };
    let changes = [
        Change::DeleteChunk { ino, indx: 0 },
        Change::AppendSlice { ino, indx: 0, slice, only_existing: false },
        Change::TrackSlice { id, size: slice.size },
    ];
    attempt.commit(&changes).await.unwrap();
    for slice in old {
        client.chunks.remove(slice.id, slice.size).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_survives_a_compaction_by_another_client() {
    let world = World::new().await;
    let (a, b) = (world.client().await, world.client().await);
    let data = pattern(4, 200_000);
    let handle = a.create("f").await;
    for (at, part) in data.chunks(10_000).enumerate() {
        a.write(handle, at as u64 * 10_000, part).await;
        a.vfs.fsync(handle.0, handle.1).await.unwrap();
    }
    let reader = b.open("f", RO).await;
    assert!(b.read(reader, 0, 5000).await == data[..5000]);
    compact(&world, &a, handle.0, &data).await;
    assert!(b.read(reader, 0, 200_000).await == data);
    a.close(handle).await;
    b.close(reader).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slices_of_deleted_files_lose_their_objects_and_their_records() {
    let world = World::new().await;
    let a = world.client().await;
    for file in 0..5u64 {
        a.put(&format!("f{file}"), &pattern(file, 300_000)).await;
    }
    let held = a.open("f0", RO).await;
    assert!(!world.store.keys().is_empty());
    for file in 0..5u64 {
        a.unlink(&format!("f{file}")).await;
    }
    assert!(a.read(held, 0, 300_000).await == pattern(0, 300_000));
    a.close(held).await;
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while !world.store.keys().is_empty() {
        assert!(std::time::Instant::now() < deadline, "left: {:?}", world.store.keys());
        tokio::task::yield_now().await;
    }
    a.vfs.wait_for_deletions().await;
    let freed: Vec<Item> = world.engine.scan(Scan::FreedSlices).try_collect().await.unwrap();
    assert_eq!(freed, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shutdown_stores_what_was_written() {
    let world = World::new().await;
    let (a, b) = (world.client().await, world.client().await);
    let handle = a.create("f").await;
    a.write(handle, 0, b"last words").await;
    a.vfs.shutdown().await;
    assert_eq!(b.cat("f").await, b"last words");
}
