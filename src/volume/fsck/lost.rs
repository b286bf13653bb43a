//! Which blocks are not in the store, or not whole, and whose they are.

use futures::{StreamExt, TryStreamExt};
use juicefs_base::ExposeSecret;
use juicefs_chunk::layout::{BlockId, Layout};
use juicefs_meta::{Format, Ino, Meta, Slice, SliceId};
use juicefs_object::Store;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::report::{BrokenFile, FsckReport, NAMED_MAX};
use crate::blocks::BlockName;
use crate::error::Result;
use crate::progress::Progress;

/// Requests at once for blocks that a listing did not show.
const HEADS_MAX: usize = 20;
/// Blocks that wait for their request; a walk stops to ask when there are more.
const WAITING_MAX: usize = 10_000;

pub(super) struct LostBlocks {
    store: Arc<dyn Store>,
    layout: Layout,
    /// Objects are the blocks' bytes, neither compressed nor encrypted.
    is_plain: bool,
    /// Tells paths.
    names: Option<Arc<Meta>>,
    /// What a listing of the whole store showed.
    present: HashMap<SliceId, Vec<(u32, u32)>>,
    /// Slices looked for, and whether the listing showed all of their blocks.
    known: HashMap<SliceId, bool>,
    waiting: Vec<(Ino, BlockId)>,
    broken: BTreeMap<Ino, BrokenFile>,
}

impl LostBlocks {
    pub(super) fn new(store: Arc<dyn Store>, format: &Format, names: Option<Arc<Meta>>) -> Self {
        Self {
            store,
            layout: Layout { block_bytes: format.block_size_kib * 1024, hash_prefix: format.hash_prefix },
            is_plain: format.compression == "none" && format.encrypt_key.expose_secret().is_empty(),
            names,
            present: HashMap::new(),
            known: HashMap::new(),
            waiting: Vec::new(),
            broken: BTreeMap::new(),
        }
    }

    pub(super) async fn list_present(
        &mut self,
        report: &mut FsckReport,
        progress: &dyn Progress,
    ) -> Result<()> {
        progress.begin("blocks", None);
        let mut objects = self.store.list("chunks/", "");
        while let Some(object) = objects.try_next().await? {
            if let Some(name) = BlockName::parse(&object.key) {
                progress.advance(1);
                report.blocks_found += 1;
                report.bytes_found += object.size;
                // What is not whole is asked for and told.
                if self.is_whole(name.bytes, object.size) {
                    self.present.entry(name.id).or_default().push((name.indx, name.bytes));
                }
            }
        }
        Ok(())
    }

    /// Notes blocks of a file's slices that the listing did not show.
    pub(super) fn look(&mut self, ino: Ino, slices: &[Slice], report: &mut FsckReport) {
        for slice in slices.iter().filter(|slice| slice.id > 0) {
            let is_first = !self.known.contains_key(&slice.id);
            if is_first {
                report.slices += 1;
                report.slice_bytes += u64::from(slice.size);
            } else if self.known[&slice.id] {
                continue;
            }
            let shown = self.present.get(&slice.id).map_or(&[][..], Vec::as_slice);
            let before = self.waiting.len();
            let blocks = self.layout.blocks(slice.id, slice.size);
            let missing = blocks.filter(|block| !shown.contains(&(block.indx, block.size)));
            self.waiting.extend(missing.map(|block| (ino, block)));
            self.known.insert(slice.id, self.waiting.len() == before);
        }
    }

    /// As far as the size tells: the end of a compressed or encrypted object may be missing unseen.
    fn is_whole(&self, block_bytes: u32, object_bytes: u64) -> bool {
        if self.is_plain { object_bytes == u64::from(block_bytes) } else { object_bytes > 0 }
    }

    pub(super) fn is_full(&self) -> bool {
        self.waiting.len() >= WAITING_MAX
    }

    /// Asks for the blocks that wait: one may have come after the listing, and only a HEAD that finds nothing makes it
    /// lost.
    pub(super) async fn ask(&mut self, report: &mut FsckReport, progress: &dyn Progress) -> Result<()> {
        let mut waiting = std::mem::take(&mut self.waiting);
        if waiting.is_empty() {
            return Ok(());
        }
        waiting.sort_unstable();
        // A slice may stand in a file more than once.
        waiting.dedup();
        progress.begin("missing blocks", Some(waiting.len() as u64));
        let (store, layout) = (Arc::clone(&self.store), self.layout);
        let mut heads = futures::stream::iter(waiting)
            .map(|(ino, block)| {
                let (store, key) = (&store, layout.key(block));
                async move { (ino, block, store.head(&key).await, key) }
            })
            .buffered(HEADS_MAX);
        while let Some((ino, block, found, key)) = heads.next().await {
            progress.advance(1);
            match found {
                Ok(object) if self.is_whole(block.size, object.size) => {
                    report.blocks_found += 1;
                    report.bytes_found += object.size;
                }
                Ok(object) => {
                    let key = key.strip_prefix("chunks/").unwrap_or(&key);
                    let path = self.add(ino, block, key).await;
                    let bytes = object.size;
                    tracing::error!("block {key} for file {path} is not whole: the object has {bytes} bytes");
                    report.lost_blocks += 1;
                    report.lost_bytes += u64::from(block.size);
                }
                Err(error) if error.is_not_found() => {
                    let key = key.strip_prefix("chunks/").unwrap_or(&key);
                    let path = self.add(ino, block, key).await;
                    tracing::error!("can't find block {key} for file {path}: {error}");
                    report.lost_blocks += 1;
                    report.lost_bytes += u64::from(block.size);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    pub(super) fn finish(self, report: &mut FsckReport) {
        report.broken_files = self.broken.len() as u64;
        report.broken = self.broken.into_values().take(NAMED_MAX).collect();
    }

    /// Counts a lost block; its file's path.
    async fn add(&mut self, ino: Ino, block: BlockId, key: &str) -> String {
        if let Some(file) = self.broken.get_mut(&ino) {
            file.lost_blocks += 1;
            file.lost_bytes += u64::from(block.size);
            return file.path.clone();
        }
        let mut path = format!("inode:{ino}");
        // To find a path is to list directories.
        if self.broken.len() < NAMED_MAX
            && let Some(names) = &self.names
            && let Ok(paths) = names.paths(ino).await
            && let Some(first) = paths.into_iter().min()
        {
            path = first;
        }
        let file = BrokenFile {
            inode: ino.0,
            path: path.clone(),
            lost_blocks: 1,
            lost_bytes: u64::from(block.size),
            lost_key: key.to_owned(),
        };
        self.broken.insert(ino, file);
        path
    }
}
