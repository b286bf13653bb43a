//! Metadata in one SQLite file, shared with other processes of this host.
//!
//! An attempt reads without locks and remembers what it holds; its commit checks that again inside
//! `BEGIN IMMEDIATE` before it writes. So no lock is ever held while a caller thinks, a dropped attempt leaves
//! nothing behind, and commits that queue up share one transaction, which moves the volume's usage, too.

mod connection;
mod execute;
mod group;
mod log;
mod readers;
mod schema;
mod side;
#[cfg(test)]
mod tests;
mod volume;

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use futures::future::BoxFuture;
use futures::stream::{BoxStream, StreamExt, TryStreamExt};
use tokio::sync::oneshot;

use crate::engines::sql::load;
use crate::error::{Error, Result, or_damage};
use crate::port::{
    Attempt, Change, Counters, Engine, EngineLimits, FOLLOW_TRIES, Followed, Get, Got, Hold, Item, Job,
    LogLine, LogPage, MaybeNode, NewVolume, Questions, Receipt, Scan, Sequence,
};
use crate::types::{Attr, Edge, Ino, Name, Usage};
use crate::url::SqliteUrl;
use connection::{Place, Slot, Work, Worker};
use group::Commit;
use readers::Readers;

/// Nodes read in place; more of them go to the reading thread.
const POINT_MAX: usize = 64;

/// A volume's database file, or the place where one will be.
pub struct SqliteEngine {
    place: Arc<Place>,
    writer: Worker,
    readers: Readers,
}

impl SqliteEngine {
    /// Opens the database at `path`; a file that does not exist is made by [`Engine::create_volume`] only.
    /// `params` are those of the address: `table_prefix`, and `_synchronous` (or `_sync`) as the peer's driver
    /// understands it, `NORMAL` when missing.
    ///
    /// # Errors
    /// What SQLite says about the file.
    pub async fn open(path: &Path, params: &[(String, String)]) -> Result<Self> {
        let url = SqliteUrl { path: path.to_owned(), params: params.to_vec() };
        let place = Arc::new(Place {
            path: url.path.clone(),
            prefix: url.table_prefix(),
            synchronous: synchronous(params)?,
        });
        let engine = Self {
            writer: Worker::start("meta-sqlite-w", Arc::clone(&place))?,
            readers: Readers::start(&place)?,
            place,
        };
        match engine.writer.run(|slot| volume::complete_schema(slot.get(false)?)).await {
            Ok(()) | Err(Error::NotFormatted(_)) => Ok(engine),
            Err(error) => Err(error),
        }
    }

    async fn answers(&self, gets: Vec<Get>) -> Result<Vec<Got>> {
        self.readers.point(move |slot| execute::answers(slot.get(false)?, &gets)).await
    }
}

fn synchronous(params: &[(String, String)]) -> Result<&'static str> {
    let Some((_, value)) = params.iter().find(|(key, _)| key == "_synchronous" || key == "_sync") else {
        return Ok("NORMAL");
    };
    Ok(match value.to_ascii_uppercase().as_str() {
        "0" | "OFF" => "OFF",
        "1" | "NORMAL" => "NORMAL",
        "2" | "FULL" => "FULL",
        "3" | "EXTRA" => "EXTRA",
        other => {
            return Err(Error::Engine(format!(
                "sqlite3: _synchronous is OFF, NORMAL, FULL or EXTRA, not {other}"
            )));
        }
    })
}

impl Engine for SqliteEngine {
    fn begin(&self, _attempt: u32) -> BoxFuture<'_, Result<Box<dyn Attempt + '_>>> {
        let attempt: Box<dyn Attempt + '_> = Box::new(SqliteAttempt { engine: self, held: Vec::new() });
        Box::pin(std::future::ready(Ok(attempt)))
    }

    fn read<'a>(&'a self, gets: &'a [Get]) -> BoxFuture<'a, Result<Vec<Got>>> {
        Box::pin(self.answers(gets.to_vec()))
    }

