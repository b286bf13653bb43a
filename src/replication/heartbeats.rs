//! Whether every client of a volume has read its setting again: each does so with every heartbeat, and a heartbeat moves
//! the end of its session.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use futures::TryStreamExt;
use juicefs_meta::Time;
use juicefs_meta::port::{Engine, Item, Scan};

use crate::error::{Error, Result};

/// A session lives for five heartbeats (format 7.2); one that lives longer than five of these is not waited for.
const HEARTBEAT_SEC_MAX: i64 = 60;
/// The setting is read after the session's end is moved: the second move tells that the first reading is over.
const MOVES: u32 = 2;
const PAUSE: Duration = Duration::from_millis(250);

/// A session that has to be heard of.
struct Awaited {
    expires_at: i64,
    moves: u32,
}

/// Waits until each client that has a session now has read the setting as it is now, or has left.
///
/// # Errors
/// [`Error::BadRequest`] naming a session whose heartbeats are too far apart to wait for, or that stays silent.
pub(crate) async fn wait_until_all_have_read(source: &dyn Engine) -> Result<()> {
    let begun = Instant::now();
    let mut awaited: HashMap<u64, Awaited> = HashMap::new();
    let mut patience = Duration::ZERO;
    for (sid, expires_at) in live(source).await? {
        let lives_sec = expires_at - Time::now().sec;
        if lives_sec > 5 * HEARTBEAT_SEC_MAX {
            return Err(Error::BadRequest(format!(
                "session {sid} reads the volume's setting more seldom than every {HEARTBEAT_SEC_MAX} s (its mount has \
                 --heartbeat 0 or a long one), and nobody can tell whether it writes the change log: end that mount first"
            )));
        }
        // It ends by itself within its life, or moves its end every fifth of it.
        patience = patience.max(Duration::from_secs(u64::try_from(2 * lives_sec + 5).unwrap_or_default()));
        awaited.insert(sid, Awaited { expires_at, moves: 0 });
    }
    if !awaited.is_empty() {
        tracing::info!(
            "waiting until {} clients of the source have seen that it keeps a change log (two heartbeats)",
            awaited.len()
        );
    }
    while !awaited.is_empty() {
        if begun.elapsed() > patience {
            let sids: Vec<_> = awaited.keys().map(u64::to_string).collect();
            return Err(Error::BadRequest(format!(
                "nothing was heard of the sessions {} of the source, which may write without telling the change log: end their mounts",
                sids.join(", ")
            )));
        }
        tokio::time::sleep(PAUSE).await;
        let live: HashMap<u64, i64> = live(source).await?.into_iter().collect();
        awaited.retain(|sid, session| match live.get(sid) {
            None => false,
            Some(&expires_at) => {
                if expires_at != session.expires_at {
                    *session = Awaited { expires_at, moves: session.moves + 1 };
                }
                session.moves < MOVES
            }
        });
    }
    Ok(())
}

/// Sessions that are not past their end, and when that is (Unix seconds).
pub(crate) async fn live(source: &dyn Engine) -> Result<Vec<(u64, i64)>> {
    let now = Time::now().sec;
    let mut found = Vec::new();
    let mut sessions = source.scan(Scan::Sessions);
    while let Some(item) = sessions.try_next().await? {
        if let Item::Session(row) = item
            && row.expires_at >= now
        {
            found.push((row.sid, row.expires_at));
        }
    }
    Ok(found)
}
