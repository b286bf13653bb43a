//! Names come and go.

use juicefs_base::Errno;

use super::{Volume, name, refused, root, user};
use crate::Caller;
use crate::request::{MetaOptions, NewNode, OpenFlags, SetAttr, SetTime};
use crate::types::{Attr, Ino, Kind, Time, flags};

/// Times that a change now can't leave as they are.
async fn make_old(volume: &Volume, ino: Ino) -> Attr {
    let old = Some(SetTime::At(Time { sec: 100, nsec: 0 }));
    let set = SetAttr { atime: old, mtime: old, ctime: old, ..SetAttr::default() };
    volume.meta.setattr(&root(), ino, &set).await.unwrap()
}

#[tokio::test]
async fn a_new_file_has_its_makers_attributes_and_moves_its_parents_times() {
    let volume = Volume::new().await;
    make_old(&volume, Ino::ROOT).await;
    let (ino, attr) =
        volume.meta.mknod(&user(7), Ino::ROOT, &name("f"), &NewNode::file(0o666, 0o022)).await.unwrap();
    assert_eq!((attr.uid, attr.gid, attr.mode, attr.nlink, attr.parent), (7, 7, 0o644, 1, Ino::ROOT));
    assert_eq!(volume.look(Ino::ROOT, "f").await.unwrap(), (ino, attr));
    let parent = volume.attr(Ino::ROOT).await;
    assert!(parent.mtime.sec > 100 && parent.ctime == parent.mtime && parent.atime.sec == 100);
    assert_eq!(parent.nlink, 2);
    let again = volume.meta.mknod(&root(), Ino::ROOT, &name("f"), &NewNode::directory(0o755, 0)).await;
    refused(again, Errno::EEXIST);
    volume.audit().await;
}

#[tokio::test]
async fn directories_count_their_subdirectories() {
    let volume = Volume::new().await;
    let a = volume.mkdir(Ino::ROOT, "a").await;
    volume.mkdir(a, "b").await;
    assert_eq!((volume.attr(Ino::ROOT).await.nlink, volume.attr(a).await.nlink), (3, 3));
    refused(volume.rmdir(Ino::ROOT, "a").await, Errno::ENOTEMPTY);
    volume.rmdir(a, "b").await.unwrap();
    volume.rmdir(Ino::ROOT, "a").await.unwrap();
    assert_eq!(volume.attr(Ino::ROOT).await.nlink, 2);
    refused(volume.rmdir(Ino::ROOT, "a").await, Errno::ENOENT);
    assert_eq!(volume.meta.usage().await.unwrap().inodes, 0);
    volume.audit().await;
}

#[tokio::test]
async fn a_lazy_mount_leaves_fresh_directory_times() {
    let volume = Volume::new().await;
    let options =
        MetaOptions { skip_dir_mtime: std::time::Duration::from_secs(3600), ..MetaOptions::default() };
    let lazy = crate::Meta::open(volume.counting.clone(), options).await.unwrap();
    make_old(&volume, Ino::ROOT).await;
    volume.touch(Ino::ROOT, "fresh").await;
    let before = volume.attr(Ino::ROOT).await;
    lazy.mknod(&root(), Ino::ROOT, &name("f"), &NewNode::file(0, 0)).await.unwrap();
    assert_eq!(volume.attr(Ino::ROOT).await, before);
    lazy.mknod(&root(), Ino::ROOT, &name("d"), &NewNode::directory(0, 0)).await.unwrap();
    assert!(volume.attr(Ino::ROOT).await.mtime > before.mtime);
}

