//! Operations and the lines they leave.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::race::{DIRECTORIES, step};
use super::{Volume, mount, name, root};
use crate::change_log::Line;
use crate::port::Engine;
use crate::request::NewNode;
use crate::types::Ino;
use rand::SeedableRng;
use rand::rngs::StdRng;

async fn logging() -> Volume {
    Volume::with(|format| {
        format.change_log = true;
        format.trash_days = 0;
    })
    .await
}

async fn lines(engine: &dyn Engine) -> Vec<Line> {
    let page = engine.read_log(0, usize::MAX).await.unwrap();
    assert_eq!(page.lines.len() as u64, page.last + 1 - page.first);
    page.lines.iter().map(|(_, line)| Line::parse(line).unwrap()).collect()
}

/// Every number of every client, once.
fn assert_no_gap(lines: &[Line], of: impl Fn(&Line) -> u64) {
    let mut numbers: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    for line in lines {
        numbers.entry(of(line)).or_default().push(line.number);
    }
    for (client, mut numbers) in numbers {
        numbers.sort_unstable();
        assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>(), "client {client}");
    }
}

#[tokio::test]
async fn a_volume_without_a_log_gets_no_line() {
    let volume = Volume::new().await;
    volume.touch(Ino::ROOT, "a").await;
    assert!(lines(&*volume.engine).await.is_empty());
}

#[tokio::test]
async fn what_changes_nothing_leaves_no_line() {
    let volume = logging().await;
    let ino = volume.touch(Ino::ROOT, "a").await;
    let before = lines(&*volume.engine).await.len();
    volume.meta.link(&root(), ino, Ino::ROOT, &name("a")).await.unwrap_err();
    volume.unlink(Ino::ROOT, "b").await.unwrap_err();
    volume.rmdir(Ino::ROOT, "a").await.unwrap_err();
    volume.meta.truncate(&root(), ino, 0, false).await.unwrap();
    assert_eq!(lines(&*volume.engine).await.len(), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn numbers_have_no_gap_where_clients_conflict() {
    let volume = logging().await;
    let mut directories = Vec::new();
    for directory in DIRECTORIES {
        directories.push(volume.mkdir(Ino::ROOT, directory).await);
    }
    let other = mount(volume.counting.clone(), 2).await;
    let mut tasks = Vec::new();
    for seed in 0..6 {
        let meta = if seed % 2 == 0 { volume.meta.clone() } else { Arc::clone(&other) };
        let directories = directories.clone();
        tasks.push(tokio::spawn(async move {
            let mut random = StdRng::seed_from_u64(seed);
            for _ in 0..200 {
                let _ = step(&meta, &directories, &mut random).await;
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    // What is removed in the background ends first; then whatever number was given back is used.
    for meta in [&volume.meta, &other] {
        let all = u32::try_from(crate::meta::DELETIONS_MAX).unwrap();
        drop(meta.deletions.acquire_many(all).await.unwrap());
        while meta.line_numbers.has_returned() {
            let name = name(&format!("last-{}-{:?}", meta.session_id(), std::time::Instant::now()));
            meta.mknod(&root(), Ino::ROOT, &name, &NewNode::file(0o644, 0)).await.unwrap();
        }
    }
    let lines = lines(&*volume.engine).await;
    assert!(lines.len() > 500, "{}", lines.len());
    assert_no_gap(&lines, |line| line.sid);
}

#[tokio::test]
async fn old_lines_go_by_number_and_by_age() {
    let volume = logging().await;
    for number in 0..20 {
        volume.touch(Ino::ROOT, &format!("f{number}")).await;
    }
    let last = volume.engine.read_log(0, 1).await.unwrap().last;
    let set = |age, lines| {
        let mut format = (*volume.meta.format()).clone();
        (format.change_log_max_age, format.change_log_max_lines) = (age, lines);
        volume.meta.set_format(format);
    };
    set(7200, 0);
    assert_eq!(volume.meta.trim_change_log().await.unwrap(), 0, "all are young");
    set(7200, 5);
    assert_eq!(volume.meta.trim_change_log().await.unwrap(), last - 5);
    let page = volume.engine.read_log(0, 100).await.unwrap();
    assert_eq!((page.first, page.last, page.lines.len()), (last - 4, last, 5));
    set(0, 0);
    assert_eq!(volume.meta.trim_change_log().await.unwrap(), 0, "no limit at all");
    // A line from long ago.
    let old = crate::port::LogLine {
        head: "1000.000000000|ACCESS(1)".to_owned(),
        appended: None,
        tail: "|(9,1)".to_owned(),
    };
    volume.engine.trim_log(last).await.unwrap();
    let attempt = volume.engine.begin(0).await.unwrap();
    attempt.commit(&[crate::port::Change::Log(old.clone()), crate::port::Change::Log(old)]).await.unwrap();
    volume.touch(Ino::ROOT, "young").await;
    set(7200, 0);
    assert_eq!(volume.meta.trim_change_log().await.unwrap(), 2);
    assert_eq!(volume.engine.read_log(0, 100).await.unwrap().first, last + 3);
}
