//! Write-back: what is acknowledged from a cache directory, and how it comes to the store.

use crate::memory_store::{MemoryStore, Op};
use crate::rig::{BLOCK, Rig, bare, cached, eventually};
use juicefs_chunk::{ChunkConfig, Compression, UploadHours, Writeback};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

fn at_once() -> Writeback {
    Writeback { below_bytes: 0, writers: 1000, delay: Duration::ZERO, hours: None }
}

fn late() -> Writeback {
    Writeback { delay: Duration::from_secs(3600), ..at_once() }
}

fn staging(dir: &Path, writeback: Writeback) -> ChunkConfig {
    ChunkConfig { writeback: Some(writeback), stores_staged: true, ..cached(dir) }
}

fn staged(dir: &Path, name: &str) -> PathBuf {
    dir.join("rawstaging/chunks/0/0").join(name)
}

async fn is_empty(rig: &Rig) {
    eventually("nothing waits any more", || rig.chunks.stats().staging_blocks == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_staged_block_is_the_peers_file_under_two_names_and_goes_when_it_is_stored() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::new(ChunkConfig { compression: Compression::Zstd, ..staging(dir.path(), at_once()) });
    rig.store.close_gate();
    let data = rig.write(1, BLOCK).await;
    let (path, name) = (staged(dir.path(), "1_0_65536"), dir.path().join("raw/chunks/0/0/1_0_65536"));
    let file = fs::read(&path).unwrap();
    let sum = |window: &[u8]| crc32c::crc32c(window).to_be_bytes();
    assert_eq!(file[..BLOCK], data, "plain, whatever the object is");
    assert_eq!(file[BLOCK..], [sum(&data[..32768]), sum(&data[32768..])].concat());
    assert_eq!(fs::metadata(&path).unwrap().ino(), fs::metadata(&name).unwrap().ino());
    let stats = rig.chunks.stats();
    assert_eq!((stats.staging_blocks, stats.staging_bytes, stats.dirty_bytes), (1, BLOCK as u64, 0));
    assert_eq!(rig.chunks.read(1, BLOCK as u32, 5, 100).await.unwrap(), data[5..105]);
    rig.store.open_gate();
    eventually("it is stored and leaves the stage", || !path.exists()).await;
    is_empty(&rig).await;
    assert_eq!(rig.store.keys(), ["chunks/0/0/1_0_65536"]);
    assert!(rig.store.object("chunks/0/0/1_0_65536").unwrap().len() < BLOCK, "compressed");
    assert!(name.exists(), "it is cached still");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_that_left_the_cache_is_read_from_the_stage() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::new(staging(dir.path(), late()));
    let data = rig.write(1, 2 * BLOCK + 10).await;
    fs::remove_dir_all(dir.path().join("raw")).unwrap();
    let size = data.len() as u32;
    assert_eq!(rig.chunks.read(1, size, 0, size).await.unwrap(), data);
    assert_eq!(rig.chunks.read(1, size, 70_000, 10).await.unwrap(), data[70_000..70_010]);
    assert_eq!(rig.store.count(Op::Get) + rig.store.count(Op::GetRange), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_store_is_tried_again_and_the_next_process_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(MemoryStore::new());
    store.fail(Op::Put, "chunks");
    let rig = Rig::over(store.clone(), staging(dir.path(), at_once()));
    let data = rig.write(1, 3 * BLOCK).await;
    eventually("it was tried", || store.count(Op::Put) > 0).await;
    assert_eq!(rig.chunks.stats().staging_blocks, 3);
    drop(rig);
    store.heal();
    // Another mount of the directory, which does not write back.
    let rig = Rig::over(store.clone(), ChunkConfig { stores_staged: true, ..cached(dir.path()) });
    eventually("all is stored", || store.keys().len() == 3).await;
    is_empty(&rig).await;
    fs::remove_dir_all(dir.path().join("raw")).unwrap();
    let plain = Rig::over(store, bare());
    assert_eq!(plain.chunks.read(1, 3 * BLOCK as u32, 0, 3 * BLOCK as u32).await.unwrap(), data);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_removed_never_comes_to_the_store_or_leaves_it() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::new(staging(dir.path(), late()));
    rig.write(1, 2 * BLOCK).await;
    rig.chunks.remove(1, 2 * BLOCK as u32).await.unwrap();
    assert!(!staged(dir.path(), "1_0_65536").exists());
    assert_eq!((rig.chunks.stats().staging_blocks, rig.store.count(Op::Put)), (0, 0));

    // And one whose upload is under way.
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::new(staging(dir.path(), at_once()));
    rig.store.close_gate();
    rig.write(2, BLOCK).await;
    eventually("the upload has begun", || rig.store.in_flight() == 1).await;
    let removing = rig.chunks.remove(2, BLOCK as u32);
    let opening = async {
        eventually("it left the stage", || !staged(dir.path(), "2_0_65536").exists()).await;
        rig.store.open_gate();
    };
    let (removed, ()) = tokio::join!(removing, opening);
    removed.unwrap();
    is_empty(&rig).await;
    eventually("the object went again", || rig.store.keys().is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_staged_block_is_not_stored_and_stays() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::new(staging(dir.path(), late()));
    rig.write(1, BLOCK).await;
    drop(rig);
    let path = staged(dir.path(), "1_0_65536");
    let mut file = fs::read(&path).unwrap();
    file[77] ^= 1;
    fs::write(&path, file).unwrap();
    let rig = Rig::new(staging(dir.path(), at_once()));
    rig.write(2, BLOCK).await;
    eventually("the other is stored", || rig.store.keys() == ["chunks/0/0/2_0_65536"]).await;
    eventually("one is left", || rig.chunks.stats().staging_blocks == 1).await;
    assert!(path.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_room_or_turn_or_above_the_threshold_blocks_go_straight_to_the_store() {
    for (change, what) in [
        (ChunkConfig { free_space_ratio: 0.9999, ..bare() }, "no room"),
        (ChunkConfig { writeback: Some(Writeback { writers: 0, ..late() }), ..bare() }, "no turn"),
        (ChunkConfig { writeback: Some(Writeback { below_bytes: 1000, ..late() }), ..bare() }, "too large"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let writeback = change.writeback.clone().or(Some(late()));
        let rig = Rig::new(ChunkConfig {
            writeback,
            free_space_ratio: change.free_space_ratio,
            ..staging(dir.path(), late())
        });
        rig.write(1, BLOCK).await;
        assert_eq!(rig.store.keys(), ["chunks/0/0/1_0_65536"], "{what}");
        assert_eq!(rig.chunks.stats().staging_blocks, 0, "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn outside_of_its_hours_a_block_waits() {
    let dir = tempfile::tempdir().unwrap();
    let hour = u8::try_from(jiff::Zoned::now().hour()).unwrap();
    let other = (hour + 2) % 24;
    let hours = UploadHours::parse(&format!("{other},{}", (other + 1) % 24)).ok();
    let rig = Rig::new(staging(dir.path(), Writeback { hours, ..at_once() }));
    rig.write(1, BLOCK).await;
    tokio::time::timeout(Duration::from_secs(2), async {
        while rig.store.count(Op::Put) == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect_err("nothing is stored now");
    let rig = Rig::new(staging(dir.path(), at_once()));
    eventually("all day is now", || rig.store.keys().len() == 1).await;
}
