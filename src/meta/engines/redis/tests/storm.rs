//! Redis is killed and comes back while clients write: nothing acknowledged is lost or done twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use redis::AsyncCommands;

use super::server::Server;
use super::*;
use crate::error::Error;

const FILES: u64 = 8;
const WRITERS_PER_FILE: u64 = 4;

/// Appends until told to stop; every slice id is used for one append only. The acknowledged ids.
async fn write(
    engine: Arc<crate::engines::redis::RedisEngine>,
    ino: Ino,
    ids: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
) -> Vec<u64> {
    let mut acknowledged = Vec::new();
    while !stop.load(Ordering::SeqCst) {
        let id = ids.fetch_add(1, Ordering::SeqCst);
        let deadline = Instant::now() + Duration::from_secs(60);
        for attempt in 0.. {
            match append(&*engine, ino, id).await {
                Ok(_) => {
                    acknowledged.push(id);
                    break;
                }
                Err(Error::Conflict | Error::Unavailable(_)) if Instant::now() < deadline => {
                    tokio::time::sleep(juicefs_base::backoff::quadratic_jitter(attempt.min(10))).await;
                }
                Err(error) => panic!("slice {id}: {error}"),
            }
        }
    }
    acknowledged
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_appends_are_there_exactly_once_after_kills() {
    let mut server = Server::start_with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let engine = Arc::new(server.engine().await);
    engine.create_volume(&volume()).await.unwrap();
    for n in 0..FILES {
        create(&*engine, Ino::ROOT, &name(&format!("f{n}")), Ino(2 + n)).await.unwrap();
    }
    let (ids, stop) = (Arc::new(AtomicU64::new(1)), Arc::new(AtomicBool::new(false)));
    let writers: Vec<_> = (0..FILES * WRITERS_PER_FILE)
        .map(|n| tokio::spawn(write(engine.clone(), Ino(2 + n % FILES), ids.clone(), stop.clone())))
        .collect();
    for _ in 0..6 {
        tokio::time::sleep(Duration::from_millis(400)).await;
        server.kill();
        tokio::time::sleep(Duration::from_millis(300)).await;
        server.restart();
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    stop.store(true, Ordering::SeqCst);
    let mut acknowledged = Vec::new();
    for writer in writers {
        acknowledged.extend(writer.await.expect("no writer failed"));
    }
    let mut raw = server.raw().await;
    let mut stored = Vec::new();
    for n in 0..FILES {
        let records: Vec<Vec<u8>> = raw.lrange(format!("c{}_0", 2 + n), 0, -1).await.unwrap();
        let node = engine.read(&[Get::Node { ino: Ino(2 + n), hold: Hold::Peek }]).await.unwrap();
        let [Got::Node(Some(node))] = node[..] else { panic!("{node:?}") };
        assert_eq!(node.length, 100 * records.len() as u64, "list and node of file {n} agree");
        stored.extend(records.iter().map(|record| crate::engines::packed::decode_slice(record).unwrap().id));
    }
    acknowledged.sort_unstable();
    stored.sort_unstable();
    assert!(acknowledged.len() > 500, "{} appends are no storm", acknowledged.len());
    assert_eq!(acknowledged, stored);
}
