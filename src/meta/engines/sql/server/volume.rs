//! What belongs to the volume as a whole: tables, setting, counters, job claims, loads.

use std::ops::Range;

use super::ServerEngine;
use super::commit::{Committed, failed};
use super::driver::{Command, Driver, Failure, Mode, Refusal, Table, number};
use crate::engines::sql::changes::insert_node;
use crate::engines::sql::rows::Row;
use crate::engines::sql::schema::{LATE_COLUMNS, TABLES};
use crate::engines::sql::statement::{Statement, Step, statement};
use crate::engines::sql::{counters, load};
use crate::error::{Error, Result};
use crate::port::{Counters, Job, LogLine, NewVolume, Sequence};
use crate::types::{Attr, Ino};

fn raw(text: String) -> Command {
    Command::any(Statement { text: text.into(), values: Vec::new() })
}

fn names(table: &Table) -> Result<Vec<String>> {
    table.iter().map(|row| Ok(String::from_utf8_lossy(row.bytes(0)?).into_owned())).collect()
}

fn counter(name: &str) -> Command {
    Command::any(statement!("SELECT value FROM jfs_counter WHERE name = ?1", name))
}

impl<D: Driver> ServerEngine<D> {
    /// The setting; `None` in a database without a volume.
    pub(super) async fn read_setting(&self) -> Result<Option<String>> {
        let question = [Command::any(statement!("SELECT value FROM jfs_setting WHERE name = 'format'"))];
        match self.ask(Mode::Alone, &question).await {
            Ok(answers) => match answers[0].first() {
                Some(row) => Ok(Some(String::from_utf8_lossy(row.bytes(0)?).into_owned())),
                None => Ok(None),
            },
            Err(Failure::Refused { refusal: Refusal::NoTable(_), .. }) => Ok(None),
            Err(failure) => Err(failure.plain()),
        }
    }

    /// Makes every table, index and late column that is missing; each may be made by somebody else meanwhile.
    pub(super) async fn complete_schema(&self) -> Result<()> {
        let dialect = self.driver.dialect();
        let own = |name: &str| name.replace("jfs_", self.driver.prefix());
        let node = own("jfs_node");
        let questions = [
            Command::any(statement!(dialect.list_tables)),
            Command::any(statement!(dialect.list_indexes)),
            Command::any(statement!(dialect.list_columns, &node[..])),
        ];
        let answers = self.ask(Mode::Alone, &questions).await.map_err(Failure::plain)?;
        let [tables, indexes, columns] = [0, 1, 2].map(|at| names(&answers[at]));
        let (tables, indexes, columns) = (tables?, indexes?, columns?);
        let mut missing = Vec::new();
        for table in TABLES {
            let name = format!("jfs_{}", table.name);
            if !tables.contains(&own(&name)) {
                missing.push(dialect.wording.table("jfs_", table));
            } else if table.name == "node" {
                let is_missing =
                    |name: &str| LATE_COLUMNS.contains(&name) && !columns.iter().any(|at| at == name);
                for column in table.columns.iter().filter(|column| is_missing(column.name)) {
                    let column = dialect.wording.column(table, column);
                    missing.push(format!("ALTER TABLE {0}{name}{0} ADD {column}", dialect.wording.quote));
                }
            }
            let made = dialect.wording.indexes("jfs_", table).into_iter();
            missing.extend(made.filter(|(name, _)| !indexes.contains(&own(name))).map(|(_, text)| text));
        }
        for text in missing {
            match self.commits.again(&[raw(text)]).await {
                Ok(_) | Err(Failure::Refused { refusal: Refusal::Duplicate, .. }) => {}
                Err(failure) => return Err(failure.plain()),
            }
        }
        Ok(())
    }

