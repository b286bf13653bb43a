//! A fresh, empty database of each engine.

use std::sync::Arc;

use super::Home;
use crate::engines::kv::etcd;
use crate::engines::kv::etcd::tests::server as etcd_server;
use crate::engines::memory::MemoryEngine;
use crate::engines::redis::server::Server;
use crate::engines::sql::mysql::MySqlEngine;
use crate::engines::sql::mysql::tests::server as mysql_server;
use crate::engines::sql::postgres::PostgresEngine;
use crate::engines::sql::postgres::tests::server as postgres_server;
use crate::engines::sql::sqlite::SqliteEngine;

pub(crate) async fn memory() -> Home {
    let engine = MemoryEngine::new();
    Home { engine: Arc::new(engine.clone()), other: Arc::new(engine), _keep: Box::new(()) }
}

pub(crate) async fn sqlite() -> Home {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("meta.db");
    let engine = Arc::new(SqliteEngine::open(&path, &[]).await.expect("opens"));
    let other = Arc::new(SqliteEngine::open(&path, &[]).await.expect("opens"));
    Home { engine, other, _keep: Box::new(dir) }
}

pub(crate) async fn postgres() -> Home {
    let schema = postgres_server::schema().await;
    let url = postgres_server::url(&postgres_server::address(postgres_server::port(), &schema));
    let engine = PostgresEngine::open(&url).await.expect("opens");
    let other = PostgresEngine::open(&url).await.expect("opens");
    Home { engine, other, _keep: Box::new(()) }
}

pub(crate) async fn mariadb() -> Home {
    let url =
        mysql_server::url(&mysql_server::address(mysql_server::port(), &mysql_server::database().await));
    let engine = MySqlEngine::open(&url).await.expect("opens");
    let other = MySqlEngine::open(&url).await.expect("opens");
    Home { engine, other, _keep: Box::new(()) }
}

pub(crate) async fn etcd() -> Home {
    let address = format!("etcd://127.0.0.1:{}{}", etcd_server::port(), etcd_server::prefix());
    let url = etcd_server::url(&address);
    let engine = etcd::open(&url).await.expect("opens");
    let other = etcd::open(&url).await.expect("opens");
    Home { engine, other, _keep: Box::new(()) }
}

pub(crate) async fn redis() -> Home {
    let server = Server::start();
    let engine = Arc::new(server.engine().await);
    let other = Arc::new(server.engine().await);
    Home { engine, other, _keep: Box::new(server) }
}
