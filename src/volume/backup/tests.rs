//! Backups in a bucket.

use jiff::Timestamp;
use juicefs_meta::Format;
use juicefs_meta::engines::memory::MemoryEngine;
use juicefs_object::StoreExt;

use super::backup;
use crate::dump::{DumpRequest, Packing, Target, dump_engine};
use crate::load::{Source, load_engine};
use crate::progress::Silent;
use crate::storage::{StorageAccess, open_store};

#[tokio::test]
async fn a_backup_is_a_dump_that_can_be_loaded_and_old_ones_go() {
    let folder = tempfile::tempdir().expect("a folder");
    let bucket = format!("{}/", folder.path().display());
    let format = Format { bucket, ..Format::new("vol") };
    let store = open_store(&format, &StorageAccess::default()).await.expect("a store");
    let engine = MemoryEngine::new();
    let document = include_bytes!("../load/tests/dump-1.4.2.json");
    let source = Source::reader(&document[..]).expect("memory");
    load_engine(&engine, source, false, &Silent).await.expect("loads");
    for old in ["meta/dump-2026-11-01-010203.json.gz", "meta/dump-2026-11-01-020304.json.gz", "meta/mine"] {
        store.put(old, bytes::Bytes::from_static(b"x")).await.expect("stored");
    }
    let now: Timestamp = "2026-11-25T07:08:09Z".parse().expect("a time");
    let done = backup(&engine, &*store, false, now).await.expect("backs up");
    assert_eq!(done.key, "meta/dump-2026-11-25-070809.json.gz");
    assert_eq!(done.removed, ["meta/dump-2026-11-01-020304.json.gz"]);
    let keys: Vec<_> =
        store.list_all("meta/").await.expect("lists").into_iter().map(|object| object.key).collect();
    assert!(keys.contains(&"meta/mine".to_owned()) && keys.contains(&done.key), "{keys:?}");
    let body = store.get(&done.key, None).await.expect("there");
    assert_eq!(body.len() as u64, done.bytes);
    let copy = MemoryEngine::new();
    load_engine(&copy, Source::reader(std::io::Cursor::new(body)).expect("memory"), false, &Silent)
        .await
        .expect("loads");
    for engine in [&engine, &copy] {
        let target = Target::writer(std::io::sink(), Packing::Plain);
        assert_eq!(dump_engine(engine, &DumpRequest::default(), target, &Silent).await.expect("dumps"), 0);
    }
}
