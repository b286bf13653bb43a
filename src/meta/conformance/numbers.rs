//! Numbers the volume hands out, and jobs that one client does at a time.

use std::collections::HashSet;
use std::sync::Arc;

use super::Home;
use crate::port::{Job, Sequence};

pub(super) async fn ranges_never_overlap(home: &Home) {
    let engine = home.volume().await;
    for sequence in [Sequence::Inode, Sequence::Slice] {
        let tasks = (0..6).map(|number| {
            let client = Arc::clone(if number % 2 == 0 { engine } else { &home.other });
            tokio::spawn(async move { client.allocate(sequence, 100, None).await.expect("allocates") })
        });
        let mut seen = HashSet::new();
        for task in tasks.collect::<Vec<_>>() {
            let range = task.await.expect("ran");
            assert!(!range.is_empty());
            for number in range {
                assert!(number > 0 && seen.insert(number), "{sequence:?} {number} twice");
            }
        }
    }
}

pub(super) async fn inode_numbers_begin_after_the_root(home: &Home) {
    let engine = home.volume().await;
    let range = engine.allocate(Sequence::Inode, 1024, None).await.expect("allocates");
    assert!(range.start == 2, "the range is free to use, from 2 on: {range:?}");
    let range = engine.allocate(Sequence::Slice, 4096, None).await.expect("allocates");
    assert_eq!(range.start, 1);
}

pub(super) async fn sessions_and_trash_directories_count_from_one(home: &Home) {
    let engine = home.volume().await;
    for sequence in [Sequence::Session, Sequence::TrashDir] {
        for expected in 1..4 {
            assert_eq!(engine.allocate(sequence, 1, None).await.expect("allocates"), expected..expected + 1);
        }
    }
}

pub(super) async fn one_client_wins_a_job(home: &Home) {
    let engine = home.volume().await;
    for job in [Job::CleanSessions, Job::CleanFiles, Job::CleanSlices, Job::CleanTrash] {
        let tasks = (0..6).map(|number| {
            let client = Arc::clone(if number % 2 == 0 { engine } else { &home.other });
            tokio::spawn(async move { client.claim(job, 1_700_000_000, 3240, None).await.expect("answers") })
        });
        let mut winners = 0;
        for task in tasks.collect::<Vec<_>>() {
            winners += u32::from(task.await.expect("ran"));
        }
        assert_eq!(winners, 1, "{job:?}");
    }
}

pub(super) async fn a_job_comes_back_after_its_gap(home: &Home) {
    let engine = home.volume().await;
    let claim = async |now| engine.claim(Job::CleanTrash, now, 100, None).await.expect("answers");
    assert!(claim(1_000_000).await);
    assert!(!claim(1_000_099).await);
    assert!(claim(1_000_100).await);
    assert!(!claim(1_000_150).await);
}
