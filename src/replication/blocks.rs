//! Copies blocks from one bucket to another, as they are stored: nothing is opened, unpacked or decrypted on the way.
//!
//! A block never changes, so one that is there is left alone. What is known between calls is only which slices were
//! seen to be there lately.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::{StreamExt, TryStreamExt};
use juicefs_base::ExposeSecret;
use juicefs_base::sync::Mutex;
use juicefs_chunk::layout::{BlockId, Layout};
use juicefs_meta::{Format, SliceId};
use juicefs_object::Store;

use crate::error::Result;

/// Slices remembered to be there.
const RECENT_MAX: usize = 1 << 16;
/// From so many slices in one directory of the bucket on, it is listed instead of asked block by block.
const LISTED_FROM: usize = 64;

/// What was done since the start.
#[derive(Debug, Default)]
pub struct Copied {
    pub blocks: AtomicU64,
    pub bytes: AtomicU64,
    /// Blocks that were there already.
    pub found: AtomicU64,
}

/// Brings slices from one bucket to another.
pub struct BlockCopier {
    from: Arc<dyn Store>,
    to: Arc<dyn Store>,
    layout: Layout,
    /// Blocks are stored as they are, so that their names tell their sizes.
    is_plain: bool,
    at_once: usize,
    recent: Mutex<Recent>,
    pub copied: Copied,
}

#[derive(Default)]
struct Recent {
    known: HashSet<SliceId>,
    order: VecDeque<SliceId>,
}

impl Recent {
    fn add(&mut self, id: SliceId) {
        if self.known.insert(id) {
            self.order.push_back(id);
        }
        while self.order.len() > RECENT_MAX {
            if let Some(oldest) = self.order.pop_front() {
                self.known.remove(&oldest);
            }
        }
    }
}

impl BlockCopier {
    /// Both stores give and take bytes as they are stored. At most `at_once` blocks are in memory.
    #[must_use]
    pub fn new(from: Arc<dyn Store>, to: Arc<dyn Store>, format: &Format, at_once: usize) -> Self {
        let is_uncompressed = matches!(&*format.compression.to_lowercase(), "" | "none");
        Self {
            from,
            to,
            layout: layout(format),
            // The setting names a cipher also where nothing is encrypted.
            is_plain: is_uncompressed && format.encrypt_key.expose_secret().is_empty(),
            at_once: at_once.max(1),
            recent: Mutex::default(),
            copied: Copied::default(),
        }
    }

    #[must_use]
    pub fn layout(&self) -> Layout {
        self.layout
    }

    #[must_use]
    pub fn from(&self) -> &dyn Store {
        &*self.from
    }

    #[must_use]
    pub fn to(&self) -> &dyn Store {
        &*self.to
    }

    /// Brings every block of the slices (id, size) that is not there yet. Answers the slices of which blocks are in
    /// neither bucket.
    ///
    /// # Errors
    /// As the stores'; what was brought stays.
    pub async fn bring(&self, slices: impl IntoIterator<Item = (SliceId, u32)>) -> Result<Vec<SliceId>> {
        let mut wanted: BTreeMap<SliceId, u32> = slices.into_iter().filter(|(id, _)| *id > 0).collect();
        {
            let recent = self.recent.lock();
            wanted.retain(|id, _| !recent.known.contains(id));
        }
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let listed = self.list_crowded(&wanted).await?;
        let blocks: Vec<BlockId> =
            wanted.iter().flat_map(|(&id, &size)| self.layout.blocks(id, size)).collect();
        let lacking: HashSet<SliceId> = futures::stream::iter(blocks)
            .map(|block| self.bring_block(block, &listed))
            .buffer_unordered(self.at_once)
            .try_filter_map(async |lacking| Ok(lacking))
            .try_collect()
            .await?;
        let mut recent = self.recent.lock();
        wanted.keys().filter(|id| !lacking.contains(id)).for_each(|id| recent.add(*id));
        let mut lacking: Vec<_> = lacking.into_iter().collect();
        lacking.sort_unstable();
        Ok(lacking)
    }

    /// Deletes a slice's blocks at the target.
    ///
    /// # Errors
    /// As the store's.
    pub async fn delete(&self, id: SliceId, size: u32) -> Result<()> {
        {
            let mut recent = self.recent.lock();
            if recent.known.remove(&id) {
                recent.order.retain(|other| *other != id);
            }
        }
        for key in self.layout.block_keys(id, size) {
            self.to.delete(&key).await?;
        }
        Ok(())
    }

