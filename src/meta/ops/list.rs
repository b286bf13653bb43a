//! The entries of a directory.

use juicefs_base::Errno;

use crate::error::Result;
use crate::meta::Meta;
use crate::port::{Hold, Item, Scan};
use crate::rules;
use crate::txn::{NodeOf, OrNoEntry};
use crate::types::{Attr, Caller, Edge, Entry, Ino, Kind};

/// Nodes read together.
const NODES_AT_ONCE: usize = 4096;

impl Meta {
    /// All entries but `.` and `..`, in no order; an entry whose node is missing or damaged has no attributes, one
    /// that is damaged itself has the inode [`Ino::UNKNOWN`]: it is there, and looking it up says EIO. `.trash`
    /// and other virtual names are not among them.
    ///
    /// # Errors
    /// ENOENT, ENOTDIR, EACCES.
    pub async fn readdir(&self, caller: &Caller, ino: Ino, with_attr: bool) -> Result<Vec<Entry>> {
        let ino = self.stored(ino);
        let (directory,) = self.peek((NodeOf(ino, Hold::Peek),)).await?;
        let directory = directory.or_no_entry()?;
        if directory.kind != Kind::Directory {
            return Err(Errno::ENOTDIR.into());
        }
        let mask = if with_attr { rules::READ | rules::EXECUTE } else { rules::READ };
        rules::check(caller, &directory, mask)?;
        let mut entries = self.entries(ino).await?;
        if with_attr {
            for group in entries.chunks_mut(NODES_AT_ONCE) {
                let inos: Vec<Ino> = group.iter().map(|entry| entry.edge.ino).collect();
                for (entry, attr) in group.iter_mut().zip(self.attributes(&inos).await?) {
                    entry.attr = attr;
                }
            }
        }
        Ok(entries)
    }

    /// Attributes of many nodes, in the order asked; `None` for a node that is gone or damaged. One batch: a few
    /// thousand at most.
    ///
    /// # Errors
    /// As the engine's.
    pub async fn attributes(&self, inos: &[Ino]) -> Result<Vec<Option<Attr>>> {
        let nodes = self.ask(|engine| engine.nodes(inos)).await?;
        let seen = inos.iter().zip(nodes).map(|(ino, node)| match node {
            Ok(attr) => {
                if let Some(attr) = &attr {
                    self.open_files.saw(*ino, attr);
                }
                attr
            }
            Err(damage) => {
                tracing::error!("listed without its attributes: {damage}");
                None
            }
        });
        Ok(seen.collect())
    }

    async fn entries(&self, parent: Ino) -> Result<Vec<Entry>> {
        let listed = self.collect(Scan::Entries { parent }, |item| match item {
            Item::Entry { name, edge } => Some(Entry { name, edge, attr: None }),
            Item::DamagedEntry { name, damage } => {
                tracing::error!("listed without its inode: {damage}");
                let edge = Edge { ino: Ino::UNKNOWN, kind: Kind::File };
                Some(Entry { name, edge, attr: None })
            }
            _ => None,
        });
        listed.await
    }
}
