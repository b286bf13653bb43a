//! Directories and records, on a volume in memory.

use juicefs_meta::engines::memory::MemoryEngine;
use juicefs_meta::port::{Change, Engine, NewVolume, QuotaKind};
use juicefs_meta::request::{MetaOptions, NewNode};
use juicefs_meta::{Attr, Caller, Format, Ino, Kind, Meta, Name, Time, mirror};
use std::sync::Arc;

use super::records::{DELETED, RECORDS, VolumeRecord};
use super::volumes::Unlimited;
use super::{Volume, mirrors};

async fn volume() -> Volume {
    open(memory().await).await
}

async fn open(engine: Arc<dyn Engine>) -> Volume {
    let meta = Meta::open(engine.clone(), MetaOptions::default()).await.expect("a volume");
    let mirror = mirror::read(&*engine, &meta.format()).await.expect("read");
    Volume { meta, caller: Caller::internal(), name: "vol".into(), mirror }
}

async fn memory() -> Arc<dyn Engine> {
    let engine: Arc<dyn Engine> = Arc::new(MemoryEngine::new());
    let mut format = Format::new("vol");
    format.trash_days = 0;
    let root = Attr::new(Kind::Directory, 0o777, 0, 0, Ino::ROOT, Time { sec: 1, nsec: 0 });
    let new = NewVolume { setting: format.to_text(), root, trash: None };
    engine.create_volume(&new).await.expect("an empty database");
    engine
}

async fn used(volume: &Volume) -> u64 {
    volume.meta.statfs(&volume.caller, Ino::ROOT).await.expect("counted").used_inodes
}

async fn make(volume: &Volume, parent: Ino, name: String, new: NewNode) -> Ino {
    let name = Name::new(name.into_bytes()).expect("a name");
    volume.meta.mknod(&volume.caller, parent, &name, &new).await.expect("made").0
}

fn record(path: &str) -> VolumeRecord {
    VolumeRecord { v: 1, path: path.into(), inode: 2, capacity: 5, cluster: "c".into(), made: true }
}

#[tokio::test]
async fn records_are_written_once_found_and_removed() {
    let volume = volume().await;
    assert_eq!(volume.record("a").await.expect("readable"), None);
    volume.write_record("a", &record("x/y")).await.expect("written");
    volume.write_record("b", &record("z")).await.expect("written");
    let again = volume.write_record("a", &record("other")).await.expect_err("it is there");
    assert_eq!(again.code(), tonic::Code::Aborted);
    assert_eq!(volume.record("a").await.expect("readable"), Some(record("x/y")));
    assert_eq!(volume.other_records("a").await.expect("readable"), [record("z")]);
    volume.remove_record("a").await.expect("removed");
    volume.remove_record("a").await.expect("removing twice is no error");
    assert_eq!(volume.record("a").await.expect("readable"), None);
    let long = volume.write_record("c", &record(&"x".repeat(4096))).await.expect_err("too long");
    assert_eq!(long.code(), tonic::Code::InvalidArgument);
}

#[tokio::test]
async fn a_path_says_whether_its_last_directory_is_new() {
    let volume = volume().await;
    let (ino, is_new) = volume.make_path("a/b", 0o777).await.expect("made");
    assert!(is_new);
    assert_eq!(volume.make_path("a/b", 0o777).await.expect("there"), (ino, false));
    make(&volume, ino, "file".into(), NewNode::file(0o644, 0)).await;
    let through = volume.make_path("a/b/file/c", 0o777).await.expect_err("a file is in the way");
    assert_eq!(through.code(), tonic::Code::InvalidArgument);
}

#[tokio::test]
async fn what_is_retired_is_out_of_its_place_at_once_and_purged_to_the_last_entry() {
    let volume = volume().await;
    let before = used(&volume).await;
    for id in ["one", "two"] {
        let (top, _) = volume.make_path(&format!("team/{id}"), 0o777).await.expect("made");
        for outer in 0..5 {
            let below = make(&volume, top, format!("d{outer}"), NewNode::directory(0o755, 0)).await;
            for inner in 0..5 {
                make(&volume, below, format!("f{inner}"), NewNode::file(0o644, 0)).await;
                let deep = make(&volume, below, format!("d{inner}"), NewNode::directory(0o755, 0)).await;
                make(&volume, deep, "f".into(), NewNode::file(0o644, 0)).await;
            }
        }
        volume.retire(id, &format!("team/{id}")).await.expect("moved");
        volume.retire(id, &format!("team/{id}")).await.expect("retiring twice is no error");
        assert_eq!(volume.find(&format!("team/{id}")).await.expect("looked"), None);
    }
    // Each: 1 + 5 * (1 + 5 + 5 * 2) entries.
    assert_eq!(volume.purge().await.expect("purged"), 2 * 81);
    assert_eq!(volume.purge().await.expect("purged"), 0);
    let deleted = volume.find(&format!("{RECORDS}/{DELETED}")).await.expect("looked").expect("it stays");
    assert!(volume.meta.readdir(&volume.caller, deleted, false).await.expect("listed").is_empty());
    // The directories team, .juicefs-csi and deleted are what is new.
    assert_eq!(used(&volume).await, before + 3);
}

