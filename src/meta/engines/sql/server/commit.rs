//! Transactions that happen exactly once.
//!
//! Each moves its slot's marker row from one number to the next (decisions 20). When the answer is lost, the marker is
//! put beyond every number first, so that a transaction that is still on its way fails; what it was before says whether
//! that transaction had happened. A marker that was in such a dispute is not used again.

use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use super::driver::{Command, Driver, Failure, Mode, Refusal, Table, number};
use super::pool::{Lease, Marker, Pool};
use crate::engines::sql::statement::statement;
use crate::error::{Error, Result};
use crate::types::Time;

/// Beyond every number that a slot counts to.
const FENCE: i64 = 1 << 48;
/// Markers outlive any dispute about a commit.
const MARKER_SECONDS: i64 = 86_400;
/// How long the fate of a commit is asked for.
const DISPUTE_MAX: Duration = Duration::from_secs(30);

/// What is known of the markers' table.
const UNKNOWN: u8 = 0;
const THERE: u8 = 1;
const DENIED: u8 = 2;

/// Slots for transactions, and whether the database lets us have markers.
pub(super) struct Commits<D: Driver> {
    slots: Pool<D>,
    table: AtomicU8,
    /// Part of the markers' names.
    client: u64,
}

/// A transaction that happened.
pub(super) enum Committed {
    /// The answers to its commands.
    Answers(Vec<Table>),
    /// The answers were lost.
    Unseen,
}

impl<D: Driver> Commits<D> {
    pub(super) fn new(slots: Pool<D>) -> Self {
        Self { slots, table: AtomicU8::new(UNKNOWN), client: rand::random() }
    }

    /// Runs the commands in one transaction, in one flush.
    ///
    /// # Errors
    /// `Lost` when nobody can say whether it happened.
    pub(super) async fn run(&self, commands: &[Command]) -> std::result::Result<Committed, Failure> {
        let mut lease = self.slots.lease().await.map_err(Failure::Before)?;
        let had_marker = lease.marker().is_some();
        match self.run_in(&mut lease, commands).await {
            // The volume was destroyed and made anew, markers and all.
            Err(Failure::Refused { refusal: Refusal::NoTable(_), .. }) if had_marker => {
                *lease.marker() = None;
                self.run_in(&mut lease, commands).await
            }
            outcome => outcome,
        }
    }

    async fn run_in(
        &self,
        lease: &mut Lease<'_, D>,
        commands: &[Command],
    ) -> std::result::Result<Committed, Failure> {
        self.give_marker(lease).await?;
        let Some(marker) = lease.marker().clone() else {
            return lease.flush(Mode::Transaction, commands).await.map(Committed::Answers);
        };
        let next = marker.sequence + 1;
        let mut all = Vec::with_capacity(commands.len() + 1);
        all.push(Command::one(statement!(
            "UPDATE jfs_rs_marker SET seq = ?1, used = ?2 WHERE name = ?3 AND seq = ?4",
            next,
            Time::now().sec,
            &marker.name[..],
            marker.sequence
        )));
        all.extend_from_slice(commands);
        match lease.flush(Mode::Transaction, &all).await {
            Ok(mut answers) => {
                answers.remove(0);
                *lease.marker() = Some(Marker { sequence: next, ..marker });
                Ok(Committed::Answers(answers))
            }
            Err(Failure::Refused { at: Some(0), refusal }) => {
                // Swept while the client slept; the next one gets a new one.
                *lease.marker() = None;
                Err(Failure::Refused { at: None, refusal })
            }
            Err(Failure::Refused { at, refusal }) => {
                Err(Failure::Refused { at: at.map(|at| at - 1), refusal })
            }
            Err(Failure::Before(error)) => Err(Failure::Before(error)),
            Err(Failure::Lost(why)) => {
                *lease.marker() = None;
                self.resolve(lease, &marker, why).await
            }
        }
    }

    /// As [`Self::run`] where answers don't matter.
    pub(super) async fn write(&self, commands: &[Command]) -> Result<()> {
        self.run(commands).await.map(drop).map_err(failed)
    }

