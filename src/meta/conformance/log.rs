//! The change log.

use bytes::Bytes;

use super::{Home, commit, file, is_conflict, name, node, node_of, put, slice};
use crate::port::{Change, Engine, Hold, Job, LogLine, LogPage, Sequence};
use crate::types::{Edge, Ino, Kind};

fn line(text: &str) -> LogLine {
    LogLine { head: format!("1.000000000|{text}"), appended: None, tail: "|(1,2)".to_owned() }
}

async fn page(engine: &dyn Engine, after: u64, max: usize) -> LogPage {
    engine.read_log(after, max).await.expect("read")
}

fn texts(page: &LogPage) -> Vec<(u64, String)> {
    page.lines.iter().map(|(version, line)| (*version, String::from_utf8_lossy(line).into_owned())).collect()
}

pub(super) async fn lines_are_written_with_their_changes(home: &Home) {
    let engine = &**home.volume().await;
    assert_eq!(page(engine, 0, 10).await, LogPage { lines: Vec::new(), first: 1, last: 0 });
    let insert = Change::InsertNode { ino: Ino(5), attr: file(Ino::ROOT) };
    put(engine, &[insert, Change::Log(line("ACCESS(5)"))]).await;
    // A line goes with its transaction.
    let edge = Edge { ino: Ino(5), kind: Kind::File };
    let taken = Change::InsertEdge { parent: Ino::ROOT, name: name("a"), edge };
    put(engine, std::slice::from_ref(&taken)).await;
    let held = [node_of(Ino(5), Hold::Guard)];
    let mut attempt = engine.begin(0).await.expect("begins");
    attempt.read(&held).await.expect("reads");
    let was = node(&*home.other, Ino(5)).await.expect("a node");
    let now = crate::types::Attr { mode: 0o600, ..was };
    commit(&*home.other, &held, &[Change::UpdateNode { ino: Ino(5), was, now }]).await.expect("commits");
    let late = [Change::DeleteNode { ino: Ino(5) }, Change::Log(line("ACCESS(6)"))];
    assert!(is_conflict(&attempt.commit(&late).await));
    // The list's length where the engine knows it in time, else 0.
    let append =
        |id| Change::AppendSlice { ino: Ino(5), indx: 0, slice: slice(id, 0, 10), only_existing: false };
    let told = |at| Change::Log(LogLine { appended: Some(at), ..line("WRITE(5)") });
    put(engine, &[append(1), told(0), append(2), told(1), Change::Log(line("ACCESS(7)"))]).await;
    let found = page(&*home.other, 0, 10).await;
    assert_eq!((found.first, found.last), (1, 4));
    let texts = texts(&found);
    assert_eq!(texts[0], (1, "1.000000000|ACCESS(5)|(1,2)".to_owned()));
    assert_eq!(texts[3], (4, "1.000000000|ACCESS(7)|(1,2)".to_owned()));
    let lengths: Vec<_> = texts[1..3].iter().map(|(_, text)| &text[..]).collect();
    let known = ["1.000000000|WRITE(5):1|(1,2)", "1.000000000|WRITE(5):2|(1,2)"];
    assert!(lengths == known || lengths == ["1.000000000|WRITE(5):0|(1,2)"; 2], "{lengths:?}");
}

pub(super) async fn lines_come_in_pages_and_old_ones_go(home: &Home) {
    let engine = &**home.volume().await;
    let lines: Vec<_> = (1..=7).map(|number| Change::Log(line(&format!("ACCESS({number})")))).collect();
    put(engine, &lines).await;
    let versions = |page: &LogPage| page.lines.iter().map(|(version, _)| *version).collect::<Vec<_>>();
    assert_eq!(versions(&page(engine, 0, 3).await), [1, 2, 3]);
    assert_eq!(versions(&page(engine, 3, 3).await), [4, 5, 6]);
    assert_eq!(versions(&page(engine, 6, 3).await), [7]);
    assert_eq!(versions(&page(engine, 7, 3).await), Vec::<u64>::new());
    engine.trim_log(4).await.expect("trims");
    let after = page(&*home.other, 0, 10).await;
    assert_eq!((versions(&after), after.first, after.last), (vec![5, 6, 7], 5, 7));
    engine.trim_log(2).await.expect("trims");
    engine.trim_log(100).await.expect("trims");
    assert_eq!(page(engine, 0, 10).await, LogPage { lines: Vec::new(), first: 8, last: 7 });
    put(engine, &[Change::Log(line("ACCESS(8)"))]).await;
    let next = page(engine, 7, 10).await;
    assert_eq!(next.lines, [(8, Bytes::from_static(b"1.000000000|ACCESS(8)|(1,2)"))]);
}

pub(super) async fn numbers_and_jobs_bring_their_lines(home: &Home) {
    let engine = &**home.volume().await;
    let first = engine.allocate(Sequence::Inode, 10, Some(&line("A(1)"))).await.expect("allocates").start;
    let next = engine.allocate(Sequence::Inode, 10, Some(&line("A(2)"))).await.expect("allocates").start;
    assert!(next > first && next <= first + 10);
    assert!(engine.claim(Job::CleanChangeLog, 1000, 270, Some(&line("A(3)"))).await.expect("answers"));
    assert!(!engine.claim(Job::CleanChangeLog, 1100, 270, Some(&line("A(4)"))).await.expect("answers"));
    let found = texts(&page(engine, 0, 10).await);
    let expected = |version| (version, format!("1.000000000|A({version})|(1,2)"));
    assert_eq!(found, [expected(1), expected(2), expected(3)]);
}