    /// The table of side records (decisions 21), which stock clients do not know, is made with the first record.
    pub(super) async fn make_side_table(&self) -> Result<()> {
        if self.has_sides() {
            return Ok(());
        }
        let dialect = self.driver.dialect();
        let create = raw(format!(
            "CREATE TABLE IF NOT EXISTS jfs_rs_record (name {} PRIMARY KEY NOT NULL, value {} NOT NULL)",
            dialect.side_name, dialect.side_value
        ));
        match self.commits.again(&[create]).await {
            Ok(_) | Err(Failure::Refused { refusal: Refusal::Duplicate, .. }) => {}
            Err(failure) => return Err(failure.plain()),
        }
        self.has_side_table.store(true, std::sync::atomic::Ordering::Relaxed);
        Ok(())
    }

    pub(super) async fn make_volume(&self, volume: &NewVolume) -> Result<()> {
        self.complete_schema().await?;
        let mut commands = vec![Command::any(statement!(
            "INSERT INTO jfs_setting (name, value) VALUES ('format', ?1)",
            &volume.setting[..]
        ))];
        commands.extend(counters::fresh().map(Command::any));
        commands.push(Command::any(insert_node(Ino::ROOT, &volume.root)));
        commands.extend(volume.trash.as_ref().map(|trash| Command::any(insert_node(Ino::TRASH, trash))));
        match self.commits.run(&commands).await {
            Ok(_) => Ok(()),
            Err(Failure::Refused { refusal: Refusal::Duplicate, .. }) => {
                Err(Error::Engine("the database holds a volume already".to_owned()))
            }
            Err(failure) => Err(failed(failure)),
        }
    }

    /// Drops every table of the volume, those of older releases and our own too.
    pub(super) async fn drop_all(&self) -> Result<()> {
        let quote = self.driver.dialect().wording.quote;
        let made = TABLES.iter().map(|table| table.name).chain(["session", "rs_record", "rs_marker"]);
        let drops: Vec<_> =
            made.map(|name| raw(format!("DROP TABLE IF EXISTS {quote}jfs_{name}{quote}"))).collect();
        let dropped = self.commits.again(&drops).await;
        self.commits.forget_tables();
        self.has_side_table.store(false, std::sync::atomic::Ordering::Relaxed);
        dropped.map(drop).map_err(Failure::plain)
    }

    pub(super) async fn write_setting(
        &self,
        setting: &str,
        trash: Option<Attr>,
        reset_dir_stats: bool,
    ) -> Result<()> {
        if self.read_setting().await?.is_none() {
            return Err(Error::NotFormatted(
                "the database holds no volume: run `juicefs format` first".to_owned(),
            ));
        }
        let mut commands = vec![Command::one(statement!(
            "UPDATE jfs_setting SET value = ?1 WHERE name = 'format'",
            setting
        ))];
        if reset_dir_stats {
            commands.push(Command::any(statement!("DELETE FROM jfs_dir_stats")));
        }
        if let Some(trash) = trash {
            let found = self.read_node(Ino::TRASH).await?;
            commands.extend(found.is_none().then(|| Command::any(insert_node(Ino::TRASH, &trash))));
        }
        self.commits.write(&commands).await
    }

