//! Connections and the threads that own them.
//!
//! One thread writes, so that attempts queue here instead of polling SQLite's lock, and what has queued up
//! while a commit ran shares the next one. Readers see every commit that was acknowledged before they began.

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{CachedStatement, Connection, ErrorCode, OpenFlags};
use tokio::sync::{mpsc, oneshot};

use super::group::{self, Commit};
use crate::engines::sql::rows::ROW;
use crate::error::{Error, Result};

/// As the peer's `_timeout`.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Tasks that may wait for a thread; senders wait beyond.
const QUEUE_MAX: usize = 1024;
/// Commits that share one transaction. Measured elsewhere: eight give 3.6 times the rate of one; a longer
/// group keeps the other process waiting for the lock.
const GROUP_MAX: usize = 32;
const STATEMENTS_MAX: usize = 256;

/// Where the database is and how to talk to it.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) path: PathBuf,
    /// `jfs_` or `jfs_P_`.
    pub(super) prefix: String,
    /// `OFF`, `NORMAL`, `FULL` or `EXTRA`.
    pub(super) synchronous: &'static str,
}

/// A connection with the volume's table prefix.
pub(super) struct Conn {
    pub(super) db: Connection,
    prefix: String,
}

impl Conn {
    fn open(place: &Place, create: bool) -> Result<Self> {
        let folder = place.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
            return Err(Error::Engine(format!(
                "the directory {} of the database does not exist: create it first",
                folder.display()
            )));
        }
        if !create && !place.path.exists() {
            return Err(Error::NotFormatted(format!(
                "there is no database at {}: run `juicefs format` first",
                place.path.display()
            )));
        }
        let mut flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        if create {
            flags |= OpenFlags::SQLITE_OPEN_CREATE;
        }
        let about = |cause: &rusqlite::Error| match sqlite_error(cause) {
            Error::Unavailable(why) => Error::Unavailable(format!("{}: {why}", place.path.display())),
            other => Error::Engine(format!("{}: {other}", place.path.display())),
        };
        let open = || -> rusqlite::Result<Connection> {
            let db = Connection::open_with_flags(&place.path, flags)?;
            db.busy_timeout(BUSY_TIMEOUT)?;
            let mode: String = db.query_row("PRAGMA journal_mode", [], |row| row.get(0))?;
            if !mode.eq_ignore_ascii_case("wal") {
                db.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
            }
            db.execute_batch(&format!(
                "PRAGMA synchronous = {}; PRAGMA cache_size = -16384; PRAGMA temp_store = MEMORY",
                place.synchronous
            ))?;
            db.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
            Ok(db)
        };
        let db = open().map_err(|cause| about(&cause))?;
        Ok(Self { db, prefix: place.prefix.clone() })
    }

    /// `text` with the volume's table prefix in place of `jfs_`.
    pub(super) fn sql<'a>(&self, text: &'a str) -> Cow<'a, str> {
        if self.prefix == "jfs_" {
            Cow::Borrowed(text)
        } else {
            Cow::Owned(text.replace("jfs_", &self.prefix))
        }
    }

    pub(super) fn statement(&self, text: &str) -> rusqlite::Result<CachedStatement<'_>> {
        self.db.prepare_cached(&self.sql(text))
    }

    /// Runs `body` in a write transaction of its own: all of it or nothing.
    pub(super) fn write<T>(&self, body: impl FnOnce(&Self) -> Result<T>) -> Result<T> {
        self.run("BEGIN IMMEDIATE")?;
        let outcome = body(self);
        match outcome {
            Ok(value) => self.finish().map(|()| value),
            Err(error) => {
                self.roll_back();
                Err(error)
            }
        }
    }

    /// Commits; on failure nothing stays open.
    ///
    /// # Errors
    /// [`Error::InDoubt`] when the device failed: the commit record may or may not have reached it.
    pub(super) fn finish(&self) -> Result<()> {
        let Err(cause) = self.db.prepare_cached("COMMIT").and_then(|mut commit| commit.execute([])) else {
            return Ok(());
        };
        self.roll_back();
        Err(match cause.sqlite_error_code() {
            Some(ErrorCode::SystemIoFailure) => Error::InDoubt(cause.to_string()),
            _ => sqlite_error(&cause),
        })
    }

    pub(super) fn roll_back(&self) {
        if !self.db.is_autocommit()
            && let Err(cause) = self.db.execute_batch("ROLLBACK")
        {
            tracing::warn!(%cause, "sqlite: a rollback failed");
        }
    }

    /// Moves every commit of the write-ahead log into the file, unless somebody still reads or writes there: nobody is
    /// waited for.
    pub(super) fn empty_the_log(&self) -> Result<()> {
        self.db.busy_timeout(Duration::ZERO)?;
        let emptied = self.db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        self.db.busy_timeout(BUSY_TIMEOUT)?;
        match emptied.map_err(|cause| sqlite_error(&cause)) {
            Err(Error::Unavailable(_)) => Ok(()),
            other => other,
        }
    }

    pub(super) fn run(&self, text: &str) -> Result<()> {
        self.db
            .prepare_cached(text)
            .and_then(|mut statement| statement.execute([]))
            .map(|_| ())
            .map_err(|cause| sqlite_error(&cause))
    }
}