    fn lookup<'a>(
        &'a self,
        parent: Ino,
        name: &'a Name,
    ) -> BoxFuture<'a, Result<Option<(Edge, Option<Attr>)>>> {
        let name = name.clone();
        Box::pin(self.readers.point(move |slot| execute::lookup(slot.get(false)?, parent, &name)))
    }

    fn nodes<'a>(&'a self, inos: &'a [Ino]) -> BoxFuture<'a, Result<Vec<MaybeNode>>> {
        let inos = inos.to_vec();
        let is_long = inos.len() > POINT_MAX;
        let body = move |slot: &mut Slot| {
            let conn = slot.get(false)?;
            inos.iter().map(|ino| or_damage(execute::node(conn, *ino))).collect()
        };
        Box::pin(async move {
            if is_long { self.readers.long(body).await } else { self.readers.point(body).await }
        })
    }

    fn scan(&self, scan: Scan) -> BoxStream<'_, Result<Item>> {
        let scan = Arc::new(scan);
        futures::stream::try_unfold(Some(None), move |after| {
            let scan = Arc::clone(&scan);
            async move {
                let Some(after) = after else { return Ok::<_, Error>(None) };
                let (items, last) =
                    self.readers.long(move |slot| execute::page(slot.get(false)?, &scan, after)).await?;
                Ok(Some((futures::stream::iter(items.into_iter().map(Ok)), last.map(Some))))
            }
        })
        .try_flatten()
        .boxed()
    }

    fn allocate<'a>(
        &'a self,
        sequence: Sequence,
        count: u64,
        line: Option<&'a LogLine>,
    ) -> BoxFuture<'a, Result<Range<u64>>> {
        let line = line.map(|line| line.text(&[]));
        Box::pin(
            self.writer.run(move |slot| volume::allocate(slot.get(false)?, sequence, count, line.as_deref())),
        )
    }

    fn claim<'a>(
        &'a self,
        job: Job,
        now: i64,
        gap_sec: i64,
        line: Option<&'a LogLine>,
    ) -> BoxFuture<'a, Result<bool>> {
        let line = line.map(|line| line.text(&[]));
        Box::pin(
            self.writer.run(move |slot| volume::claim(slot.get(false)?, job, now, gap_sec, line.as_deref())),
        )
    }

    fn read_log(&self, after: u64, max: usize) -> BoxFuture<'_, Result<LogPage>> {
        Box::pin(self.readers.long(move |slot| log::page(slot.get(false)?, after, max)))
    }

    fn follow<'a>(
        &'a self,
        after: u64,
        max: usize,
        questions: Questions<'a>,
    ) -> BoxFuture<'a, Result<Followed>> {
        Box::pin(async move {
            let mut gets = Vec::new();
            for _ in 0..FOLLOW_TRIES {
                let (asked, page, answers) = self
                    .readers
                    .long(move |slot| {
                        let (page, answers) = log::page_and_rows(slot.get(false)?, after, max, &gets)?;
                        Ok((gets, page, answers))
                    })
                    .await?;
                if page.lines.last().map_or(after, |(version, _)| *version) < page.last {
                    return Ok(Followed { page, answers: None });
                }
                gets = questions(&page.lines);
                if gets == asked {
                    return Ok(Followed { page, answers: Some(answers) });
                }
            }
            Err(Error::Conflict)
        })
    }

    fn trim_log(&self, upto: u64) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.writer.run(move |slot| log::trim(slot.get(false)?, upto)))
    }

    fn setting(&self) -> BoxFuture<'_, Result<Option<String>>> {
        Box::pin(async move {
            // A file that went away under an open connection is an ended volume, not an old one.
            if !self.place.path.exists() {
                return Ok(None);
            }
            self.readers.point(|slot| volume::setting(slot.get(false)?)).await
        })
    }

    fn create_volume<'a>(&'a self, volume: &'a NewVolume) -> BoxFuture<'a, Result<()>> {
        let volume = volume.clone();
        Box::pin(self.writer.run(move |slot| volume::create(slot.get(true)?, &volume)))
    }

    fn destroy_volume(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.writer.run(|slot| slot.get(false)?.write(schema::drop_all)))
    }

    fn update_setting<'a>(
        &'a self,
        setting: &'a str,
        trash: Option<Attr>,
        reset_dir_stats: bool,
    ) -> BoxFuture<'a, Result<()>> {
        let setting = setting.to_owned();
        Box::pin(self.writer.run(move |slot| {
            volume::update_setting(slot.get(false)?, &setting, trash.as_ref(), reset_dir_stats)
        }))
    }

    fn usage(&self) -> BoxFuture<'_, Result<Usage>> {
        Box::pin(self.readers.point(|slot| volume::usage(slot.get(false)?)))
    }

    fn flush(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn sync(&self) -> BoxFuture<'_, Result<()>> {
        let mut log = self.place.path.clone().into_os_string();
        log.push("-wal");
        Box::pin(async move {
            if matches!(self.place.synchronous, "FULL" | "EXTRA") {
                return Ok(());
            }
            // Commits are appended to the log without waiting for the device.
            let synced = tokio::task::spawn_blocking(move || match std::fs::File::open(log) {
                Ok(file) => file.sync_data(),
                Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => Ok(()),
                Err(cause) => Err(cause),
            });
            let synced =
                synced.await.map_err(|cause| Error::Engine(format!("sqlite: sync of the log: {cause}")))?;
            synced.map_err(|cause| Error::InDoubt(format!("sqlite: sync of the log: {cause}")))
        })
    }

    fn settle(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.writer.run(|slot| slot.get(false)?.empty_the_log()))
    }

    fn foreign_records(&self) -> BoxFuture<'_, Result<Vec<&'static str>>> {
        Box::pin(self.readers.point(|slot| volume::foreign_records(slot.get(false)?)))
    }

    fn counters(&self) -> BoxFuture<'_, Result<Counters>> {
        Box::pin(self.readers.point(|slot| volume::counters(slot.get(false)?)))
    }

    fn start_load(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.writer.run(|slot| volume::start_load(slot.get(true)?)))
    }

    fn load<'a>(&'a self, rows: &'a [Item]) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let inserts = rows.iter().map(load::insert).collect::<Result<Vec<_>>>()?;
            self.writer.run(move |slot| volume::load(slot.get(false)?, inserts.iter().flatten())).await
        })
    }

    fn finish_load<'a>(
        &'a self,
        setting: &'a str,
        counters: Counters,
        _last_acl: u32,
    ) -> BoxFuture<'a, Result<()>> {
        let statements = load::finish(setting, &counters);
        Box::pin(self.writer.run(move |slot| volume::load(slot.get(false)?, &statements)))
    }

    fn limits(&self) -> EngineLimits {
        EngineLimits { changes_max: 10_000, name: "sqlite3", slices_max: u32::MAX, has_change_log: true }
    }

    fn lists_chunks_by_inode(&self) -> bool {
        true
    }

    fn lists_names_in_order(&self) -> bool {
        true
    }
}

/// Reads remembered until they are checked at commit.
struct SqliteAttempt<'e> {
    engine: &'e SqliteEngine,
    held: Vec<(Get, Got)>,
}

impl Attempt for SqliteAttempt<'_> {
    fn read<'a>(&'a mut self, gets: &'a [Get]) -> BoxFuture<'a, Result<Vec<Got>>> {
        Box::pin(async move {
            let got = self.engine.answers(gets.to_vec()).await?;
            for (get, answer) in gets.iter().zip(&got) {
                if get.hold() != Hold::Peek {
                    self.held.push((get.clone(), answer.clone()));
                }
            }
            Ok(got)
        })
    }

    fn commit<'a>(self: Box<Self>, changes: &'a [Change]) -> BoxFuture<'a, Result<Receipt>>
    where
        Self: 'a,
    {
        Box::pin(async move {
            if changes.is_empty() {
                return Ok(Receipt::default());
            }
            let (answer, outcome) = oneshot::channel();
            let commit = Commit { held: self.held, changes: changes.to_vec(), answer };
            self.engine.writer.send(Work::Commit(commit), outcome).await
        })
    }
}
