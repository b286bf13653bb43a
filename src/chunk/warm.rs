//! Blocks that somebody asked to have near, to have no more, or only to know where they are.

use crate::error::Result;
use crate::layout::BlockId;
use crate::store::ChunkStore;
use std::path::PathBuf;

/// Where a block is cached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Not here.
    Store,
    Memory,
    /// In this cache directory.
    Disk(PathBuf),
}

impl ChunkStore {
    /// Brings every block of a slice into the cache: the disk's where there is one, else into memory.
    ///
    /// # Errors
    /// A block that can't be fetched.
    pub async fn warm(&self, id: u64, size: u32) -> Result<()> {
        for block in self.layout().blocks(id, size) {
            self.warm_block(block).await?;
        }
        Ok(())
    }

    async fn warm_block(&self, block: BlockId) -> Result<()> {
        match (self.place(block).await, &self.disk) {
            (Place::Disk(_), _) | (Place::Memory, None) => return Ok(()),
            (Place::Memory | Place::Store, _) if !self.has_cache() => return Ok(()),
            _ => {}
        }
        let data = match self.memory.get(block) {
            Some(data) => data,
            None => self.load(block).await?,
        };
        match &self.disk {
            Some(disk) => disk.write_in_turn(block, data).await,
            None => self.memory.insert(block, data),
        }
        Ok(())
    }

    /// Forgets every cached block of a slice. What is staged and not stored yet stays.
    pub async fn evict(&self, id: u64, size: u32) {
        for block in self.layout().blocks(id, size) {
            self.memory.remove(block);
        }
        if let Some(disk) = &self.disk {
            disk.remove(self.layout().blocks(id, size).collect()).await;
        }
    }

    /// Where each block of a slice is, and its bytes.
    pub async fn places(&self, id: u64, size: u32) -> Vec<(u32, Place)> {
        let mut places = Vec::new();
        for block in self.layout().blocks(id, size) {
            places.push((block.size, self.place(block).await));
        }
        places
    }

    async fn place(&self, block: BlockId) -> Place {
        if let Some(disk) = &self.disk
            && let Some(root) = disk.root_of(block)
            && (disk.contains(block) || self.is_on_disk(block).await)
        {
            return Place::Disk(root);
        }
        if self.memory.contains(block) { Place::Memory } else { Place::Store }
    }
}
