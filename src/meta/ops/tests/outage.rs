//! Redis dies under load and comes back: no call fails, and none happens twice. The decisive cases are those
//! that say something else the second time: a create that meets its own file, an unlink whose file is gone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::{Volume, mount, name, root};
use crate::engines::redis::server::Server;
use crate::meta::Meta;
use crate::request::{NewNode, RenameFlags};
use crate::types::{Ino, Slice, Time};

const TASKS: u64 = 16;
const WRITES: u32 = 3;

/// One task's files in a directory that all share. Every answer has to be the first time's.
async fn work(meta: Arc<Meta>, parent: Ino, task: u64, calls: Arc<AtomicU64>, stop: Arc<AtomicBool>) -> u64 {
    let caller = root();
    let mut kept = 0;
    let mut round = 0_u64;
    while !stop.load(Ordering::SeqCst) {
        let [first, second, third] = ["a", "b", "c"].map(|kind| name(&format!("{kind}-{task}-{round}")));
        let told = |what: &str| format!("task {task} round {round}: {what}");
        let (ino, _) = meta
            .mknod(&caller, parent, &first, &NewNode::file(0o644, 0))
            .await
            .unwrap_or_else(|error| panic!("{}: {error}", told("create")));
        for nth in 0..WRITES {
            let id = meta.new_slice_id().await.expect("a slice id");
            let slice = Slice { pos: nth * 1000, id, size: 1000, off: 0, len: 1000 };
            let done = meta.write_slice(ino, 0, slice, Time::now()).await;
            assert_eq!(done.unwrap_or_else(|error| panic!("{}: {error}", told("write"))).slices, nth + 1);
        }
        meta.rename(&caller, parent, &first, parent, &second, RenameFlags::NOREPLACE)
            .await
            .unwrap_or_else(|error| panic!("{}: {error}", told("rename")));
        let linked = meta.link(&caller, ino, parent, &third).await;
        assert_eq!(linked.unwrap_or_else(|error| panic!("{}: {error}", told("link"))).nlink, 2);
        for gone in if round.is_multiple_of(3) { vec![&second] } else { vec![&second, &third] } {
            meta.unlink(&caller, parent, gone)
                .await
                .unwrap_or_else(|error| panic!("{}: {error}", told("unlink")));
        }
        if round.is_multiple_of(3) {
            assert_eq!(meta.getattr(ino).await.expect("kept").length, u64::from(WRITES) * 1000);
            kept += 1;
        }
        calls.fetch_add(9, Ordering::SeqCst);
        round += 1;
    }
    kept
}

/// `OUTAGE_SECONDS=20` makes the one long outage that the promise is about.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_fails_while_redis_is_gone() {
    let long = std::env::var("OUTAGE_SECONDS").ok().and_then(|text| text.parse().ok());
    let outages = long.map_or(vec![0.0, 0.7, 1.5, 0.0], |seconds| vec![seconds]);
    let mut server = Server::start_with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let volume = Volume::on(Arc::new(server.engine().await), |format| format.trash_days = 0).await;
    let other = mount(Arc::new(server.engine().await), 2).await;
    let parent = volume.mkdir(Ino::ROOT, "shared").await;
    let (calls, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            let meta = if task % 2 == 0 { Arc::clone(&volume.meta) } else { Arc::clone(&other) };
            tokio::spawn(work(meta, parent, task, calls.clone(), stop.clone()))
        })
        .collect();
    for outage in outages {
        let before = calls.load(Ordering::SeqCst);
        while calls.load(Ordering::SeqCst) < before + 200 {
            tokio::time::sleep(Duration::from_millis(5)).await;
            assert!(!tasks.iter().any(tokio::task::JoinHandle::is_finished), "a task gave up");
        }
        server.kill();
        tokio::time::sleep(Duration::from_secs_f64(outage)).await;
        tokio::task::block_in_place(|| server.restart());
    }
    let before = calls.load(Ordering::SeqCst);
    while calls.load(Ordering::SeqCst) < before + 200 && !tasks.iter().any(|task| task.is_finished()) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    stop.store(true, Ordering::SeqCst);
    let mut kept = 0;
    for task in tasks {
        kept += task.await.expect("no call failed");
    }
    let listed = volume.meta.readdir(&root(), parent, true).await.unwrap();
    assert_eq!(listed.len() as u64, kept);
    // Usage is exact: each kept file has one 4 KiB block, beside the directory.
    let usage = volume.engine.usage().await.unwrap();
    assert_eq!((usage.inodes, usage.space), (1 + kept as i64, 4096 * (1 + kept as i64)));
}
