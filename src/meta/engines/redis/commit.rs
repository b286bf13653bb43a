//! MULTI to EXEC in one flush, exactly once: what to make of the answer, and of no answer.
//!
//! Every commit also sets its slot's marker, which its connection has watched since before the commit was
//! sent. When the reply is lost, the resolver *changes* the marker on a new connection and looks at what it
//! held: our sequence number means that the commit had happened; anything else means that it has not and,
//! as a watched key changed, never will, even if the commands are still on their way. The change is an
//! APPEND, which keeps what it found: a resolver that loses its own reply can ask again.

use std::time::{Duration, Instant};

use juicefs_base::backoff;
use redis::{Cmd, Pipeline, RedisError, Value};

use super::connect::server_error;
use super::reply::{self, Replies};
use super::slots::{Flushed, Lease, MARKER_DIGITS, MARKER_SECONDS};
use crate::error::{Error, Result};

/// From sending a commit to giving up on learning what became of it (decisions 24).
const RESOLVE_MAX: Duration = Duration::from_secs(60);
/// What a resolver appends to a marker.
const DISPUTED: &str = "!";

/// A commit that has happened.
#[derive(Debug)]
pub(super) enum Committed {
    /// Replies to the commands.
    Replies(Vec<Value>),
    /// The replies were lost on the way.
    Unseen,
}

/// Runs `commands` as one transaction on the connection that holds the watches.
///
/// # Errors
/// `Conflict`: a watched key changed, nothing was written. `InDoubt` only when the server stayed away until
/// the deadline. Else the server's refusal, with nothing written.
pub(super) async fn commit(lease: &mut Lease<'_>, commands: Vec<Cmd>) -> Result<Committed> {
    let started = Instant::now();
    guard(lease).await?;
    let sequence = lease.next_sequence();
    let (mark, renews) = lease.mark(sequence);
    let mut pipeline = Pipeline::with_capacity(commands.len() + 3);
    pipeline.cmd("MULTI");
    let count = commands.len();
    for command in commands {
        pipeline.add_command(command);
    }
    pipeline.add_command(mark);
    pipeline.cmd("EXEC");
    let outcome = match lease.flush(&pipeline).await {
        Flushed::Replies(replies) => settle(lease, replies, count),
        Flushed::Lost(cause) => resolve(lease, sequence, &cause, started + RESOLVE_MAX).await,
    };
    if renews && outcome.is_ok() {
        lease.renewed();
    }
    outcome
}

/// Makes sure that the marker is watched before a commit is sent. The first read of an attempt has seen to it
/// in its own flush; only a commit that read nothing pays for one more.
async fn guard(lease: &mut Lease<'_>) -> Result<()> {
    lease.connect().await?;
    if lease.is_guarded() {
        return Ok(());
    }
    let mut pipeline = Pipeline::new();
    pipeline.cmd("WATCH").arg(lease.marker());
    let watching = lease.is_watching();
    match lease.flush(&pipeline).await {
        Flushed::Lost(cause) => Err(lease.endpoint().lost(&cause)),
        Flushed::Replies(replies) => {
            Replies::new(lease.endpoint(), replies).next()?;
            lease.confirm(true, watching);
            Ok(())
        }
    }
}

/// Reads a complete answer: MULTI, one QUEUED per command and for the marker, EXEC.
fn settle(lease: &mut Lease<'_>, mut replies: Vec<Value>, commands: usize) -> Result<Committed> {
    let endpoint = lease.endpoint();
    if replies.len() != commands + 3 {
        lease.disconnect();
        return Err(Error::Engine(format!(
            "{} replies to a transaction of {commands} commands",
            replies.len()
        )));
    }
    if let Some(refusal) = server_error(&replies[0]) {
        lease.disconnect();
        return Err(endpoint.refused(refusal));
    }
    // Whatever it answers, EXEC forgets all watches.
    lease.confirm(false, false);
    let outcome = replies.pop().expect("the length was checked");
    match outcome {
        Value::Nil => Err(Error::Conflict),
        Value::Array(mut replies) => {
            // The marker's own reply.
            replies.pop();
            match replies.iter().find_map(server_error) {
                None => Ok(Committed::Replies(replies)),
                // A record of the wrong type or a counter that is no number: the database is damaged, and
                // Redis has carried out the rest.
                Some(refusal) => {
                    let cause = endpoint.refused(refusal);
                    tracing::error!(%cause, "a metadata transaction was carried out in part");
                    Err(Error::Engine(format!("a transaction was carried out in part: {cause}")))
                }
            }
        }
        Value::ServerError(aborted) => {
            // EXECABORT only says that a command was refused; the refusal itself is the reason.
            let reason = replies.iter().find_map(server_error).unwrap_or(&aborted);
            Err(endpoint.refused(reason))
        }
        other => {
            lease.disconnect();
            Err(Error::Engine(format!("EXEC answered {other:?}")))
        }
    }
}

/// Finds out whether the commit `sequence` has happened, and makes sure that it never will if not.
async fn resolve(
    lease: &mut Lease<'_>,
    sequence: u64,
    cause: &RedisError,
    deadline: Instant,
) -> Result<Committed> {
    tracing::debug!(%cause, "the reply to a metadata commit was lost");
    for round in 0.. {
        let error = match disputed(lease).await {
            Ok(held) if held == Some(sequence) => return Ok(Committed::Unseen),
            Ok(_) => return Err(Error::Conflict),
            Err(error) => error,
        };
        let pause = backoff::doubling(round, Duration::from_millis(10), Duration::from_secs(1));
        if Instant::now() + pause > deadline {
            tracing::error!(%error, "what became of a metadata commit stays unknown");
            return Err(Error::InDoubt(error.to_string()));
        }
        tokio::time::sleep(pause).await;
    }
    unreachable!("the deadline ends the loop")
}

/// Changes the marker and says which sequence it held.
async fn disputed(lease: &mut Lease<'_>) -> Result<Option<u64>> {
    lease.connect().await?;
    let marker = lease.marker();
    let mut pipeline = Pipeline::with_capacity(3);
    pipeline.cmd("APPEND").arg(&marker).arg(DISPUTED);
    pipeline.cmd("GET").arg(&marker);
    pipeline.cmd("EXPIRE").arg(&marker).arg(MARKER_SECONDS);
    let replies = match lease.flush(&pipeline).await {
        Flushed::Lost(cause) => return Err(lease.endpoint().lost(&cause)),
        Flushed::Replies(replies) => replies,
    };
    let mut replies = Replies::new(lease.endpoint(), replies);
    replies.int()?;
    let held = reply::some_bytes(replies.next()?)?;
    let number = held.get(..MARKER_DIGITS).and_then(|digits| std::str::from_utf8(digits).ok());
    Ok(number.and_then(|digits| u64::from_str_radix(digits, 16).ok()))
}
