//! What every store must do, whatever it is made of.

use bytes::Bytes;
use futures::TryStreamExt;
use juicefs_object::{Store, StoreExt};
use std::sync::Arc;

pub async fn all(store: Arc<dyn Store>) {
    all_with(store, 0).await;
}

/// The same of a store that keeps `more` bytes with every object.
pub async fn all_with(store: Arc<dyn Store>, more: u64) {
    what_is_put_comes_back(&*store, more).await;
    a_range_is_that_part(&*store).await;
    a_missing_key_is_not_found(&*store).await;
    delete_is_idempotent(&*store).await;
    a_listing_is_in_order_and_below_its_prefix(&*store).await;
    puts_at_once_do_not_disturb_each_other(store).await;
}

async fn what_is_put_comes_back(store: &dyn Store, more: u64) {
    for size in [0, 1, 4096, 5 << 20] {
        let body = Bytes::from((0..size).map(|at| (at * 7 % 251) as u8).collect::<Vec<_>>());
        store.put("chunks/0/0/1_0_9", body.clone()).await.expect("put");
        assert_eq!(store.get("chunks/0/0/1_0_9", None).await.expect("get"), body);
        assert_eq!(store.head("chunks/0/0/1_0_9").await.expect("head").size, size as u64 + more);
    }
}

async fn a_range_is_that_part(store: &dyn Store) {
    store.put("range", Bytes::from_static(b"0123456789")).await.expect("put");
    assert_eq!(store.get("range", Some(0..3)).await.expect("start"), "012");
    assert_eq!(store.get("range", Some(4..10)).await.expect("end"), "456789");
}

async fn a_missing_key_is_not_found(store: &dyn Store) {
    assert!(store.get("nowhere/at/all", None).await.expect_err("missing").is_not_found());
    assert!(store.head("nowhere/at/all").await.expect_err("missing").is_not_found());
    assert_eq!(store.get_if_exists("nowhere").await.expect("none"), None);
}

async fn delete_is_idempotent(store: &dyn Store) {
    store.put("gone", "x".into()).await.expect("put");
    store.delete("gone").await.expect("first");
    store.delete("gone").await.expect("second");
    assert!(store.get("gone", None).await.expect_err("missing").is_not_found());
}

async fn a_listing_is_in_order_and_below_its_prefix(store: &dyn Store) {
    let mut keys: Vec<String> = (0..30).map(|n| format!("list/{}/{}_0_1", n % 4, n)).collect();
    for key in &keys {
        store.put(key, "1".into()).await.expect("put");
    }
    store.put("listing", "1".into()).await.expect("put");
    keys.sort();
    let listed = store.list_all("list/").await.expect("list");
    let mut files: Vec<String> =
        listed.into_iter().filter(|item| !item.is_prefix).map(|item| item.key).collect();
    if !store.limits().lists_in_order {
        files.sort();
    }
    assert_eq!(files, keys);
    let below = store.list_all("list/2/").await.expect("list");
    assert_eq!(below.iter().filter(|item| !item.is_prefix).count(), 7);
    assert!(store.list_all("no/such/").await.expect("empty").is_empty());
    let after = store.list("list/", &keys[9]).try_collect::<Vec<_>>().await.expect("the rest");
    assert_eq!(after.iter().filter(|item| !item.is_prefix).count(), keys.len() - 10);
}

async fn puts_at_once_do_not_disturb_each_other(store: Arc<dyn Store>) {
    let tasks: Vec<_> = (0..16_u8)
        .map(|n| {
            let store = store.clone();
            tokio::spawn(async move { store.put(&format!("many/{n}"), Bytes::from(vec![n; 70_000])).await })
        })
        .collect();
    for task in tasks {
        task.await.expect("joins").expect("put");
    }
    for n in 0..16_u8 {
        assert_eq!(store.get(&format!("many/{n}"), None).await.expect("get"), vec![n; 70_000]);
    }
}
