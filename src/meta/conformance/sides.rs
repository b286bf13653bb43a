//! Side records: of our own, beside the peer's.

use bytes::Bytes;

use super::{Home, commit, get, is_conflict, put, scan};
use crate::port::{Change, Get, Got, Item, Scan};

fn side(name: &str) -> Get {
    Get::Side { name: name.to_owned() }
}

fn put_side(name: &str, value: &'static [u8]) -> Change {
    Change::PutSide { name: name.to_owned(), value: Bytes::from_static(value) }
}

pub(super) async fn a_side_record_is_put_replaced_and_deleted(home: &Home) {
    let engine = &**home.volume().await;
    assert_eq!(get(engine, side("mirror")).await, Got::Bytes(None));
    assert_eq!(scan(engine, Scan::Sides).await, []);
    put(engine, &[Change::DeleteSide { name: "mirror".to_owned() }]).await;
    put(engine, &[put_side("mirror", b"{\"v\":1}"), put_side("session.7", b"\x00\xff")]).await;
    put(engine, &[put_side("mirror", b"{}")]).await;
    assert_eq!(get(&*home.other, side("mirror")).await, Got::Bytes(Some(Bytes::from_static(b"{}"))));
    let mut all = scan(&*home.other, Scan::Sides).await;
    all.sort_by_key(|item| if let Item::Side { name, .. } = item { name.clone() } else { String::new() });
    let item = |name: &str, value: &'static [u8]| Item::Side {
        name: name.to_owned(),
        value: Bytes::from_static(value),
    };
    assert_eq!(all, [item("mirror", b"{}"), item("session.7", b"\x00\xff")]);
    put(engine, &[Change::DeleteSide { name: "mirror".to_owned() }]).await;
    assert_eq!(get(engine, side("mirror")).await, Got::Bytes(None));
    assert_eq!(engine.foreign_records().await.expect("answers"), Vec::<&str>::new());
}

pub(super) async fn a_read_side_record_is_held(home: &Home) {
    let engine = &**home.volume().await;
    for before in [None, Some(Bytes::from_static(b"1"))] {
        let mut attempt = engine.begin(0).await.expect("begins");
        assert_eq!(attempt.read(&[side("fence")]).await.expect("reads"), [Got::Bytes(before)]);
        commit(&*home.other, &[], &[put_side("fence", b"1")]).await.expect("commits");
        commit(&*home.other, &[], &[put_side("fence", b"2")]).await.expect("commits");
        let late = attempt.commit(&[put_side("fence", b"3")]).await;
        assert!(is_conflict(&late), "{late:?}");
        put(engine, &[put_side("fence", b"1")]).await;
    }
}