    /// The slice, where the block is in neither bucket.
    async fn bring_block(&self, block: BlockId, listed: &Listings) -> Result<Option<SliceId>> {
        let key = self.layout.key(block);
        let size = match listed.get(directory_of(&key)) {
            Some(objects) => objects.get(&block).copied(),
            None => match self.to.head(&key).await {
                Ok(object) => Some(object.size),
                Err(error) if error.is_not_found() => None,
                Err(error) => return Err(error.into()),
            },
        };
        if size.is_some_and(|size| !self.is_plain || size == u64::from(block.size)) {
            self.copied.found.fetch_add(1, Ordering::Relaxed);
            return Ok(None);
        }
        let body = match self.from.get(&key, None).await {
            Ok(body) => body,
            Err(error) if error.is_not_found() => return Ok(Some(block.id)),
            Err(error) => return Err(error.into()),
        };
        let bytes = body.len() as u64;
        self.to.put(&key, body).await?;
        self.copied.blocks.fetch_add(1, Ordering::Relaxed);
        self.copied.bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(None)
    }

    /// What is in the directories of which many slices are wanted.
    async fn list_crowded(&self, wanted: &BTreeMap<SliceId, u32>) -> Result<Listings> {
        let mut crowds: HashMap<String, usize> = HashMap::new();
        for (&id, &size) in wanted {
            if self.layout.block_count(size) > 0 {
                let key = self.layout.key(self.layout.block(id, size, 0));
                *crowds.entry(directory_of(&key).to_owned()).or_default() += 1;
            }
        }
        let mut listings = Listings::new();
        for (directory, _) in crowds.into_iter().filter(|(_, slices)| *slices >= LISTED_FROM) {
            let mut found = HashMap::new();
            let prefix = format!("{directory}/");
            let mut objects = self.to.list(&prefix, "");
            while let Some(object) = objects.try_next().await? {
                if let Some(block) = self.layout.parse(&object.key) {
                    found.insert(block, object.size);
                }
            }
            drop(objects);
            listings.insert(directory, found);
        }
        Ok(listings)
    }
}

/// Blocks and their stored bytes by directory.
type Listings = HashMap<String, HashMap<BlockId, u64>>;

pub(crate) fn layout(format: &Format) -> Layout {
    Layout { block_bytes: format.block_size_kib * 1024, hash_prefix: format.hash_prefix }
}

fn directory_of(key: &str) -> &str {
    key.rsplit_once('/').map_or("", |(directory, _)| directory)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use juicefs_object::StoreExt;

    async fn store(folder: &std::path::Path) -> Arc<dyn Store> {
        let spec = juicefs_object::StoreSpec {
            storage: "file".to_owned(),
            bucket: format!("{}/", folder.display()),
            ..juicefs_object::StoreSpec::default()
        };
        juicefs_object::open(&spec).await.expect("a store")
    }

    /// Few slices are asked for one by one, many by a listing.
    #[tokio::test]
    async fn what_lacks_is_copied_once_and_what_is_cut_again() {
        for count in [3_u64, 200] {
            let folders = [tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder")];
            let (far, near) = (store(folders[0].path()).await, store(folders[1].path()).await);
            let format = Format { block_size_kib: 64, ..Format::new("vol") };
            let copier = BlockCopier::new(far.clone(), near.clone(), &format, 4);
            let slices: Vec<_> = (1..=count).map(|id| (id, 65536 + 7)).collect();
            for &(id, size) in &slices {
                for block in copier.layout().blocks(id, size) {
                    let body = Bytes::from(vec![u8::try_from(id % 251).unwrap_or(0); block.size as usize]);
                    far.put(&copier.layout().key(block), body).await.expect("stored");
                }
            }
            near.put("chunks/0/0/1_1_7", Bytes::from_static(b"cut")).await.expect("stored");
            near.put("chunks/0/0/2_1_7", Bytes::from(vec![2; 7])).await.expect("stored");
            assert_eq!(
                copier.bring(slices.iter().copied().chain([(count + 1, 5)])).await.expect("brought"),
                [count + 1]
            );
            assert_eq!(copier.copied.blocks.load(Ordering::Relaxed), 2 * count - 1);
            for &(id, size) in &slices {
                for key in copier.layout().block_keys(id, size) {
                    assert_eq!(
                        near.get(&key, None).await.expect("near"),
                        far.get(&key, None).await.expect("far")
                    );
                }
            }
            let again = BlockCopier::new(far.clone(), near.clone(), &format, 4);
            assert_eq!(again.bring(slices.iter().copied()).await.expect("there"), [0; 0]);
            assert_eq!(again.copied.blocks.load(Ordering::Relaxed), 0);
            copier.delete(1, 65536 + 7).await.expect("deleted");
            assert!(near.get_if_exists("chunks/0/0/1_0_65536").await.expect("asked").is_none());
            copier.bring(slices.iter().copied()).await.expect("brought again");
            near.head("chunks/0/0/1_0_65536").await.expect("there again");
        }
    }
}