#[tokio::test]
async fn names_are_refused_as_posix_says() {
    let volume = Volume::new().await;
    let meta = &volume.meta;
    let file = volume.touch(Ino::ROOT, "f").await;
    let closed = volume.mkdir(Ino::ROOT, "closed").await;
    let new = NewNode::file(0o644, 0);
    refused(meta.mknod(&root(), file, &name("x"), &new).await, Errno::ENOTDIR);
    refused(meta.mknod(&root(), Ino(4711), &name("x"), &new).await, Errno::ENOENT);
    refused(meta.mknod(&user(7), closed, &name("x"), &new).await, Errno::EACCES);
    let checked_by_kernel = Caller { checks_permission: false, ..user(7) };
    meta.mknod(&checked_by_kernel, closed, &name("x"), &new).await.unwrap();
    refused(volume.unlink(Ino::ROOT, "closed").await, Errno::EPERM);
    refused(volume.rmdir(Ino::ROOT, "f").await, Errno::ENOTDIR);
    refused(volume.unlink(file, "x").await, Errno::ENOTDIR);
    refused(volume.unlink(Ino::ROOT, "none").await, Errno::ENOENT);
    refused(meta.unlink(&user(7), closed, &name("x")).await, Errno::EACCES);
    refused(meta.readdir(&root(), file, false).await, Errno::ENOTDIR);
    refused(meta.lookup(&root(), file, &name("x")).await, Errno::ENOTDIR);
    let target = NewNode::symlink(vec![b'x'; 4097]);
    refused(meta.mknod(&root(), Ino::ROOT, &name("s"), &target).await, Errno::EINVAL);
    refused(meta.mknod(&root(), Ino::ROOT, &name("s"), &NewNode::symlink("")).await, Errno::EINVAL);
    volume.audit().await;
}

#[tokio::test]
async fn sticky_and_immutable_directories_protect_names() {
    let volume = Volume::new().await;
    let meta = &volume.meta;
    let sticky = volume.mkdir(Ino::ROOT, "sticky").await;
    let mode = SetAttr { mode: Some(0o1777), ..SetAttr::default() };
    meta.setattr(&root(), sticky, &mode).await.unwrap();
    meta.mknod(&user(7), sticky, &name("f"), &NewNode::file(0o666, 0)).await.unwrap();
    refused(meta.unlink(&user(8), sticky, &name("f")).await, Errno::EACCES);
    meta.unlink(&user(7), sticky, &name("f")).await.unwrap();
    let was = volume.attr(sticky).await;
    let change =
        crate::port::Change::UpdateNode { ino: sticky, was, now: Attr { flags: flags::IMMUTABLE, ..was } };
    let attempt = crate::port::Engine::begin(&*volume.engine, 0).await.unwrap();
    attempt.commit(&[change]).await.unwrap();
    let new = NewNode::file(0, 0);
    refused(meta.mknod(&root(), sticky, &name("g"), &new).await, Errno::EPERM);
}

#[tokio::test]
async fn symlinks_and_devices_keep_what_they_are() {
    let volume = Volume::new().await;
    let meta = &volume.meta;
    let (link, attr) = meta.mknod(&root(), Ino::ROOT, &name("s"), &NewNode::symlink("a/b")).await.unwrap();
    assert_eq!((attr.kind, attr.length, attr.mode), (Kind::Symlink, 3, 0o777));
    assert_eq!(&meta.readlink(link).await.unwrap()[..], b"a/b");
    refused(meta.readlink(Ino::ROOT).await, Errno::EINVAL);
    let device = NewNode { kind: Kind::CharDevice, rdev: 0x501, ..NewNode::file(0o600, 0) };
    let (_, attr) = meta.mknod(&root(), Ino::ROOT, &name("c"), &device).await.unwrap();
    assert_eq!((attr.rdev, attr.length), (0x501, 0));
    volume.unlink(Ino::ROOT, "s").await.unwrap();
    volume.unlink(Ino::ROOT, "c").await.unwrap();
    refused(meta.readlink(link).await, Errno::ENOENT);
    volume.audit().await;
}

#[tokio::test]
async fn create_makes_or_opens() {
    let volume = Volume::new().await;
    let meta = &volume.meta;
    let create = async |caller: &Caller, text: &str, more: i32| {
        let flags = OpenFlags(libc::O_RDWR | libc::O_CREAT | more);
        meta.create(caller, Ino::ROOT, &name(text), 0o600, 0, flags).await
    };
    let (ino, _, is_new) = create(&user(7), "f", libc::O_EXCL).await.unwrap();
    assert!(is_new && meta.is_open(ino));
    refused(create(&user(7), "f", libc::O_EXCL).await, Errno::EEXIST);
    let (again, _, is_new) = create(&user(7), "f", 0).await.unwrap();
    assert!(again == ino && !is_new);
    refused(create(&user(8), "f", 0).await, Errno::EACCES);
    volume.mkdir(Ino::ROOT, "d").await;
    refused(create(&root(), "d", 0).await, Errno::EISDIR);
    meta.close_file(ino).await.unwrap();
    meta.close_file(ino).await.unwrap();
    assert!(!meta.is_open(ino) && meta.open_files.count() == 0);
}

