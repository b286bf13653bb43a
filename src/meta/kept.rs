//! Files without a name that this session keeps because another client may hold them open (decisions 26).
//!
//! Whoever holds such a file open adopts it: its session sustains it too, from its next heartbeat on. So a file is
//! kept until every session that was alive when its name went has refreshed itself twice, or is gone: the first
//! refresh begins after the name went, what follows it adopts, and the second says that this is done. Files whose
//! names went between two of our own beats wait together. Only transactions add files here, only the heartbeat and
//! the end of the session take them out.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use juicefs_base::sync::Mutex;

use crate::port::SessionRow;
use crate::types::Ino;

/// Files kept at most; names that go beyond it take their files with them.
const KEPT_MAX: usize = 1 << 20;
/// Refreshes of a session after which it has adopted what it holds open.
const REFRESHES: u32 = 2;
/// How long it is believed which clients there are.
const COMPANY_AGE_MAX: Duration = Duration::from_secs(1);

#[derive(Default)]
pub(crate) struct Kept {
    state: Mutex<State>,
    /// Whether every client was of this kind at the last look.
    company: Mutex<Option<(Instant, bool)>>,
}

#[derive(Default)]
struct State {
    all: HashSet<Ino>,
    /// Since the last beat.
    fresh: Vec<Ino>,
    groups: Vec<Group>,
}

/// Files that wait for the same sessions.
struct Group {
    inos: Vec<Ino>,
    /// Whose adoption may be to come: the expiry last seen, and how often it has moved.
    waits: HashMap<u64, (i64, u32)>,
}

impl Kept {
    pub(crate) fn has_room(&self) -> bool {
        self.state.lock().all.len() < KEPT_MAX
    }

    pub(crate) fn keep(&self, ino: Ino) {
        let mut state = self.state.lock();
        if state.all.insert(ino) {
            state.fresh.push(ino);
        }
    }

    /// Whether every client that is alive is of this kind, if that was looked for a moment ago.
    pub(crate) fn is_among_its_kind(&self) -> Option<bool> {
        self.company.lock().filter(|(at, _)| at.elapsed() < COMPANY_AGE_MAX).map(|(_, is_so)| is_so)
    }

    /// `is_so`, looked for since `at`.
    pub(crate) fn saw_company(&self, at: Instant, is_so: bool) {
        *self.company.lock() = Some((at, is_so));
    }

    pub(crate) fn is_kept(&self, ino: Ino) -> bool {
        self.state.lock().all.contains(&ino)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.state.lock().all.is_empty()
    }

    /// A look at all sessions: the files that nobody can still adopt. They are kept no more.
    pub(crate) fn due(&self, rows: &[SessionRow], own: u64, now_sec: i64) -> Vec<Ino> {
        let alive: HashMap<u64, i64> = rows
            .iter()
            .filter(|row| row.sid != own && row.expires_at >= now_sec)
            .map(|row| (row.sid, row.expires_at))
            .collect();
        let mut state = self.state.lock();
        for group in &mut state.groups {
            group.waits.retain(|sid, (seen, moved)| match alive.get(sid) {
                None => false,
                Some(expires_at) => {
                    if expires_at != seen {
                        (*seen, *moved) = (*expires_at, *moved + 1);
                    }
                    *moved < REFRESHES
                }
            });
        }
        let inos = std::mem::take(&mut state.fresh);
        if !inos.is_empty() {
            let waits = alive.iter().map(|(sid, expires_at)| (*sid, (*expires_at, 0))).collect();
            state.groups.push(Group { inos, waits });
        }
        let (done, waiting): (Vec<_>, Vec<_>) =
            std::mem::take(&mut state.groups).into_iter().partition(|group| group.waits.is_empty());
        state.groups = waiting;
        let due: Vec<Ino> = done.into_iter().flat_map(|group| group.inos).collect();
        for ino in &due {
            state.all.remove(ino);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(rows: &[(u64, i64)]) -> Vec<SessionRow> {
        let row = |&(sid, expires_at)| SessionRow { sid, expires_at, info: bytes::Bytes::new() };
        rows.iter().map(row).collect()
    }

    #[test]
    fn a_file_is_kept_until_the_others_have_refreshed_twice() {
        let kept = Kept::default();
        kept.keep(Ino(7));
        kept.keep(Ino(7));
        assert!(kept.due(&rows(&[(1, 60), (2, 50)]), 1, 0).is_empty());
        kept.keep(Ino(8));
        assert!(kept.due(&rows(&[(1, 72), (2, 62)]), 1, 12).is_empty());
        assert!(
            kept.due(&rows(&[(1, 84), (2, 62)]), 1, 24).is_empty(),
            "an expiry that stands still says nothing"
        );
        assert!(kept.is_kept(Ino(7)));
        assert_eq!(kept.due(&rows(&[(1, 96), (2, 86)]), 1, 36), [Ino(7)]);
        assert!(!kept.is_kept(Ino(7)) && kept.is_kept(Ino(8)));
        assert_eq!(
            kept.due(&rows(&[(1, 99), (2, 98), (3, 99)]), 1, 48),
            [Ino(8)],
            "a later session has nothing"
        );
        assert!(kept.is_empty());
    }

    #[test]
    fn who_is_gone_or_expired_is_not_waited_for() {
        let kept = Kept::default();
        kept.keep(Ino(7));
        assert!(kept.due(&rows(&[(2, 50), (3, 50)]), 1, 0).is_empty());
        assert_eq!(kept.due(&rows(&[(3, 50)]), 1, 51), [Ino(7)]);
        kept.keep(Ino(9));
        assert_eq!(kept.due(&rows(&[(1, 99)]), 1, 52), [Ino(9)]);
    }
}
