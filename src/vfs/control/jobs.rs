//! The work behind each message.

use super::cached::CacheProgress;
use super::errno_byte;
use super::info::{self, TreeLine};
use super::protocol::{Frame, Message};
use crate::core::Core;
use crate::error::Result;
use futures::{StreamExt, TryStreamExt};
use juicefs_base::Errno;
use juicefs_meta::tree::TreeProgress;
use juicefs_meta::types::CHUNK_BYTES;
use juicefs_meta::{Attr, Caller, Ino, Kind, Name};
use serde_json::json;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How often progress is told.
const TOLD_EVERY: Duration = Duration::from_millis(300);

const READ: u8 = 4;
const WRITE: u8 = 2;
const EXECUTE: u8 = 1;

/// Chunks found and chunks done.
#[derive(Default)]
struct ChunkProgress {
    found: AtomicU64,
    done: AtomicU64,
}

/// Does what `message` asks for and returns the last frame of the answer.
pub(super) async fn run(
    core: &Arc<Core>,
    caller: &Caller,
    message: &Message,
    told: &impl Fn(&Frame),
) -> Frame {
    let tree = TreeProgress::default();
    let nodes = || (tree.get().0, 0);
    match message {
        Message::Remove { parent, name, skip_trash, threads } => {
            let work = core.remove_tree(caller, *parent, name, (*skip_trash, *threads), &tree);
            done(watched(work, nodes, told).await)
        }
        Message::Cache { targets, threads, in_background, action } => {
            let document = if *in_background {
                core.cache_in_background(caller, targets, *threads, *action)
            } else {
                let progress = CacheProgress::default();
                let work = core.cache(caller, targets, *threads, *action, &progress);
                watched(async { Ok(work.await) }, || progress.get(), told).await
            };
            match document {
                Ok(document) => Frame::Json(document.to_string().into_bytes()),
                Err(error) => Frame::Done(errno_byte(error.errno())),
            }
        }
        Message::Info { ino, recursive, raw, .. } => {
            let work = core.info(caller, Ino(*ino), *recursive, *raw, &tree);
            let document = match watched(work, || tree.get(), told).await {
                Ok(document) => document,
                Err(error) => info::failed(*ino, &reason(error.errno())),
            };
            Frame::Json(document.to_string().into_bytes())
        }
        Message::Summary { ino, depth, top, .. } => {
            let work = core.summary(caller, Ino(*ino), *depth, *top, &tree);
            let (errno, line) = match watched(work, || tree.get(), told).await {
                Ok(line) => (0, line),
                Err(error) => (errno_byte(error.errno()), TreeLine::nothing(*ino)),
            };
            Frame::Json(json!({ "Errno": errno, "Tree": line }).to_string().into_bytes())
        }
        Message::Compact { ino, threads } => {
            let progress = ChunkProgress::default();
            let work = core.compact_tree(caller, Ino(*ino), usize::from(*threads), &progress);
            let numbers = || (progress.found.load(Ordering::Relaxed), progress.done.load(Ordering::Relaxed));
            done(watched(work, numbers, told).await)
        }
    }
}

/// As the peer says it.
fn reason(errno: Errno) -> String {
    let text = errno.desc();
    text.chars().take(1).flat_map(char::to_lowercase).chain(text.chars().skip(1)).collect()
}

fn done(outcome: Result<()>) -> Frame {
    Frame::Done(outcome.err().map_or(0, |error| errno_byte(error.errno())))
}

/// Runs `work`, telling `progress` meanwhile and at its end.
async fn watched<T>(
    work: impl Future<Output = Result<T>>,
    progress: impl Fn() -> (u64, u64),
    told: &impl Fn(&Frame),
) -> Result<T> {
    let mut work = pin!(work);
    let tell = || match progress() {
        (0, 0) => {}
        (first, second) => told(&Frame::Progress(first, second)),
    };
    loop {
        tokio::select! {
            outcome = &mut work => {
                tell();
                return outcome;
            }
            () = tokio::time::sleep(TOLD_EVERY) => tell(),
        }
    }
}

