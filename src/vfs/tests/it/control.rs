//! What tools ask through `.control`, and what they may not.

use crate::world::*;
use juicefs_base::Errno;
use juicefs_meta::{Caller, Ino, SetAttr};
use juicefs_vfs::CONTROL;
use juicefs_vfs::control::protocol::{Frame, Message};
use serde_json::Value;

fn user(uid: u32) -> Caller {
    Caller { uid, gid: uid, groups: Vec::new(), pid: 1, checks_permission: false }
}

/// Writes a message in parts and reads its answer to the end.
async fn ask(client: &Client, caller: &Caller, message: &[u8]) -> (Vec<Frame>, Frame) {
    let fh = client.vfs.open(caller, CONTROL, RW).await.unwrap().fh;
    let mut off = 0;
    for part in message.chunks(5) {
        off += u64::from(client.vfs.write(CONTROL, fh, off, part).await.unwrap());
    }
    let (mut bytes, mut frames) = (Vec::new(), Vec::new());
    let last = loop {
        let part = client.vfs.read(CONTROL, fh, off, 7).await.unwrap();
        off += part.len() as u64;
        bytes.extend_from_slice(&part);
        match Frame::decode(&bytes) {
            Some((frame @ Frame::Progress(..), length)) => {
                frames.push(frame);
                bytes.drain(..length);
            }
            Some((frame, _)) => break frame,
            None => {}
        }
    };
    client.vfs.release(CONTROL, fh).await.unwrap();
    (frames, last)
}

async fn document(client: &Client, caller: &Caller, message: Message) -> Value {
    match ask(client, caller, &message.encode()).await.1 {
        Frame::Json(text) => serde_json::from_slice(&text).unwrap(),
        other => panic!("{other:?}"),
    }
}

async fn errno(client: &Client, caller: &Caller, message: Message) -> u8 {
    match ask(client, caller, &message.encode()).await.1 {
        Frame::Done(errno) => errno,
        other => panic!("{other:?}"),
    }
}

fn remove(parent: Ino, name: &str) -> Message {
    Message::Remove { parent: parent.0, name: name.into(), skip_trash: false, threads: 7 }
}

fn info(ino: Ino) -> Message {
    Message::Info { ino: ino.0, recursive: true, raw: false, strict: false }
}

