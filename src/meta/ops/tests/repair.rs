//! What `fsck` repairs, on records broken underneath.

use super::*;
use crate::port::Change;
use crate::types::Usage;

async fn commit(volume: &Volume, changes: &[Change]) {
    let attempt = volume.engine.begin(0).await.unwrap();
    attempt.commit(changes).await.unwrap();
}

#[tokio::test]
async fn a_directory_gets_the_links_that_its_entries_ask_for() {
    let volume = Volume::new().await;
    let dir = volume.mkdir(Ino::ROOT, "dir").await;
    volume.mkdir(dir, "below").await;
    volume.touch(dir, "file").await;
    let was = volume.attr(dir).await;
    assert_eq!(volume.meta.count_links(dir).await.unwrap(), (Some(was), 3));
    commit(&volume, &[Change::UpdateNode { ino: dir, was, now: Attr { nlink: 9, ..was } }]).await;
    assert_eq!(volume.attr(dir).await.nlink, 9);
    assert_eq!(volume.meta.repair_directory(dir, Ino::ROOT, 0o755).await.unwrap(), 3);
    assert_eq!(volume.attr(dir).await, was, "only the links have changed");
    volume.audit().await;
}

#[tokio::test]
async fn a_directory_without_its_node_gets_one() {
    let volume = Volume::new().await;
    let dir = volume.mkdir(Ino::ROOT, "dir").await;
    volume.mkdir(dir, "below").await;
    commit(&volume, &[Change::DeleteNode { ino: dir }]).await;
    assert_eq!(volume.meta.count_links(dir).await.unwrap(), (None, 3));
    volume.meta.repair_directory(dir, Ino::ROOT, 0o711).await.unwrap();
    let attr = volume.attr(dir).await;
    assert_eq!((attr.kind, attr.mode, attr.nlink, attr.parent), (Kind::Directory, 0o711, 3, Ino::ROOT));
    volume.touch(dir, "more").await;
    volume.audit().await;
}

#[tokio::test]
async fn usage_becomes_what_the_nodes_take() {
    let volume = Volume::with_trash().await;
    let file = volume.touch(Ino::ROOT, "file").await;
    volume.write(file, 0, 10_000).await.unwrap();
    volume.unlink(Ino::ROOT, "file").await.unwrap();
    let right = volume.meta.usage().await.unwrap();
    commit(&volume, &[Change::AddUsage { space: -777, inodes: 5 }]).await;
    assert_ne!(volume.meta.usage().await.unwrap(), right);
    assert_eq!(volume.meta.recount_usage().await.unwrap(), right);
    // The file in the trash and its hourly directory.
    assert_eq!(volume.meta.usage().await.unwrap(), Usage { space: 12288 + 4096, inodes: 2 });
}
