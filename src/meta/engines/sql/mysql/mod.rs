//! Metadata in a MySQL or MariaDB server, in the tables that the peer makes there.

mod link;
#[cfg(test)]
pub(crate) mod tests;
mod words;

use std::sync::Arc;

use super::server::ServerEngine;
use crate::error::Result;
use crate::port::Engine;
use crate::url::ServerUrl;
use link::MySql;

/// The way to a volume in MySQL or MariaDB.
#[derive(Debug)]
pub struct MySqlEngine;

impl MySqlEngine {
    /// Connects and looks at the database.
    ///
    /// # Errors
    /// Sentences that name the server, the cause and the next step. `Unavailable` where it may come back.
    pub async fn open(url: &ServerUrl) -> Result<Arc<dyn Engine>> {
        let engine = ServerEngine::open(MySql::new(url)?, url.connections_max()?).await?;
        Ok(Arc::new(engine))
    }
}
