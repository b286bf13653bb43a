//! Numbers of lines are given out before their transactions commit.

use mysql_async::prelude::Queryable;

use super::*;
use crate::port::LogLine;

fn now_sec() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.expect("after 1970").as_secs()
}

fn line(text: &str) -> Change {
    Change::Log(LogLine {
        head: format!("{}.000000000|{text}", now_sec()),
        appended: None,
        tail: "|(1,2)".to_owned(),
    })
}

async fn put(engine: &dyn Engine, text: &str) {
    engine.begin(0).await.expect("begins").commit(&[line(text)]).await.expect("commits");
}

async fn versions(engine: &dyn Engine) -> Vec<u64> {
    let page = engine.read_log(0, 100).await.expect("reads");
    page.lines.iter().map(|(version, _)| *version).collect()
}

/// A transaction of another client that has taken a number and not ended.
enum Late {
    Postgres(tokio_postgres::Client),
    Mariadb(mysql_async::Conn),
}

impl Late {
    async fn new(kind: Server, place: &str, entry: &str) -> Self {
        let insert = format!("INSERT INTO jfs_change_log (entry) VALUES ('{entry}')");
        match kind {
            Server::Postgres => {
                let client = postgres::raw().await;
                let text = format!("SET search_path = {place}; BEGIN; {insert}");
                client.batch_execute(&text).await.expect("inserts");
                Self::Postgres(client)
            }
            Server::Mariadb => {
                let mut conn = mysql::raw().await;
                conn.query_drop(format!("USE {place}; BEGIN; {insert}")).await.expect("inserts");
                Self::Mariadb(conn)
            }
        }
    }

    async fn end(self, word: &str) {
        match self {
            Self::Postgres(client) => client.batch_execute(word).await.expect("ends"),
            Self::Mariadb(mut conn) => conn.query_drop(word).await.expect("ends"),
        }
    }
}

on_every_server! {
    a_line_that_commits_late_is_not_missed,
}

async fn a_line_that_commits_late_is_not_missed(kind: Server) {
    let place = kind.place().await;
    let (engine, reader) = (kind.open(kind.port(), &place).await, kind.open(kind.port(), &place).await);
    engine.create_volume(&volume()).await.expect("an empty place");
    put(&*engine, "ACCESS(1)").await;
    let late = Late::new(kind, &place, &format!("{}.000000000|ACCESS(2)|(2,1)", now_sec())).await;
    put(&*engine, "ACCESS(3)").await;
    assert_eq!(versions(&*reader).await, [1], "the second may still come");
    assert_eq!(reader.read_log(0, 0).await.expect("reads").last, 1);
    late.end("COMMIT").await;
    assert_eq!(versions(&*reader).await, [1, 2, 3]);
    // One that fails leaves a gap for ever.
    let failed = Late::new(kind, &place, "1.000000000|ACCESS(4)|(2,2)").await;
    put(&*engine, "ACCESS(5)").await;
    assert_eq!(versions(&*reader).await, [1, 2, 3]);
    failed.end("ROLLBACK").await;
    if kind == Server::Mariadb {
        // It does not say which transactions have ended; lines of long ago have no older ones on their way.
        assert_eq!(versions(&*reader).await, [1, 2, 3]);
        let age =
            [Change::Log(LogLine { head: "1.0|ACCESS(6)".to_owned(), appended: None, tail: String::new() })];
        engine.begin(0).await.expect("begins").commit(&age).await.expect("commits");
        mysql::raw()
            .await
            .query_drop(format!("DELETE FROM {place}.jfs_change_log WHERE id = 5"))
            .await
            .expect("goes");
        assert_eq!(versions(&*reader).await, [1, 2, 3, 6]);
        return;
    }
    assert_eq!(versions(&*reader).await, [1, 2, 3, 5]);
    let page = kind.open(kind.port(), &place).await.read_log(0, 100).await.expect("reads");
    assert_eq!((page.lines.len(), page.first, page.last), (4, 1, 5));
}
