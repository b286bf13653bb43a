//! What trees hold, counted node by node; a file with several names counts for each.

use futures::FutureExt;
use futures::future::{BoxFuture, try_join_all};

use super::{DIRS_AT_ONCE, TreeProgress};
use crate::error::Result;
use crate::meta::Meta;
use crate::types::{Attr, Caller, Entry, Ino, Kind};

const NODES_AT_ONCE: usize = 1000;
/// Smaller ones of more children than this are added up before all are known.
const CHILDREN_MAX: usize = 10_000;

/// Sums over a tree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Bytes of files.
    pub length: u64,
    /// Of all nodes, in whole 4 KiB.
    pub space: u64,
    /// Nodes that are no directories.
    pub files: u64,
    pub dirs: u64,
}

impl Summary {
    fn of(attr: &Attr) -> Self {
        let is_directory = attr.kind == Kind::Directory;
        Self {
            length: if attr.kind == Kind::File { attr.length } else { 0 },
            space: attr.space(),
            files: u64::from(!is_directory),
            dirs: u64::from(is_directory),
        }
    }

    fn add(&mut self, other: &Self) {
        self.length += other.length;
        self.space += other.space;
        self.files += other.files;
        self.dirs += other.dirs;
    }
}

/// A node with its sums, and its largest children.
#[derive(Clone, Debug)]
pub struct TreeSummary {
    /// 0 for the sum of those that are not shown.
    pub ino: Ino,
    /// From the top of the summary.
    pub path: String,
    pub kind: Kind,
    pub sum: Summary,
    pub children: Vec<TreeSummary>,
}

impl Meta {
    /// Sums of a node, of its entries when it is a directory, and of all below with `recursive`.
    ///
    /// # Errors
    /// ENOENT; EACCES for a directory that `caller` may not read.
    pub async fn summarize(
        &self,
        caller: &Caller,
        ino: Ino,
        recursive: bool,
        progress: &TreeProgress,
    ) -> Result<Summary> {
        let attr = self.getattr(ino).await?;
        let mut sum = Summary::of(&attr);
        progress.add(1, attr.space());
        if attr.kind != Kind::Directory {
            return Ok(sum);
        }
        let mut waiting = vec![ino];
        while !waiting.is_empty() {
            let now = waiting.split_off(waiting.len().saturating_sub(DIRS_AT_ONCE));
            for (part, below) in
                try_join_all(now.into_iter().map(|ino| self.count(caller, ino, progress))).await?
            {
                sum.add(&part);
                if recursive {
                    waiting.extend(below);
                }
            }
        }
        Ok(sum)
    }

    /// The tree down to `depth`, of each directory the `top` largest children and the sum of the others.
    ///
    /// # Errors
    /// As [`Self::summarize`].
    pub async fn summarize_tree(
        &self,
        caller: &Caller,
        ino: Ino,
        depth: u8,
        top: usize,
        progress: &TreeProgress,
    ) -> Result<TreeSummary> {
        let attr = self.getattr(ino).await?;
        let node = TreeSummary {
            ino,
            path: String::new(),
            kind: attr.kind,
            sum: Summary::of(&attr),
            children: Vec::new(),
        };
        if attr.kind != Kind::Directory {
            progress.add(1, attr.space());
            return Ok(node);
        }
        self.deepen(caller, node, depth, top, progress).await
    }

    fn deepen<'a>(
        &'a self,
        caller: &'a Caller,
        mut node: TreeSummary,
        depth: u8,
        top: usize,
        progress: &'a TreeProgress,
    ) -> BoxFuture<'a, Result<TreeSummary>> {
        async move {
            if depth == 0 {
                node.sum = self.summarize(caller, node.ino, true, progress).await?;
                return Ok(node);
            }
            progress.add(1, node.sum.space);
            let mut rest = Summary::default();
            for entry in self.readdir(caller, node.ino, true).await? {
                let Some(child) = Self::child(&node, entry) else { continue };
                let child = match child.kind {
                    Kind::Directory => self.deepen(caller, child, depth - 1, top, progress).await?,
                    _ => {
                        progress.add(1, child.sum.space);
                        child
                    }
                };
                node.sum.add(&child.sum);
                node.children.push(child);
                if node.children.len() > CHILDREN_MAX.max(2 * top) {
                    rest.add(&keep_largest(&mut node.children, top));
                }
            }
            rest.add(&keep_largest(&mut node.children, top));
            if rest != Summary::default() {
                let path = below(&node.path, "...");
                let sum = rest;
                node.children.push(TreeSummary {
                    ino: Ino(0),
                    path,
                    kind: Kind::File,
                    sum,
                    children: Vec::new(),
                });
            }
            Ok(node)
        }
        .boxed()
    }

    fn child(parent: &TreeSummary, entry: Entry) -> Option<TreeSummary> {
        let attr = entry.attr?;
        let path = below(&parent.path, &String::from_utf8_lossy(entry.name.as_bytes()));
        let (ino, kind) = (entry.edge.ino, attr.kind);
        Some(TreeSummary { ino, path, kind, sum: Summary::of(&attr), children: Vec::new() })
    }

    /// Sums of a directory's entries, itself left out, and its subdirectories.
    async fn count(&self, caller: &Caller, ino: Ino, progress: &TreeProgress) -> Result<(Summary, Vec<Ino>)> {
        let (mut sum, mut dirs) = (Summary::default(), Vec::new());
        let entries = match self.readdir(caller, ino, false).await {
            Err(error) if error.errno() == juicefs_base::Errno::ENOENT => return Ok((sum, dirs)),
            entries => entries?,
        };
        for group in entries.chunks(NODES_AT_ONCE) {
            let inos: Vec<Ino> = group.iter().map(|entry| entry.edge.ino).collect();
            for (ino, attr) in inos.iter().zip(self.attributes(&inos).await?) {
                let Some(attr) = attr else { continue };
                sum.add(&Summary::of(&attr));
                progress.add(1, attr.space());
                if attr.kind == Kind::Directory {
                    dirs.push(*ino);
                }
            }
        }
        Ok((sum, dirs))
    }
}

fn below(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}/{name}") }
}

/// Sorts by size and leaves the first `top`; the sum of the others.
fn keep_largest(children: &mut Vec<TreeSummary>, top: usize) -> Summary {
    children.sort_by(|a, b| b.sum.space.cmp(&a.sum.space).then_with(|| a.path.cmp(&b.path)));
    let mut rest = Summary::default();
    for child in children.drain(top.min(children.len())..) {
        rest.add(&child.sum);
    }
    rest
}
