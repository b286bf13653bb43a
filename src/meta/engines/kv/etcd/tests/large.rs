//! Commits that are larger than what etcd compares and writes at a time.

use super::*;
use crate::error::Error;
use crate::types::{DirStat, Edge, Name, Usage};

const MANY: u64 = 1_500;

async fn stage() -> (Arc<dyn Engine>, Arc<dyn Engine>) {
    let prefix = server::prefix();
    let engine = open(server::port(), &prefix).await.expect("opens");
    let other = open(server::port(), &prefix).await.expect("opens");
    engine.create_volume(&volume()).await.expect("an empty place");
    (engine, other)
}

fn create(number: u64) -> [Change; 2] {
    let time = Time { sec: 1, nsec: 0 };
    let name = Name::new(format!("f{number}")).expect("a name");
    [
        Change::InsertNode { ino: Ino(number), attr: Attr::new(Kind::File, 0o644, 0, 0, Ino::ROOT, time) },
        Change::InsertEdge { parent: Ino::ROOT, name, edge: Edge { ino: Ino(number), kind: Kind::File } },
    ]
}

async fn put(engine: &dyn Engine, changes: &[Change]) -> Result<()> {
    engine.begin(0).await?.commit(changes).await.map(drop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_is_taken_undoes_a_thousand_others() {
    let (engine, other) = stage().await;
    let many: Vec<_> = (10..10 + MANY).flat_map(create).collect();
    put(&*other, &create(10 + MANY / 2)).await.expect("commits");
    assert!(matches!(put(&*engine, &many).await, Err(Error::Conflict)));
    let there = async |ino| engine.read(&[Get::Node { ino, hold: Hold::Peek }]).await.expect("reads");
    assert_eq!(there(Ino(10)).await, [Got::Node(None)]);
    let many: Vec<_> = (5_000..5_000 + MANY).flat_map(create).collect();
    put(&*engine, &many).await.expect("commits");
    assert_ne!(there(Ino(5_000 + MANY - 1)).await, [Got::Node(None)]);
}

/// Every reference moves, or none: also when another client moves one between our reads and our commit.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_references_move_together_or_not_at_all() {
    let (engine, other) = stage().await;
    let share = |id| Change::ShareSlice { id, size: 10 };
    put(&*engine, &(1..=MANY).map(share).collect::<Vec<_>>()).await.expect("commits");
    let release: Vec<_> = (1..=MANY).map(|id| Change::ReleaseSlice { id, size: 10 }).collect();
    // A rival that never rests: whoever commits has counted on what is there.
    let rival = tokio::spawn(async move {
        for _ in 0..200 {
            match put(&*other, &[Change::ShareSlice { id: MANY / 2, size: 10 }]).await {
                Ok(()) | Err(Error::Conflict) => {}
                Err(error) => panic!("{error}"),
            }
        }
        other
    });
    let mut rounds = 0;
    loop {
        match engine.begin(0).await.expect("begins").commit(&release).await {
            Ok(receipt) => {
                assert_eq!(receipt.slices_freed, []);
                break;
            }
            Err(Error::Conflict) => rounds += 1,
            Err(error) => panic!("{error}"),
        }
        assert!(rounds < 10_000);
    }
    let other = rival.await.expect("ran");
    let refs = |id| {
        let engine = &engine;
        async move {
            let receipt = engine
                .begin(0)
                .await
                .expect("begins")
                .commit(&[Change::ReleaseSlice { id, size: 10 }])
                .await
                .expect("commits");
            receipt.slices_freed.len()
        }
    };
    // One reference was left to each; the rival's shares keep its slice.
    assert_eq!((refs(1).await, refs(MANY).await, refs(MANY / 2).await), (1, 1, 0));
    drop(other);
}

/// What is gone by the time of the commit is left out, the rest is written.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statistics_of_directories_that_are_gone_are_left_out() {
    let (engine, other) = stage().await;
    let insert: Vec<_> = (10..10 + MANY).map(|ino| Change::InsertDirStat { ino: Ino(ino) }).collect();
    put(&*engine, &insert).await.expect("commits");
    let mut attempt = engine.begin(0).await.expect("begins");
    let gets: Vec<_> = (10..10 + MANY).map(|ino| Get::DirStat { ino: Ino(ino) }).collect();
    attempt.read(&gets).await.expect("reads");
    put(&*other, &[Change::DeleteDirRecords { ino: Ino(11) }]).await.expect("commits");
    let delta = DirStat { length: 1, space: 4096, inodes: 1 };
    let adds: Vec<_> = (10..10 + MANY).map(|ino| Change::AddDirStat { ino: Ino(ino), delta }).collect();
    attempt.commit(&adds).await.expect("commits");
    let found = engine.read(&gets).await.expect("reads");
    assert_eq!(found[0], Got::DirStat(Some(delta)));
    assert_eq!(found[1], Got::DirStat(None));
    assert_eq!(found[MANY as usize - 1], Got::DirStat(Some(delta)));
    assert_eq!(engine.usage().await.expect("reads"), Usage::default());
}
