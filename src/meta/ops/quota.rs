//! Quota records: limits are set and taken away, usage is counted anew.

use std::collections::BTreeMap;

use juicefs_base::Errno;

use crate::change_log::Entry;
use crate::error::Result;
use crate::meta::Meta;
use crate::port::{Change, Get, Got, Hold, Item, QuotaKind, QuotaRow, Scan};
use crate::tree::TreeProgress;
use crate::txn::{Operation, Txn};
use crate::types::{Caller, Ino, Kind, Usage};

/// What users and groups have used, by kind and number.
pub type OwnersUsage = BTreeMap<(QuotaKind, u64), Usage>;

impl Meta {
    /// Sets limits; `None` leaves one as it is. Answers whether the quota is new: what it has used is then still to be
    /// counted ([`Self::set_quota_usage`]).
    ///
    /// # Errors
    /// ENOENT for a directory that is gone, EPERM for one in the trash, EROFS.
    pub async fn set_quota(
        &self,
        kind: QuotaKind,
        key: u64,
        space_max: Option<i64>,
        inodes_max: Option<i64>,
    ) -> Result<bool> {
        self.check_writable()?;
        if kind == QuotaKind::Directory && Ino(key).is_trash() {
            return Err(Errno::EPERM.into());
        }
        let is_new = self.transact(&SetQuota { kind, key, space_max, inodes_max }).await?;
        self.load_quotas().await?;
        Ok(is_new)
    }

    /// # Errors
    /// As the engine's.
    pub async fn quota(&self, kind: QuotaKind, key: u64) -> Result<Option<QuotaRow>> {
        let got = self.ask(|engine| async move { engine.read(&[Get::Quota { kind, key }]).await }).await?;
        Ok(got.into_iter().find_map(|got| if let Got::Quota(row) = got { row } else { None }))
    }

    /// Takes the limits away; of users and groups the usage is still counted.
    ///
    /// # Errors
    /// EROFS; as the engine's.
    pub async fn delete_quota(&self, kind: QuotaKind, key: u64) -> Result<()> {
        self.check_writable()?;
        self.transact(&DeleteQuota { kind, key }).await?;
        self.load_quotas().await
    }

    /// Says what a quota has used, where it is still there.
    ///
    /// # Errors
    /// EROFS; as the engine's.
    pub async fn set_quota_usage(&self, kind: QuotaKind, key: u64, used: Usage) -> Result<()> {
        self.check_writable()?;
        self.transact(&SetUsage { kind, key, used, makes: kind != QuotaKind::Directory }).await?;
        self.load_quotas().await
    }

    /// What lies below a directory, itself left out, added up node by node.
    ///
    /// # Errors
    /// ENOENT; as the engine's.
    pub async fn usage_below(&self, ino: Ino, progress: &TreeProgress) -> Result<Usage> {
        let sum = self.summarize(&Caller::internal(), ino, true, progress).await?;
        let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        Ok(Usage { space: signed(sum.space) - 4096, inodes: signed(sum.files + sum.dirs) - 1 })
    }

    /// Adds up files and directories of the whole volume by their owners, trash and files without a name included.
    /// Other nodes are left out, as the peer's count does, although both clients charge them as they come and go.
    ///
    /// # Errors
    /// As the engine's.
    pub async fn usage_of_owners(&self) -> Result<OwnersUsage> {
        let mut sums = OwnersUsage::new();
        let nodes = self.collect(Scan::Nodes, |item| match item {
            Item::Node { ino, attr } if ino != Ino::ROOT && ino != Ino::TRASH => {
                let counts = matches!(attr.kind, Kind::File | Kind::Directory);
                counts.then(|| (attr.uid, attr.gid, Usage::of(&attr)))
            }
            _ => None,
        });
        for (uid, gid, used) in nodes.await? {
            for key in [(QuotaKind::User, u64::from(uid)), (QuotaKind::Group, u64::from(gid))] {
                let sum = sums.entry(key).or_default();
                *sum = *sum + used;
            }
        }
        Ok(sums)
    }
}

