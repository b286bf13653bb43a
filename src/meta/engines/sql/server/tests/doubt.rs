//! A commit whose answer is lost happens exactly once (decisions 20), and what a flush is.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::relay::{Faults, Relay};
use super::*;
use crate::error::Error;

on_every_server! {
    a_commit_whose_answer_is_lost_is_found_to_have_happened,
    a_commit_that_never_arrived_may_be_tried_again,
    a_commit_that_arrives_after_the_verdict_does_nothing,
    a_cancelled_commit_leaves_a_slot_that_works,
    an_attempt_costs_its_reads_and_one_flush,
}

async fn stage(kind: Server) -> (Relay, Arc<dyn Engine>, Arc<dyn Engine>) {
    let place = kind.place().await;
    let relay = Relay::start(kind).await;
    let engine = kind.open(relay.port, &place).await;
    let direct = kind.open(kind.port(), &place).await;
    engine.create_volume(&volume()).await.expect("an empty place");
    assert_eq!(append(&*engine, 1).await.expect("appends"), 1);
    (relay, engine, direct)
}

fn tell(relay: &Relay, fault: fn(&Faults) -> &AtomicBool) {
    fault(&relay.faults).store(true, Ordering::SeqCst);
}

async fn a_commit_whose_answer_is_lost_is_found_to_have_happened(kind: Server) {
    let (relay, engine, direct) = stage(kind).await;
    tell(&relay, |faults| &faults.lose_answer);
    assert_eq!(append(&*engine, 2).await.expect("happened"), 2, "the receipt is read afterwards");
    assert_eq!(length(&*direct).await, 200);
    assert_eq!(append(&*engine, 3).await.expect("appends"), 3, "the slot works on");
    assert_eq!(engine.usage().await.expect("reads").space, 3 * 4096);
}

async fn a_commit_that_never_arrived_may_be_tried_again(kind: Server) {
    let (relay, engine, direct) = stage(kind).await;
    let faults: [fn(&Faults) -> &AtomicBool; 2] = [|faults| &faults.lose_commit, |faults| &faults.lose_end];
    for fault in faults {
        tell(&relay, fault);
        let lost = append(&*engine, 2).await;
        assert!(matches!(lost, Err(Error::Conflict)), "{lost:?}");
        assert_eq!(length(&*direct).await, 100);
    }
    assert_eq!(append(&*engine, 2).await.expect("appends"), 2);
    assert_eq!(engine.usage().await.expect("reads").space, 2 * 4096);
}

async fn a_commit_that_arrives_after_the_verdict_does_nothing(kind: Server) {
    let (relay, engine, direct) = stage(kind).await;
    tell(&relay, |faults| &faults.delay_commit);
    assert!(matches!(append(&*engine, 2).await, Err(Error::Conflict)));
    let answer = relay.faults.deliver_late(kind).await;
    assert!(kind.is_refusal(&answer), "{answer:?}");
    assert_eq!(length(&*direct).await, 100);
    // Also one that holds nothing but its marker.
    tell(&relay, |faults| &faults.delay_commit);
    let blind = [Change::InsertSustained { sid: 1, ino: Ino(7) }];
    let lost = engine.begin(0).await.expect("begins").commit(&blind).await;
    assert!(matches!(lost, Err(Error::Conflict)), "{lost:?}");
    relay.faults.deliver_late(kind).await;
    let got = direct.read(&[Get::Sustained { sid: 1, ino: Ino(7) }]).await.expect("reads");
    assert_eq!(got, [Got::Flag(false)]);
}

async fn a_cancelled_commit_leaves_a_slot_that_works(kind: Server) {
    let (_relay, engine, direct) = stage(kind).await;
    for _ in 0..10 {
        let attempt = engine.begin(0).await.expect("begins");
        let changes = [Change::PutSession { sid: 1, expires_at: 1, info: bytes::Bytes::new() }];
        let commit = attempt.commit(&changes);
        tokio::select! { biased; _ = commit => {}, () = tokio::task::yield_now() => {} }
    }
    let before = append(&*engine, 2).await.expect("appends");
    assert_eq!(append(&*engine, 3).await.expect("appends"), before + 1);
    assert_eq!(length(&*direct).await, 300);
}

async fn an_attempt_costs_its_reads_and_one_flush(kind: Server) {
    let (relay, engine, _direct) = stage(kind).await;
    // Connections and statements are there by now.
    append(&*engine, 2).await.expect("appends");
    let before = relay.faults.flushes.load(Ordering::SeqCst);
    append(&*engine, 3).await.expect("appends");
    assert_eq!(relay.faults.flushes.load(Ordering::SeqCst) - before, 2);
    let name = crate::types::Name::new("none").expect("a name");
    engine.lookup(Ino::ROOT, &name).await.expect("reads");
    let before = relay.faults.flushes.load(Ordering::SeqCst);
    engine.lookup(Ino::ROOT, &name).await.expect("reads");
    assert_eq!(relay.faults.flushes.load(Ordering::SeqCst) - before, 1);
}
