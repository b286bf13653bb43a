//! Quotas of directories, users and groups as this process knows them: limits and usage as last read (at each
//! heartbeat), and what it has moved since and not yet written.
//!
//! Limits are looked at in this memory only, as the peer does: clients may pass a limit together by what each did
//! since the others wrote theirs. Records change in [`crate::ops`]; what is charged comes from [`crate::txn`].

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use juicefs_base::sync::Mutex;

use crate::error::{Error, Result};
use crate::meta::Meta;
use crate::port::{Change, Get, Got, Hold, Item, QuotaKind, QuotaRow, Scan};
use crate::txn::{NodeOf, Operation, Txn};
use crate::types::{Ino, Usage};

/// Kind, and inode, uid or gid.
pub(crate) type QuotaKey = (QuotaKind, u64);

/// Levels above a place that are looked at.
pub(crate) const DEPTH_MAX: usize = 4096;
/// Quotas whose usage moves in one transaction.
const FLUSH_AT_ONCE: usize = 64;
/// How long a directory is taken to stay where it was: another client may move it.
const PARENT_AGE_MAX: Duration = Duration::from_secs(1);
/// Directories whose places are remembered.
const PARENTS_MAX: usize = 100_000;

#[derive(Clone, Copy)]
struct Known {
    row: QuotaRow,
    /// Not in the record yet.
    new: Usage,
}

impl Known {
    fn used(&self) -> Usage {
        self.row.used + self.new
    }
}

/// Where the way up goes on.
pub(crate) enum Step {
    End,
    Up(Ino),
    Unknown,
}

#[derive(Default)]
pub(crate) struct Quotas {
    known: Mutex<HashMap<QuotaKey, Known>>,
    /// Quotas of directories among them.
    directories: AtomicUsize,
    parents: Mutex<HashMap<Ino, (Ino, Instant)>>,
    /// Held while records are read or written, so that what is read is neither older nor newer than `new`.
    turn: tokio::sync::Mutex<()>,
}

impl Quotas {
    /// Whether `more`, after what a transaction has `pending`, is beyond a limit.
    pub(crate) fn would_pass(&self, key: QuotaKey, more: Usage, pending: Usage) -> bool {
        let known = self.known.lock();
        let Some(known) = known.get(&key) else { return false };
        let after = known.used() + pending + more;
        (more.space > 0 && known.row.space_max > 0 && after.space > known.row.space_max)
            || (more.inodes > 0 && known.row.inodes_max > 0 && after.inodes > known.row.inodes_max)
    }

    /// Takes what a transaction has charged.
    pub(crate) fn add_all(&self, charges: &[(QuotaKey, Usage)]) {
        if charges.is_empty() {
            return;
        }
        let mut known = self.known.lock();
        for ((kind, key), delta) in charges {
            if *kind == QuotaKind::Directory {
                if let Some(known) = known.get_mut(&(*kind, *key)) {
                    known.new = known.new + *delta;
                }
            } else {
                let row = QuotaRow {
                    kind: *kind,
                    key: *key,
                    space_max: -1,
                    inodes_max: -1,
                    used: Usage::default(),
                };
                let known = known.entry((*kind, *key)).or_insert(Known { row, new: Usage::default() });
                known.new = known.new + *delta;
            }
        }
    }

    /// One step of the way up from `at`, whose quota joins the chain.
    pub(crate) fn step(&self, at: Ino, chain: &mut Vec<QuotaKey>) -> Step {
        if at.is_trash() || at.0 == 0 {
            chain.clear();
            return Step::End;
        }
        let key = (QuotaKind::Directory, at.0);
        if self.known.lock().contains_key(&key) {
            chain.push(key);
        }
        if at == Ino::ROOT {
            return Step::End;
        }
        match self.parents.lock().get(&at) {
            Some((parent, seen)) if seen.elapsed() < PARENT_AGE_MAX => Step::Up(*parent),
            _ => Step::Unknown,
        }
    }

    pub(crate) fn saw_parent(&self, ino: Ino, parent: Ino) {
        let mut parents = self.parents.lock();
        if parents.len() >= PARENTS_MAX {
            parents.clear();
        }
        parents.insert(ino, (parent, Instant::now()));
    }

    /// A directory has moved.
    pub(crate) fn forget_parents(&self) {
        self.parents.lock().clear();
    }

    fn replace(&self, rows: Vec<QuotaRow>) {
        let mut known = self.known.lock();
        let mut before = std::mem::take(&mut *known);
        for row in rows {
            let key = (row.kind, row.key);
            let new = before.remove(&key).map_or_else(Usage::default, |known| known.new);
            known.insert(key, Known { row, new });
        }
        // A directory's quota that is gone takes its sums with it; an owner's record is still to be made.
        for (key, left) in before {
            if key.0 != QuotaKind::Directory && left.new != Usage::default() {
                known.insert(key, left);
            }
        }
        let directories = known.keys().filter(|(kind, _)| *kind == QuotaKind::Directory).count();
        self.directories.store(directories, Ordering::Release);
    }

