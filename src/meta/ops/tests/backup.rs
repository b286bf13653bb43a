//! The hourly backup is one client's at a time.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::{Volume, mount};
use crate::conformance::{Home, home};
use crate::request::XattrMode;
use crate::types::{Caller, Ino};

async fn one_client_backs_up(home: Home) {
    let volume = Volume::on(home.engine.clone(), |_| {}).await;
    let (one, other) = (volume.meta.clone(), mount(home.other.clone(), 2).await);
    let interval = Duration::from_secs(3600);
    let mut claims = Vec::new();
    for meta in [&one, &other].into_iter().cycle().take(8) {
        let meta = Arc::clone(meta);
        claims.push(tokio::spawn(async move { meta.claim_backup(interval).await.expect("answers") }));
    }
    let mut won = 0;
    for claim in claims {
        won += u32::from(claim.await.expect("no panic"));
    }
    assert_eq!(won, 1);
    assert!(!other.claim_backup(interval).await.expect("answers"));
    // Anybody can see when the last was, and set it back.
    let name = Bytes::from_static(b"lastBackup");
    let last = one.getxattr(&Caller::internal(), Ino::ROOT, &name).await.expect("set");
    assert!(last.ends_with(b"Z") && last.len() == 20, "{last:?}");
    let old = Bytes::from_static(b"2020-01-01T00:00:00Z");
    one.setxattr(&Caller::internal(), Ino::ROOT, &name, &old, XattrMode::Any).await.expect("set");
    assert!(other.claim_backup(interval).await.expect("answers"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_client_of_many_backs_up_in_memory() {
    one_client_backs_up(home::memory().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_client_of_many_backs_up_on_sqlite() {
    one_client_backs_up(home::sqlite().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_client_of_many_backs_up_on_redis() {
    one_client_backs_up(home::redis().await).await;
}
