//! Quotas: what is charged, what is refused, and what `statfs` shows of them.

use std::sync::Arc;

use juicefs_base::Errno;

use super::{Volume, mount, name, refused, root, user};
use crate::port::{Get, Got, QuotaKind};
use crate::request::{NewNode, RenameFlags, SetAttr};
use crate::tree::TreeProgress;
use crate::types::{Caller, Ino, Usage};

/// Gives directories a quota without limits, counted from here on.
pub(super) async fn watch(volume: &Volume, directories: impl Iterator<Item = Ino>) {
    let meta = &volume.meta;
    for ino in directories {
        if meta.set_quota(QuotaKind::Directory, ino.0, None, None).await.unwrap() {
            let used = meta.usage_below(ino, &TreeProgress::default()).await.unwrap();
            meta.set_quota_usage(QuotaKind::Directory, ino.0, used).await.unwrap();
        }
    }
}

async fn limit(volume: &Volume, ino: Ino, bytes: Option<i64>, inodes: Option<i64>) {
    watch(volume, std::iter::once(ino)).await;
    volume.meta.set_quota(QuotaKind::Directory, ino.0, bytes, inodes).await.unwrap();
}

async fn used(volume: &Volume, kind: QuotaKind, key: u64) -> (i64, i64) {
    volume.meta.flush_statistics().await.unwrap();
    match &volume.engine.read(&[Get::Quota { kind, key }]).await.unwrap()[..] {
        [Got::Quota(Some(row))] => (row.used.space, row.used.inodes),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_directory_is_full_at_its_limit_and_has_room_after_a_removal() {
    let volume = Volume::with_trash().await;
    let top = volume.mkdir(Ino::ROOT, "top").await;
    let below = volume.mkdir(top, "below").await;
    limit(&volume, top, Some(16 << 10), Some(3)).await;
    let file = volume.touch(below, "a").await;
    volume.write(file, 0, 8192).await.unwrap();
    refused(volume.write(file, 8192, 8192).await, Errno::EDQUOT);
    refused(volume.meta.truncate(&root(), file, 1 << 20, false).await, Errno::EDQUOT);
    refused(volume.meta.fallocate(&root(), file, 0, 0, 1 << 20).await, Errno::EDQUOT);
    volume.touch(top, "b").await;
    let new = NewNode::file(0o644, 0);
    refused(volume.meta.mknod(&root(), below, &name("c"), &new).await, Errno::EDQUOT);
    refused(volume.meta.link(&root(), file, top, &name("c")).await, Errno::EDQUOT);
    // Elsewhere there is room, and what is in the trash counts for no directory.
    volume.touch(Ino::ROOT, "c").await;
    volume.unlink(top, "b").await.unwrap();
    volume.touch(below, "c").await;
    assert_eq!(used(&volume, QuotaKind::Directory, top.0).await, (16384, 3));
    volume.audit().await;
}

#[tokio::test]
async fn a_rename_moves_a_tree_between_quotas_if_it_fits() {
    let volume = Volume::new().await;
    let (one, two) = (volume.mkdir(Ino::ROOT, "one").await, volume.mkdir(Ino::ROOT, "two").await);
    let tree = volume.mkdir(one, "tree").await;
    let file = volume.touch(tree, "f").await;
    volume.write(file, 0, 5000).await.unwrap();
    limit(&volume, Ino::ROOT, None, Some(6)).await;
    limit(&volume, one, None, None).await;
    limit(&volume, two, None, Some(1)).await;
    let rename = async |from: Ino, to: Ino| {
        volume.meta.rename(&root(), from, &name("tree"), to, &name("tree"), RenameFlags(0)).await
    };
    refused(rename(one, two).await, Errno::EDQUOT);
    limit(&volume, two, None, Some(2)).await;
    rename(one, two).await.unwrap();
    assert_eq!(used(&volume, QuotaKind::Directory, one.0).await, (0, 0));
    assert_eq!(used(&volume, QuotaKind::Directory, two.0).await, (12288, 2));
    volume.audit().await;
    // At the limit of a quota that has both places nothing more is used.
    limit(&volume, Ino::ROOT, None, Some(4)).await;
    rename(two, one).await.unwrap();
    volume.audit().await;
}

#[tokio::test]
async fn exchanged_trees_change_their_quotas() {
    let volume = Volume::new().await;
    let (one, two) = (volume.mkdir(Ino::ROOT, "one").await, volume.mkdir(Ino::ROOT, "two").await);
    for (parent, count) in [(one, 3), (two, 1)] {
        let tree = volume.mkdir(parent, "tree").await;
        for number in 0..count {
            volume.touch(tree, &number.to_string()).await;
        }
    }
    watch(&volume, [Ino::ROOT, one, two].into_iter()).await;
    let how = RenameFlags::EXCHANGE;
    volume.meta.rename(&root(), one, &name("tree"), two, &name("tree"), how).await.unwrap();
    assert_eq!(used(&volume, QuotaKind::Directory, one.0).await.1, 2);
    assert_eq!(used(&volume, QuotaKind::Directory, two.0).await.1, 4);
    volume.audit().await;
}

#[tokio::test]
async fn users_and_groups_are_charged_for_what_they_own() {
    let volume = Volume::with(|format| {
        format.user_group_quota = true;
        format.trash_days = 0;
    })
    .await;
    volume.meta.set_quota(QuotaKind::User, 7, Some(8192), None).await.unwrap();
    volume.meta.set_quota(QuotaKind::Group, 9, None, Some(1)).await.unwrap();
    let make = async |caller: &Caller, text: &str| {
        volume.meta.mknod(caller, Ino::ROOT, &name(text), &NewNode::file(0o666, 0)).await
    };
    let (one, _) = make(&user(7), "a").await.unwrap();
    make(&user(7), "b").await.unwrap();
    refused(make(&user(7), "c").await, Errno::EDQUOT);
    refused(volume.write(one, 0, 5000).await, Errno::EDQUOT);
    make(&user(8), "c").await.unwrap();
    // Given away, it is another one's. The limit of the new owner is not looked at, as with the peer.
    let to = |uid| SetAttr { uid: Some(uid), ..SetAttr::default() };
    volume.meta.setattr(&root(), one, &to(8)).await.unwrap();
    make(&user(7), "d").await.unwrap();
    assert_eq!(used(&volume, QuotaKind::User, 8).await, (8192, 2));
    make(&user(9), "e").await.unwrap();
    refused(make(&user(9), "f").await, Errno::EDQUOT);
    volume.unlink(Ino::ROOT, "e").await.unwrap();
    make(&user(9), "f").await.unwrap();
    volume.audit().await;
    let counted = volume.meta.usage_of_owners().await.unwrap();
    assert_eq!(counted[&(QuotaKind::User, 7)], Usage { space: 8192, inodes: 2 });
}

#[tokio::test]
async fn a_mount_learns_of_quotas_and_of_what_others_used() {
    let volume = Volume::new().await;
    let top = volume.mkdir(Ino::ROOT, "top").await;
    let other = mount(Arc::clone(&volume.engine), 2).await;
    limit(&volume, top, None, Some(2)).await;
    let new = NewNode::file(0o644, 0);
    other.load_quotas().await.unwrap();
    other.mknod(&root(), top, &name("a"), &new).await.unwrap();
    other.mknod(&root(), top, &name("b"), &new).await.unwrap();
    refused(other.mknod(&root(), top, &name("c"), &new).await, Errno::EDQUOT);
    other.flush_statistics().await.unwrap();
    volume.meta.load_quotas().await.unwrap();
    refused(volume.meta.mknod(&root(), top, &name("c"), &new).await, Errno::EDQUOT);
    volume.meta.delete_quota(QuotaKind::Directory, top.0).await.unwrap();
    volume.touch(top, "c").await;
    volume.audit().await;
}

#[tokio::test]
async fn the_room_of_a_directory_is_its_quota() {
    let volume = Volume::new().await;
    let top = volume.mkdir(Ino::ROOT, "top").await;
    let below = volume.mkdir(top, "below").await;
    limit(&volume, top, Some(1 << 20), Some(10)).await;
    let file = volume.touch(below, "f").await;
    volume.write(file, 0, 4097).await.unwrap();
    let room = volume.meta.statfs(&root(), below).await.unwrap();
    assert_eq!((room.total_bytes, room.avail_bytes), (1 << 20, (1 << 20) - 12288));
    assert_eq!((room.used_inodes, room.avail_inodes), (2, 8));
    limit(&volume, top, Some(4096), None).await;
    let full = volume.meta.statfs(&root(), top).await.unwrap();
    assert_eq!((full.total_bytes, full.avail_bytes), (12288, 0));
    assert_eq!(volume.meta.statfs(&root(), Ino::ROOT).await.unwrap().total_bytes, 1 << 50);
}

#[tokio::test]
async fn no_quota_is_set_on_what_is_not_there_or_in_the_trash() {
    let volume = Volume::with_trash().await;
    let file = volume.touch(Ino::ROOT, "f").await;
    let set = async |ino: Ino| volume.meta.set_quota(QuotaKind::Directory, ino.0, None, Some(1)).await;
    refused(set(Ino::TRASH).await, Errno::EPERM);
    refused(set(Ino(4711)).await, Errno::ENOENT);
    refused(set(file).await, Errno::ENOTDIR);
}
