//! Blocks of files brought near, taken out of the cache, or looked for.

use super::protocol::CacheAction;
use crate::core::Core;
use crate::error::Result;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use juicefs_base::Errno;
use juicefs_base::sync::Mutex;
use juicefs_chunk::Place;
use juicefs_meta::types::CHUNK_BYTES;
use juicefs_meta::{Attr, Caller, Ino, Kind, Name, overlay};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const READ: u8 = 4;
const EXECUTE: u8 = 1;
/// Files worked on at the same time.
const THREADS_MAX: u16 = 1000;

/// What was found so far.
#[derive(Debug, Default)]
pub(super) struct CacheProgress {
    files: AtomicU64,
    slices: AtomicU64,
    bytes: AtomicU64,
    missing_bytes: AtomicU64,
    /// Bytes by directory.
    locations: Mutex<BTreeMap<String, u64>>,
}

impl CacheProgress {
    pub(super) fn get(&self) -> (u64, u64) {
        (self.files.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed))
    }

    /// In the peer's document.
    fn document(&self) -> Value {
        let (files, bytes) = self.get();
        json!({
            "FileCount": files,
            "SliceCount": self.slices.load(Ordering::Relaxed),
            "TotalBytes": bytes,
            "MissBytes": self.missing_bytes.load(Ordering::Relaxed),
            "Locations": *self.locations.lock(),
        })
    }
}

impl Core {
    /// Works on all targets; what can't be worked on is left out, with a line in the log, as the tools know no answer
    /// for it.
    pub(super) async fn cache(
        self: &Arc<Self>,
        caller: &Caller,
        targets: &[Vec<u8>],
        threads: u16,
        action: CacheAction,
        progress: &CacheProgress,
    ) -> Value {
        let mut files = FuturesUnordered::new();
        let mut waiting = Vec::new();
        for target in targets {
            match self.target(caller, target).await {
                Ok((ino, attr)) => waiting.push((ino, attr)),
                Err(error) => {
                    tracing::warn!(%error, "cache {}", String::from_utf8_lossy(target));
                }
            }
        }
        while let Some((ino, attr)) = waiting.pop() {
            if attr.kind == Kind::Directory {
                match self.children(caller, ino).await {
                    Ok(children) => waiting.extend(children),
                    Err(error) => tracing::warn!(%error, inode = ino.0, "cache"),
                }
            } else if attr.kind == Kind::File {
                files.push(async move {
                    if let Err(error) = self.cache_file(caller, ino, &attr, action, progress).await {
                        tracing::warn!(%error, inode = ino.0, "cache");
                    }
                });
                if files.len() >= usize::from(threads.clamp(1, THREADS_MAX)) {
                    files.next().await;
                }
            }
        }
        while files.next().await.is_some() {}
        drop(files);
        progress.document()
    }

    /// As [`Self::cache`], after the answer.
    ///
    /// # Errors
    /// EBUSY while too much is under way.
    pub(super) fn cache_in_background(
        self: &Arc<Self>,
        caller: &Caller,
        targets: &[Vec<u8>],
        threads: u16,
        action: CacheAction,
    ) -> Result<Value> {
        let turn = Arc::clone(&self.caching).try_acquire_owned().map_err(|_| Errno::EBUSY)?;
        let (core, caller, targets) = (Arc::clone(self), caller.clone(), targets.to_vec());
        self.runtime.spawn(async move {
            let progress = CacheProgress::default();
            let done = core.cache(&caller, &targets, threads, action, &progress).await;
            tracing::info!("cache, in the background: {done}");
            drop(turn);
        });
        Ok(CacheProgress::default().document())
    }

    async fn target(&self, caller: &Caller, target: &[u8]) -> Result<(Ino, Attr)> {
        if let Some(number) = target.strip_prefix(b"inode:") {
            let number = std::str::from_utf8(number).ok().and_then(|number| number.parse().ok());
            let ino = Ino(number.ok_or(Errno::EINVAL)?);
            return Ok((ino, self.meta.reach(caller, ino).await?));
        }
        let (mut ino, mut attr) = (Ino::ROOT, self.meta.getattr(Ino::ROOT).await?);
        for name in target.split(|&byte| byte == b'/').filter(|name| !name.is_empty()) {
            (ino, attr) = self.meta.lookup(caller, ino, &Name::new(name.to_vec())?).await?;
        }
        Ok((ino, attr))
    }

    async fn children(&self, caller: &Caller, ino: Ino) -> Result<Vec<(Ino, Attr)>> {
        self.meta.access(caller, ino, READ | EXECUTE).await?;
        let entries = self.meta.readdir(caller, ino, true).await?;
        Ok(entries.into_iter().filter_map(|entry| Some((entry.edge.ino, entry.attr?))).collect())
    }

    async fn cache_file(
        &self,
        caller: &Caller,
        ino: Ino,
        attr: &Attr,
        action: CacheAction,
        progress: &CacheProgress,
    ) -> Result<()> {
        // What is near can be measured by who may not read it, and it takes the cache's room.
        self.meta.access(caller, ino, READ).await?;
        for indx in 0..attr.length.div_ceil(CHUNK_BYTES) {
            let indx = u32::try_from(indx).map_err(|_| Errno::EFBIG)?;
            for slice in overlay::build(&self.meta.fresh_chunk(ino, indx).await?) {
                if slice.id == 0 {
                    continue;
                }
                match action {
                    CacheAction::Warm => self.chunks.warm(slice.id, slice.size).await?,
                    CacheAction::Evict => self.chunks.evict(slice.id, slice.size).await,
                    CacheAction::Check => {
                        for (bytes, place) in self.chunks.places(slice.id, slice.size).await {
                            progress.note(u64::from(bytes), &place);
                        }
                    }
                }
                progress.slices.fetch_add(1, Ordering::Relaxed);
                progress.bytes.fetch_add(u64::from(slice.size), Ordering::Relaxed);
            }
        }
        progress.files.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

impl CacheProgress {
    fn note(&self, bytes: u64, place: &Place) {
        let location = match place {
            Place::Store => {
                self.missing_bytes.fetch_add(bytes, Ordering::Relaxed);
                return;
            }
            Place::Memory => "memory".to_owned(),
            Place::Disk(root) => format!("{}/", root.display()),
        };
        *self.locations.lock().entry(location).or_default() += bytes;
    }
}
