//! Directories below a path: whether their nodes, links and statistics are what their entries say, and their repair.
//!
//! Each directory is looked at for itself; nothing here is one transaction. What is wrong is logged as it is found.

use futures::TryStreamExt;
use juicefs_base::Errno;
use juicefs_meta::port::{Item, MaybeNode, Scan};
use juicefs_meta::types::CHUNK_BYTES;
use juicefs_meta::{Attr, DirStat, Edge, Ino, Kind, Meta, Name, Slice};
use std::sync::Arc;

use super::FsckPath;
use super::lost::LostBlocks;
use super::report::FsckReport;
use crate::error::{Error, Result};
use crate::progress::Progress;

/// Entries whose nodes are read together.
const NODES_AT_ONCE: usize = 1024;

/// A node on the way.
struct Place {
    ino: Ino,
    parent: Ino,
    kind: Kind,
    path: String,
    node: MaybeNode,
}

impl Place {
    fn below(parent: Ino, above: &str, name: &Name, edge: Edge, node: MaybeNode) -> Self {
        let name = String::from_utf8_lossy(name.as_bytes());
        let path = format!("{}/{name}", above.trim_end_matches('/'));
        Self { ino: edge.ino, parent, kind: edge.kind, path, node }
    }
}

/// Checks, and repairs if asked to.
///
/// # Errors
/// ENOENT and ENOTDIR as [`Error::BadRequest`] that says where; an engine or store that does not answer.
pub(super) async fn check(
    meta: &Arc<Meta>,
    asked: &FsckPath,
    lost: &mut LostBlocks,
    report: &mut FsckReport,
    progress: &dyn Progress,
) -> Result<()> {
    let keeps_stats = meta.format().dir_stats;
    if asked.syncs_stats && !keeps_stats {
        tracing::warn!("dir stats is disabled, flag '--sync-dir-stat' will be ignored");
    }
    let mut check = Check { meta, asked, keeps_stats, lost, report, progress };
    let top = check.find().await?;
    progress.begin("checked nodes", None);
    let mut waiting = vec![top];
    while let Some(place) = waiting.pop() {
        check.one(&place).await?;
        if asked.recursive && place.kind == Kind::Directory {
            check.entries(&place, &mut waiting).await?;
        }
    }
    let is_whole = asked.path.trim_end_matches('/').is_empty() && asked.recursive;
    if is_whole && asked.repairs && asked.syncs_stats {
        progress.begin("usage", None);
        let used = meta.recount_usage().await?;
        tracing::debug!("The volume uses {} bytes and {} inodes", used.space, used.inodes);
    }
    Ok(())
}

struct Check<'a> {
    meta: &'a Arc<Meta>,
    asked: &'a FsckPath,
    keeps_stats: bool,
    lost: &'a mut LostBlocks,
    report: &'a mut FsckReport,
    progress: &'a dyn Progress,
}

