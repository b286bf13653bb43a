//! A commit whose reply is lost happens exactly once (decisions 20).

use std::sync::atomic::Ordering;

use redis::AsyncCommands;

use super::server::{Relay, Server};
use super::*;
use crate::error::Error;

async fn stage() -> (Server, Relay, crate::engines::redis::RedisEngine) {
    let server = Server::start();
    let relay = Relay::before(&server).await;
    let engine = relay.engine().await;
    engine.create_volume(&volume()).await.unwrap();
    create(&engine, Ino::ROOT, &name("f"), Ino(2)).await.unwrap();
    append(&engine, Ino(2), 1).await.unwrap();
    (server, relay, engine)
}

#[tokio::test]
async fn a_commit_whose_reply_is_lost_is_found_to_have_happened() {
    let (server, relay, engine) = stage().await;
    relay.faults.lose_exec_reply.store(true, Ordering::SeqCst);
    assert_eq!(append(&engine, Ino(2), 2).await.unwrap(), 2, "the receipt is read afterwards");
    let mut raw = server.raw().await;
    assert_eq!(raw.llen::<_, u32>("c2_0").await.unwrap(), 2);
    assert_eq!(append(&engine, Ino(2), 3).await.unwrap(), 3, "the slot works on");
}

#[tokio::test]
async fn freed_slices_are_told_although_the_reply_was_lost() {
    let (server, relay, engine) = stage().await;
    let mut raw = server.raw().await;
    let _: () = raw.hset("sliceRef", "k5_10", 1).await.unwrap();
    relay.faults.lose_exec_reply.store(true, Ordering::SeqCst);
    let changes = [Change::ReleaseSlice { id: 4, size: 10 }, Change::ReleaseSlice { id: 5, size: 10 }];
    let receipt = engine.begin(0).await.unwrap().commit(&changes).await.unwrap();
    assert_eq!(receipt.slices_freed, [(4, 10)]);
}

#[tokio::test]
async fn a_commit_that_never_arrived_is_a_conflict_and_may_be_tried_again() {
    let (server, relay, engine) = stage().await;
    relay.faults.lose_exec.store(true, Ordering::SeqCst);
    assert!(matches!(append(&engine, Ino(2), 2).await, Err(Error::Conflict)));
    assert_eq!(append(&engine, Ino(2), 2).await.unwrap(), 2);
    let mut raw = server.raw().await;
    assert_eq!(raw.llen::<_, u32>("c2_0").await.unwrap(), 2);
}

#[tokio::test]
async fn a_commit_that_arrives_after_the_verdict_does_nothing() {
    let (server, relay, engine) = stage().await;
    relay.faults.delay_exec.store(true, Ordering::SeqCst);
    assert!(matches!(append(&engine, Ino(2), 2).await, Err(Error::Conflict)));
    let answer = relay.faults.deliver_late().await;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    assert!(answer.contains("*-1\r\n"), "EXEC answers nil: {answer}");
    let mut raw = server.raw().await;
    assert_eq!(raw.llen::<_, u32>("c2_0").await.unwrap(), 1);
    // Also one that read nothing and so watches nothing but its marker.
    relay.faults.delay_exec.store(true, Ordering::SeqCst);
    let blind = [Change::AddUsage { space: 1_000_000, inodes: 0 }];
    let lost = engine.begin(0).await.unwrap().commit(&blind).await;
    assert!(matches!(lost, Err(Error::Conflict)), "{lost:?}");
    relay.faults.deliver_late().await;
    assert_eq!(raw.get::<_, i64>("usedSpace").await.unwrap(), 4096);
}

#[tokio::test]
async fn a_resolver_that_loses_its_own_replies_asks_again() {
    let (_server, relay, engine) = stage().await;
    relay.faults.lose_exec_reply.store(true, Ordering::SeqCst);
    relay.faults.lose_append_replies.store(3, Ordering::SeqCst);
    assert_eq!(append(&engine, Ino(2), 2).await.unwrap(), 2);
    relay.faults.lose_exec.store(true, Ordering::SeqCst);
    relay.faults.lose_append_replies.store(3, Ordering::SeqCst);
    assert!(matches!(append(&engine, Ino(2), 3).await, Err(Error::Conflict)));
    assert_eq!(append(&engine, Ino(2), 3).await.unwrap(), 3);
}

#[tokio::test]
async fn a_cancelled_commit_leaves_a_slot_that_works() {
    let (server, _relay, engine) = stage().await;
    for _ in 0..20 {
        let mut attempt = engine.begin(0).await.unwrap();
        attempt.read(&[Get::Node { ino: Ino(2), hold: Hold::Update }]).await.unwrap();
        let changes = [Change::AddUsage { space: 0, inodes: 100 }];
        let commit = attempt.commit(&changes);
        tokio::select! { biased; _ = commit => {}, () = tokio::task::yield_now() => {} }
    }
    let before = append(&engine, Ino(2), 2).await.unwrap();
    assert_eq!(append(&engine, Ino(2), 3).await.unwrap(), before + 1);
    drop(server);
}

#[tokio::test]
async fn markers_expire_by_themselves() {
    let (server, _relay, engine) = stage().await;
    append(&engine, Ino(2), 2).await.unwrap();
    let mut raw = server.raw().await;
    let markers: Vec<String> = raw.keys("Xop.*").await.unwrap();
    assert!(!markers.is_empty());
    for marker in markers {
        let seconds: i64 = raw.ttl(&marker).await.unwrap();
        assert!((86_000..=86_400).contains(&seconds), "{marker}: {seconds}");
    }
}
