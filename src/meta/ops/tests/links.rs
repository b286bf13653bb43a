//! Hard links, open files without a name, and the trash.

use juicefs_base::Errno;

use super::{Volume, name, refused, root, user};
use crate::port::{Get, Got, Hold, Scan};
use crate::request::{NewNode, OpenFlags, RenameFlags, SetAttr};
use crate::types::{CHUNK_BYTES, DirStat, Ino};
use futures::TryStreamExt;

async fn stat(volume: &Volume, ino: Ino) -> Option<DirStat> {
    volume.meta.flush_statistics().await.unwrap();
    match &volume.engine.read(&[Get::DirStat { ino }]).await.unwrap()[..] {
        [Got::DirStat(stat)] => *stat,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_second_name_takes_the_parent_away() {
    let volume = Volume::new().await;
    let directory = volume.mkdir(Ino::ROOT, "d").await;
    let file = volume.touch(Ino::ROOT, "a").await;
    let attr = volume.meta.link(&root(), file, directory, &name("b")).await.unwrap();
    assert_eq!((attr.nlink, attr.parent), (2, Ino(0)));
    volume.audit().await;
    refused(volume.meta.link(&root(), file, directory, &name("b")).await, Errno::EEXIST);
    refused(volume.meta.link(&root(), directory, directory, &name("c")).await, Errno::EPERM);
    refused(volume.meta.link(&root(), Ino(4711), directory, &name("c")).await, Errno::ENOENT);
    volume.unlink(Ino::ROOT, "a").await.unwrap();
    let attr = volume.attr(file).await;
    assert_eq!((attr.nlink, attr.parent), (1, Ino(0)), "it stays without a parent");
    assert_eq!(volume.meta.parent_of(file).await.unwrap(), directory);
    volume.audit().await;
    volume.unlink(directory, "b").await.unwrap();
    refused(volume.meta.getattr(file).await, Errno::ENOENT);
    volume.audit().await;
}

#[tokio::test]
async fn all_directories_of_a_linked_file_learn_its_length() {
    let volume = Volume::new().await;
    let one = volume.mkdir(Ino::ROOT, "one").await;
    let two = volume.mkdir(Ino::ROOT, "two").await;
    let file = volume.touch(one, "a").await;
    volume.meta.link(&root(), file, two, &name("b")).await.unwrap();
    volume.meta.link(&root(), file, two, &name("c")).await.unwrap();
    volume.write(file, 0, 5000).await.unwrap();
    assert_eq!(stat(&volume, one).await, Some(DirStat { length: 5000, space: 8192, inodes: 1 }));
    assert_eq!(stat(&volume, two).await, Some(DirStat { length: 10000, space: 16384, inodes: 2 }));
    volume.audit().await;
}

#[tokio::test]
async fn missing_statistics_are_counted_anew() {
    let volume = Volume::new().await;
    let file = volume.touch(Ino::ROOT, "a").await;
    volume.write(file, 0, 5000).await.unwrap();
    volume.mkdir(Ino::ROOT, "d").await;
    assert_eq!(stat(&volume, Ino::ROOT).await, Some(DirStat { length: 5000, space: 12288, inodes: 2 }));
    volume.unlink(Ino::ROOT, "a").await.unwrap();
    assert_eq!(stat(&volume, Ino::ROOT).await, Some(DirStat { length: 0, space: 4096, inodes: 1 }));
}

#[tokio::test]
async fn an_open_file_outlives_its_name() {
    let volume = Volume::new().await;
    let file = volume.touch(Ino::ROOT, "a").await;
    volume.open(file).await;
    volume.unlink(Ino::ROOT, "a").await.unwrap();
    assert_eq!(volume.attr(file).await.nlink, 0);
    volume.write(file, 0, 5000).await.unwrap();
    assert_eq!(volume.meta.usage().await.unwrap().space, 8192);
    refused(volume.meta.link(&root(), file, Ino::ROOT, &name("b")).await, Errno::ENOENT);
    volume.audit().await;
    volume.meta.close_file(file).await.unwrap();
    refused(volume.meta.getattr(file).await, Errno::ENOENT);
    assert_eq!(volume.meta.usage().await.unwrap().space, 0);
    let left: Vec<_> = volume.engine.scan(Scan::Sustained { sid: None }).try_collect().await.unwrap();
    assert!(left.is_empty());
    volume.audit().await;
}

#[tokio::test]
async fn a_file_without_a_name_goes_with_its_close_or_gets_one() {
    let volume = Volume::new().await;
    let d = volume.mkdir(Ino::ROOT, "d").await;
    for is_linked in [true, false] {
        let (file, attr) = volume.meta.tmpfile(&root(), d, 0o666, 0o022).await.unwrap();
        assert_eq!((attr.nlink, attr.mode, attr.parent), (0, 0o644, d));
        volume.write(file, 0, 5000).await.unwrap();
        volume.audit().await;
        if is_linked {
            let linked = volume.meta.link(&root(), file, Ino::ROOT, &name("a")).await.unwrap();
            assert_eq!((linked.nlink, linked.parent), (1, Ino::ROOT));
            volume.audit().await;
            let again = volume.meta.link(&root(), file, d, &name("b")).await.unwrap();
            assert_eq!((again.nlink, again.parent), (2, Ino(0)));
        }
        volume.meta.close_file(file).await.unwrap();
        assert_eq!(volume.meta.getattr(file).await.is_ok(), is_linked);
        let left: Vec<_> = volume.engine.scan(Scan::Sustained { sid: None }).try_collect().await.unwrap();
        assert!(left.is_empty());
        volume.audit().await;
    }
    refused(volume.meta.tmpfile(&root(), Ino(99), 0o600, 0).await, Errno::ENOENT);
}

#[tokio::test]
async fn a_deleted_files_data_is_freed_in_the_background() {
    let volume = Volume::new().await;
    let (sender, mut freed) = tokio::sync::mpsc::unbounded_channel();
    volume.meta.set_freed_slice_sink(Box::new(move |slices| sender.send(slices).unwrap()));
    let file = volume.touch(Ino::ROOT, "a").await;
    volume.write(file, 0, 5000).await.unwrap();
    volume.unlink(Ino::ROOT, "a").await.unwrap();
    let slices = freed.recv().await.unwrap();
    assert_eq!(slices, [(1, 5000)]);
    volume.meta.forget_slice(1, 5000).await.unwrap();
    let left: Vec<_> = volume.engine.scan(Scan::FreedSlices).try_collect().await.unwrap();
    assert!(left.is_empty());
}

#[tokio::test]
async fn what_a_file_had_before_it_was_cut_goes_with_it() {
    let volume = Volume::new().await;
    let (sender, mut freed) = tokio::sync::mpsc::unbounded_channel();
    volume.meta.set_freed_slice_sink(Box::new(move |slices| sender.send(slices).unwrap()));
    let file = volume.touch(Ino::ROOT, "a").await;
    for indx in 0..3 {
        volume.write(file, indx * CHUNK_BYTES, 5000).await.unwrap();
    }
    volume.meta.truncate(&root(), file, 0, false).await.unwrap();
    volume.unlink(Ino::ROOT, "a").await.unwrap();
    let mut slices = Vec::new();
    while slices.len() < 3 {
        slices.extend(freed.recv().await.unwrap());
    }
    let left: Vec<_> = volume.engine.scan(Scan::Chunks { ino: None }).try_collect().await.unwrap();
    assert!(left.is_empty(), "{left:?}");
    volume.audit().await;
}

#[tokio::test]
async fn removed_nodes_lie_in_the_trash_by_the_hour() {
    let volume = Volume::with_trash().await;
    let directory = volume.mkdir(Ino::ROOT, "d").await;
    let file = volume.touch(directory, "a").await;
    let before = volume.meta.usage().await.unwrap().inodes;
    volume.unlink(directory, "a").await.unwrap();
    volume.rmdir(Ino::ROOT, "d").await.unwrap();
    let (entry, ino) = volume.trashed("-a").await.unwrap();
    assert_eq!((entry.as_bytes(), ino), (format!("{directory}-{file}-a").as_bytes(), file));
    assert!(volume.trashed(&format!("1-{directory}-d")).await.is_some());
    let attr = volume.attr(file).await;
    assert!(attr.parent > Ino::TRASH && attr.nlink == 1);
    assert_eq!(volume.meta.usage().await.unwrap().inodes, before + 1, "the hour's directory counts");
    assert_eq!(volume.meta.lookup(&root(), Ino::ROOT, &name(".trash")).await.unwrap().0, Ino::TRASH);
    volume.audit().await;
}

#[tokio::test]
async fn what_lies_in_the_trash_can_only_be_taken_out_by_root() {
    let volume = Volume::with_trash().await;
    let meta = &volume.meta;
    let file = volume.touch(Ino::ROOT, "a").await;
    volume.unlink(Ino::ROOT, "a").await.unwrap();
    let hour = volume.attr(file).await.parent;
    let (entry, _) = volume.trashed("-a").await.unwrap();
    refused(meta.open_file(&root(), file, OpenFlags(libc::O_WRONLY)).await, Errno::EPERM);
    meta.open_file(&root(), file, OpenFlags(libc::O_RDONLY)).await.unwrap();
    meta.close_file(file).await.unwrap();
    refused(meta.truncate(&root(), file, 1, false).await, Errno::EPERM);
    let chmod = SetAttr { mode: Some(0), ..SetAttr::default() };
    refused(meta.setattr(&root(), file, &chmod).await, Errno::EPERM);
    let new = NewNode::file(0, 0);
    refused(meta.mknod(&root(), hour, &name("x"), &new).await, Errno::EPERM);
    refused(meta.mknod(&root(), Ino::ROOT, &name(".trash"), &new).await, Errno::EPERM);
    refused(volume.rmdir(Ino::ROOT, ".trash").await, Errno::EPERM);
    refused(meta.link(&root(), file, Ino::ROOT, &name("x")).await, Errno::EPERM);
    let how = RenameFlags::NOREPLACE;
    refused(meta.rename(&user(7), hour, &entry, Ino::ROOT, &name("x"), how).await, Errno::EPERM);
    refused(meta.unlink(&user(7), hour, &entry).await, Errno::EPERM);
    meta.rename(&root(), hour, &entry, Ino::ROOT, &name("back"), how).await.unwrap();
    assert_eq!(volume.attr(file).await.parent, Ino::ROOT);
    volume.audit().await;
    volume.unlink(Ino::ROOT, "back").await.unwrap();
    let (entry, _) = volume.trashed("-back").await.unwrap();
    volume.meta.unlink(&root(), hour, &entry).await.unwrap();
    refused(meta.getattr(file).await, Errno::ENOENT);
    volume.audit().await;
}

#[tokio::test]
async fn the_same_link_goes_to_the_trash_once() {
    let volume = Volume::with_trash().await;
    let file = volume.touch(Ino::ROOT, "a").await;
    volume.meta.link(&root(), file, Ino::ROOT, &name("b")).await.unwrap();
    volume.unlink(Ino::ROOT, "b").await.unwrap();
    assert_eq!(volume.attr(file).await.nlink, 2, "the trash holds a link");
    volume.audit().await;
    volume.meta.link(&root(), file, Ino::ROOT, &name("b")).await.unwrap();
    assert_eq!(volume.attr(file).await.nlink, 3);
    volume.unlink(Ino::ROOT, "b").await.unwrap();
    assert_eq!(volume.attr(file).await.nlink, 2);
    volume.audit().await;
}

#[tokio::test]
async fn a_vanished_trash_directory_is_made_again() {
    let volume = Volume::with_trash().await;
    let file = volume.touch(Ino::ROOT, "a").await;
    volume.unlink(Ino::ROOT, "a").await.unwrap();
    let hour = volume.attr(file).await.parent;
    let (entry, _) = volume.trashed("-a").await.unwrap();
    volume.meta.unlink(&root(), hour, &entry).await.unwrap();
    let hours = volume.meta.readdir(&root(), Ino::TRASH, false).await.unwrap();
    volume.meta.rmdir(&root(), Ino::TRASH, &hours[0].name).await.unwrap();
    volume.audit().await;
    volume.touch(Ino::ROOT, "b").await;
    volume.unlink(Ino::ROOT, "b").await.unwrap();
    let (_, ino) = volume.trashed("-b").await.unwrap();
    assert_ne!(volume.attr(ino).await.parent, hour);
    volume.audit().await;
}

#[tokio::test]
async fn an_entry_without_a_node_can_be_removed() {
    let volume = Volume::with_trash().await;
    let file = volume.touch(Ino::ROOT, "a").await;
    let mut attempt = volume.engine.begin(0).await.unwrap();
    attempt.read(&[Get::Node { ino: file, hold: Hold::Update }]).await.unwrap();
    attempt.commit(&[crate::port::Change::DeleteNode { ino: file }]).await.unwrap();
    refused(volume.look(Ino::ROOT, "a").await, Errno::ENOENT);
    let entries = volume.meta.readdir(&root(), Ino::ROOT, true).await.unwrap();
    assert!(entries.len() == 1 && entries[0].attr.is_none());
    volume.unlink(Ino::ROOT, "a").await.unwrap();
    assert!(volume.meta.readdir(&root(), Ino::ROOT, true).await.unwrap().is_empty());
}
