//! Numbers of lines are given out before their transactions commit.

use super::*;
use crate::port::LogLine;

fn line(text: &str) -> Change {
    Change::Log(LogLine { head: format!("1.000000000|{text}"), appended: None, tail: "|(1,2)".to_owned() })
}

async fn put(engine: &dyn Engine, text: &str) {
    engine.begin(0).await.expect("begins").commit(&[line(text)]).await.expect("commits");
}

async fn versions(engine: &dyn Engine) -> Vec<u64> {
    let page = engine.read_log(0, 100).await.expect("reads");
    page.lines.iter().map(|(version, _)| *version).collect()
}

/// A transaction of another client that has taken a number and not ended.
async fn late(schema: &str, entry: &str) -> tokio_postgres::Client {
    let client = server::raw().await;
    client
        .batch_execute(&format!(
            "SET search_path = {schema}; BEGIN; INSERT INTO jfs_change_log (entry) VALUES ('{entry}')"
        ))
        .await
        .expect("inserts");
    client
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_that_commits_late_is_not_missed() {
    let schema = server::schema().await;
    let address = server::address(server::port(), &schema);
    let (engine, reader) = (open(&address).await, open(&address).await);
    engine.create_volume(&volume()).await.expect("an empty schema");
    put(&*engine, "ACCESS(1)").await;
    let late_one = late(&schema, "1.000000000|ACCESS(2)|(2,1)").await;
    put(&*engine, "ACCESS(3)").await;
    assert_eq!(versions(&*reader).await, [1], "the second may still come");
    assert_eq!(reader.read_log(0, 0).await.expect("reads").last, 1);
    late_one.batch_execute("COMMIT").await.expect("commits");
    assert_eq!(versions(&*reader).await, [1, 2, 3]);
    // One that fails leaves a gap for ever.
    let failed = late(&schema, "1.000000000|ACCESS(4)|(2,2)").await;
    put(&*engine, "ACCESS(5)").await;
    assert_eq!(versions(&*reader).await, [1, 2, 3]);
    failed.batch_execute("ROLLBACK").await.expect("rolls back");
    assert_eq!(versions(&*reader).await, [1, 2, 3, 5]);
    let newcomer = open(&address).await;
    let page = newcomer.read_log(0, 100).await.expect("reads");
    assert_eq!((page.lines.len(), page.first, page.last), (4, 1, 5));
}