impl Check<'_> {
    /// What the path leads to; directories on the way may lack their nodes.
    async fn find(&self) -> Result<Place> {
        let engine = self.meta.engine();
        let mut nodes = engine.nodes(&[Ino::ROOT]).await?.into_iter();
        let mut at = Place {
            ino: Ino::ROOT,
            parent: Ino::ROOT,
            kind: Kind::Directory,
            path: "/".to_owned(),
            node: nodes.next().unwrap_or(Ok(None)),
        };
        for part in self.asked.path.split('/').filter(|part| !part.is_empty()) {
            if at.kind != Kind::Directory {
                return Err(nowhere(&at.path, Errno::ENOTDIR));
            }
            if at.ino != Ino::ROOT && matches!(at.node, Ok(None)) {
                let Place { ino, path, .. } = &at;
                tracing::warn!(
                    "Attribute of {path} (inode {ino}) is missing, please re-run with '--path {path} --repair' to fix it"
                );
            }
            let name = Name::new(part.as_bytes().to_vec()).map_err(|errno| nowhere(part, errno))?;
            let is_trash = at.ino == Ino::ROOT && part == ".trash";
            let edge = match is_trash {
                true => Some(Edge { ino: Ino::TRASH, kind: Kind::Directory }),
                false => engine.lookup(at.ino, &name).await?.map(|(edge, _)| edge),
            };
            let above = at.path.trim_end_matches('/');
            let edge = edge.ok_or_else(|| nowhere(&format!("{above}/{part}"), Errno::ENOENT))?;
            let node = engine.nodes(&[edge.ino]).await?.into_iter().next().unwrap_or(Ok(None));
            at = Place::below(at.ino, above, &name, edge, node);
        }
        Ok(at)
    }

    /// A directory's entries: files are looked at here, directories wait.
    async fn entries(&mut self, directory: &Place, waiting: &mut Vec<Place>) -> Result<()> {
        let meta = Arc::clone(self.meta);
        let mut items = meta.engine().scan(Scan::Entries { parent: directory.ino });
        let mut page = Vec::with_capacity(NODES_AT_ONCE);
        loop {
            let item = items.try_next().await?;
            let is_last = item.is_none();
            match item {
                Some(Item::Entry { name, edge }) => page.push((name, edge)),
                Some(Item::DamagedEntry { damage, .. } | Item::Damaged(damage)) => {
                    self.report.add_damage(damage);
                }
                _ => {}
            }
            if page.len() < NODES_AT_ONCE && !is_last {
                continue;
            }
            let inos: Vec<Ino> = page.iter().map(|(_, edge)| edge.ino).collect();
            let nodes = meta.engine().nodes(&inos).await?;
            for ((name, edge), node) in page.drain(..).zip(nodes) {
                let place = Place::below(directory.ino, &directory.path, &name, edge, node);
                match place.kind {
                    Kind::Directory => waiting.push(place),
                    _ => self.one(&place).await?,
                }
            }
            if is_last {
                return Ok(());
            }
        }
    }

    async fn one(&mut self, place: &Place) -> Result<()> {
        self.report.checked_nodes += 1;
        self.progress.advance(1);
        let attr = match &place.node {
            Ok(attr) => attr,
            Err(damage) => {
                self.report.add_damage(damage.clone());
                return Ok(());
            }
        };
        match (place.kind, attr) {
            (Kind::Directory, attr) => self.directory(place, attr.as_ref()).await,
            (Kind::File, Some(attr)) => self.file(place.ino, attr).await,
            (_, Some(_)) => Ok(()),
            (_, None) => {
                self.report.wrong_nodes += 1;
                tracing::error!(
                    "attribute of {} (inode {}) is missing and can't be made anew: remove the name, or restore the \
                     record from a backup of the database",
                    place.path,
                    place.ino
                );
                Ok(())
            }
        }
    }

    async fn file(&mut self, ino: Ino, attr: &Attr) -> Result<()> {
        if self.meta.engine().lists_chunks_by_inode() {
            let meta = Arc::clone(self.meta);
            let mut chunks = meta.engine().scan(Scan::Chunks { ino: Some(ino) });
            while let Some(item) = chunks.try_next().await? {
                match item {
                    Item::Chunk { slices, .. } => self.look(ino, &slices).await?,
                    Item::Damaged(damage) => self.report.add_damage(damage),
                    _ => {}
                }
            }
            return Ok(());
        }
        for indx in 0..attr.length.div_ceil(CHUNK_BYTES) {
            let Ok(indx) = u32::try_from(indx) else { break };
            match self.meta.read_chunk(ino, indx).await {
                Ok(slices) => self.look(ino, &slices).await?,
                Err(juicefs_meta::Error::Corrupt { record, cause }) => {
                    self.report.add_damage(juicefs_meta::Damage { record, cause });
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    async fn look(&mut self, ino: Ino, slices: &[Slice]) -> Result<()> {
        self.lost.look(ino, slices, self.report);
        if self.lost.is_full() {
            self.lost.ask(self.report, self.progress).await?;
            self.progress.begin("checked nodes", None);
        }
        Ok(())
    }

    async fn directory(&mut self, place: &Place, attr: Option<&Attr>) -> Result<()> {
        let node = self.node(place, attr).await?;
        let stat = if self.keeps_stats && place.ino != Ino::TRASH {
            self.statistics(place, attr.is_some()).await?
        } else {
            Verdict::Right
        };
        match (node, stat) {
            (Verdict::Right, Verdict::Right) => {}
            (Verdict::Wrong, _) | (_, Verdict::Wrong) => self.report.wrong_nodes += 1,
            _ => self.report.repaired_nodes += 1,
        }
        Ok(())
    }

    /// The node is there and has a link for each subdirectory. Those in the trash do not count theirs.
    async fn node(&self, place: &Place, attr: Option<&Attr>) -> Result<Verdict> {
        let Place { ino, parent, path, .. } = place;
        match attr {
            None => tracing::warn!("attribute of {path} is missing"),
            Some(_) if ino.is_trash() => return Ok(Verdict::Right),
            Some(_) => {
                // Looked at once more: somebody may have been there since the directory above was listed.
                let (now, nlink) = self.meta.count_links(*ino).await?;
                let Some(now) = now.filter(|now| now.nlink != nlink) else { return Ok(Verdict::Right) };
                tracing::warn!("nlink of {path} should be {nlink}, but got {}", now.nlink);
            }
        }
        if !self.asked.repairs {
            tracing::warn!(
                "Path {path} (inode {ino}) can be repaired, please re-run with '--path {path} --repair' to fix it"
            );
            return Ok(Verdict::Wrong);
        }
        // Everybody may work in a volume's root.
        let mode = if *ino == Ino::ROOT { 0o777 } else { self.asked.dir_mode };
        self.meta.repair_directory(*ino, *parent, mode).await?;
        tracing::debug!("Path {path} (inode {ino}) is successfully repaired");
        Ok(Verdict::Repaired)
    }

    /// Statistics are there and make sense, or are what the entries sum up to.
    async fn statistics(&self, place: &Place, has_node: bool) -> Result<Verdict> {
        let Place { ino, path, .. } = place;
        let stat = self.meta.dir_stat(*ino).await?;
        let is_broken = stat.is_none_or(|stat| stat.space < 0 || stat.inodes < 0);
        // Without a node there are none to speak of.
        if is_broken && has_node {
            tracing::warn!("usage stat of {path} is missing or broken");
        }
        if self.asked.repairs {
            if is_broken || self.asked.syncs_stats {
                self.meta.recompute_dir_stat(*ino).await?;
                tracing::debug!("Stat of path {path} (inode {ino}) is successfully synced");
            }
            return Ok(if is_broken { Verdict::Repaired } else { Verdict::Right });
        }
        let mut is_wrong = is_broken && has_node;
        if let Some(stat) = stat.filter(|_| self.asked.syncs_stats) {
            let counted = self.meta.count_directory(*ino).await?;
            if (stat.space, stat.inodes) != (counted.space, counted.inodes) {
                tracing::warn!("usage stat of {path} should be {}, but got {}", shown(counted), shown(stat));
                is_wrong = true;
            }
        }
        if is_wrong {
            tracing::warn!(
                "Stat of path {path} (inode {ino}) should be synced, please re-run with '--path {path} --repair \
                 --sync-dir-stat' to fix it"
            );
            return Ok(Verdict::Wrong);
        }
        Ok(Verdict::Right)
    }
}

enum Verdict {
    Right,
    Repaired,
    Wrong,
}

/// As the peer writes it: bytes of files, space, entries.
fn shown(DirStat { length, space, inodes }: DirStat) -> String {
    format!("&{{{length} {space} {inodes}}}")
}

fn nowhere(path: &str, errno: Errno) -> Error {
    Error::BadRequest(format!("check: {path}: {errno}: name a path from the volume's root with --path"))
}
