//! Names move.

use juicefs_base::Errno;

use super::{Volume, name, refused, root, user};
use crate::error::Result;
use crate::port::{Get, Got};
use crate::request::{RenameFlags, SetAttr};
use crate::types::{Attr, Ino, Kind};

const PLAIN: RenameFlags = RenameFlags(0);

async fn rename(
    volume: &Volume,
    from: (Ino, &str),
    to: (Ino, &str),
    how: RenameFlags,
) -> Result<(Ino, Attr)> {
    volume.meta.rename(&root(), from.0, &name(from.1), to.0, &name(to.1), how).await
}

#[tokio::test]
async fn a_directory_takes_its_link_along() {
    let volume = Volume::new().await;
    let a = volume.mkdir(Ino::ROOT, "a").await;
    let b = volume.mkdir(Ino::ROOT, "b").await;
    let sub = volume.mkdir(a, "sub").await;
    let (ino, attr) = rename(&volume, (a, "sub"), (b, "moved"), PLAIN).await.unwrap();
    assert_eq!((ino, attr.parent), (sub, b));
    assert_eq!((volume.attr(a).await.nlink, volume.attr(b).await.nlink), (2, 3));
    refused(volume.look(a, "sub").await, Errno::ENOENT);
    assert_eq!(volume.look(b, "moved").await.unwrap(), (sub, attr));
    volume.audit().await;
}

#[tokio::test]
async fn what_is_replaced_goes_away() {
    for volume in [Volume::new().await, Volume::with_trash().await] {
        let d = volume.mkdir(Ino::ROOT, "d").await;
        let old = volume.touch(d, "x").await;
        let new = volume.touch(Ino::ROOT, "x").await;
        rename(&volume, (Ino::ROOT, "x"), (d, "x"), PLAIN).await.unwrap();
        assert_eq!(volume.look(d, "x").await.unwrap().0, new);
        let kept = volume.meta.getattr(old).await;
        if volume.meta.format().has_trash() {
            assert!(kept.unwrap().parent > Ino::TRASH);
        } else {
            refused(kept, Errno::ENOENT);
        }
        let empty = volume.mkdir(d, "empty").await;
        let full = volume.mkdir(Ino::ROOT, "full").await;
        volume.touch(full, "f").await;
        rename(&volume, (Ino::ROOT, "full"), (d, "empty"), PLAIN).await.unwrap();
        assert_eq!(volume.look(d, "empty").await.unwrap().0, full);
        let kept = volume.meta.getattr(empty).await.is_ok();
        let statistics = volume.engine.read(&[Get::DirStat { ino: empty }]).await.unwrap();
        assert_eq!(statistics == [Got::DirStat(None)], !kept, "they go with the directory");
        volume.audit().await;
    }
}

#[tokio::test]
async fn a_replaced_open_file_stays_until_its_close() {
    let volume = Volume::new().await;
    let old = volume.touch(Ino::ROOT, "x").await;
    volume.touch(Ino::ROOT, "y").await;
    volume.open(old).await;
    rename(&volume, (Ino::ROOT, "y"), (Ino::ROOT, "x"), PLAIN).await.unwrap();
    assert_eq!(volume.attr(old).await.nlink, 0);
    volume.audit().await;
    volume.meta.close_file(old).await.unwrap();
    refused(volume.meta.getattr(old).await, Errno::ENOENT);
    volume.audit().await;
}

#[tokio::test]
async fn two_names_of_one_file_stay() {
    let volume = Volume::new().await;
    let file = volume.touch(Ino::ROOT, "a").await;
    volume.meta.link(&root(), file, Ino::ROOT, &name("b")).await.unwrap();
    rename(&volume, (Ino::ROOT, "a"), (Ino::ROOT, "b"), PLAIN).await.unwrap();
    assert!(volume.look(Ino::ROOT, "a").await.is_ok() && volume.look(Ino::ROOT, "b").await.is_ok());
    let d = volume.mkdir(Ino::ROOT, "d").await;
    rename(&volume, (Ino::ROOT, "a"), (d, "a"), PLAIN).await.unwrap();
    volume.audit().await;
}

#[tokio::test]
async fn kinds_and_flags_are_respected() {
    let volume = Volume::new().await;
    let d = volume.mkdir(Ino::ROOT, "d").await;
    volume.touch(d, "in").await;
    volume.mkdir(Ino::ROOT, "e").await;
    volume.touch(Ino::ROOT, "f").await;
    let top = Ino::ROOT;
    refused(rename(&volume, (top, "none"), (top, "x"), PLAIN).await, Errno::ENOENT);
    refused(rename(&volume, (top, "f"), (top, "d"), PLAIN).await, Errno::EISDIR);
    refused(rename(&volume, (top, "d"), (top, "f"), PLAIN).await, Errno::ENOTDIR);
    refused(rename(&volume, (top, "e"), (top, "d"), PLAIN).await, Errno::ENOTEMPTY);
    refused(rename(&volume, (top, "d"), (d, "x"), PLAIN).await, Errno::EPERM);
    refused(rename(&volume, (top, "f"), (top, "d"), RenameFlags::NOREPLACE).await, Errno::EEXIST);
    refused(rename(&volume, (top, "f"), (top, "none"), RenameFlags::EXCHANGE).await, Errno::ENOENT);
    refused(rename(&volume, (top, "f"), (top, "x"), RenameFlags(3)).await, Errno::EINVAL);
    refused(rename(&volume, (top, "f"), (top, "d"), RenameFlags(6)).await, Errno::EINVAL);
    refused(rename(&volume, (top, "f"), (top, ".trash"), PLAIN).await, Errno::EPERM);
    volume.audit().await;
}

