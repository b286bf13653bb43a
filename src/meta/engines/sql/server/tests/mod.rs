//! What every database server must do beside the suite that all engines share, each against a real one by way of a
//! relay: answers that are lost, numbers of the change log that come late.

mod doubt;
mod log;
mod relay;

use std::sync::Arc;

use crate::engines::sql::mysql::MySqlEngine;
use crate::engines::sql::mysql::tests::server as mysql;
use crate::engines::sql::postgres::PostgresEngine;
use crate::engines::sql::postgres::tests::server as postgres;
use crate::port::{Change, Engine, Get, Got, Hold, NewVolume};
use crate::types::{Attr, Ino, Kind, Slice, Time};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Server {
    Postgres,
    Mariadb,
}

impl Server {
    fn port(self) -> u16 {
        match self {
            Self::Postgres => postgres::port(),
            Self::Mariadb => mysql::port(),
        }
    }

    /// An empty place for a volume.
    async fn place(self) -> String {
        match self {
            Self::Postgres => postgres::schema().await,
            Self::Mariadb => mysql::database().await,
        }
    }

    async fn open(self, port: u16, place: &str) -> Arc<dyn Engine> {
        let opened = match self {
            Self::Postgres => PostgresEngine::open(&postgres::url(&postgres::address(port, place))).await,
            Self::Mariadb => MySqlEngine::open(&mysql::url(&mysql::address(port, place))).await,
        };
        opened.expect("opens")
    }
}

macro_rules! on_every_server {
    ($($case:ident),+ $(,)?) => {
        mod on_postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                super::$case(super::Server::Postgres).await;
            })+
        }
        mod on_mariadb {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                super::$case(super::Server::Mariadb).await;
            })+
        }
    };
}
use on_every_server;

pub(in crate::engines::sql) fn volume() -> NewVolume {
    let at = Time { sec: 1_795_000_000, nsec: 0 };
    let root = Attr::new(Kind::Directory, 0o777, 0, 0, Ino::ROOT, at);
    NewVolume { setting: "{\n\"Name\": \"vol\"\n}".to_owned(), root, trash: None }
}

/// Appends a slice as the operations do; the length of the list.
pub(in crate::engines::sql) async fn append(engine: &dyn Engine, id: u64) -> crate::Result<u32> {
    let mut attempt = engine.begin(0).await?;
    let gets =
        [Get::Node { ino: Ino::ROOT, hold: Hold::Update }, Get::AppendTarget { ino: Ino::ROOT, indx: 0 }];
    let got = attempt.read(&gets).await?;
    let [Got::Node(Some(was)), Got::Ready] = got[..] else { panic!("{got:?}") };
    let slice = Slice { pos: 0, id, size: 100, off: 0, len: 100 };
    let changes = [
        Change::AppendSlice { ino: Ino::ROOT, indx: 0, slice, only_existing: false },
        Change::TrackSlice { id, size: 100 },
        Change::UpdateNode { ino: Ino::ROOT, was, now: Attr { length: was.length + 100, ..was } },
        Change::AddUsage { space: 4096, inodes: 0 },
    ];
    let receipt = attempt.commit(&changes).await?;
    Ok(receipt.slices_after_append[0])
}

pub(in crate::engines::sql) async fn length(engine: &dyn Engine) -> u64 {
    let got = engine.read(&[Get::Node { ino: Ino::ROOT, hold: Hold::Peek }]).await.expect("reads");
    let [Got::Node(Some(attr))] = got[..] else { panic!("{got:?}") };
    // A directory is that long.
    attr.length - 4096
}
