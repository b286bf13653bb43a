//! What an operation moves, said once: the volume's usage, that of a user and a group, the statistics of a directory,
//! and the quotas of that directory and of all above it.
//!
//! Nodes are charged to the volume and their owners, names to directories. Room is looked for against sums that this
//! process keeps (`usage`, `quotas`), with what the transaction has charged already; charges join the sums when it has
//! committed.

use juicefs_base::Errno;

use super::{NodeOf, Txn};
use crate::error::Result;
use crate::port::{Change, Hold, QuotaKind};
use crate::quotas::{DEPTH_MAX, QuotaKey, Step};
use crate::types::{Attr, DirStat, Ino, Usage};

/// What a transaction has charged beside the volume's counters, which it changes by itself.
#[derive(Default)]
pub(crate) struct Charges {
    pub(crate) dir_stats: Vec<(Ino, DirStat)>,
    pub(crate) quotas: Vec<(QuotaKey, Usage)>,
}

impl Charges {
    fn of(&self, key: QuotaKey) -> Usage {
        let own = self.quotas.iter().filter(|(charged, _)| *charged == key);
        own.fold(Usage::default(), |sum, (_, delta)| sum + *delta)
    }
}

fn owners(attr: &Attr) -> [QuotaKey; 2] {
    [(QuotaKind::User, u64::from(attr.uid)), (QuotaKind::Group, u64::from(attr.gid))]
}

impl Txn<'_> {
    /// Whether a node of this owner may grow, or come to be.
    ///
    /// # Errors
    /// EDQUOT for its user or group, then ENOSPC for the volume.
    pub(crate) fn ask_room(&self, owner: &Attr, more: Usage) -> Result<()> {
        if self.meta.format().user_group_quota {
            self.ask_quotas(owners(owner), more)?;
        }
        self.meta.check_room(more.space, more.inodes)
    }

    fn ask_quotas(&self, keys: impl IntoIterator<Item = QuotaKey>, more: Usage) -> Result<()> {
        for key in keys {
            if self.meta.quotas.would_pass(key, more, self.after.charges.of(key)) {
                return Err(Errno::EDQUOT.into());
            }
        }
        Ok(())
    }

    /// A node comes, goes or has another size.
    pub(crate) fn charge_node(&mut self, owner: &Attr, delta: Usage) {
        if delta == Usage::default() {
            return;
        }
        self.changes.push(Change::AddUsage { space: delta.space, inodes: delta.inodes });
        self.charge_owner(owner, delta);
    }

    /// What a node counts for belongs to another user or group from now on.
    pub(crate) fn charge_new_owner(&mut self, was: &Attr, now: &Attr) {
        if (was.uid, was.gid) != (now.uid, now.gid) {
            self.charge_owner(was, -Usage::of(was));
            self.charge_owner(now, Usage::of(now));
        }
    }

    fn charge_owner(&mut self, owner: &Attr, delta: Usage) {
        if self.meta.format().user_group_quota {
            self.after.charges.quotas.extend(owners(owner).map(|key| (key, delta)));
        }
    }

    /// A name comes, goes, or what it stands for has another size: `share` moves the directory's statistics; it and
    /// what lies `below` the name move the quotas on the way up. The trash counts for no directory's quota.
    ///
    /// # Errors
    /// EDQUOT when it grows beyond one of them.
    pub(crate) async fn charge_name(&mut self, parent: Ino, share: DirStat, below: Usage) -> Result<()> {
        self.after.charges.dir_stats.push((parent, share));
        let delta = Usage { space: share.space, inodes: share.inodes } + below;
        if delta == Usage::default() {
            return Ok(());
        }
        let chain = self.quotas_above(parent).await?;
        self.ask_quotas(chain.iter().copied(), delta)?;
        self.after.charges.quotas.extend(chain.into_iter().map(|key| (key, delta)));
        Ok(())
    }

    /// Quotas of this directory and those above, the nearest first.
    async fn quotas_above(&mut self, from: Ino) -> Result<Vec<QuotaKey>> {
        let (mut chain, mut at) = (Vec::new(), from);
        if !self.meta.has_dir_quotas() {
            return Ok(chain);
        }
        for _ in 0..DEPTH_MAX {
            match self.meta.quotas.step(at, &mut chain) {
                Step::End => break,
                Step::Up(parent) => at = parent,
                Step::Unknown => {
                    let (node,) = self.read((NodeOf(at, Hold::Peek),)).await?;
                    let Some(node) = node else { break };
                    self.meta.quotas.saw_parent(at, node.parent);
                    at = node.parent;
                }
            }
        }
        Ok(chain)
    }
}
