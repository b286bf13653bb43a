//! The change log is a list; the number of its last line is a counter that moves in the same transactions, so a line's
//! version is known from its place and the length of the list.

use redis::{Cmd, Pipeline, Value};

use super::RedisEngine;
use super::changes::log_commands;
use super::connect::server_error;
use super::reply::{self, Replies};
use super::{gets, keys};
use crate::error::{Error, Result};
use crate::port::{FOLLOW_TRIES, Followed, LogLine, LogPage, Questions};

/// The log at one moment.
struct Extent {
    first: u64,
    last: u64,
}

impl RedisEngine {
    /// Runs commands as one transaction that depends on nothing.
    pub(super) async fn at_once(&self, commands: Vec<Cmd>) -> Result<Vec<Value>> {
        let mut pipeline = Pipeline::with_capacity(commands.len() + 2);
        pipeline.cmd("MULTI");
        for command in commands {
            pipeline.add_command(command);
        }
        pipeline.cmd("EXEC");
        let mut replies = self.mux.flush(&pipeline).await?;
        match replies.pop() {
            Some(Value::Array(answers)) => match answers.iter().find_map(server_error) {
                Some(error) => Err(self.endpoint.refused(error)),
                None => Ok(answers),
            },
            Some(refusal) => {
                let reason = replies.iter().find_map(server_error).or_else(|| server_error(&refusal));
                Err(reason.map_or_else(
                    || Error::Engine(format!("EXEC answered {refusal:?}")),
                    |error| self.endpoint.refused(error),
                ))
            }
            None => Err(Error::Engine("no reply to a transaction".to_owned())),
        }
    }

    /// Moves a counter and says so in the log; answers the counter.
    pub(super) async fn increase_and_log(&self, increase: Cmd, line: &LogLine) -> Result<i64> {
        let mut commands = vec![increase];
        commands.extend(log_commands(&[line.text(&[])]));
        let answers = self.at_once(commands).await?;
        Replies::new(&self.endpoint, answers).int()
    }

    fn extent(&self, replies: &mut Replies<'_>) -> Result<Extent> {
        let last = replies.number(keys::LOG_LAST)?.unwrap_or(0);
        let last = u64::try_from(last).unwrap_or(0);
        let length = u64::try_from(replies.int()?).unwrap_or(0);
        Ok(Extent { first: (last + 1).saturating_sub(length), last })
    }

    fn extent_commands() -> Vec<Cmd> {
        let (mut last, mut length) = (redis::cmd("GET"), redis::cmd("LLEN"));
        last.arg(keys::LOG_LAST);
        length.arg(keys::LOG);
        vec![last, length]
    }

    /// Where the lines stand is known from one transaction, and they are read with the next, which says where they
    /// stand by then: somebody may trim in between, which only makes the first of them a later one.
    pub(super) async fn log_page(&self, after: u64, max: usize) -> Result<LogPage> {
        let answers = self.at_once(Self::extent_commands()).await?;
        let Extent { first, last } = self.extent(&mut Replies::new(&self.endpoint, answers))?;
        let wanted = after.saturating_add(1).max(first);
        if wanted > last || max == 0 {
            return Ok(LogPage { lines: Vec::new(), first, last });
        }
        let index = wanted - first;
        let mut commands = Self::extent_commands();
        let mut range = redis::cmd("LRANGE");
        range.arg(keys::LOG).arg(index).arg(index.saturating_add(max as u64 - 1).min(i64::MAX as u64));
        commands.push(range);
        let answers = self.at_once(commands).await?;
        let mut replies = Replies::new(&self.endpoint, answers);
        let Extent { first, last } = self.extent(&mut replies)?;
        let mut lines = Vec::new();
        for (version, line) in (first + index..).zip(replies.array()?) {
            lines.push((version, reply::some_bytes(line)?.into()));
        }
        Ok(LogPage { lines, first, last })
    }

    /// Rows and new lines come in one transaction, again and again until the lines that came with the rows ask for no
    /// other rows.
    pub(super) async fn follow_log(
        &self,
        after: u64,
        max: usize,
        questions: Questions<'_>,
    ) -> Result<Followed> {
        let mut page = self.log_page(after, max).await?;
        for _ in 0..FOLLOW_TRIES {
            let end = page.lines.last().map_or(after, |(version, _)| *version);
            if page.last > end || page.first > after.saturating_add(1) {
                return Ok(Followed { page, answers: None });
            }
            let gets = questions(&page.lines);
            let asked = gets::Questions::new(&gets);
            let mut commands = Self::extent_commands();
            let mut range = redis::cmd("LRANGE");
            let index = end + 1 - page.first;
            range.arg(keys::LOG).arg(index).arg(-1);
            commands.push(range);
            commands.extend(asked.commands.iter().cloned());
            let answers = self.at_once(commands).await?;
            let mut replies = Replies::new(&self.endpoint, answers);
            let Extent { first, last } = self.extent(&mut replies)?;
            let lines = replies.array()?;
            if first != page.first {
                // Trimmed meanwhile: these are lines from further on.
                page = self.log_page(after, max).await?;
                continue;
            }
            for (version, line) in (first + index..).zip(lines) {
                page.lines.push((version, reply::some_bytes(line)?.into()));
            }
            page.last = last;
            let answers = asked.answers(&mut replies)?;
            if questions(&page.lines) == gets {
                return Ok(Followed { page, answers: Some(answers) });
            }
        }
        Err(Error::Conflict)
    }

    /// The list loses its head only as far as it still has these lines: a script is not needed, two that trim at once
    /// are kept apart by a claim.
    pub(super) async fn cut_log(&self, upto: u64) -> Result<()> {
        let answers = self.at_once(Self::extent_commands()).await?;
        let Extent { first, .. } = self.extent(&mut Replies::new(&self.endpoint, answers))?;
        let Some(count) = (upto + 1).checked_sub(first).filter(|count| *count > 0) else { return Ok(()) };
        let mut trim = redis::cmd("LTRIM");
        trim.arg(keys::LOG).arg(count).arg(-1);
        self.at_once(vec![trim]).await.map(drop)
    }
}
