//! Directories and internal files.

use crate::world::*;
use juicefs_base::Errno;
use juicefs_meta::{Ino, Kind, RenameFlags, SetAttr};
use juicefs_vfs::{Line, VfsConfig};
use std::collections::BTreeSet;

async fn list(client: &Client, ino: Ino, fh: u64, mut cookie: u64, most: usize) -> Vec<Line> {
    let mut all = Vec::new();
    loop {
        let lines = client.vfs.readdir(&caller(), ino, fh, cookie, true, most).await.unwrap();
        let Some(last) = lines.last() else { return all };
        cookie = last.next;
        all.extend(lines);
    }
}

fn names(lines: &[Line]) -> BTreeSet<String> {
    lines.iter().map(|line| String::from_utf8_lossy(&line.name).into_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listing_has_every_name_once_with_fresh_attributes() {
    let world = World::with_format(|format| format.trash_days = 1).await;
    let a = world.client().await;
    let mut expected: BTreeSet<String> =
        [".", "..", ".accesslog", ".stats", ".config", ".trash"].map(str::to_owned).into();
    for file in 0..300 {
        a.put(&format!("f{file}"), b"").await;
        expected.insert(format!("f{file}"));
    }
    let held = a.open("f7", RW).await;
    a.write(held, 0, b"dirty").await;
    let dir = a.vfs.opendir(&caller(), Ino::ROOT).await.unwrap();
    for most in [1, 7, 100, 1000] {
        let lines = list(&a, Ino::ROOT, dir.fh, 0, most).await;
        assert_eq!(lines.len(), expected.len());
        assert_eq!(names(&lines), expected);
        let dirty = lines.iter().find(|line| &line.name[..] == b"f7").unwrap();
        assert_eq!(dirty.found.unwrap().attr.length, 5);
        assert!(lines.iter().skip(2).all(|line| line.found.is_some() || &line.name[..] == b".trash"));
    }
    a.close(held).await;
    a.vfs.releasedir(Ino::ROOT, dir.fh).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_process_goes_on_where_a_cookie_stands() {
    let world = World::new().await;
    let (a, b) = (world.client().await, world.client().await);
    for file in 0..200 {
        a.put(&format!("f{file}"), b"").await;
    }
    let first = a.vfs.opendir(&caller(), Ino::ROOT).await.unwrap();
    let half = a.vfs.readdir(&caller(), Ino::ROOT, first.fh, 0, false, 100).await.unwrap();
    let other = b.vfs.opendir(&caller(), Ino::ROOT).await.unwrap();
    let rest = list(&b, Ino::ROOT, other.fh, half.last().unwrap().next, 50).await;
    assert!(names(&half).is_disjoint(&names(&rest)));
    assert_eq!(half.len() + rest.len(), 200 + 6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deleting_while_listing_ends_with_an_empty_directory() {
    let world = World::new().await;
    let a = world.client().await;
    let dir = a.vfs.mkdir(&caller(), Ino::ROOT, &name("d"), 0o755, 0).await.unwrap().ino;
    for file in 0..500 {
        let made = a.vfs.create(&caller(), dir, &name(&format!("f{file}")), 0o644, 0, RW).await.unwrap();
        a.close((made.found.ino, made.opened.fh)).await;
    }
    let opened = a.vfs.opendir(&caller(), dir).await.unwrap();
    let mut cookie = 0;
    let mut seen = 0;
    loop {
        let lines = a.vfs.readdir(&caller(), dir, opened.fh, cookie, true, 50).await.unwrap();
        let Some(last) = lines.last() else { break };
        cookie = last.next;
        for line in lines.iter().filter(|line| line.kind == Kind::File) {
            seen += 1;
            a.vfs.unlink(&caller(), dir, &name(std::str::from_utf8(&line.name).unwrap())).await.unwrap();
        }
        // One that was not shown yet goes too, and must not be shown later.
        let victim = (0..500).find(|file| file % 97 == seen % 97).unwrap_or_default();
        seen += i32::from(a.vfs.unlink(&caller(), dir, &name(&format!("f{victim}"))).await.is_ok());
    }
    assert_eq!(seen, 500);
    let again = list(&a, dir, opened.fh, 0, 100).await;
    assert_eq!(names(&again), BTreeSet::from([".".to_owned(), "..".to_owned()]));
    a.vfs.rmdir(&caller(), Ino::ROOT, &name("d")).await.unwrap();
    assert_eq!(list(&a, dir, opened.fh, 0, 100).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn internal_files_are_there_and_protected() {
    let world = World::with_format(|format| {
        format.secret_key = juicefs_base::SecretString::from("canary");
        format.access_key = "key".to_owned();
    })
    .await;
    let a = world.client().await;
    a.put("f", b"data").await;
    let stats = a.open(".stats", RO).await;
    assert_eq!(stats.0, Ino(0x7FFF_FFFF_0000_0003));
    let text = String::from_utf8(a.read(stats, 0, 100_000).await).unwrap();
    for line in
        ["juicefs_fuse_ops_total_create 1", "juicefs_uptime ", "juicefs_memory ", "juicefs_waiting_meta 0"]
    {
        assert!(text.contains(line), "{line} in {text}");
    }
    a.vfs.release(stats.0, stats.1).await.unwrap();
    let config = a.open(".config", RO).await;
    let attr = a.attr(config.0).await;
    assert_eq!((attr.mode, attr.length > 0), (0o400, true));
    let text = String::from_utf8(a.read(config, 0, 100_000).await).unwrap();
    assert!(!text.contains("canary"));
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["Format"]["Name"], "test");
    assert_eq!(json["Format"]["SecretKey"], "removed");
    assert_eq!(json["Meta"]["Sid"], a.meta.session_id());
    assert_eq!(json["Pid"], std::process::id());
    let denied = |result: juicefs_vfs::Result<()>| result.unwrap_err().errno();
    assert_eq!(denied(a.vfs.unlink(&caller(), Ino::ROOT, &name(".stats")).await), Errno::EPERM);
    assert_eq!(denied(a.vfs.open(&caller(), stats.0, RW).await.map(drop)), Errno::EACCES);
    let dir = a.vfs.mkdir(&caller(), Ino::ROOT, &name("d"), 0o755, 0).await.unwrap().ino;
    assert_eq!(denied(a.vfs.lookup(&caller(), dir, &name(".stats")).await.map(drop)), Errno::ENOENT);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn internal_names_are_nobodys_to_make_or_change() {
    let world = World::with_format(|format| format.trash_days = 1).await;
    let a = world.client().await;
    a.put("f", b"data").await;
    let dir = a.vfs.mkdir(&caller(), Ino::ROOT, &name("d"), 0o755, 0).await.unwrap().ino;
    let errno = |result: juicefs_vfs::Result<()>| result.unwrap_err().errno();
    // `.control` is a name of every directory.
    for (parent, internal) in [
        (Ino::ROOT, ".accesslog"),
        (Ino::ROOT, ".control"),
        (dir, ".control"),
        (Ino::ROOT, ".stats"),
        (Ino::ROOT, ".config"),
        (Ino::ROOT, ".trash"),
    ] {
        let (vfs, caller, file) = (&a.vfs, &caller(), a.ino("f").await);
        let (name, plain) = (&name(internal), &name("f"));
        let made = vfs.mkdir(caller, parent, name, 0o755, 0).await.map(drop);
        assert_eq!(errno(made), Errno::EPERM, "{internal}");
        let made = vfs.create(caller, parent, name, 0o644, 0, RW).await.map(drop);
        assert_eq!(errno(made), Errno::EPERM, "{internal}");
        let made = vfs.symlink(caller, parent, name, "to".into()).await.map(drop);
        assert_eq!(errno(made), Errno::EPERM, "{internal}");
        let made = vfs.link(caller, file, parent, name).await.map(drop);
        assert_eq!(errno(made), Errno::EPERM, "{internal}");
        for flags in [RenameFlags::default(), RenameFlags::EXCHANGE] {
            let to = vfs.rename(caller, Ino::ROOT, plain, parent, name, flags).await;
            assert_eq!(errno(to), Errno::EPERM, "{internal}");
            let from = vfs.rename(caller, parent, name, Ino::ROOT, plain, flags).await;
            assert_eq!(errno(from), Errno::EPERM, "{internal}");
        }
        assert_eq!(errno(vfs.unlink(caller, parent, name).await), Errno::EPERM, "{internal}");
        assert_eq!(errno(vfs.rmdir(caller, parent, name).await), Errno::EPERM, "{internal}");
    }
    for below in [".accesslog", ".stats", ".trash"] {
        a.vfs.mkdir(&caller(), dir, &name(below), 0o755, 0).await.unwrap();
    }
    for internal in [".accesslog", ".stats", ".config", ".trash"] {
        let ino = a.ino(internal).await;
        let before = a.attr(ino).await;
        let set = SetAttr { mode: Some(0o777), uid: Some(9), ..SetAttr::default() };
        let answered = a.vfs.setattr(&caller(), ino, &set, None, None).await.unwrap().attr;
        assert_eq!((answered.mode, answered.uid), (before.mode, before.uid), "{internal}");
        let attr = a.attr(ino).await;
        assert_eq!((attr.mode, attr.uid), (before.mode, before.uid), "{internal}");
    }
}

async fn a_hidden_name_is_not_there_and_cannot_be_made(world: &World) {
    let open = world.client_with(16 << 20, VfsConfig::default()).await;
    let records = open.vfs.mkdir(&caller(), Ino::ROOT, &name(".records"), 0o755, 0).await.unwrap().ino;
    let hidden_name = Some(".records".to_owned());
    let hiding = world.client_with(16 << 20, VfsConfig { hidden_name, ..VfsConfig::default() }).await;
    let dir = hiding.vfs.opendir(&caller(), Ino::ROOT).await.unwrap();
    assert!(!names(&list(&hiding, Ino::ROOT, dir.fh, 0, 10).await).contains(".records"));
    let hidden = name(".records");
    let errno = |result: juicefs_vfs::Result<()>| result.unwrap_err().errno();
    assert_eq!(errno(hiding.vfs.lookup(&caller(), Ino::ROOT, &hidden).await.map(drop)), Errno::ENOENT);
    assert_eq!(errno(hiding.vfs.rmdir(&caller(), Ino::ROOT, &hidden).await), Errno::EPERM);
    let made = hiding.vfs.mkdir(&caller(), Ino::ROOT, &hidden, 0o755, 0).await;
    assert_eq!(errno(made.map(drop)), Errno::EPERM);
    let below = hiding.vfs.mkdir(&caller(), Ino::ROOT, &name("d"), 0o755, 0).await.unwrap().ino;
    hiding.vfs.mkdir(&caller(), below, &hidden, 0o755, 0).await.unwrap();
    assert_eq!(open.ino(".records").await, records);
    open.vfs.rmdir(&caller(), Ino::ROOT, &hidden).await.unwrap();
    open.vfs.rmdir(&caller(), below, &hidden).await.unwrap();
    open.vfs.rmdir(&caller(), Ino::ROOT, &name("d")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn internal_names_can_be_hidden_or_prefixed() {
    let world = World::with_format(|format| format.trash_days = 1).await;
    let hidden = world.client_with(16 << 20, VfsConfig { hide_internal: true, ..VfsConfig::default() }).await;
    let dir = hidden.vfs.opendir(&caller(), Ino::ROOT).await.unwrap();
    assert_eq!(list(&hidden, Ino::ROOT, dir.fh, 0, 10).await.len(), 2);
    hidden.ino(".stats").await;
    hidden.ino(".trash").await;
    a_hidden_name_is_not_there_and_cannot_be_made(&world).await;
    let prefixed =
        world.client_with(16 << 20, VfsConfig { prefix_internal: true, ..VfsConfig::default() }).await;
    assert_eq!(prefixed.ino(".jfs.trash").await, Ino::TRASH);
    // The trash has one name; that of other mounts is nobody's here.
    let (trash, lookup) =
        (name(".trash"), async |name| prefixed.vfs.lookup(&caller(), Ino::ROOT, name).await);
    assert_eq!(lookup(&trash).await.unwrap_err().errno(), Errno::ENOENT);
    let made = prefixed.vfs.mkdir(&caller(), Ino::ROOT, &trash, 0o755, 0).await;
    assert_eq!(made.unwrap_err().errno(), Errno::EPERM);
    prefixed.put(".stats", b"a file like any other").await;
    let dir = prefixed.vfs.opendir(&caller(), Ino::ROOT).await.unwrap();
    let shown = names(&list(&prefixed, Ino::ROOT, dir.fh, 0, 10).await);
    assert_eq!(
        shown,
        [".", "..", ".jfs.accesslog", ".jfs.stats", ".jfs.config", ".jfs.trash", ".stats"]
            .map(str::to_owned)
            .into()
    );
}
