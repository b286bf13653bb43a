//! The change log of a server: rows whose numbers are given out before their transactions commit, so that a line may
//! appear below one that is there already. Nothing is read past a number that is missing until whoever took it must
//! have ended; a number whose transaction failed is missing for ever.
//!
//! The state is up to where the log is known to be whole, and which gaps were seen when. It only grows and is only a
//! memory: a client that starts anew looks again.

use std::time::Duration;

use bytes::Bytes;
use juicefs_base::sync::Mutex;

use super::driver::{Command, Dialect, Driver, Mode, Read, Table};
use super::{ServerEngine, answer, question};
use crate::engines::sql::rows::{Row, Rows};
use crate::engines::sql::statement::{Statement, int, statement};
use crate::error::{Error, Result};
use crate::port::{FOLLOW_TRIES, Followed, Get, Got, LogPage, Questions};

/// Where the last number removed from the log is kept: an empty log has no other way to say how far it came.
pub(super) const TRIMMED: &str = "log";
const GAPS_MAX: usize = 1000;
/// How often a gap is looked at before the page ends in front of it.
const GAP_TRIES: u32 = 100;
const GAP_PAUSE: Duration = Duration::from_millis(3);
/// A line of that age has no older one still on its way, whatever the horizon of this client.
const SETTLED_MS: i64 = 120_000;

#[derive(Default)]
pub(super) struct LogMemory(Mutex<Known>);

#[derive(Default)]
struct Known {
    /// Every line up to here was there to read, or never will be.
    whole_upto: u64,
    /// First missing number, and the horizon when that was seen.
    seen: Vec<(u64, i64)>,
}

/// A look at the log.
struct Look {
    page: LogPage,
    /// A number is missing that may still come.
    is_torn: bool,
}

/// What is asked in one moment; `trimmed` whether the table of [`TRIMMED`] is there.
fn questions(dialect: &Dialect, whole_upto: u64, after: u64, max: usize, trimmed: bool) -> Vec<Command> {
    let alone = |text: &'static str| statement!(text);
    let mut questions = vec![
        alone(dialect.horizon),
        alone("SELECT min(id), max(id) FROM jfs_change_log"),
        // The lines behind a missing one.
        statement!(
            "SELECT a.id, (SELECT max(b.id) FROM jfs_change_log b WHERE b.id < a.id), a.entry FROM jfs_change_log a \
             WHERE a.id > ?1 AND NOT EXISTS (SELECT 1 FROM jfs_change_log c WHERE c.id = a.id - 1) \
             ORDER BY a.id LIMIT 1000",
            whole_upto
        ),
        Statement {
            text: "SELECT id, entry FROM jfs_change_log WHERE id > ?1 ORDER BY id LIMIT ?2".into(),
            values: vec![
                int(after.min(i64::MAX as u64)).into(),
                i64::try_from(max).unwrap_or(i64::MAX).into(),
            ],
        },
    ];
    if trimmed {
        questions.push(statement!("SELECT seq FROM jfs_rs_marker WHERE name = ?1", TRIMMED));
    }
    questions.into_iter().map(Command::any).collect()
}

impl LogMemory {
    fn whole_upto(&self) -> u64 {
        self.0.lock().whole_upto
    }

    /// Reads the answers to [`questions`].
    fn look(&self, dialect: &Dialect, after: u64, answers: &[Table]) -> Result<Look> {
        let pair = |table: &Table| -> Result<(Option<i64>, Option<i64>)> {
            match table.first() {
                Some(row) => Ok((row.maybe_int(0)?, row.maybe_int(1)?)),
                None => Ok((None, None)),
            }
        };
        let (low, high) = pair(&answers[0])?;
        let (low, high) = (low.unwrap_or(0), high.unwrap_or(0));
        let (first, newest) = pair(&answers[1])?;
        let trimmed = answers.get(4).map(super::driver::number).transpose()?.flatten().unwrap_or(0);
        let mut known = self.0.lock();
        // What this client or the caller has seen the end of holds no gap.
        let base = known.whole_upto.max(after).max(trimmed.cast_unsigned());
        let mut torn_at = None;
        let mut seen = Vec::new();
        for row in &answers[2] {
            let behind = row.number(0)?;
            let from = row.maybe_int(1)?.map_or(base, i64::cast_unsigned).max(base) + 1;
            if from >= behind {
                continue;
            }
            let since = known.seen.iter().find(|(at, _)| *at == from).map_or(high, |(_, since)| *since);
            let is_old =
                dialect.horizon_is_time && line_ms(row.bytes(2)?).is_some_and(|at| at < high - SETTLED_MS);
            if low < since && !is_old {
                torn_at = torn_at.or(Some(from));
                if seen.len() < GAPS_MAX {
                    seen.push((from, since));
                }
            }
        }
        known.seen = seen;
        let top = newest.map_or(base, |newest| newest.cast_unsigned().max(base));
        let last = torn_at.map_or(top, |at| at - 1);
        // A page of gaps says nothing of what comes behind it.
        if answers[2].len() < 1000 {
            known.whole_upto = known.whole_upto.max(last);
        }
        drop(known);
        let mut lines = Vec::new();
        let mut rows = Read::new(&answers[3]);
        while let Some(row) = rows.next()? {
            let version = row.number(0)?;
            if version <= last {
                lines.push((version, Bytes::copy_from_slice(row.bytes(1)?)));
            }
        }
        let first = first.map_or(last + 1, |first| first.cast_unsigned().min(last + 1));
        Ok(Look { page: LogPage { lines, first, last }, is_torn: torn_at.is_some() })
    }
}