/// What an error of SQLite means to us.
pub(super) fn sqlite_error(cause: &rusqlite::Error) -> Error {
    if matches!(
        cause,
        rusqlite::Error::InvalidColumnType(..)
            | rusqlite::Error::FromSqlConversionFailure(..)
            | rusqlite::Error::IntegralValueOutOfRange(..)
    ) {
        // SQLite keeps what it is given, whatever type the column has.
        return Error::Corrupt { record: ROW.to_owned(), cause: cause.to_string() };
    }
    match cause.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            Error::Unavailable(format!("sqlite: {cause}"))
        }
        Some(ErrorCode::ConstraintViolation) => Error::Conflict,
        Some(ErrorCode::DiskFull | ErrorCode::OutOfMemory) => Error::Full(format!("sqlite: {cause}")),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            Error::Corrupt { record: "sqlite database".to_owned(), cause: cause.to_string() }
        }
        _ => Error::Engine(format!("sqlite: {cause}")),
    }
}

impl From<rusqlite::Error> for Error {
    fn from(cause: rusqlite::Error) -> Self {
        sqlite_error(&cause)
    }
}

/// The connection of a thread, opened when it is first needed.
pub(super) struct Slot {
    place: Arc<Place>,
    conn: Option<Conn>,
}

impl Slot {
    pub(super) fn new(place: Arc<Place>) -> Self {
        Self { place, conn: None }
    }

    pub(super) fn get(&mut self, create: bool) -> Result<&mut Conn> {
        if self.conn.is_none() {
            self.conn = Some(Conn::open(&self.place, create)?);
        }
        Ok(self.conn.as_mut().expect("just opened"))
    }
}

type Task = Box<dyn FnOnce(&mut Slot) + Send>;

pub(super) enum Work {
    Task(Task),
    Commit(Commit),
}

/// The sending end of a thread's queue; the thread ends when the last one is dropped.
#[derive(Clone)]
pub(super) struct Worker {
    queue: mpsc::Sender<Work>,
}

impl Worker {
    /// # Errors
    /// [`Error::Engine`] when the system gives no thread.
    pub(super) fn start(name: &str, place: Arc<Place>) -> Result<Self> {
        let (queue, incoming) = mpsc::channel(QUEUE_MAX);
        std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || serve(incoming, Slot::new(place)))
            .map_err(|cause| Error::Engine(format!("sqlite: no thread: {cause}")))?;
        Ok(Self { queue })
    }

    /// Runs `body` on the thread, with its connection.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        body: impl FnOnce(&mut Slot) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (answer, outcome) = oneshot::channel();
        let task: Task = Box::new(move |slot| {
            if !answer.is_closed() {
                let _ = answer.send(body(slot));
            }
        });
        self.send(Work::Task(task), outcome).await
    }

    pub(super) async fn send<T>(&self, work: Work, outcome: oneshot::Receiver<Result<T>>) -> Result<T> {
        let gone = || Error::Engine("sqlite: the database thread has ended".to_owned());
        self.queue.send(work).await.map_err(|_| gone())?;
        outcome.await.map_err(|_| gone())?
    }
}

fn serve(mut incoming: mpsc::Receiver<Work>, mut slot: Slot) {
    let mut next = incoming.blocking_recv();
    while let Some(work) = next.take() {
        match work {
            Work::Task(task) => task(&mut slot),
            Work::Commit(first) => {
                let mut commits = vec![first];
                while commits.len() < GROUP_MAX {
                    match incoming.try_recv() {
                        Ok(Work::Commit(commit)) => commits.push(commit),
                        Ok(task) => {
                            next = Some(task);
                            break;
                        }
                        Err(_) => break,
                    }
                }
                group::commit(&mut slot, commits);
            }
        }
        if next.is_none() {
            next = incoming.blocking_recv();
        }
    }
}
