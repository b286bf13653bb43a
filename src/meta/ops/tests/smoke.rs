//! Operations and engines compose: the same random work on every real engine.

use std::sync::Arc;

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::{Volume, model, race};
use crate::conformance::home;
use crate::port::Engine;

/// Fixed cases, so that an engine's failure comes back.
fn cases(seed: u8) -> Vec<model::Op> {
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[seed; 32]);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    proptest::collection::vec(model::op(), 150).new_tree(&mut runner).expect("no filter").current()
}

async fn model_on(engine: Arc<dyn Engine>, seed: u8, has_trash: bool) {
    let volume = Volume::on(engine, |format| format.trash_days = u32::from(has_trash)).await;
    model::check(&volume, &cases(seed)).await;
}

async fn race_on(engine: Arc<dyn Engine>, has_trash: bool) {
    let volume = Volume::on(engine, |format| format.trash_days = u32::from(has_trash)).await;
    race::race(&volume, 400, 40).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sqlite_volume_is_a_tree() {
    for seed in 0..4 {
        let home = home::sqlite().await;
        model_on(home.engine, seed, seed % 2 == 0).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_volume_is_a_tree() {
    for seed in 0..4 {
        let home = home::redis().await;
        model_on(home.engine, seed, seed % 2 == 0).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mounts_that_race_on_sqlite_leave_a_whole_volume() {
    for has_trash in [false, true] {
        let home = home::sqlite().await;
        race_on(home.engine, has_trash).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mounts_that_race_on_redis_leave_a_whole_volume() {
    for has_trash in [false, true] {
        let home = home::redis().await;
        race_on(home.engine, has_trash).await;
    }
}