    pub(super) async fn next_numbers(
        &self,
        sequence: Sequence,
        count: u64,
        line: Option<&LogLine>,
    ) -> Result<Range<u64>> {
        let (name, holds_next) = (sequence.counter(), counters::holds_next(sequence));
        let count =
            i64::try_from(count).map_err(|_| Error::Engine(format!("{count} numbers of {name} at once")))?;
        let mut commands = vec![
            if holds_next {
                Command::one(statement!(
                    "UPDATE jfs_counter SET value = value + ?2 WHERE name = ?1",
                    name,
                    count
                ))
            } else {
                Command::any(statement!(
                    "INSERT INTO jfs_counter (name, value) VALUES (?1, ?2) \
                     ON CONFLICT (name) DO UPDATE SET value = jfs_counter.value + excluded.value",
                    name,
                    count
                ))
            },
            counter(name),
        ];
        commands.extend(line.map(|line| Command::any(Step::log(&line.text(&[])))));
        let answers = match self.commits.run(&commands).await {
            Ok(Committed::Answers(answers)) => answers,
            // Numbers are wasted freely.
            Ok(Committed::Unseen) => {
                return Err(Error::Unavailable("the numbers given out were lost".to_owned()));
            }
            Err(Failure::Refused { at: Some(0), refusal: Refusal::Conflict }) if holds_next => {
                let found = self.ask(Mode::Alone, &[counter(name)]).await.map_err(Failure::plain)?;
                return Err(match number(&found[0])? {
                    None => Error::NotFormatted(format!("the database has no counter {name}")),
                    Some(_) => Error::Unavailable(format!("the counter {name} is busy")),
                });
            }
            // A caller that asks for numbers asks again only where nothing answers.
            Err(Failure::Refused { refusal: Refusal::Conflict, .. }) => {
                return Err(Error::Unavailable(format!("the counter {name} is busy")));
            }
            Err(failure) => return Err(failed(failure)),
        };
        let now =
            number(&answers[1])?.ok_or_else(|| Error::Engine(format!("the counter {name} went away")))?;
        let first = if holds_next { now - count } else { now - count + 1 };
        Ok(first.cast_unsigned()..(first + count).cast_unsigned())
    }

    pub(super) async fn win(&self, job: Job, now: i64, gap_sec: i64, line: Option<&LogLine>) -> Result<bool> {
        let name = job.counter();
        // Most clients lose most claims: look before locking.
        let found = self.ask(Mode::Alone, &[counter(name)]).await.map_err(Failure::plain)?;
        let was = number(&found[0])?;
        if was.unwrap_or(0) > now - gap_sec {
            return Ok(false);
        }
        let claim = match was {
            Some(was) => Command::one(statement!(
                "UPDATE jfs_counter SET value = ?2 WHERE name = ?1 AND value = ?3",
                name,
                now,
                was
            )),
            None => {
                Command::any(statement!("INSERT INTO jfs_counter (name, value) VALUES (?1, ?2)", name, now))
            }
        };
        let line = line.map(|line| Command::any(Step::log(&line.text(&[]))));
        let commands: Vec<_> = std::iter::once(claim).chain(line).collect();
        match self.commits.run(&commands).await {
            Ok(_) => Ok(true),
            Err(Failure::Refused { refusal: Refusal::Conflict | Refusal::Duplicate, .. }) => Ok(false),
            Err(failure) => Err(failed(failure)),
        }
    }

    /// As stored.
    pub(super) async fn read_counters(&self) -> Result<Counters> {
        let names = Counters::default().named().map(|(name, _)| name);
        let answers = self.ask(Mode::Alone, &names.map(counter)).await.map_err(Failure::plain)?;
        let mut values = [0; 6];
        for (value, table) in values.iter_mut().zip(&answers) {
            *value = number(table)?.unwrap_or(0);
        }
        Ok(counters::of_values(values))
    }

    pub(super) async fn find_foreign(&self) -> Result<Vec<&'static str>> {
        let kinds = [("ACL", "SELECT 1 FROM jfs_acl LIMIT 1")];
        let questions = kinds.map(|(_, text)| Command::any(statement!(text)));
        let answers = self.ask(Mode::Alone, &questions).await.map_err(Failure::plain)?;
        let found = kinds.iter().zip(&answers).filter(|(_, table)| !table.is_empty());
        Ok(found.map(|((name, _), _)| *name).collect())
    }

    /// Makes the tables of a database in which nothing is.
    pub(super) async fn begin_load(&self) -> Result<()> {
        self.complete_schema().await?;
        let look = |table: &&str| raw(format!("SELECT 1 FROM {table} LIMIT 1"));
        let questions: Vec<_> = load::TABLES.iter().map(look).collect();
        let answers = self.ask(Mode::Alone, &questions).await.map_err(Failure::plain)?;
        if answers.iter().all(Vec::is_empty) {
            return Ok(());
        }
        Err(load::taken(self.read_setting().await?.as_deref()))
    }
}