struct SetQuota {
    kind: QuotaKind,
    key: u64,
    space_max: Option<i64>,
    inodes_max: Option<i64>,
}

/// The quota, and of a directory its node, without which there is none.
async fn read(txn: &mut Txn<'_>, kind: QuotaKind, key: u64) -> Result<Option<QuotaRow>> {
    let mut gets = vec![Get::Quota { kind, key }];
    if kind == QuotaKind::Directory {
        gets.push(Get::Node { ino: Ino(key), hold: Hold::Guard });
    }
    let mut answers = txn.read_all(&gets).await?;
    let row = match answers.next() {
        Some(Got::Quota(row)) => row,
        _ => None,
    };
    match answers.next() {
        Some(Got::Node(None)) => Err(Errno::ENOENT.into()),
        Some(Got::Node(Some(attr))) if attr.kind != Kind::Directory => Err(Errno::ENOTDIR.into()),
        _ => Ok(row),
    }
}

impl Operation for SetQuota {
    type Output = bool;
    const NAME: &'static str = "set_quota";
    const FLUSHES: u32 = 2;

    fn contends_on(&self) -> [Option<Ino>; 2] {
        [None, None]
    }

    async fn run(&self, txn: &mut Txn<'_>) -> Result<bool> {
        let Self { kind, key, .. } = *self;
        let known = read(txn, kind, key).await?;
        let space_max = self.space_max.unwrap_or_else(|| known.map_or(-1, |row| row.space_max));
        let inodes_max = self.inodes_max.unwrap_or_else(|| known.map_or(-1, |row| row.inodes_max));
        txn.change(Change::PutQuota { kind, key, space_max, inodes_max });
        txn.log(&Entry::SetQuota { kind: kind as u8, key, space: space_max, inodes: inodes_max });
        Ok(known.is_none())
    }
}

struct DeleteQuota {
    kind: QuotaKind,
    key: u64,
}

impl Operation for DeleteQuota {
    type Output = ();
    const NAME: &'static str = "delete_quota";
    const FLUSHES: u32 = 2;

    fn contends_on(&self) -> [Option<Ino>; 2] {
        [None, None]
    }

    async fn run(&self, txn: &mut Txn<'_>) -> Result<()> {
        let Self { kind, key } = *self;
        if read(txn, kind, key).await?.is_none() {
            return Ok(());
        }
        txn.change(match kind {
            QuotaKind::Directory => Change::DeleteDirQuota { ino: Ino(key) },
            QuotaKind::User | QuotaKind::Group => {
                Change::PutQuota { kind, key, space_max: -1, inodes_max: -1 }
            }
        });
        txn.log(&Entry::DelQuota { kind: kind as u8, key });
        Ok(())
    }
}

struct SetUsage {
    kind: QuotaKind,
    key: u64,
    used: Usage,
    /// Also where there is no record yet.
    makes: bool,
}

impl Operation for SetUsage {
    type Output = ();
    const NAME: &'static str = "set_quota_usage";
    const FLUSHES: u32 = 2;

    fn contends_on(&self) -> [Option<Ino>; 2] {
        [None, None]
    }

    async fn run(&self, txn: &mut Txn<'_>) -> Result<()> {
        let Self { kind, key, used, makes } = *self;
        let known = read(txn, kind, key).await?;
        if known.is_none() {
            if !makes {
                return Ok(());
            }
            txn.change(Change::PutQuota { kind, key, space_max: -1, inodes_max: -1 });
        }
        txn.change(Change::SetQuotaUsage { kind, key, used });
        let (space, inodes) = known.map_or((-1, -1), |row| (row.space_max, row.inodes_max));
        txn.log(&Entry::SetQuota { kind: kind as u8, key, space, inodes });
        Ok(())
    }
}
