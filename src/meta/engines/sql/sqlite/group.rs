//! Commits: what an attempt held is checked again and its changes are made inside one write transaction.
//! Several commits that wait together share one, each behind its own savepoint.

use tokio::sync::oneshot;

use super::connection::{Conn, Slot};
use super::execute;
use crate::engines::sql::gets;
use crate::engines::sql::pending;
use crate::error::{Error, Result};
use crate::port::{Change, Get, Got, Receipt};
use crate::types::Usage;

/// One attempt's commit on its way to the writing thread.
pub(super) struct Commit {
    /// Held rows as they were read.
    pub(super) held: Vec<(Get, Got)>,
    pub(super) changes: Vec<Change>,
    pub(super) answer: oneshot::Sender<Result<Receipt>>,
}

/// Moves the counters by what a transaction's commits did.
fn write_usage(delta: Usage, conn: &Conn) -> Result<()> {
    if delta != Usage::default() {
        for statement in pending::write(delta) {
            conn.execute(&statement)?;
        }
    }
    Ok(())
}

/// Makes every commit of `group` in one transaction and answers each.
pub(super) fn commit(slot: &mut Slot, mut group: Vec<Commit>) {
    // Whoever asked is gone: nobody would learn that it happened.
    group.retain(|commit| !commit.answer.is_closed());
    if group.is_empty() {
        return;
    }
    let begun = slot.get(false).and_then(|conn| conn.run("BEGIN IMMEDIATE").map(|()| &*conn));
    let conn = match begun {
        Ok(conn) => conn,
        Err(error) => {
            for commit in group {
                let _ = commit.answer.send(Err(again(&error)));
            }
            return;
        }
    };
    let mut done = Vec::with_capacity(group.len());
    let is_shared = group.len() > 1;
    for commit in group {
        let outcome = if is_shared { behind_savepoint(conn, &commit) } else { apply(conn, &commit) };
        match outcome {
            Ok(made) => done.push((commit, made)),
            Err(error) => {
                let _ = commit.answer.send(Err(error));
                // A full disk or a broken device ends the whole transaction.
                if conn.db.is_autocommit() {
                    for (commit, _) in done.drain(..) {
                        let _ = commit.answer.send(Err(Error::Conflict));
                    }
                    break;
                }
            }
        }
    }
    if done.is_empty() {
        conn.roll_back();
        return;
    }
    let usage = done.iter().fold(Usage::default(), |sum, (_, (_, usage))| Usage {
        space: sum.space + usage.space,
        inodes: sum.inodes + usage.inodes,
    });
    if let Err(error) = write_usage(usage, conn) {
        conn.roll_back();
        for (commit, _) in done {
            let _ = commit.answer.send(Err(again(&error)));
        }
        return;
    }
    let finished = conn.finish();
    for (commit, (receipt, _)) in done {
        let outcome = match &finished {
            Ok(()) => Ok(receipt),
            Err(error) => Err(again(error)),
        };
        let _ = commit.answer.send(outcome);
    }
}

fn behind_savepoint(conn: &Conn, commit: &Commit) -> Result<(Receipt, Usage)> {
    conn.run("SAVEPOINT one")?;
    let outcome = apply(conn, commit);
    if outcome.is_err() && !conn.db.is_autocommit() {
        conn.run("ROLLBACK TO one")?;
    }
    if !conn.db.is_autocommit() {
        conn.run("RELEASE one")?;
    }
    outcome
}

fn apply(conn: &Conn, commit: &Commit) -> Result<(Receipt, Usage)> {
    for (get, was) in &commit.held {
        if !gets::still_holds(get, was, &execute::answer(conn, get)?) {
            return Err(Error::Conflict);
        }
    }
    execute::make(conn, &commit.changes)
}

/// The same error for another asker.
fn again(error: &Error) -> Error {
    match error {
        Error::Errno(errno) => Error::Errno(*errno),
        Error::Conflict => Error::Conflict,
        Error::InDoubt(why) => Error::InDoubt(why.clone()),
        Error::Unavailable(why) => Error::Unavailable(why.clone()),
        Error::Engine(why) => Error::Engine(why.clone()),
        Error::Denied(why) => Error::Denied(why.clone()),
        Error::Corrupt { record, cause } => Error::Corrupt { record: record.clone(), cause: cause.clone() },
        Error::Unsupported(why) => Error::Unsupported(why.clone()),
        Error::NotFormatted(why) => Error::NotFormatted(why.clone()),
        Error::Full(why) => Error::Full(why.clone()),
        Error::Replica(why) => Error::Replica(why.clone()),
    }
}
