//! Documents there and back, and what wrong ones are told.

use std::io::Cursor;
use std::sync::Arc;

use juicefs_base::sync::Mutex;
use juicefs_meta::engines::memory::MemoryEngine;
use juicefs_meta::port::{Counters, Engine, Item, QuotaKind, Scan};
use juicefs_meta::{Ino, Usage};
use proptest::prelude::*;
use tokio::sync::mpsc;

use super::rows::{Batch, Volume};
use super::{Source, binary, json, load_engine};
use crate::dump::{DumpRequest, Packing, Target, dump_engine};
use crate::error::{Error, Result};
use crate::progress::Silent;

/// As the peer writes it: a hard link in two directories, extended attributes, an ACL, a quota, odd names, trash.
const DOCUMENT: &str = include_str!("tests/dump-1.4.2.json");

/// Where a test's writer leaves its bytes.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn source(bytes: &[u8]) -> Source {
    Source::reader(Cursor::new(bytes.to_vec())).expect("memory can be read")
}

async fn dumped(engine: &dyn Engine, request: &DumpRequest, packing: Packing) -> Vec<u8> {
    let bytes = Shared::default();
    let target = Target::writer(bytes.clone(), packing);
    assert_eq!(dump_engine(engine, request, target, &Silent).await.expect("dumps"), 0);
    std::mem::take(&mut bytes.0.lock())
}

async fn loaded(bytes: &[u8], is_binary: bool) -> MemoryEngine {
    let engine = MemoryEngine::new();
    load_engine(&engine, source(bytes), is_binary, &Silent).await.expect("loads");
    engine
}

/// What the reading thread makes of a document, without an engine.
fn parsed(
    read: fn(Source, mpsc::Sender<Batch>) -> Result<Volume>,
    bytes: &[u8],
) -> (Result<Volume>, Vec<Item>) {
    let (to, mut batches) = mpsc::channel(1);
    let source = source(bytes);
    std::thread::scope(|scope| {
        let reading = scope.spawn(move || read(source, to));
        let writing = scope.spawn(move || {
            let mut rows = Vec::new();
            while let Some(batch) = batches.blocking_recv() {
                rows.extend(batch.rows);
            }
            rows
        });
        let volume = reading.join().expect("a reader never panics");
        (volume, writing.join().expect("no panic"))
    })
}

#[tokio::test]
async fn the_peers_document_comes_back_byte_for_byte() {
    let engine = loaded(DOCUMENT.as_bytes(), false).await;
    let again = dumped(&engine, &DumpRequest::default(), Packing::Plain).await;
    assert_eq!(String::from_utf8(again).expect("UTF-8"), DOCUMENT);
}

#[tokio::test]
async fn a_binary_document_carries_everything() {
    let engine = loaded(DOCUMENT.as_bytes(), false).await;
    let request = DumpRequest { binary: true, ..DumpRequest::default() };
    let bytes = dumped(&engine, &request, Packing::Plain).await;
    let copy = loaded(&bytes, true).await;
    assert_eq!(dumped(&copy, &request, Packing::Plain).await, bytes);
    let text = dumped(&copy, &DumpRequest::default(), Packing::Plain).await;
    assert_eq!(String::from_utf8(text).expect("UTF-8"), DOCUMENT);
}

#[tokio::test]
async fn compressed_documents_are_read_whatever_they_are_called() {
    let engine = loaded(DOCUMENT.as_bytes(), false).await;
    for packing in [Packing::Gzip, Packing::FastGzip, Packing::Zstd] {
        let bytes = dumped(&engine, &DumpRequest::default(), packing).await;
        assert!(bytes.len() < DOCUMENT.len() / 2, "{packing:?}");
        let copy = loaded(&bytes, false).await;
        let again = dumped(&copy, &DumpRequest::default(), Packing::Plain).await;
        assert_eq!(again, DOCUMENT.as_bytes(), "{packing:?}");
    }
}

#[tokio::test]
async fn a_directory_loads_as_the_root() {
    let engine = loaded(DOCUMENT.as_bytes(), false).await;
    let request = DumpRequest { subdir: Some("/dir".to_owned()), ..DumpRequest::default() };
    let copy = loaded(&dumped(&engine, &request, Packing::Plain).await, false).await;
    let top = copy.nodes(&[Ino::ROOT]).await.expect("answers").remove(0).expect("whole").expect("there");
    assert_eq!((top.parent, top.mode), (Ino::ROOT, 0o755));
    let gone = DumpRequest { subdir: Some("/dir/none".to_owned()), ..DumpRequest::default() };
    let refusal = dump_engine(&engine, &gone, Target::writer(std::io::sink(), Packing::Plain), &Silent).await;
    assert!(refusal.expect_err("refused").to_string().contains("/dir/none"));
}

