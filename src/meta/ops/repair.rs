//! Repairs of `fsck`: the record of a directory is made right from what its entries say.

use futures::TryStreamExt;

use crate::change_log::Entry;
use crate::error::{Error, Result};
use crate::meta::Meta;
use crate::port::{Change, Hold, Item, Scan};
use crate::txn::{NodeOf, Operation, Txn};
use crate::types::{Attr, Ino, Kind, Usage};

/// Counts of a directory that somebody changes meanwhile.
const COUNTS_MAX: u32 = 10;

impl Meta {
    /// A directory's node, and how many links it should have, counted while nobody made or removed a directory in it.
    ///
    /// # Errors
    /// [`Error::Conflict`] for a directory that never holds still; as the engine's.
    pub async fn count_links(&self, ino: Ino) -> Result<(Option<Attr>, u32)> {
        for _ in 0..COUNTS_MAX {
            let (before,) = self.peek((NodeOf(ino, Hold::Peek),)).await?;
            let is_directory = |item| match item {
                Item::Entry { edge, .. } => (edge.kind == Kind::Directory).then_some(()),
                _ => None,
            };
            let found = self.collect(Scan::Entries { parent: ino }, is_directory).await?.len();
            let (after,) = self.peek((NodeOf(ino, Hold::Peek),)).await?;
            if same_links(before.as_ref(), after.as_ref()) {
                return Ok((after, u32::try_from(found).unwrap_or(u32::MAX).saturating_add(2)));
            }
        }
        Err(Error::Conflict)
    }

    /// Gives a directory the number of links that its entries ask for, and the node that it lacks: in `parent`, of
    /// root, with `mode`. Answers the number.
    ///
    /// # Errors
    /// EROFS; as [`Self::count_links`].
    pub async fn repair_directory(&self, ino: Ino, parent: Ino, mode: u16) -> Result<u32> {
        self.check_writable()?;
        for _ in 0..COUNTS_MAX {
            let (seen, nlink) = self.count_links(ino).await?;
            if self.transact(&RepairDirectory { ino, parent, mode, seen, nlink }).await? {
                return Ok(nlink);
            }
        }
        Err(Error::Conflict)
    }

    /// Counts what the whole volume uses, trash and files without a name included, and moves its counters there. A
    /// client that works meanwhile makes the count wrong by what it does in that time.
    ///
    /// # Errors
    /// EROFS; as the engine's.
    pub async fn recount_usage(&self) -> Result<Usage> {
        self.check_writable()?;
        let mut counted = Usage::default();
        let mut nodes = self.engine.scan(Scan::Nodes);
        while let Some(item) = nodes.try_next().await? {
            if let Item::Node { ino, attr } = item
                && ino != Ino::ROOT
                && ino != Ino::TRASH
            {
                counted = counted + Usage::of(&attr);
            }
        }
        drop(nodes);
        let known = self.usage().await?;
        let off = counted + -known;
        if off != Usage::default() {
            self.transact(&MoveUsage(off)).await?;
            self.flush_statistics().await?;
        }
        Ok(counted)
    }
}

/// Whether no subdirectory came or went between two looks.
fn same_links(before: Option<&Attr>, after: Option<&Attr>) -> bool {
    let of = |attr: &Attr| (attr.nlink, attr.mtime, attr.ctime);
    before.map(of) == after.map(of)
}

struct RepairDirectory {
    ino: Ino,
    parent: Ino,
    mode: u16,
    seen: Option<Attr>,
    nlink: u32,
}

impl Operation for RepairDirectory {
    type Output = bool;
    const NAME: &'static str = "repair_directory";
    const FLUSHES: u32 = 2;

    fn contends_on(&self) -> [Option<Ino>; 2] {
        [Some(self.ino), None]
    }

    async fn run(&self, txn: &mut Txn<'_>) -> Result<bool> {
        let Self { ino, parent, mode, nlink, .. } = *self;
        let (node,) = txn.read((NodeOf(ino, Hold::Update),)).await?;
        if !same_links(self.seen.as_ref(), node.as_ref()) {
            return Ok(false);
        }
        match node {
            Some(was) if was.nlink == nlink => return Ok(true),
            Some(was) => txn.update_node(ino, &was, &Attr { nlink, ..was }),
            None => {
                let attr = Attr { nlink, ..Attr::new(Kind::Directory, mode, 0, 0, parent, txn.now()) };
                txn.change(Change::InsertNode { ino, attr });
            }
        }
        txn.log(&Entry::RepairDir { ino });
        Ok(true)
    }
}

struct MoveUsage(Usage);

impl Operation for MoveUsage {
    type Output = ();
    const NAME: &'static str = "move_usage";
    const FLUSHES: u32 = 1;

    fn contends_on(&self) -> [Option<Ino>; 2] {
        [None, None]
    }

    async fn run(&self, txn: &mut Txn<'_>) -> Result<()> {
        let Usage { space, inodes } = self.0;
        txn.change(Change::AddUsage { space, inodes });
        Ok(())
    }
}
