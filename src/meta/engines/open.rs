//! From an address to an engine.

use std::sync::Arc;

use super::kv::etcd;
use super::redis::RedisEngine;
use super::sql::mysql::MySqlEngine;
use super::sql::postgres::PostgresEngine;
use super::sql::sqlite::SqliteEngine;
use crate::error::Result;
use crate::port::Engine;
use crate::url::MetaUrl;

/// Connects to the database an address names. A SQLite file that does not exist yet opens as an empty database.
///
/// # Errors
/// [`Error::Unavailable`] when it can't be reached, [`Error::Engine`] when it refuses.
pub async fn open(url: &MetaUrl) -> Result<Arc<dyn Engine>> {
    Ok(match url {
        MetaUrl::Sqlite(url) => Arc::new(SqliteEngine::open(&url.path, &url.params).await?),
        MetaUrl::Etcd(url) => etcd::open(url).await?,
        MetaUrl::Mysql(url) => MySqlEngine::open(url).await?,
        MetaUrl::Postgres(url) => PostgresEngine::open(url).await?,
        MetaUrl::Redis(url) => Arc::new(RedisEngine::open(url).await?),
    })
}
