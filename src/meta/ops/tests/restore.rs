//! The way back out of the trash.

use super::{Volume, name, root};
use crate::tree::{Restored, TreeProgress};
use crate::types::{Ino, Kind};

/// All removed in one hour: where one ends meanwhile, it is done again.
async fn removed_tree() -> (Volume, String, Ino) {
    loop {
        let volume = Volume::with_trash().await;
        let gone = remove(&volume).await;
        let hours = volume.meta.readdir(&root(), Ino::TRASH, false).await.unwrap();
        if let [hour] = &hours[..] {
            let hour = String::from_utf8(hour.name.as_bytes().to_vec()).unwrap();
            return (volume, hour, gone);
        }
    }
}

async fn remove(volume: &Volume) -> Ino {
    let top = volume.mkdir(Ino::ROOT, "top").await;
    let deep = volume.mkdir(top, "deep").await;
    volume.touch(top, "a").await;
    volume.touch(deep, "b").await;
    let gone = volume.mkdir(Ino::ROOT, "gone").await;
    volume.touch(Ino::ROOT, "alone").await;
    volume
        .meta
        .remove_tree(&root(), Ino::ROOT, &name("top"), false, 5, &TreeProgress::default())
        .await
        .unwrap();
    volume.unlink(Ino::ROOT, "alone").await.unwrap();
    gone
}

#[tokio::test]
async fn trees_are_rebuilt_in_the_trash_and_put_back() {
    let (volume, hour, _) = removed_tree().await;
    let progress = TreeProgress::default();
    let rebuilt = volume.meta.restore_hour(&hour, false, 3, &progress).await.unwrap();
    assert_eq!(rebuilt, Restored { restored: 3, skipped: 2, failed: 0 }, "a, deep, b; top and alone stay");
    assert!(volume.look(Ino::ROOT, "top").await.is_err());
    let put_back = volume.meta.restore_hour(&hour, true, 3, &progress).await.unwrap();
    assert_eq!(put_back, Restored { restored: 2, skipped: 0, failed: 0 });
    let (top, _) = volume.look(Ino::ROOT, "top").await.unwrap();
    let (deep, attr) = volume.look(top, "deep").await.unwrap();
    assert_eq!(attr.kind, Kind::Directory);
    for (parent, file) in [(top, "a"), (deep, "b"), (Ino::ROOT, "alone")] {
        volume.look(parent, file).await.unwrap();
    }
    volume.audit().await;
}

#[tokio::test]
async fn nothing_is_replaced_and_what_has_no_place_stays() {
    let (volume, hour, gone) = removed_tree().await;
    volume.touch(Ino::ROOT, "alone").await;
    volume.touch(gone, "lost").await;
    volume.unlink(gone, "lost").await.unwrap();
    // Its directory leaves the trash for good.
    volume.meta.rmdir_with(&root(), Ino::ROOT, &name("gone"), true).await.unwrap();
    let progress = TreeProgress::default();
    let sum = volume.meta.restore_hour(&hour, true, 3, &progress).await.unwrap();
    assert_eq!(sum, Restored { restored: 4, skipped: 0, failed: 2 });
    let again = volume.meta.restore_hour(&hour, true, 3, &progress).await.unwrap();
    assert_eq!(again, Restored { restored: 0, skipped: 0, failed: 2 });
    assert!(volume.meta.restore_hour("2001-01-01-01", true, 3, &progress).await.is_err());
    volume.audit().await;
}