impl Core {
    async fn remove_tree(
        self: &Arc<Self>,
        caller: &Caller,
        parent: u64,
        name: &[u8],
        (skip_trash, threads): (bool, u8),
        progress: &TreeProgress,
    ) -> Result<()> {
        if self.config.read_only {
            return Err(Errno::EROFS.into());
        }
        let (parent, name) = (Ino(parent), Name::new(name.to_vec())?);
        let is_ours = self.config.hidden_name.as_deref().map(str::as_bytes) == Some(name.as_bytes());
        if parent == Ino::ROOT && is_ours {
            return Err(Errno::EPERM.into());
        }
        self.meta.reach(caller, parent).await?;
        self.meta.access(caller, parent, EXECUTE).await?;
        let removed =
            self.meta.remove_tree(caller, parent, &name, skip_trash, usize::from(threads), progress).await;
        self.invalidations.entry(parent, name.as_bytes()).await;
        Ok(removed?)
    }

    async fn summary(
        &self,
        caller: &Caller,
        ino: Ino,
        depth: u8,
        top: u8,
        progress: &TreeProgress,
    ) -> Result<TreeLine> {
        self.meta.reach(caller, ino).await?;
        let tree = self.meta.summarize_tree(caller, ino, depth, usize::from(top), progress).await?;
        Ok(TreeLine::top(tree))
    }

    async fn compact_tree(
        self: &Arc<Self>,
        caller: &Caller,
        ino: Ino,
        threads: usize,
        progress: &ChunkProgress,
    ) -> Result<()> {
        if self.config.read_only {
            return Err(Errno::EROFS.into());
        }
        let attr = self.meta.reach(caller, ino).await?;
        if attr.kind == Kind::File {
            return self.compact_file(caller, ino, &attr, threads, progress).await;
        }
        if attr.kind != Kind::Directory {
            return Ok(());
        }
        let mut waiting = vec![ino];
        while let Some(directory) = waiting.pop() {
            self.meta.access(caller, directory, READ | EXECUTE).await?;
            let entries = self.meta.readdir(caller, directory, true).await?;
            let is_directory = |kind| kind == Kind::Directory;
            waiting.extend(entries.iter().filter(|entry| is_directory(entry.edge.kind)).map(|e| e.edge.ino));
            let files = entries
                .into_iter()
                .filter_map(|entry| entry.attr.map(|attr| (entry.edge.ino, attr)))
                .filter(|(_, attr)| attr.kind == Kind::File);
            futures::stream::iter(files)
                .map(|(ino, attr)| async move { self.compact_file(caller, ino, &attr, 1, progress).await })
                .buffer_unordered(threads.max(1))
                .try_for_each(|()| async { Ok(()) })
                .await?;
        }
        Ok(())
    }

    async fn compact_file(
        &self,
        caller: &Caller,
        ino: Ino,
        attr: &Attr,
        threads: usize,
        progress: &ChunkProgress,
    ) -> Result<()> {
        // Nothing that is read afterwards is another, but it takes the volume's room and time.
        if caller.uid != attr.uid {
            self.meta.access(caller, ino, WRITE).await?;
        }
        let chunks = attr.length.div_ceil(CHUNK_BYTES);
        progress.found.fetch_add(chunks, Ordering::Relaxed);
        futures::stream::iter(0..chunks)
            .map(|indx| async move {
                let indx = u32::try_from(indx).map_err(|_| Errno::EFBIG)?;
                let compacted = self.compact_all(ino, indx).await;
                progress.done.fetch_add(1, Ordering::Relaxed);
                compacted
            })
            .buffer_unordered(threads.max(1))
            .try_for_each(|_| async { Ok(()) })
            .await
    }
}
