//! From a number back to where it is: callers that name a node by its inode must be able to reach it by a path.

use futures::TryStreamExt;
use juicefs_base::Errno;

use crate::error::Result;
use crate::meta::Meta;
use crate::port::{Item, Scan};
use crate::rules;
use crate::txn::ParentsOf;
use crate::types::{Attr, Caller, Ino, Kind};

/// Deeper than any path: more steps up are a cycle.
const DEPTH_MAX: usize = 10_000;

impl Meta {
    /// The node's attributes, if it lies below this mount's root and `caller` may pass all directories on one of its
    /// ways.
    ///
    /// # Errors
    /// ENOENT for what is not there, or not for this mount; EACCES.
    pub async fn reach(&self, caller: &Caller, ino: Ino) -> Result<Attr> {
        let attr = self.getattr(ino).await?;
        let mut refusal = Errno::ENOENT;
        for parent in self.parents_of(ino, &attr).await? {
            match self.way_up(caller, parent).await {
                Ok(()) => return Ok(attr),
                Err(error) if error.errno() == Errno::EACCES => refusal = Errno::EACCES,
                Err(error) if error.errno() == Errno::ENOENT => {}
                Err(error) => return Err(error),
            }
        }
        if self.is_root(ino) { Ok(attr) } else { Err(refusal.into()) }
    }

    /// Every path of a node, from this mount's root; none for one that has no name.
    ///
    /// # Errors
    /// ENOENT; as the engine's.
    pub async fn paths(&self, ino: Ino) -> Result<Vec<String>> {
        let attr = self.getattr(ino).await?;
        if self.is_root(ino) {
            return Ok(vec!["/".to_owned()]);
        }
        let ino = self.stored(ino);
        let mut paths = Vec::new();
        for parent in self.parents_of(ino, &attr).await? {
            let Some(above) = self.path_of_directory(parent).await? else { continue };
            for name in self.names_in(parent, ino).await? {
                paths.push(format!("{above}/{name}"));
            }
        }
        Ok(paths)
    }

    /// For numbers of callers; those in records are never mapped.
    fn is_root(&self, ino: Ino) -> bool {
        self.stored(ino) == self.root()
    }

    async fn parents_of(&self, ino: Ino, attr: &Attr) -> Result<Vec<Ino>> {
        if self.is_root(ino) {
            return Ok(Vec::new());
        }
        if attr.parent.0 > 0 {
            return Ok(vec![attr.parent]);
        }
        let (parents,) = self.peek((ParentsOf(ino),)).await?;
        Ok(parents.into_iter().map(|(parent, _)| parent).collect())
    }

    /// # Errors
    /// ENOENT when `directory` is not below the root, EACCES when `caller` may not pass.
    async fn way_up(&self, caller: &Caller, directory: Ino) -> Result<()> {
        let mut at = directory;
        for _ in 0..DEPTH_MAX {
            if at == Ino::ROOT && at != self.root() {
                break;
            }
            let attr = self.getattr(at).await?;
            if attr.kind != Kind::Directory {
                break;
            }
            if !rules::permits(caller, &attr, rules::EXECUTE) {
                return Err(Errno::EACCES.into());
            }
            match at {
                at if at == self.root() => return Ok(()),
                Ino::TRASH => at = Ino::ROOT,
                _ => at = attr.parent,
            }
        }
        Err(Errno::ENOENT.into())
    }

    /// Without a slash at its end, so that the root's is empty; `None` when the directory is not below the root.
    async fn path_of_directory(&self, directory: Ino) -> Result<Option<String>> {
        let mut parts: Vec<String> = Vec::new();
        let mut at = directory;
        for _ in 0..DEPTH_MAX {
            match at {
                at if at == self.root() => {
                    let path = parts.iter().rev().fold(String::new(), |path, part| path + "/" + part);
                    return Ok(Some(path));
                }
                Ino::ROOT => break,
                Ino::TRASH => {
                    parts.push(".trash".to_owned());
                    at = Ino::ROOT;
                }
                _ => {
                    let parent = self.getattr(at).await?.parent;
                    let names = self.names_in(parent, at).await?;
                    let Some(name) = names.into_iter().next() else { break };
                    parts.push(name);
                    at = parent;
                }
            }
        }
        Ok(None)
    }

    async fn names_in(&self, parent: Ino, ino: Ino) -> Result<Vec<String>> {
        let names = self.engine.scan(Scan::Entries { parent }).try_filter_map(async |item| {
            Ok(match item {
                Item::Entry { name, edge } if edge.ino == ino => {
                    Some(String::from_utf8_lossy(name.as_bytes()).into_owned())
                }
                _ => None,
            })
        });
        names.try_collect().await
    }
}