async fn tree(client: &Client) -> (Ino, Ino) {
    let top = client.vfs.mkdir(&caller(), Ino::ROOT, &name("top"), 0o755, 0).await.unwrap().ino;
    let mut at = top;
    for level in 0..5 {
        for file in 0..8 {
            let file = name(&format!("file{file}"));
            let made = client.vfs.create(&caller(), at, &file, 0o644, 0, RW).await.unwrap();
            client.write((made.found.ino, made.opened.fh), 0, &[level; 5000]).await;
            client.close((made.found.ino, made.opened.fh)).await;
        }
        at = client.vfs.mkdir(&caller(), at, &name("below"), 0o755, 0).await.unwrap().ino;
    }
    (top, at)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tree_is_counted_shown_and_removed() {
    let world = World::new().await;
    let a = world.client().await;
    let (top, deepest) = tree(&a).await;
    let shown = document(&a, &caller(), info(top)).await;
    assert_eq!((&shown["Failed"], &shown["Paths"][0]), (&false.into(), &"/top".into()));
    let sum = &shown["Summary"];
    assert_eq!((sum["Files"].as_u64(), sum["Dirs"].as_u64()), (Some(40), Some(6)));
    assert_eq!(sum["Length"].as_u64(), Some(40 * 5000));
    assert_eq!(sum["Size"].as_u64(), Some(40 * 8192 + 6 * 4096));
    let below = document(&a, &caller(), info(deepest)).await;
    assert_eq!(below["Paths"][0], "/top/below/below/below/below/below");
    let summary = Message::Summary { ino: top.0, depth: 1, top: 2, strict: false };
    let shown = document(&a, &caller(), summary).await;
    let children: Vec<_> = shown["Tree"]["Children"].as_array().unwrap().iter().map(|c| &c["Path"]).collect();
    assert_eq!(children, ["below", "file0", "..."]);
    assert_eq!(shown["Tree"]["Size"].as_u64(), Some(40 * 8192 + 6 * 4096));

    let (frames, last) = ask(&a, &caller(), &remove(Ino::ROOT, "top").encode()).await;
    assert_eq!((frames.last(), last), (Some(&Frame::Progress(46, 0)), Frame::Done(0)));
    assert_eq!(errno(&a, &caller(), remove(Ino::ROOT, "top")).await, Errno::ENOENT as u8);
    let left = a.meta.readdir(&caller(), Ino::ROOT, false).await.unwrap();
    assert!(left.is_empty(), "{left:?}");
    a.meta.wait_for_deleted_files().await;
    a.vfs.wait_for_deletions().await;
    assert_eq!(world.store.keys(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_root_removes_without_the_trash() {
    let world = World::with_format(|format| format.trash_days = 1).await;
    let a = world.client().await;
    let open = SetAttr { mode: Some(0o777), ..SetAttr::default() };
    let (top, _) = tree(&a).await;
    let skip =
        |name: &str| Message::Remove { parent: top.0, name: name.into(), skip_trash: true, threads: 7 };
    a.vfs.setattr(&caller(), top, &open, None, None).await.unwrap();
    assert_eq!(errno(&a, &user(5), skip("file1")).await, Errno::EPERM as u8);
    assert_eq!(errno(&a, &caller(), skip("below")).await, 0);
    assert_eq!(a.meta.readdir(&caller(), Ino::TRASH, false).await.unwrap().len(), 0);
    assert_eq!(errno(&a, &user(5), remove(top, "file1")).await, 0);
    assert_eq!(a.meta.readdir(&caller(), Ino::TRASH, false).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_not_by_a_path_may_not_by_a_number() {
    let world = World::new().await;
    let a = world.client().await;
    let (top, deepest) = tree(&a).await;
    let file = a.meta.lookup(&caller(), top, &name("file0")).await.unwrap().0;
    let denied = Errno::EACCES as u8;
    // What is open to all is shown, and nothing of it changed.
    assert_eq!(document(&a, &user(5), info(top)).await["Failed"], false);
    assert_eq!(errno(&a, &user(5), remove(top, "file0")).await, denied);
    assert_eq!(errno(&a, &user(5), remove(Ino::ROOT, "top")).await, denied);
    let compact = |ino: Ino| Message::Compact { ino: ino.0, threads: 1 };
    assert_eq!(errno(&a, &user(5), compact(file)).await, denied);
    assert_eq!(errno(&a, &caller(), compact(top)).await, 0);
    // Behind a directory that is shut nothing is told.
    let shut = SetAttr { mode: Some(0o700), ..SetAttr::default() };
    a.vfs.setattr(&caller(), top, &shut, None, None).await.unwrap();
    for ino in [file, deepest] {
        let shown = document(&a, &user(5), info(ino)).await;
        assert_eq!(shown["Reason"], "permission denied", "{shown}");
        let summary = Message::Summary { ino: ino.0, depth: 1, top: 1, strict: false };
        assert_eq!(document(&a, &user(5), summary).await["Errno"], denied);
        assert_eq!(errno(&a, &user(5), remove(ino, "x")).await, denied);
    }
    let shown = document(&a, &caller(), info(Ino(999_999))).await;
    assert_eq!((&shown["Reason"], &shown["Paths"]), (&"no such file or directory".into(), &Value::Null));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_outside_the_mounted_directory_is_not_there() {
    let world = World::new().await;
    let a = world.client().await;
    let (top, deepest) = tree(&a).await;
    let below = a.meta.lookup(&caller(), top, &name("below")).await.unwrap().0;
    let sub = world.client_of("top/below").await;
    let missing = Errno::ENOENT as u8;
    for outside in [top, Ino::TRASH] {
        assert_eq!(document(&sub, &caller(), info(outside)).await["Failed"], true, "{outside}");
        assert_eq!(errno(&sub, &caller(), remove(outside, "file0")).await, missing);
        let compact = Message::Compact { ino: outside.0, threads: 1 };
        assert_eq!(errno(&sub, &caller(), compact).await, missing);
    }
    let shown = document(&sub, &caller(), info(deepest)).await;
    assert_eq!(shown["Paths"][0], "/below/below/below/below");
    let shown = document(&sub, &caller(), info(Ino::ROOT)).await;
    assert_eq!((&shown["Failed"], &shown["Summary"]["Files"]), (&false.into(), &32.into()));
    assert_eq!(document(&sub, &caller(), info(below)).await["Paths"][0], "/");
    assert_eq!(errno(&sub, &caller(), remove(Ino::ROOT, "below")).await, 0);
    assert_eq!(a.meta.readdir(&caller(), top, false).await.unwrap().len(), 9);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_message_is_refused_and_another_may_follow() {
    let world = World::new().await;
    let a = world.client().await;
    let invalid = Frame::Done(Errno::EINVAL as u8);
    for message in [&[0, 0, 0, 1, 0, 0, 0, 0][..], &[0, 0, 3, 0xEA, 0, 0, 0, 1, 7]] {
        assert_eq!(ask(&a, &caller(), message).await.1, invalid);
    }
    let fh = a.vfs.open(&caller(), CONTROL, RW).await.unwrap().fh;
    let huge = [0, 0, 3, 0xEA, 0xFF, 0xFF, 0xFF, 0xFF];
    assert_eq!(a.vfs.write(CONTROL, fh, 0, &huge).await.unwrap_err().errno(), Errno::EINVAL);
    a.vfs.release(CONTROL, fh).await.unwrap();
    // It is in every directory and in no listing.
    let dir = a.vfs.mkdir(&caller(), Ino::ROOT, &name("d"), 0o755, 0).await.unwrap().ino;
    let found = a.vfs.lookup(&caller(), dir, &name(".control")).await.unwrap();
    assert_eq!((found.ino, found.attr.mode, found.attr.length), (CONTROL, 0o666, 0));
    assert_eq!(a.vfs.unlink(&caller(), dir, &name(".control")).await.unwrap_err().errno(), Errno::EPERM);
}
