//! One try: reads for themselves, then everything else in one flush.

use futures::future::BoxFuture;

use super::ServerEngine;
use super::commit::{Committed, failed};
use super::driver::{Command, Driver, Failure, Mode, Refusal, number};
use super::hold::Holds;
use crate::engines::inside::inside;
use crate::engines::sql::changes::PUT_SIDE;
use crate::engines::sql::statement::{Expect, Plan, Statement, Step, Value, statement};
use crate::error::{Error, Result};
use crate::port::{Attempt, Change, Get, Got, Hold, LogLine, Receipt};

/// Reads remembered until they are checked in the commit.
pub(super) struct ServerAttempt<'e, D: Driver> {
    engine: &'e ServerEngine<D>,
    held: Vec<(Get, Got)>,
}

impl<'e, D: Driver> ServerAttempt<'e, D> {
    pub(super) fn new(engine: &'e ServerEngine<D>) -> Self {
        Self { engine, held: Vec::new() }
    }

    async fn write(self, changes: &[Change]) -> Result<Receipt> {
        let engine = self.engine;
        let mut plan = Plan::of(changes);
        if plan.steps.is_empty() && self.held.is_empty() {
            engine.pending.add(plan.usage);
            return Ok(Receipt::default());
        }
        let holds_side = self.held.iter().any(|(get, _)| matches!(get, Get::Side { .. }));
        if plan.has_sides || holds_side {
            engine.make_side_table().await?;
        }
        self.make_new_sides(&mut plan);
        let (commands, steps) = batch(Holds::new(&self.held, changes), &plan);
        match engine.commits.run(&commands).await {
            Ok(Committed::Answers(answers)) => {
                engine.pending.add(plan.usage);
                let mut receipt = Receipt::default();
                for (step, table) in steps.iter().zip(&answers) {
                    if let Some(Step::Run { expect, .. }) = step {
                        // Rows were counted by the server.
                        expect.settle(1, number(table)?, &mut receipt)?;
                    }
                }
                Ok(receipt)
            }
            Ok(Committed::Unseen) => {
                engine.pending.add(plan.usage);
                Ok(receipt_afterwards(engine, &plan).await)
            }
            Err(Failure::Refused { at: Some(at), refusal: Refusal::Duplicate }) => {
                Err(match steps.get(at).copied().flatten() {
                    Some(Step::Run { expect, .. }) => expect.duplicate(),
                    Some(Step::Log(_)) | None => Error::Conflict,
                })
            }
            Err(failure) => Err(failed(failure)),
        }
    }

    /// A side record that was not there is made, not replaced: another's would be lost.
    fn make_new_sides(&self, plan: &mut Plan) {
        for (get, got) in &self.held {
            let (Get::Side { name }, Got::Bytes(None)) = (get, got) else { continue };
            for step in &mut plan.steps {
                if let Step::Run { statement, .. } = step
                    && statement.text == PUT_SIDE
                    && statement.values[0] == Value::from(&name[..])
                {
                    statement.text = "INSERT INTO jfs_rs_record (name, value) VALUES (?1, ?2)".into();
                    break;
                }
            }
        }
    }
}

/// All commands in their order, and the step of the plan that each is.
fn batch(holds: Holds, plan: &Plan) -> (Vec<Command>, Vec<Option<&Step>>) {
    let mut touches = holds.touches;
    let mut steps: Vec<Option<&Step>> = vec![None; holds.before.len()];
    let mut commands = holds.before;
    for step in &plan.steps {
        if let Step::Run { statement, .. } = step
            && statement.text.starts_with("UPDATE jfs_node ")
            && let Some(at) = touches.iter().position(|(ino, _)| statement.values[0] == Value::from(*ino))
        {
            commands.push(touches.remove(at).1);
            steps.push(None);
        }
        commands.push(command(step, plan));
        steps.push(Some(step));
    }
    commands.extend(touches.into_iter().map(|(_, command)| command));
    (commands, steps)
}

fn command(step: &Step, plan: &Plan) -> Command {
    match step {
        Step::Run { statement, expect: Expect::One } => Command::one(statement.clone()),
        Step::Run { statement, .. } => Command::any(statement.clone()),
        Step::Log(line) => Command::any(log(line, plan)),
    }
}

/// A line that tells how many records a list has.
pub(in crate::engines::sql) const LOG_APPEND: &str = "INSERT INTO jfs_change_log (entry) VALUES (?3 || \
     (SELECT coalesce(sum(octet_length(slices)), 0) / 24 FROM jfs_chunk WHERE inode = ?1 AND indx = ?2) || ?4)";

/// The length of an appended list is known to the server only.
fn log(line: &LogLine, plan: &Plan) -> Statement {
    let appends = plan.steps.iter().filter_map(|step| match step {
        Step::Run { statement, expect: Expect::Appended } => Some(statement),
        Step::Run { .. } | Step::Log(_) => None,
    });
    match line.appended.and_then(|at| appends.clone().nth(at)) {
        None => Step::log(&line.text(&[])),
        Some(append) => {
            let head = format!("{}:", line.head);
            statement!(
                LOG_APPEND,
                append.values[0].clone(),
                append.values[1].clone(),
                &head[..],
                &line.tail[..]
            )
        }
    }
}

/// What the commit would have told.
async fn receipt_afterwards<D: Driver>(engine: &ServerEngine<D>, plan: &Plan) -> Receipt {
    let mut asked = Vec::new();
    let mut questions = Vec::new();
    for step in &plan.steps {
        let Step::Run { statement, expect } = step else { continue };
        let text = match expect {
            Expect::Appended => "SELECT octet_length(slices) FROM jfs_chunk WHERE inode = ?1 AND indx = ?2",
            Expect::Released { .. } => "SELECT refs FROM jfs_chunk_ref WHERE chunkid = ?1 AND size = ?2",
            Expect::Any | Expect::One | Expect::Tracked { .. } => continue,
        };
        let values = statement.values[..2].to_vec();
        questions.push(Command::any(Statement { text: text.into(), values }));
        asked.push(*expect);
    }
    let mut receipt = Receipt::default();
    let answers = engine.ask(Mode::Alone, &questions).await.unwrap_or_else(|failure| {
        tracing::warn!(?failure, "what a commit freed is left to gc");
        vec![Vec::new(); asked.len()]
    });
    for (expect, table) in asked.into_iter().zip(&answers) {
        // Nothing here asks for a row.
        let _ = expect.settle(1, number(table).ok().flatten(), &mut receipt);
    }
    receipt
}

impl<D: Driver> Attempt for ServerAttempt<'_, D> {
    fn read<'a>(&'a mut self, gets: &'a [Get]) -> BoxFuture<'a, Result<Vec<Got>>> {
        let engine = self.engine;
        inside(&engine.home, async move {
            let got = engine.answers(gets).await?;
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
        let engine = self.engine;
        inside(&engine.home, async move {
            if changes.is_empty() {
                return Ok(Receipt::default());
            }
            self.write(changes).await
        })
    }
}