    fn unwritten(&self) -> Vec<(QuotaKey, Usage)> {
        let known = self.known.lock();
        let moved = known.iter().filter(|(_, known)| known.new != Usage::default());
        moved.map(|(key, known)| (*key, known.new)).collect()
    }

    fn wrote(&self, deltas: &[(QuotaKey, Usage)]) {
        let mut known = self.known.lock();
        for (key, delta) in deltas {
            if let Some(known) = known.get_mut(key) {
                known.new = known.new + -*delta;
                known.row.used = known.row.used + *delta;
            }
        }
    }

    /// The quota as it is now, with what is not written yet.
    pub(crate) fn get(&self, key: QuotaKey) -> Option<QuotaRow> {
        self.known.lock().get(&key).map(|known| QuotaRow { used: known.used(), ..known.row })
    }
}

impl Meta {
    pub(crate) fn has_dir_quotas(&self) -> bool {
        self.quotas.directories.load(Ordering::Acquire) > 0
    }

    /// Reads all quotas that the volume's setting puts in force.
    ///
    /// # Errors
    /// As the engine's.
    pub(crate) async fn load_quotas(&self) -> Result<()> {
        let format = self.format();
        let _turn = self.quotas.turn.lock().await;
        let mut rows = Vec::new();
        for (kind, is_kept) in [
            (QuotaKind::Directory, format.dir_stats),
            (QuotaKind::User, format.user_group_quota),
            (QuotaKind::Group, format.user_group_quota),
        ] {
            if is_kept {
                rows.extend(self.quota_rows(kind).await?);
            }
        }
        self.quotas.replace(rows);
        Ok(())
    }

    /// Records of a kind as they are.
    ///
    /// # Errors
    /// As the engine's.
    pub async fn quota_rows(&self, kind: QuotaKind) -> Result<Vec<QuotaRow>> {
        let rows = self.collect(Scan::Quotas { kind }, |item| match item {
            Item::Quota(row) => Some(Ok(row)),
            Item::Damaged(damage) => Some(Err(Error::from(damage))),
            _ => None,
        });
        rows.await?.into_iter().collect()
    }

    /// Writes what was moved since the last time; what could not be written is kept.
    pub(crate) async fn flush_quotas(&self) -> Result<()> {
        let _turn = self.quotas.turn.lock().await;
        for deltas in self.quotas.unwritten().chunks(FLUSH_AT_ONCE) {
            match self.transact(&AddQuotaUsage { deltas }).await {
                Ok(()) => self.quotas.wrote(deltas),
                Err(error @ Error::InDoubt(_)) => {
                    // Twice would refuse writes that fit; not at all lets a few too many through.
                    self.quotas.wrote(deltas);
                    self.doubt_quotas();
                    return Err(error);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    pub(crate) fn doubt_quotas(&self) {
        tracing::warn!(
            "usage of quotas may be off by one change whose outcome is unknown: `juicefs quota check --repair` counts it anew"
        );
    }

    /// Quotas of this directory and those above, the nearest first; outside any transaction.
    ///
    /// # Errors
    /// As the engine's.
    pub(crate) async fn quotas_above(&self, from: Ino) -> Result<Vec<QuotaKey>> {
        let (mut chain, mut at) = (Vec::new(), from);
        if !self.has_dir_quotas() {
            return Ok(chain);
        }
        for _ in 0..DEPTH_MAX {
            match self.quotas.step(at, &mut chain) {
                Step::End => break,
                Step::Up(parent) => at = parent,
                Step::Unknown => {
                    let (node,) = self.peek((NodeOf(at, Hold::Peek),)).await?;
                    let Some(node) = node else { break };
                    self.quotas.saw_parent(at, node.parent);
                    at = node.parent;
                }
            }
        }
        Ok(chain)
    }
}

struct AddQuotaUsage<'a> {
    deltas: &'a [(QuotaKey, Usage)],
}

impl Operation for AddQuotaUsage<'_> {
    type Output = ();
    const NAME: &'static str = "add_quota_usage";
    const FLUSHES: u32 = 2;

    fn contends_on(&self) -> [Option<Ino>; 2] {
        [None, None]
    }

    async fn run(&self, txn: &mut Txn<'_>) -> Result<()> {
        // An owner's record is made by the change itself.
        let directories = self.deltas.iter().filter(|((kind, _), _)| *kind == QuotaKind::Directory);
        let gets: Vec<Get> =
            directories.map(|((kind, key), _)| Get::Quota { kind: *kind, key: *key }).collect();
        let found: Vec<QuotaKey> = txn
            .read_all(&gets)
            .await?
            .filter_map(|got| if let Got::Quota(Some(row)) = got { Some((row.kind, row.key)) } else { None })
            .collect();
        for ((kind, key), delta) in self.deltas {
            if *kind != QuotaKind::Directory || found.contains(&(*kind, *key)) {
                txn.change(Change::AddQuotaUsage { kind: *kind, key: *key, delta: *delta });
            }
        }
        Ok(())
    }
}