#[tokio::test]
async fn a_load_rebuilds_what_counts() {
    let engine = loaded(DOCUMENT.as_bytes(), false).await;
    let counters = engine.counters().await.expect("answers");
    // What the document counted is further than what is there.
    assert!(counters.next_inode > 1024 && counters.next_slice > 4096, "{counters:?}");
    assert_eq!(counters.usage, recounted(&engine).await);
}

/// Usage as the nodes have it.
async fn recounted(engine: &MemoryEngine) -> Usage {
    use futures::TryStreamExt;
    let nodes: Vec<Item> = engine.scan(Scan::Nodes).try_collect().await.expect("answers");
    let mut usage = Usage::default();
    for node in nodes {
        if let Item::Node { ino, attr } = node
            && ino != Ino::ROOT
            && ino != Ino::TRASH
        {
            usage.space += attr.space().cast_signed();
            usage.inodes += 1;
        }
    }
    usage
}

#[tokio::test]
async fn a_database_in_use_is_left_alone() {
    let engine = loaded(DOCUMENT.as_bytes(), false).await;
    let refused = load_engine(&engine, source(DOCUMENT.as_bytes()), false, &Silent).await;
    assert!(refused.expect_err("refused").to_string().contains("not empty"));
}

#[test]
fn a_wrong_document_is_told_what_and_where() {
    let setting = r#""Setting":{"Name":"v","UUID":"u","TrashDays":1},"#;
    let root = r#""attr":{"inode":1,"type":"directory","mode":511}"#;
    let file = r#""attr":{"inode":5,"type":"regular","mode":1,"nlink":1}"#;
    let tree = |inside: &str| format!("{{{setting}\"FSTree\":{{{inside}}}}}");
    let entries = |inside: &str| tree(&format!("{root},\"entries\":{{{inside}}}"));
    for (document, words) in [
        (String::new(), &["line"][..]),
        ("[]".to_owned(), &["$"]),
        ("{}".to_owned(), &["no Setting"]),
        (format!("{{{setting}\"x\":1}}"), &["no FSTree"]),
        (format!("{{\"FSTree\":{{{root}}}}}"), &["before the Setting"]),
        (tree(""), &["without attr", "$.FSTree"]),
        (tree(r#""entries":{}"#), &["entries comes before attr"]),
        (tree(r#""attr":5"#), &["$.FSTree.attr"]),
        (tree(r#""attr":{"inode":1,"type":"door"}"#), &["door", "$.FSTree.attr"]),
        (tree(r#""attr":{"inode":-1}"#), &["-1", "$.FSTree.attr.inode"]),
        (
            entries(
                r#""a":{"attr":{"inode":2,"type":"directory"}},"b":{"attr":{"inode":2,"type":"directory"}}"#,
            ),
            &["inode 2 is there twice", "$.FSTree.entries.b"],
        ),
        (
            entries(&format!("\"a\":{{{file}}},\"a\":{{{}}}", file.replace('5', "6"))),
            &["a is there twice in inode 1"],
        ),
        (entries(&format!("\"a%2Fb\":{{{file}}}")), &["a/b is no name"]),
        (entries(&format!("\"a\":{{{file},\"entries\":{{}}}}")), &["no directory"]),
        (entries(r#""s":{"attr":{"inode":7,"type":"symlink"}}"#), &["symlink 7 without its target"]),
        (entries(r#""a":{"attr":{"inode":1,"type":"directory"}}"#), &["inode 1 below itself"]),
        (
            entries(&format!(
                "\"a\":{{{file},\"chunks\":[{{\"index\":0,\"slices\":[{{\"id\":3,\"size\":1,\"len\":2}}]}}]}}"
            )),
            &["slice 3", "$.FSTree.entries.a.chunks[0]"],
        ),
        (entries("").trim_end_matches('}').to_owned(), &["line"]),
        (format!("{} x", entries("")), &["line 0"]),
        (entries("").replace("\"TrashDays\":1", "\"TrashDays\":\"x\""), &["setting"]),
        (entries("").replace("\"TrashDays\":1", "\"MetaVersion\":9"), &["metadata version 9"]),
    ] {
        let error = parsed(json::read, document.as_bytes()).0.expect_err(&document).to_string();
        for word in words {
            assert!(error.contains(word), "{document}: {error}");
        }
    }
}

#[tokio::test]
async fn a_wrong_binary_document_is_told_what_and_where() {
    let engine = loaded(DOCUMENT.as_bytes(), false).await;
    let request = DumpRequest { binary: true, ..DumpRequest::default() };
    let bytes = dumped(&engine, &request, Packing::Plain).await;
    let of_json = parsed(binary::read, DOCUMENT.as_bytes()).0.expect_err("JSON").to_string();
    assert!(of_json.contains("at byte 0") && of_json.contains("without --binary"), "{of_json}");
    let cut = parsed(binary::read, &bytes[..200]).0.expect_err("cut").to_string();
    assert!(cut.contains("ends within the segment at byte 0"), "{cut}");
    let mut long = bytes.clone();
    long[4..12].fill(0xff);
    let long = parsed(binary::read, &long).0.expect_err("too long").to_string();
    assert!(long.contains("segment of 18446744073709551615 bytes at byte 0"), "{long}");
}

#[test]
fn a_tree_of_any_depth_is_read() {
    let mut document = r#"{"Setting":{"Name":"v","UUID":"u"},"FSTree":{"#.to_owned();
    let depth = 20_000;
    for ino in 1..=depth {
        document
            .push_str(&format!("\"attr\":{{\"inode\":{ino},\"type\":\"directory\"}},\"entries\":{{\"d\":{{"));
    }
    document.push_str(&format!("\"attr\":{{\"inode\":{},\"type\":\"directory\"}}}}", depth + 1));
    document.push_str(&"}}".repeat(depth));
    document.push('}');
    let (volume, rows) = parsed(json::read, document.as_bytes());
    let Counters { usage, next_inode, .. } = volume.expect("read").counters;
    assert_eq!((usage.inodes, next_inode), (depth as i64, depth as u64 + 2));
    let nodes = rows.iter().filter(|row| matches!(row, Item::Node { .. })).count();
    assert_eq!(nodes, depth + 1);
}

#[tokio::test]
async fn owners_and_directories_get_their_usage() {
    use futures::TryStreamExt;
    let engine = loaded(DOCUMENT.as_bytes(), false).await;
    let quotas: Vec<Item> =
        engine.scan(Scan::Quotas { kind: QuotaKind::User }).try_collect().await.expect("answers");
    let sum: i64 = quotas
        .iter()
        .map(|item| match item {
            Item::Quota(row) => row.used.inodes,
            other => panic!("{other:?}"),
        })
        .sum();
    assert_eq!(sum, recounted(&engine).await.inodes);
}

/// Cuts, flips and insertions at any place.
fn damaged(document: &'static [u8]) -> impl Strategy<Value = Vec<u8>> {
    let damage = (any::<prop::sample::Index>(), any::<u8>(), 0..4_u8);
    prop::collection::vec(damage, 1..4).prop_map(move |damages| {
        let mut bytes = document.to_vec();
        for (at, byte, kind) in damages {
            let at = at.index(bytes.len().max(1)).min(bytes.len().saturating_sub(1));
            match kind {
                _ if bytes.is_empty() => {}
                0 => bytes[at] = byte,
                1 => bytes.truncate(at),
                2 => bytes.insert(at, byte),
                _ => {
                    let end = (at + usize::from(byte)).min(bytes.len());
                    bytes.drain(at..end);
                }
            }
        }
        bytes
    })
}

/// Read to the end without a panic: a volume, or a sentence that is not empty.
fn is_answered(read: fn(Source, mpsc::Sender<Batch>) -> Result<Volume>, bytes: &[u8]) {
    match parsed(read, bytes).0 {
        Ok(volume) => assert!(!volume.format.name.is_empty()),
        Err(error @ (Error::BadDump(_) | Error::Meta(_))) => assert!(error.to_string().len() > 20, "{error}"),
        Err(other) => panic!("{other}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn damaged_json_never_panics(bytes in damaged(DOCUMENT.as_bytes())) {
        is_answered(json::read, &bytes);
    }

    #[test]
    fn damaged_binary_never_panics(bytes in damaged(BINARY)) {
        is_answered(binary::read, &bytes);
    }

    #[test]
    fn any_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        is_answered(json::read, &bytes);
        is_answered(binary::read, &bytes);
    }
}

/// The same volume as the peer dumps it with `--binary`.
const BINARY: &[u8] = include_bytes!("tests/dump-1.4.2.bin");