    async fn resolve(
        &self,
        lease: &mut Lease<'_, D>,
        marker: &Marker,
        why: String,
    ) -> std::result::Result<Committed, Failure> {
        let questions = [
            Command::any(statement!(
                "UPDATE jfs_rs_marker SET seq = seq + ?1 WHERE name = ?2 AND seq < ?1",
                FENCE,
                &marker.name[..]
            )),
            Command::any(statement!("SELECT seq FROM jfs_rs_marker WHERE name = ?1", &marker.name[..])),
        ];
        let until = Instant::now() + DISPUTE_MAX;
        let mut pause = Duration::from_millis(5);
        while Instant::now() < until {
            // The fence may be put up twice.
            match lease.flush(Mode::Transaction, &questions).await {
                Ok(answers) => {
                    let was = number(&answers[1]).ok().flatten().map(|sequence| sequence % FENCE);
                    if was == Some(marker.sequence + 1) {
                        tracing::info!(why, "the answer to a commit was lost; it had happened");
                        return Ok(Committed::Unseen);
                    }
                    if was == Some(marker.sequence) {
                        tracing::info!(why, "the answer to a commit was lost; it had not happened");
                        return Err(Failure::Refused { at: None, refusal: Refusal::Conflict });
                    }
                    break;
                }
                // The old transaction holds the row until the server notices that its client is gone.
                Err(Failure::Lost(_) | Failure::Before(Error::Unavailable(_)))
                | Err(Failure::Refused { refusal: Refusal::Conflict, .. }) => {}
                Err(other) => {
                    tracing::warn!(?other, "the fate of a commit can't be found out");
                    break;
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(1));
        }
        Err(Failure::Lost(why))
    }

    /// Gives the slot a marker, unless the database does not let us.
    async fn give_marker(&self, lease: &mut Lease<'_, D>) -> std::result::Result<(), Failure> {
        if lease.marker().is_some() || self.table.load(Ordering::Relaxed) == DENIED {
            return Ok(());
        }
        let name = format!("{:016x}.{:08x}", self.client, rand::random::<u32>());
        let insert = [
            Command::any(statement!(
                "INSERT INTO jfs_rs_marker (name, seq, used) VALUES (?1, 0, ?2)",
                &name[..],
                Time::now().sec
            )),
            Command::any(statement!(
                "DELETE FROM jfs_rs_marker WHERE used > 0 AND used < ?1",
                Time::now().sec - MARKER_SECONDS
            )),
        ];
        for _ in 0..2 {
            match lease.ask(Mode::Alone, &insert).await {
                Ok(_) | Err(Failure::Refused { refusal: Refusal::Duplicate | Refusal::Conflict, .. }) => {
                    self.table.store(THERE, Ordering::Relaxed);
                    *lease.marker() = Some(Marker { name, sequence: 0 });
                    return Ok(());
                }
                Err(Failure::Refused { refusal: Refusal::NoTable(_), .. }) => {
                    if !self.make_table(lease).await? {
                        return Ok(());
                    }
                }
                Err(Failure::Refused { refusal: Refusal::NotAllowed(why), .. }) => {
                    self.deny(&why);
                    return Ok(());
                }
                Err(failure) => return Err(failure),
            }
        }
        Err(Failure::Before(Error::Unavailable("the table of our own records comes and goes".to_owned())))
    }

    /// False when the database does not let us.
    async fn make_table(&self, lease: &mut Lease<'_, D>) -> std::result::Result<bool, Failure> {
        let dialect = lease.driver().dialect();
        let text = format!(
            "CREATE TABLE IF NOT EXISTS jfs_rs_marker (name {} PRIMARY KEY NOT NULL, seq BIGINT NOT NULL, used BIGINT NOT NULL)",
            dialect.side_name
        );
        let create =
            Command::any(crate::engines::sql::statement::Statement { text: text.into(), values: vec![] });
        match lease.ask(Mode::Alone, &[create]).await {
            Ok(_) | Err(Failure::Refused { refusal: Refusal::Duplicate | Refusal::Conflict, .. }) => {
                self.table.store(THERE, Ordering::Relaxed);
                Ok(true)
            }
            Err(Failure::Refused { refusal: Refusal::NotAllowed(why), .. }) => {
                self.deny(&why);
                Ok(false)
            }
            Err(failure) => Err(failure),
        }
    }

    fn deny(&self, why: &str) {
        tracing::warn!(why, "no table of our own here: a commit whose answer is lost is answered with EIO");
        self.table.store(DENIED, Ordering::Relaxed);
    }

    /// Whether the markers' table is there, made now if need be.
    pub(super) async fn has_table(&self) -> Result<bool> {
        if self.table.load(Ordering::Relaxed) == UNKNOWN {
            let mut lease = self.slots.lease().await?;
            match self.make_table(&mut lease).await {
                Ok(_) => {}
                Err(Failure::Refused { refusal: Refusal::Other(Error::Replica(_)), .. }) => return Ok(false),
                Err(failure) => return Err(failure.plain()),
            }
        }
        Ok(self.table.load(Ordering::Relaxed) == THERE)
    }

    /// The volume went away with all its tables.
    pub(super) fn forget_tables(&self) {
        self.table.store(UNKNOWN, Ordering::Relaxed);
    }

    /// Statements that need no marker: they may be made twice.
    pub(super) async fn again(&self, commands: &[Command]) -> std::result::Result<Vec<Table>, Failure> {
        self.slots.lease().await.map_err(Failure::Before)?.ask(Mode::Alone, commands).await
    }
}

/// A failed commit as callers see it.
pub(super) fn failed(failure: Failure) -> Error {
    match failure {
        Failure::Lost(why) => Error::InDoubt(why),
        other => other.plain(),
    }
}
