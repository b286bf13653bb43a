//! The entries of a directory.

use futures::TryStreamExt;
use juicefs_base::Errno;

use crate::error::{Error, Result};
use crate::meta::Meta;
use crate::port::{Hold, Item, Scan};
use crate::rules;
use crate::txn::{NodeOf, OrNoEntry};
use crate::types::{Attr, Caller, Entry, Ino, Kind};

/// Nodes read together.
const NODES_AT_ONCE: usize = 4096;
/// A listing that broke off is begun anew.
const LIST_TRIES: u32 = 5;

impl Meta {
    /// All entries but `.` and `..`, in no order; an entry whose node is missing has no attributes. `.trash` and
    /// other virtual names are not among them.
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
        let mut tries = 0;
        let mut entries = loop {
            match self.entries(ino).await {
                Err(Error::Unavailable(why)) if tries < LIST_TRIES => {
                    tracing::debug!(%ino, why, "a listing broke off");
                    tries += 1;
                }
                other => break other?,
            }
        };
        if with_attr {
            for group in entries.chunks_mut(NODES_AT_ONCE) {
                let inos: Vec<Ino> = group.iter().map(|entry| entry.edge.ino).collect();
                let nodes = self.ask(|engine| engine.nodes(&inos)).await?;
                for (entry, attr) in group.iter_mut().zip(nodes) {
                    entry.attr = attr;
                    if let Some(attr) = &attr {
                        self.open_files.saw(entry.edge.ino, attr);
                    }
                }
            }
        }
        Ok(entries)
    }

    /// Attributes of many nodes, in the order asked; `None` for a node that is gone. One batch: a few thousand at most.
    ///
    /// # Errors
    /// As the engine's.
    pub async fn attributes(&self, inos: &[Ino]) -> Result<Vec<Option<Attr>>> {
        let nodes = self.ask(|engine| engine.nodes(inos)).await?;
        for (ino, attr) in inos.iter().zip(&nodes) {
            if let Some(attr) = attr {
                self.open_files.saw(*ino, attr);
            }
        }
        Ok(nodes)
    }

    async fn entries(&self, parent: Ino) -> Result<Vec<Entry>> {
        let mut entries = Vec::new();
        let mut items = self.engine.scan(Scan::Entries { parent });
        while let Some(item) = items.try_next().await? {
            if let Item::Entry { name, edge } = item {
                entries.push(Entry { name, edge, attr: None });
            }
        }
        Ok(entries)
    }
}
