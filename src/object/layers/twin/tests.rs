use super::*;
use crate::layers::faulty::{Fault, Faulty};
use crate::{StoreExt, StoreSpec, open};

struct Rig {
    _folder: tempfile::TempDir,
    first: Arc<Faulty>,
    second: Arc<Faulty>,
    debts: Arc<Debts>,
}

impl Rig {
    async fn new() -> Self {
        let folder = tempfile::tempdir().expect("temp");
        let mut stores = Vec::new();
        for name in ["first", "second"] {
            let bucket = format!("{}/{name}/", folder.path().display());
            let spec = StoreSpec { storage: "file".into(), bucket, ..StoreSpec::default() };
            let store = open(&spec).await.expect("a folder");
            store.create_bucket().await.expect("made");
            stores.push(Arc::new(Faulty::new(store)));
        }
        let (second, first) = (stores.pop().expect("second"), stores.pop().expect("first"));
        let debts = Debts::open(Some(&folder.path().join("journal")));
        debts.set_sides(Some(Sides { first: first.clone(), second: second.clone() }));
        Self { _folder: folder, first, second, debts }
    }

    fn sides(&self) -> Sides {
        Sides { first: self.first.clone(), second: self.second.clone() }
    }

    fn twin(&self, near: Side, acks_both: bool) -> Twin {
        Twin::new(self.sides(), near, Some(self.debts.clone()), acks_both)
    }

    async fn holds(&self, key: &str) -> (bool, bool) {
        let there = async |store: &Arc<Faulty>| store.get_if_exists(key).await.expect("asked").is_some();
        (there(&self.first).await, there(&self.second).await)
    }
}

fn payers(debts: &Arc<Debts>) -> Vec<tokio::task::JoinHandle<()>> {
    (0..PAYERS).map(|_| tokio::spawn(debts.clone().pay())).collect()
}

const BODY: Bytes = Bytes::from_static(b"block");

#[tokio::test]
async fn a_write_is_acknowledged_by_the_near_store_and_copied() {
    let rig = Rig::new().await;
    let twin = rig.twin(Side::First, false);
    twin.put("chunks/0/0/1_0_5", BODY).await.expect("acknowledged");
    assert_eq!(rig.holds("chunks/0/0/1_0_5").await, (true, false), "nobody pays yet");
    assert_eq!(rig.debts.counts().pending, 1);
    let _payers = payers(&rig.debts);
    assert!(rig.debts.drain(Duration::from_secs(10)).await);
    assert_eq!(rig.holds("chunks/0/0/1_0_5").await, (true, true));
    assert_eq!(rig.debts.counts().copied, 1);
}

#[tokio::test]
async fn a_flipped_writer_is_acknowledged_by_both() {
    let rig = Rig::new().await;
    let twin = rig.twin(Side::Second, true);
    twin.put("a", BODY).await.expect("stored");
    assert_eq!(rig.holds("a").await, (true, true));
    rig.first.fail_next(1, Fault::Unreachable);
    assert!(twin.put("b", BODY).await.is_err(), "a stock client would not find it");
}

#[tokio::test]
async fn reads_go_to_the_far_store_when_the_near_one_lacks_it_or_does_not_answer() {
    let rig = Rig::new().await;
    rig.second.put("far", BODY).await.expect("put");
    let twin = rig.twin(Side::First, false);
    assert_eq!(twin.get("far", None).await.expect("far"), BODY);
    assert!(twin.get("none", None).await.expect_err("neither").is_not_found());
    rig.first.fail_next(1, Fault::Unreachable);
    assert_eq!(twin.get("far", None).await.expect("far"), BODY);
    assert_eq!(rig.debts.counts().fallbacks, 2);
    // The near one is passed over for a while, the far one does not have it: this one may.
    rig.first.fail_next(10, Fault::Unreachable);
    let error = twin.get("none", None).await.expect_err("unknown");
    assert!(error.may_retry() && !error.is_not_found(), "{error}");
    rig.first.fail_next(0, Fault::Unreachable);
    rig.second.fail_next(10, Fault::Unreachable);
    let error = twin.get("none", None).await.expect_err("unknown");
    assert!(error.may_retry() && !error.is_not_found(), "{error}");
}

#[tokio::test]
async fn deletions_reach_both_stores_and_no_copy_comes_back() {
    let rig = Rig::new().await;
    let twin = rig.twin(Side::First, false);
    twin.put("queued", BODY).await.expect("put");
    twin.delete("queued").await.expect("deleted");
    assert_eq!(rig.debts.counts().pending, 0);
    // A copy that is on its way when the object goes.
    twin.put("running", BODY).await.expect("put");
    rig.second.fail_next(1, Fault::Stall);
    let _payers = payers(&rig.debts);
    while rig.debts.state_is_idle() {
        tokio::task::yield_now().await;
    }
    twin.delete("running").await.expect("deleted");
    rig.second.fail_next(0, Fault::Stall);
    assert!(rig.debts.drain(Duration::from_secs(10)).await);
    for key in ["queued", "running"] {
        assert_eq!(rig.holds(key).await, (false, false), "{key}");
    }
    // The far store is away.
    twin.put("later", BODY).await.expect("put");
    assert!(rig.debts.drain(Duration::from_secs(10)).await);
    rig.second.fail_next(1, Fault::Unreachable);
    twin.delete("later").await.expect("acknowledged");
    assert!(rig.debts.drain(Duration::from_secs(10)).await);
    assert_eq!(rig.holds("later").await, (false, false));
}

#[tokio::test]
async fn debts_outlive_the_process_and_are_paid_once_the_far_store_answers() {
    let rig = Rig::new().await;
    let twin = rig.twin(Side::First, false);
    for key in ["a", "b", "c"] {
        twin.put(key, BODY).await.expect("put");
    }
    twin.delete("b").await.expect("deleted");
    let journals = rig._folder.path().join("journal");
    let others = Debts::open(Some(&journals));
    assert_eq!(others.counts().pending, 0, "who lives pays for itself");
    // A kill: the lock goes with the file, the lines stay.
    let Rig { _folder: folder, first, second, debts } = rig;
    drop((twin, debts));
    let debts = Debts::open(Some(&journals));
    assert_eq!(debts.counts().pending, 2);
    second.fail_next(3, Fault::Unreachable);
    debts.set_sides(Some(Sides { first: first.clone(), second: second.clone() }));
    let _payers = payers(&debts);
    assert!(debts.drain(Duration::from_secs(20)).await, "{:?}", debts.counts());
    assert!(debts.counts().errors > 0);
    for (key, there) in [("a", true), ("b", false), ("c", true)] {
        assert_eq!(second.get_if_exists(key).await.expect("asked").is_some(), there, "{key}");
    }
    drop(debts);
    assert_eq!(Debts::open(Some(&folder.path().join("journal"))).counts().pending, 0);
}
