//! What two clients see of one another, and what the kernel may keep.

use crate::world::*;
use juicefs_base::Errno;
use juicefs_meta::{OpenFlags, RenameFlags, SetAttr, SetTime, Time};
use juicefs_vfs::{Invalidate, Seek};
use std::sync::mpsc;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_client_closed_the_other_sees_at_its_next_open_a_thousand_times() {
    let world = World::new().await;
    let clients = [world.client().await, world.client().await];
    clients[0].put("f", b"").await;
    for round in 0..1000u64 {
        let (writer, reader) = (&clients[round as usize % 2], &clients[(round as usize + 1) % 2]);
        let data = pattern(round, 1 + (round as usize * 977) % 200_000);
        match round % 3 {
            0 => writer.put("f", &data).await,
            _ => {
                let handle = writer.open("f", RW).await;
                writer.write(handle, 0, &data).await;
                writer.truncate(handle, data.len() as u64).await;
                writer.close(handle).await;
            }
        }
        assert!(reader.cat("f").await == data, "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_clients_that_append_in_turns_lose_nothing() {
    let world = World::new().await;
    let clients = [world.client().await, world.client().await];
    clients[0].put("log", b"").await;
    let mut expected = Vec::new();
    for round in 0..300u64 {
        let client = &clients[round as usize % 2];
        let handle = client.open("log", APPEND).await;
        let record = pattern(round, 1 + round as usize % 9000);
        // The offset is what a kernel with stale attributes would say.
        client.write(handle, round % 7, &record).await;
        client.close(handle).await;
        expected.extend_from_slice(&record);
    }
    for client in &clients {
        assert!(client.cat("log").await == expected);
    }
}

/// Each record says whose it is and which, and fills itself with the same.
fn record(who: u8, nth: u32) -> Vec<u8> {
    [vec![who], nth.to_le_bytes().to_vec(), vec![who ^ nth as u8; 4995]].concat()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_append_to_one_open_file_lose_and_tear_nothing() {
    const EACH: u32 = 60;
    let world = World::new().await;
    let clients = [world.client().await, world.client().await];
    let begin = (64 << 20) - 201_234;
    let handle = clients[0].create("log").await;
    clients[0].truncate(handle, begin).await;
    clients[0].close(handle).await;
    let mut tasks = tokio::task::JoinSet::new();
    for (who, client) in clients.iter().enumerate() {
        let vfs = client.vfs.clone();
        let (ino, fh) = client.open("log", APPEND).await;
        tasks.spawn(async move {
            for nth in 0..EACH {
                vfs.write(ino, fh, 0, &record(who as u8, nth)).await.unwrap();
                if nth % 3 == who as u32 {
                    vfs.fsync(ino, fh).await.unwrap();
                }
            }
            vfs.flush(ino, fh, 0).await.unwrap();
            vfs.release(ino, fh).await.unwrap();
        });
    }
    tasks.join_all().await;
    for client in &clients {
        let handle = client.open("log", RO).await;
        let all = client.read(handle, begin, 1 << 20).await;
        client.close(handle).await;
        assert_eq!(all.len(), 2 * EACH as usize * 5000);
        let mut counts = [0; 2];
        for found in all.chunks(5000) {
            let who = usize::from(found[0]);
            assert!(found == record(found[0], counts[who]), "{who}: {:?} after {counts:?}", &found[..9]);
            counts[who] += 1;
        }
    }
    clients[0].unlink("log").await;
    clients[0].vfs.wait_for_deletions().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_kernel_keeps_its_pages_only_while_nobody_else_wrote() {
    let world = World::new().await;
    let (a, b) = (world.client().await, world.client().await);
    a.put("f", b"one").await;
    let ino = b.ino("f").await;
    let keeps = |client: &Client| {
        let vfs = client.vfs.clone();
        async move {
            let opened = vfs.open(&caller(), ino, RO).await.unwrap();
            vfs.release(ino, opened.fh).await.unwrap();
            opened.keep_cache
        }
    };
    assert!(!keeps(&b).await, "the first open knows nothing");
    tokio::time::sleep(std::time::Duration::from_millis(150)).await;
    assert!(keeps(&b).await);
    assert!(keeps(&a).await, "a's own file, a's own writes");
    a.put("f", b"two").await;
    assert!(!keeps(&b).await);
    // Own writes are in the kernel's pages already, unless somebody else wrote in between.
    let handle = b.open("f", RW).await;
    b.write(handle, 0, b"x").await;
    b.close(handle).await;
    tokio::time::sleep(std::time::Duration::from_millis(150)).await;
    assert!(keeps(&b).await);
    let handle = b.open("f", RW).await;
    b.write(handle, 0, b"y").await;
    a.put("f", b"four").await;
    b.close(handle).await;
    assert!(!keeps(&b).await, "a wrote between b's open and b's commit");
    assert_eq!(b.cat("f").await, b"your");
}

struct Told(juicefs_base::sync::Mutex<mpsc::Sender<(juicefs_meta::Ino, i64)>>);

impl Invalidate for Told {
    fn inode(&self, ino: juicefs_meta::Ino, off: i64, _len: i64) {
        let _ = self.0.lock().send((ino, off));
    }

    fn entry(&self, _parent: juicefs_meta::Ino, _name: &[u8]) {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_seen_in_attributes_reaches_the_kernel_and_the_lists() {
    let world = World::new().await;
    let (a, b) = (world.client().await, world.client().await);
    a.put("f", &pattern(1, 1000)).await;
    let (sender, receiver) = mpsc::channel();
    b.vfs.set_invalidator(Box::new(Told(juicefs_base::sync::Mutex::new(sender))));
    let handle = b.open("f", RO).await;
    assert!(b.read(handle, 0, 1000).await == pattern(1, 1000));
    for (seed, is_hidden) in [(2, false), (3, true)] {
        let told = b.attr(handle.0).await.mtime;
        let writer = a.open("f", RW).await;
        a.write(writer, 0, &pattern(seed, 1000)).await;
        a.close(writer).await;
        if is_hidden {
            let back = SetAttr { mtime: Some(SetTime::At(told)), ..SetAttr::default() };
            a.vfs.setattr(&caller(), handle.0, &back, None, None).await.unwrap();
        }
        b.attr(handle.0).await;
        assert!(b.read(handle, 0, 1000).await == pattern(seed, 1000));
    }
    // Of the first change the attributes tell the kernel; the second left them as they were.
    assert_eq!(receiver.recv_timeout(std::time::Duration::from_secs(5)).unwrap(), (handle.0, 0));
    assert!(receiver.try_recv().is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_kernel_forgets_old_attributes_before_an_open_is_answered() {
    let world = World::new().await;
    let (a, b) = (world.client().await, world.client().await);
    a.put("f", b"short").await;
    let (sender, receiver) = mpsc::channel();
    b.vfs.set_invalidator(Box::new(Told(juicefs_base::sync::Mutex::new(sender))));
    let ino = b.ino("f").await;
    b.close(b.open("f", RO).await).await;
    assert!(receiver.try_recv().is_err(), "nothing has changed");
    a.put("f", b"longer than before").await;
    let opened = b.vfs.open(&caller(), ino, RO).await.unwrap();
    assert_eq!(receiver.try_recv().unwrap(), (ino, -1));
    assert_eq!(b.read((ino, opened.fh), 0, 100).await, b"longer than before");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_another_client_deleted_never_reads_as_zeros() {
    let world = World::new().await;
    let (a, b) = (world.client_that_keeps_nothing().await, world.client().await);
    let data = pattern(8, 200_000);
    a.put("f", &data).await;
    let read = b.open("f", RO).await;
    let unread = b.open("f", RO).await;
    assert!(b.read(read, 0, 100).await == data[..100]);
    a.unlink("f").await;
    a.vfs.wait_for_deletions().await;
    for (handle, off) in [(unread, 100_000), (read, 150_000)] {
        match b.vfs.read(handle.0, handle.1, off, 1000).await {
            Ok(bytes) => assert!(bytes == data[off as usize..off as usize + 1000]),
            Err(error) => assert_eq!(error.errno(), Errno::ESTALE),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_client_unlinks_or_replaces_stays_where_it_is_open() {
    let world = World::new().await;
    let (a, b) = (world.client().await, world.client().await);
    let (old, new) = (pattern(8, 200_000), pattern(9, 100));
    for file in ["unlinked", "replaced"] {
        a.put(file, &old).await;
        let handle = b.open(file, RW).await;
        if file == "unlinked" {
            a.unlink(file).await;
        } else {
            a.put("new", &new).await;
            let root = juicefs_meta::Ino::ROOT;
            a.vfs.rename(&caller(), root, &name("new"), root, &name(file), RenameFlags(0)).await.unwrap();
            assert!(b.cat(file).await == new);
        }
        a.vfs.wait_for_deletions().await;
        assert!(b.read(handle, 0, old.len()).await == old, "{file}");
        b.write(handle, 10, b"written").await;
        b.vfs.fsync(handle.0, handle.1).await.unwrap();
        assert_eq!(b.read(handle, 10, 7).await, b"written");
        let attr = b.attr(handle.0).await;
        assert_eq!((attr.nlink, attr.length), (0, old.len() as u64), "{file}");
        b.close(handle).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn holes_are_told_from_bytes_also_from_those_on_their_way() {
    let world = World::new().await;
    let (a, b) = (world.client().await, world.client().await);
    let (ino, fh) = a.create("f").await;
    let chunk = 64 << 20;
    a.write((ino, fh), 1000, &pattern(1, 500)).await;
    a.write((ino, fh), chunk - 10, &pattern(2, 20)).await;
    a.truncate((ino, fh), 3 * chunk).await;
    for (off, data, hole) in [
        (0, Some(1000), 0),
        (1000, Some(1000), 1500),
        (1400, Some(1400), 1500),
        (1500, Some(chunk - 10), 1500),
        (chunk, Some(chunk), chunk + 10),
        (chunk + 10, None, chunk + 10),
        (3 * chunk - 1, None, 3 * chunk - 1),
    ] {
        assert_eq!(a.vfs.seek(ino, fh, off, Seek::Data).await.ok(), data, "data from {off}");
        assert_eq!(a.vfs.seek(ino, fh, off, Seek::Hole).await.unwrap(), hole, "hole from {off}");
    }
    assert_eq!(a.vfs.seek(ino, fh, 3 * chunk, Seek::Hole).await.unwrap_err().errno(), Errno::ENXIO);
    let other = b.open("f", RW).await;
    b.write(other, 2 * chunk, &pattern(3, 7)).await;
    b.close(other).await;
    assert_eq!(a.vfs.seek(ino, fh, chunk + 10, Seek::Data).await.unwrap(), 2 * chunk);
    a.close((ino, fh)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_inode_that_is_gone_is_stale_and_an_open_file_lives_on() {
    let world = World::new().await;
    let (a, b) = (world.client().await, world.client().await);
    a.put("f", b"old").await;
    a.put("g", b"new").await;
    let (ino, held) = a.open("f", RW).await;
    let seen = b.ino("f").await;
    a.vfs
        .rename(
            &caller(),
            juicefs_meta::Ino::ROOT,
            &name("g"),
            juicefs_meta::Ino::ROOT,
            &name("f"),
            RenameFlags(0),
        )
        .await
        .unwrap();
    assert_eq!(a.read((ino, held), 0, 10).await, b"old");
    a.write((ino, held), 3, b"er").await;
    assert_eq!(a.read((ino, held), 0, 10).await, b"older");
    let attr = a.attr(ino).await;
    assert_eq!((attr.nlink, attr.length), (0, 5));
    a.close((ino, held)).await;
    assert_eq!(b.vfs.open(&caller(), seen, RO).await.unwrap_err().errno(), Errno::ESTALE);
    assert_eq!(b.attr(seen).await.nlink, 0, "it is kept for who may have it open");
    assert_eq!(b.cat("f").await, b"new");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_bytes_under_the_same_time_and_length_are_seen() {
    let world = World::new().await;
    let (a, b) = (world.client().await, world.client().await);
    let old = SetTime::At(Time { sec: 1_000_000, nsec: 0 });
    for bytes in [b"AAAA", b"BBBB"] {
        a.put("f", bytes).await;
        let changes = SetAttr { mtime: Some(old), ..SetAttr::default() };
        a.vfs.setattr(&caller(), a.ino("f").await, &changes, None, None).await.unwrap();
        assert_eq!(b.cat("f").await, bytes);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_time_set_after_a_write_is_not_overwritten_by_its_commit() {
    let world = World::new().await;
    let (a, b) = (world.client().await, world.client().await);
    let handle = a.create("f").await;
    a.write(handle, 0, b"data").await;
    let time = Time { sec: 1_000_000, nsec: 7 };
    let set = SetAttr { mtime: Some(SetTime::At(time)), ..SetAttr::default() };
    let attr = a.vfs.setattr(&caller(), handle.0, &set, None, None).await.unwrap().attr;
    assert_eq!(attr.mtime, time);
    a.close(handle).await;
    assert_eq!((a.attr(handle.0).await.mtime, b.attr(handle.0).await.mtime), (time, time));
    assert_eq!(b.cat("f").await, b"data");
    // And a write after it moves the time again.
    let handle = a.open("f", RW).await;
    a.write(handle, 0, b"more").await;
    assert!(a.attr(handle.0).await.mtime > time);
    a.close(handle).await;
    assert!(b.attr(handle.0).await.mtime > time);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn create_without_o_excl_opens_and_cuts_what_another_client_made() {
    let world = World::new().await;
    let (a, b) = (world.client().await, world.client().await);
    a.put("f", b"something long").await;
    let flags = OpenFlags(libc::O_RDWR | libc::O_TRUNC);
    let made = b.vfs.create(&caller(), juicefs_meta::Ino::ROOT, &name("f"), 0o600, 0, flags).await.unwrap();
    assert_eq!(made.found.attr.length, 0);
    b.close((made.found.ino, made.opened.fh)).await;
    assert_eq!(a.cat("f").await, b"");
    let flags = OpenFlags(libc::O_RDWR | libc::O_EXCL);
    let refused = b.vfs.create(&caller(), juicefs_meta::Ino::ROOT, &name("f"), 0o600, 0, flags).await;
    assert_eq!(refused.unwrap_err().errno(), Errno::EEXIST);
}