#[tokio::test]
async fn readdir_lists_all_entries_with_their_nodes() {
    let volume = Volume::new().await;
    let directory = volume.mkdir(Ino::ROOT, "d").await;
    for number in 0..5000 {
        volume.touch(directory, &format!("f{number}")).await;
    }
    let entries = volume.meta.readdir(&root(), directory, true).await.unwrap();
    assert_eq!(entries.len(), 5000);
    assert!(entries.iter().all(|entry| entry.attr.is_some_and(|attr| attr.parent == directory)));
    let plain = volume.meta.readdir(&root(), directory, false).await.unwrap();
    assert!(plain.iter().all(|entry| entry.attr.is_none()));
}

#[tokio::test]
async fn a_read_only_volume_refuses_every_change() {
    let volume = Volume::new().await;
    let file = volume.touch(Ino::ROOT, "f").await;
    let options = MetaOptions { read_only: true, ..MetaOptions::default() };
    let meta = crate::Meta::open(volume.counting.clone(), options).await.unwrap();
    assert!(meta.read_only_reason().is_some());
    refused(meta.mknod(&root(), Ino::ROOT, &name("g"), &NewNode::file(0, 0)).await, Errno::EROFS);
    refused(meta.unlink(&root(), Ino::ROOT, &name("f")).await, Errno::EROFS);
    refused(meta.truncate(&root(), file, 1, false).await, Errno::EROFS);
    refused(meta.open_file(&root(), file, OpenFlags(libc::O_WRONLY)).await, Errno::EROFS);
    meta.open_file(&root(), file, OpenFlags(libc::O_RDONLY)).await.unwrap();
}

#[tokio::test]
async fn a_subdir_is_the_root_of_its_mount() {
    let volume = Volume::with_trash().await;
    let sub = volume.mkdir(Ino::ROOT, "sub").await;
    let deep = volume.mkdir(sub, "deep").await;
    let options = MetaOptions { subdir: Some("/sub/deep/".to_owned()), ..MetaOptions::default() };
    let meta = crate::Meta::open(volume.counting.clone(), options).await.unwrap();
    assert_eq!(meta.root(), deep);
    let (file, attr) = meta.mknod(&root(), Ino::ROOT, &name("f"), &NewNode::file(0, 0)).await.unwrap();
    assert_eq!(attr.parent, deep);
    assert_eq!(meta.parent_of(file).await.unwrap(), Ino::ROOT);
    assert_eq!(meta.parent_of(Ino::ROOT).await.unwrap(), Ino::ROOT);
    refused(meta.lookup(&root(), Ino::ROOT, &name(".trash")).await, Errno::ENOENT);
    let lost = MetaOptions { subdir: Some("none".to_owned()), ..MetaOptions::default() };
    refused(crate::Meta::open(volume.counting.clone(), lost).await, Errno::ENOENT);
}

#[tokio::test]
async fn limits_of_the_volume_are_enospc() {
    let volume = Volume::with(|format| {
        format.trash_days = 0;
        format.inodes = 2;
        format.capacity = 16384;
    })
    .await;
    let file = volume.touch(Ino::ROOT, "a").await;
    volume.touch(Ino::ROOT, "b").await;
    let third = volume.meta.mknod(&root(), Ino::ROOT, &name("c"), &NewNode::file(0, 0)).await;
    refused(third, Errno::ENOSPC);
    volume.write(file, 0, 12288).await.unwrap();
    refused(volume.write(file, 12288, 1).await, Errno::ENOSPC);
    refused(volume.meta.truncate(&root(), file, 12289, false).await, Errno::ENOSPC);
    volume.meta.truncate(&root(), file, 0, false).await.unwrap();
    volume.unlink(Ino::ROOT, "b").await.unwrap();
    volume.touch(Ino::ROOT, "c").await;
    let room = volume.meta.statfs(&root(), Ino::ROOT).await.unwrap();
    assert_eq!((room.total_bytes, room.avail_bytes, room.avail_inodes), (16384, 8192, 0));
    volume.audit().await;
}
