//! One try of an operation: WATCH and reads in one flush, then MULTI to EXEC in one flush.

use futures::future::BoxFuture;
use redis::Pipeline;

use super::RedisEngine;
use super::changes::{Before, Writes};
use super::commit::{self, Committed};
use super::gets::Questions;
use super::reply::Replies;
use super::slots::{Flushed, Lease};
use crate::engines::inside::inside;
use crate::error::{Error, Result};
use crate::port::{Attempt, Change, Get, Got, Receipt};

pub(super) struct RedisAttempt<'e> {
    engine: &'e RedisEngine,
    lease: Lease<'e>,
    /// Reads have been answered; what they watch lives on this connection only.
    has_read: bool,
    /// A read failed: what it should have watched is not watched, so nothing may be committed.
    is_broken: bool,
}

impl<'e> RedisAttempt<'e> {
    pub(super) fn new(engine: &'e RedisEngine, lease: Lease<'e>) -> Self {
        Self { engine, lease, has_read: false, is_broken: false }
    }

    async fn ask(&mut self, gets: &[Get]) -> Result<Vec<Got>> {
        let questions = Questions::new(gets);
        let mut answers = if questions.commands.is_empty() && questions.watched.is_empty() {
            questions.answers(&mut Replies::new(&self.engine.endpoint, Vec::new()))?
        } else {
            let replies = self.flush(&questions).await?;
            questions.answers(&mut Replies::new(&self.engine.endpoint, replies))?
        };
        self.engine.fill_long_spans(gets, &mut answers).await?;
        Ok(answers)
    }

    /// Sends the questions behind their WATCH.
    async fn flush(&mut self, questions: &Questions<'_>) -> Result<Vec<redis::Value>> {
        if self.is_broken {
            return Err(Error::Conflict);
        }
        let flushed = self.watch_and_read(questions).await;
        self.is_broken = flushed.is_err();
        flushed
    }

    /// An old connection that turns out dead is replaced once, as long as nothing depends on it.
    async fn watch_and_read(&mut self, questions: &Questions<'_>) -> Result<Vec<redis::Value>> {
        loop {
            let is_fresh = self.lease.connect().await?;
            let (pipeline, before) = self.watch_and_ask(questions);
            match self.lease.flush(&pipeline).await {
                Flushed::Replies(replies) => return self.confirm(replies, before, questions),
                Flushed::Lost(cause) => {
                    if !self.has_read && !is_fresh && !cause.is_timeout() {
                        continue;
                    }
                    return Err(self.lease.endpoint().lost(&cause));
                }
            }
        }
    }

    /// The pipeline, and how many commands stand before the questions.
    fn watch_and_ask(&mut self, questions: &Questions<'_>) -> (Pipeline, usize) {
        let mut pipeline = Pipeline::with_capacity(questions.commands.len() + 2);
        // An attempt before this one went without a commit.
        let has_leftovers = !self.has_read && self.lease.is_watching();
        if has_leftovers {
            pipeline.cmd("UNWATCH");
        }
        let needs_marker = has_leftovers || !self.lease.is_guarded();
        if needs_marker || !questions.watched.is_empty() {
            pipeline.cmd("WATCH");
            if needs_marker {
                pipeline.arg(self.lease.marker());
            }
            pipeline.arg(&questions.watched);
        }
        let before = pipeline.len();
        for command in &questions.commands {
            pipeline.add_command(command.clone());
        }
        (pipeline, before)
    }

    fn confirm(
        &mut self,
        mut replies: Vec<redis::Value>,
        before: usize,
        questions: &Questions<'_>,
    ) -> Result<Vec<redis::Value>> {
        let answers = replies.split_off(before.min(replies.len()));
        let mut preamble = Replies::new(&self.engine.endpoint, replies);
        for _ in 0..before {
            if let Err(error) = preamble.next() {
                self.lease.disconnect();
                return Err(error);
            }
        }
        let is_watching = !questions.watched.is_empty() || (self.has_read && self.lease.is_watching());
        self.lease.confirm(true, is_watching);
        self.has_read = true;
        Ok(answers)
    }

    async fn write(mut self, changes: &[Change]) -> Result<Receipt> {
        if self.is_broken {
            return Err(Error::Conflict);
        }
        let before = Before::read(self.engine, changes).await?;
        let mut writes = Writes::new(changes, &before);
        if writes.commands.is_empty() {
            return Ok(writes.receipt(&[]));
        }
        match commit::commit(&mut self.lease, std::mem::take(&mut writes.commands)).await? {
            Committed::Replies(replies) => Ok(writes.receipt(&replies)),
            Committed::Unseen => Ok(writes.receipt_afterwards(self.engine).await),
        }
    }
}

impl Attempt for RedisAttempt<'_> {
    fn read<'a>(&'a mut self, gets: &'a [Get]) -> BoxFuture<'a, Result<Vec<Got>>> {
        let engine = self.engine;
        inside(&engine.home, self.ask(gets))
    }

    fn commit<'a>(self: Box<Self>, changes: &'a [Change]) -> BoxFuture<'a, Result<Receipt>>
    where
        Self: 'a,
    {
        let engine = self.engine;
        inside(&engine.home, self.write(changes))
    }
}