#[tokio::test]
async fn in_a_mirror_directories_are_found_and_never_made() {
    let engine = memory().await;
    let source = open(engine.clone()).await;
    source.make_path("there/deep", 0o777).await.expect("made");
    let uuid = source.meta.format().uuid.clone();
    let record = serde_json::json!({
        "v": 1, "source_uuid": uuid, "display_name": "near", "epoch": "e", "source": "redis://far/1",
        "state": "following", "cursor": 7, "cursor_ms": 0,
    });
    let put = Change::PutSide { name: mirror::SIDE.to_owned(), value: record.to_string().into() };
    engine.begin(0).await.expect("begun").commit(&[put]).await.expect("a mirror now");
    let volume = open(engine).await;
    let record = volume.mirror.clone().expect("a mirror");
    let before = used(&volume).await;
    mirrors::find(&volume, &record, "there/deep").await.expect("it is there");
    let missing = mirrors::find(&volume, &record, "there/not").await.expect_err("it is not");
    assert_eq!(missing.code(), tonic::Code::NotFound);
    assert!(missing.message().contains("mirror near (it has applied version 7"), "{}", missing.message());
    assert!(volume.check_writable().is_err());
    assert!(volume.make_path("there/not", 0o777).await.is_err(), "nothing is made");
    assert_eq!(used(&volume).await, before);
}

async fn limit_of(volume: &Volume, directory: Ino) -> i64 {
    let quota = volume.meta.quota(QuotaKind::Directory, directory.0).await.unwrap();
    quota.map_or(0, |quota| quota.space_max)
}

#[tokio::test]
async fn the_capacity_of_a_claim_limits_its_directory() {
    let volume = volume().await;
    let (directory, _) = volume.make_path("claims/one", 0o777).await.unwrap();
    make(&volume, directory, "was there".to_owned(), NewNode::file(0o644, 0)).await;
    assert_eq!(volume.limit(directory, 12288, true).await.unwrap(), None);
    // Asked for again it is no other quota, and whoever shares the directory takes nothing away.
    assert_eq!(volume.limit(directory, 4096, true).await.unwrap(), None);
    assert_eq!(limit_of(&volume, directory).await, 12288);
    make(&volume, directory, "fits".to_owned(), NewNode::file(0o644, 0)).await;
    make(&volume, directory, "fits, too".to_owned(), NewNode::directory(0o755, 0)).await;
    let new = NewNode::file(0o644, 0);
    let refused =
        volume.meta.mknod(&volume.caller, directory, &Name::new(b"too much".to_vec()).unwrap(), &new).await;
    assert_eq!(refused.map_err(|error| error.errno()).unwrap_err(), juicefs_base::Errno::EDQUOT);
    assert_eq!(volume.limit(directory, 0, true).await.unwrap(), None, "no capacity asks for nothing");
    // What was there before any volume is not the driver's to limit.
    let (other, _) = volume.make_path("data", 0o777).await.unwrap();
    assert_eq!(volume.limit(other, 4096, false).await.unwrap(), Some(Unlimited::ThereBefore));
    assert_eq!(limit_of(&volume, other).await, 0);
}

#[tokio::test]
async fn an_expanded_volume_may_hold_more_and_its_record_says_so() {
    let volume = volume().await;
    let (directory, _) = volume.make_path("claims/one", 0o777).await.unwrap();
    let record = VolumeRecord { path: "claims/one".into(), capacity: 8192, ..record("") };
    assert_eq!(volume.limit(directory, 8192, true).await.unwrap(), None);
    volume.write_record("one", &record).await.unwrap();
    make(&volume, directory, "fits".to_owned(), NewNode::file(0o644, 0)).await;
    make(&volume, directory, "fits, too".to_owned(), NewNode::file(0o644, 0)).await;
    let larger = VolumeRecord { capacity: 16384, ..record.clone() };
    for _ in 0..2 {
        volume.expand("one", larger.clone()).await.expect("expanding twice is no error");
        assert_eq!(limit_of(&volume, directory).await, 16384);
        assert_eq!(volume.record("one").await.unwrap(), Some(larger.clone()));
    }
    make(&volume, directory, "fits now".to_owned(), NewNode::file(0o644, 0)).await;
    assert_eq!(volume.other_records("two").await.unwrap(), [larger], "nothing else is among the records");
    let gone = VolumeRecord { path: "claims/gone".into(), ..record };
    assert_eq!(volume.expand("two", gone).await.expect_err("no directory").code(), tonic::Code::NotFound);
}