/// Milliseconds of the time at a line's beginning.
fn line_ms(line: &[u8]) -> Option<i64> {
    let digits = line.split(|byte| *byte == b'.').next()?;
    std::str::from_utf8(digits).ok()?.parse::<i64>().ok()?.checked_mul(1000)
}

impl<D: Driver> ServerEngine<D> {
    async fn look_at_log(&self, after: u64, max: usize, gets: &[Get]) -> Result<(Look, Vec<Got>)> {
        let dialect = self.driver.dialect();
        let has_trimmed = self.commits.has_table().await?;
        let mut commands = questions(dialect, self.log.whole_upto(), after, max, has_trimmed);
        let before = commands.len();
        commands.extend(gets.iter().filter_map(question).map(Command::any));
        let answers = self.ask(Mode::Snapshot, &commands).await.map_err(super::Failure::plain)?;
        let (state, rows) = answers.split_at(before);
        let look = self.log.look(dialect, after, state)?;
        let mut rows = rows.iter();
        let got = gets.iter().map(|get| answer(get, &mut rows)).collect::<Result<_>>()?;
        Ok((look, got))
    }

    pub(super) async fn log_page(&self, after: u64, max: usize) -> Result<LogPage> {
        for _ in 1..GAP_TRIES {
            let (look, _) = self.look_at_log(after, max, &[]).await?;
            // A page that is full ends before the gap.
            if !look.is_torn || look.page.lines.len() >= max.max(1) {
                return Ok(look.page);
            }
            tokio::time::sleep(GAP_PAUSE).await;
        }
        Ok(self.look_at_log(after, max, &[]).await?.0.page)
    }

    pub(super) async fn page_and_rows(
        &self,
        after: u64,
        max: usize,
        raise: Questions<'_>,
    ) -> Result<Followed> {
        let mut gets = Vec::new();
        let mut torn = None;
        for _ in 0..FOLLOW_TRIES {
            if gets.iter().any(|get| matches!(get, Get::Side { .. })) {
                self.make_side_table().await?;
            }
            let (look, answers) = self.look_at_log(after, max, &gets).await?;
            let page = look.page;
            if page.lines.last().map_or(after, |(version, _)| *version) < page.last {
                return Ok(Followed { page, answers: None });
            }
            let asked = std::mem::replace(&mut gets, raise(&page.lines));
            if look.is_torn {
                // Rows may be newer than the last line that can be read.
                torn = Some(page);
                tokio::time::sleep(GAP_PAUSE).await;
            } else if gets == asked {
                return Ok(Followed { page, answers: Some(answers) });
            }
        }
        // As with more lines than were asked for: those that made rows newer are yet to come.
        torn.map_or(Err(Error::Conflict), |page| Ok(Followed { page, answers: None }))
    }

    pub(super) async fn trim(&self, upto: u64) -> Result<()> {
        let upto = i64::try_from(upto).unwrap_or(i64::MAX);
        let mut commands = Vec::new();
        if self.commits.has_table().await? {
            commands.push(Command::any(statement!(
                "INSERT INTO jfs_rs_marker (name, seq, used) \
                 SELECT ?2, coalesce(max(id), 0), 0 FROM jfs_change_log WHERE id <= ?1 \
                 ON CONFLICT (name) DO UPDATE SET seq = GREATEST(jfs_rs_marker.seq, excluded.seq)",
                upto,
                TRIMMED
            )));
        }
        commands.push(Command::any(statement!("DELETE FROM jfs_change_log WHERE id <= ?1", upto)));
        self.commits.write(&commands).await
    }
}