#[tokio::test]
async fn a_whiteout_takes_the_old_name() {
    let volume = Volume::new().await;
    let d = volume.mkdir(Ino::ROOT, "d").await;
    let top = Ino::ROOT;
    for name in ["f", "victim"] {
        volume.touch(top, name).await;
    }
    volume.mkdir(top, "sub").await;
    for (from, to) in [((top, "f"), (d, "f")), ((top, "sub"), (d, "sub")), ((d, "f"), (top, "victim"))] {
        rename(&volume, from, to, RenameFlags::WHITEOUT).await.unwrap();
        let (_, left) = volume.look(from.0, from.1).await.unwrap();
        assert_eq!((left.kind, left.rdev, left.mode, left.nlink), (Kind::CharDevice, 0, 0, 1));
        volume.audit().await;
    }
}

#[tokio::test]
async fn nodes_change_places() {
    let volume = Volume::with_trash().await;
    let d = volume.mkdir(Ino::ROOT, "d").await;
    let inner = volume.mkdir(d, "inner").await;
    let file = volume.touch(Ino::ROOT, "f").await;
    volume.meta.link(&root(), file, Ino::ROOT, &name("g")).await.unwrap();
    rename(&volume, (Ino::ROOT, "f"), (d, "inner"), RenameFlags::EXCHANGE).await.unwrap();
    assert_eq!(volume.look(Ino::ROOT, "f").await.unwrap().0, inner);
    assert_eq!(volume.look(d, "inner").await.unwrap().0, file);
    assert_eq!((volume.attr(Ino::ROOT).await.nlink, volume.attr(d).await.nlink), (4, 2));
    assert_eq!(volume.attr(inner).await.parent, Ino::ROOT);
    volume.audit().await;
    refused(rename(&volume, (Ino::ROOT, "f"), (inner, "f"), RenameFlags::EXCHANGE).await, Errno::ENOENT);
    rename(&volume, (Ino::ROOT, "f"), (Ino::ROOT, "g"), RenameFlags::EXCHANGE).await.unwrap();
    assert_eq!(volume.look(Ino::ROOT, "g").await.unwrap().1.kind, Kind::Directory);
    volume.audit().await;
}

#[tokio::test]
async fn sticky_directories_and_foreign_directories_stay_put() {
    let volume = Volume::new().await;
    let sticky = volume.mkdir(Ino::ROOT, "sticky").await;
    let mode = |mode| SetAttr { mode: Some(mode), ..SetAttr::default() };
    volume.meta.setattr(&root(), sticky, &mode(0o1777)).await.unwrap();
    volume.touch(sticky, "f").await;
    let moved = volume.meta.rename(&user(7), sticky, &name("f"), Ino::ROOT, &name("f"), PLAIN).await;
    refused(moved, Errno::EACCES);
    volume.mkdir(Ino::ROOT, "foreign").await;
    let d = volume.mkdir(Ino::ROOT, "open").await;
    volume.meta.setattr(&root(), d, &mode(0o777)).await.unwrap();
    let moved = volume.meta.rename(&user(7), Ino::ROOT, &name("foreign"), d, &name("x"), PLAIN).await;
    refused(moved, Errno::EACCES);
    volume.meta.rename(&user(7), Ino::ROOT, &name("foreign"), Ino::ROOT, &name("x"), PLAIN).await.unwrap();
}

#[tokio::test]
async fn a_directory_never_moves_below_itself() {
    let volume = Volume::new().await;
    let a = volume.mkdir(Ino::ROOT, "a").await;
    let x = volume.mkdir(a, "x").await;
    let b = volume.mkdir(Ino::ROOT, "b").await;
    let y = volume.mkdir(b, "y").await;
    let z = volume.mkdir(y, "z").await;
    // As another client's kernel would let it through: it still sees `a` at the root.
    rename(&volume, (Ino::ROOT, "a"), (y, "a"), PLAIN).await.unwrap();
    refused(rename(&volume, (Ino::ROOT, "b"), (x, "b"), PLAIN).await, Errno::EINVAL);
    volume.mkdir(x, "other").await;
    for (from, to) in [((Ino::ROOT, "b"), (x, "other")), ((x, "other"), (Ino::ROOT, "b"))] {
        refused(rename(&volume, from, to, RenameFlags::EXCHANGE).await, Errno::EINVAL);
    }
    rename(&volume, (y, "z"), (x, "z"), PLAIN).await.unwrap();
    assert_eq!(volume.attr(z).await.parent, x);
    volume.audit().await;
}
