//! Blocks of a cache directory that are not in the store yet: `<root>/rawstaging/chunks/..`, each with a second name
//! below `raw/`, as the peer writes and finds them. A staged file is the only place of its bytes: it goes when the block
//! is stored or its slice removed, never to make room.

use super::disk::{CacheDir, now_s};
use super::file::{CachedFile, Problem, Wait};
use super::scan::remove_if_stale;
use crate::layout::BlockId;
use bytes::Bytes;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// `rawstaging/chunks/A/B/name`.
const DEPTH: usize = 2;

impl CacheDir {
    /// Where a block waits for its upload.
    pub(super) fn staged_path(&self, block: BlockId) -> PathBuf {
        let mut path = self.root.join("rawstaging");
        path.push(self.layout.key(block));
        path
    }

    /// Writes a block that is to be stored later. The page cache has it when this returns: it outlives the process.
    ///
    /// # Errors
    /// `StorageFull` also where half of the share that stays free is left.
    pub(super) fn stage(&self, block: BlockId, data: &[u8]) -> io::Result<()> {
        if !self.is_up() {
            return Err(io::ErrorKind::NotConnected.into());
        }
        if !self.may_stage(u64::from(block.size)) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let staged = self.staged_path(block);
        self.write_file(&staged, data)?;
        // The second name is for readers; without it they find the first.
        let cached = self.path(block);
        let linked = match fs::hard_link(&staged, &cached) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => {
                self.make_parents(&cached).and_then(|()| fs::hard_link(&staged, &cached))
            }
            other => other,
        };
        if linked.is_ok() {
            self.index.lock().insert(block, now_s());
        }
        Ok(())
    }

    /// Half of what stays free for others is for what must be kept.
    fn may_stage(&self, bytes: u64) -> bool {
        let Ok(fs) = nix::sys::statvfs::statvfs(&self.root) else { return false };
        let kept = |total: u64| (total as f64 * self.free_ratio / 2.0) as u64;
        let free_bytes = fs.blocks_available().saturating_mul(fs.fragment_size());
        free_bytes > kept(fs.blocks()).saturating_mul(fs.fragment_size()).saturating_add(bytes)
            && (fs.files() == 0 || fs.files_available() > kept(fs.files()))
    }

    /// Bytes of a staged block, verified. Waits for the disk.
    pub(super) fn read_staged(&self, block: BlockId, off: u32, len: u32) -> Result<Bytes, Problem> {
        let file =
            CachedFile::open(&self.staged_path(block), block.size as usize, self.level, Wait::Allowed)?;
        file.read(off, len, self.level, Wait::Allowed)
    }

    /// Takes a block out of the stage; its name below `raw/` stays.
    pub(super) fn unstage(&self, block: BlockId) -> io::Result<()> {
        match fs::remove_file(self.staged_path(block)) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => Err(cause),
            _ => Ok(()),
        }
    }

    /// Every block that waits here, whoever left it, with the second it was written.
    pub(super) fn staged(&self, found: &mut dyn FnMut(BlockId, u32)) -> io::Result<()> {
        self.walk_staged(&self.root.join("rawstaging/chunks"), "chunks", DEPTH, found)
    }

    fn walk_staged(
        &self,
        path: &Path,
        key: &str,
        depth: usize,
        found: &mut dyn FnMut(BlockId, u32),
    ) -> io::Result<()> {
        let entries = match fs::read_dir(path) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other?,
        };
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            let key = format!("{key}/{name}");
            if entry.file_type()?.is_dir() {
                if depth > 0 {
                    self.walk_staged(&entry.path(), &key, depth - 1, found)?;
                }
                continue;
            }
            // Gone meanwhile: nothing to know about it.
            let Ok(meta) = entry.metadata() else { continue };
            if key.ends_with(".tmp") {
                remove_if_stale(&entry.path(), &meta);
            } else if let Some(block) = self.layout.parse(&key) {
                found(block, u32::try_from(meta.mtime()).unwrap_or(0));
            }
        }
        Ok(())
    }
}
