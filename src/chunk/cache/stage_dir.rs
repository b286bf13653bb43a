//! The stage of one cache directory, for callers that must not wait for a disk.

use super::disk::CacheDir;
use super::file::Problem;
use crate::layout::BlockId;
use bytes::Bytes;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::runtime::Handle;

/// Where staged blocks are.
#[derive(Clone, Debug)]
pub(crate) struct StageDir {
    dir: Arc<CacheDir>,
    runtime: Handle,
}

/// What became of a look at a staged block.
#[derive(Debug)]
pub(crate) enum StagedRead {
    Data(Bytes),
    /// Somebody took it out of the stage.
    Gone,
    Damaged(String),
    Failed(io::Error),
}

impl StageDir {
    pub(super) fn new(dir: Arc<CacheDir>, runtime: Handle) -> Self {
        Self { dir, runtime }
    }

    pub(crate) fn path(&self, block: BlockId) -> PathBuf {
        self.dir.staged_path(block)
    }

    /// Stages a block; false, with a word in the log where that is no matter of room, when it is not staged.
    pub(crate) async fn write(&self, block: BlockId, data: Bytes) -> bool {
        let dir = self.dir.clone();
        let written = self.runtime.spawn_blocking(move || {
            let written = dir.stage(block, &data);
            if let Err(cause) = &written
                && !matches!(cause.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
            {
                dir.failed(cause);
            }
            written.is_ok()
        });
        written.await.unwrap_or(false)
    }

    pub(crate) async fn read(&self, block: BlockId, off: u32, len: u32) -> StagedRead {
        let dir = self.dir.clone();
        let read = self.runtime.spawn_blocking(move || dir.read_staged(block, off, len)).await;
        match read {
            Ok(Ok(data)) => StagedRead::Data(data),
            Ok(Err(Problem::NotThere)) => StagedRead::Gone,
            Ok(Err(Problem::Damaged(cause))) => StagedRead::Damaged(cause),
            Ok(Err(Problem::Io(cause))) => StagedRead::Failed(cause),
            Ok(Err(Problem::WouldWait)) => StagedRead::Failed(io::ErrorKind::WouldBlock.into()),
            Err(panic) => StagedRead::Failed(io::Error::other(panic)),
        }
    }

    /// Takes a block out of the stage.
    pub(crate) async fn remove(&self, block: BlockId) {
        let dir = self.dir.clone();
        let removed = self.runtime.spawn_blocking(move || dir.unstage(block)).await;
        if let Ok(Err(cause)) = removed {
            let path = self.path(block);
            tracing::warn!("{} is stored and stays in the stage: {cause}", path.display());
        }
    }

    /// Every block that waits here and the second it was written. Waits for the disk.
    pub(crate) fn each(&self, mut found: impl FnMut(BlockId, u64)) {
        if let Err(cause) = self.dir.staged(&mut |block, since_s| found(block, u64::from(since_s))) {
            let root = self.dir.root.display();
            tracing::warn!("the staged blocks in {root} can't be listed, and stay there: {cause}");
        }
    }
}
