//! The price of operations in flushes.

use super::{Volume, name, root};
use crate::request::{NewNode, OpenFlags, RenameFlags, SetAttr, XattrMode};
use crate::types::Ino;

/// Runs one call and tells its flushes.
macro_rules! price {
    ($volume:expr, $call:expr) => {{
        $volume.counting.take_flushes();
        $call.await.unwrap();
        $volume.counting.take_flushes()
    }};
}

async fn prices(volume: &Volume) {
    let meta = &volume.meta;
    // Number ranges and the hour's trash directory come first.
    volume.touch(Ino::ROOT, "warm").await;
    volume.unlink(Ino::ROOT, "warm").await.unwrap();
    let unchecked = crate::Caller { checks_permission: false, ..root() };
    let at = Ino::ROOT;
    let (a, b, d, e) = (name("a"), name("b"), name("d"), name("e"));
    assert_eq!(price!(volume, meta.mknod(&root(), at, &a, &NewNode::file(0o644, 0))), 2, "mknod");
    assert_eq!(price!(volume, meta.mknod(&root(), at, &d, &NewNode::directory(0o755, 0))), 2, "mkdir");
    assert_eq!(price!(volume, meta.mknod(&root(), at, &name("s"), &NewNode::symlink("t"))), 2, "symlink");
    assert_eq!(price!(volume, meta.lookup(&unchecked, at, &a)), 1, "lookup");
    assert_eq!(price!(volume, meta.lookup(&root(), at, &a)), 2, "lookup with permission");
    let (ino, _) = volume.look(at, "a").await.unwrap();
    assert_eq!(price!(volume, meta.getattr(ino)), 1, "getattr");
    let chmod = SetAttr { mode: Some(0o600), ..SetAttr::default() };
    assert_eq!(price!(volume, meta.setattr(&root(), ino, &chmod)), 2, "setattr");
    assert_eq!(price!(volume, meta.setattr(&root(), ino, &chmod)), 1, "setattr of the same");
    let (xattr, value) = (bytes::Bytes::from_static(b"user.a"), bytes::Bytes::new());
    assert_eq!(price!(volume, meta.setxattr(&root(), ino, &xattr, &value, XattrMode::Any)), 2, "setxattr");
    assert_eq!(price!(volume, meta.getxattr(&unchecked, ino, &xattr)), 1, "getxattr");
    assert_eq!(price!(volume, meta.listxattr(ino)), 1, "listxattr");
    assert_eq!(price!(volume, meta.removexattr(&root(), ino, &xattr)), 2, "removexattr");
    assert_eq!(price!(volume, meta.open_file(&root(), ino, OpenFlags(libc::O_RDWR))), 1, "open");
    meta.new_slice_id().await.unwrap();
    assert_eq!(price!(volume, volume.write(ino, 0, 100)), 2, "write");
    assert_eq!(price!(volume, meta.read_chunk(ino, 0)), 1, "read");
    assert_eq!(price!(volume, meta.read_chunk(ino, 0)), 0, "read again");
    assert_eq!(price!(volume, meta.truncate(&root(), ino, 7, true)), 3, "truncate");
    assert_eq!(price!(volume, meta.close_file(ino)), 0, "close");
    assert_eq!(price!(volume, meta.link(&root(), ino, at, &b)), 2, "link");
    assert_eq!(price!(volume, meta.rename(&root(), at, &d, at, &e, RenameFlags::default())), 3, "rename");
    assert_eq!(
        price!(volume, meta.rename(&root(), at, &a, at, &name("c"), RenameFlags::default())),
        3,
        "rename"
    );
    let exchange = RenameFlags::EXCHANGE;
    assert_eq!(price!(volume, meta.rename(&root(), at, &e, at, &b, exchange)), 3, "exchange");
    volume.touch(at, "victim").await;
    assert_eq!(
        price!(volume, meta.rename(&root(), at, &name("victim"), at, &e, RenameFlags::default())),
        3,
        "rename over a name"
    );
    assert_eq!(price!(volume, meta.rmdir(&root(), at, &b)), 3, "rmdir");
    assert_eq!(price!(volume, meta.unlink(&root(), at, &e)), 3, "unlink");
    let how = OpenFlags(libc::O_RDWR | libc::O_CREAT);
    assert_eq!(price!(volume, meta.create(&root(), at, &name("new"), 0o644, 0, how)), 2, "create");
    assert_eq!(
        price!(volume, meta.create(&root(), at, &name("new"), 0o644, 0, how)),
        2,
        "create of what is there"
    );
    assert_eq!(price!(volume, meta.readdir(&root(), at, true)), 2, "readdir");
}

#[tokio::test]
async fn operations_cost_what_they_promise() {
    // The data of a deleted file is removed in the background, which would be counted: it stays here.
    let volume = Volume::new().await;
    volume.meta.deletions.forget_permits(1000);
    prices(&volume).await;
}

#[tokio::test]
async fn the_change_log_costs_no_flush() {
    let volume = Volume::with(|format| format.change_log = true).await;
    volume.meta.deletions.forget_permits(1000);
    prices(&volume).await;
}

#[tokio::test]
async fn the_trash_costs_no_flush() {
    let volume = Volume::with_trash().await;
    volume.meta.deletions.forget_permits(1000);
    prices(&volume).await;
}
