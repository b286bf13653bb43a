//! A tree goes, name by name: files of a directory at the same time, a directory when it is empty.

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt, TryStreamExt};
use juicefs_base::Errno;
use tokio::sync::Semaphore;

use super::{DIRS_AT_ONCE, TreeProgress};
use crate::error::{Error, Result};
use crate::meta::Meta;
use crate::port::{Item, Scan};
use crate::rules;
use crate::types::{Caller, Ino, Kind, Name};

/// Names looked at before those found are removed.
const PAGE: usize = 1000;
/// Directories that others keep filling are given up after so many times.
const TRIES_MAX: u32 = 3;

impl Meta {
    /// Removes a name and, when it is a directory, all below it: into the trash, or for good with `skip_trash`, which
    /// is root's alone. At most `threads` names at the same time. What is removed is not what was there at one moment: names
    /// that appear meanwhile go as well, or make the end ENOTEMPTY.
    ///
    /// # Errors
    /// The first refusal; the rest then stays, and asking again goes on from there.
    pub async fn remove_tree(
        &self,
        caller: &Caller,
        parent: Ino,
        name: &Name,
        skip_trash: bool,
        threads: usize,
        progress: &TreeProgress,
    ) -> Result<()> {
        if skip_trash && caller.uid != 0 {
            return Err(Errno::EPERM.into());
        }
        let (ino, attr) = self.lookup(caller, parent, name).await?;
        let removal = Removal {
            meta: self,
            caller,
            skip_trash,
            names: Semaphore::new(threads.max(1)),
            directories: Semaphore::new(DIRS_AT_ONCE),
            progress,
        };
        match attr.kind {
            Kind::Directory => removal.directory(self.stored(parent), name.clone(), ino).await,
            _ => removal.file(self.stored(parent), name).await,
        }
    }
}

struct Removal<'a> {
    meta: &'a Meta,
    caller: &'a Caller,
    skip_trash: bool,
    /// Turns at removing a name.
    names: Semaphore,
    /// Turns at a directory beside the one whose subdirectory it is.
    directories: Semaphore,
    progress: &'a TreeProgress,
}

impl Removal<'_> {
    async fn file(&self, parent: Ino, name: &Name) -> Result<()> {
        let _turn = self.names.acquire().await.map_err(|_| Errno::EINTR)?;
        self.told(self.meta.unlink_with(self.caller, parent, name, self.skip_trash).await)
    }

    fn told(&self, outcome: Result<()>) -> Result<()> {
        match outcome {
            Ok(()) => {
                self.progress.add(1, 0);
                Ok(())
            }
            // Somebody else was faster.
            Err(Error::Errno(Errno::ENOENT)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn directory(&self, parent: Ino, name: Name, ino: Ino) -> BoxFuture<'_, Result<()>> {
        async move {
            for tries in 1.. {
                self.empty(ino).await?;
                let outcome = self.meta.rmdir_with(self.caller, parent, &name, self.skip_trash).await;
                match outcome {
                    Err(Error::Errno(Errno::ENOTEMPTY)) if tries < TRIES_MAX => {}
                    outcome => return self.told(outcome),
                }
            }
            Ok(())
        }
        .boxed()
    }

    async fn empty(&self, ino: Ino) -> Result<()> {
        // Reading names and passing through is asked for as rm(1) would need it.
        let attr = self.meta.getattr(ino).await?;
        rules::check(self.caller, &attr, rules::READ | rules::EXECUTE)?;
        let mut pages = self.meta.engine.scan(Scan::Entries { parent: ino }).try_chunks(PAGE);
        while let Some(page) = pages.try_next().await.map_err(|broken| broken.1)? {
            let mut work: FuturesUnordered<BoxFuture<'_, Result<()>>> = FuturesUnordered::new();
            for item in page {
                let (name, edge) = match item {
                    Item::Entry { name, edge } => (name, edge),
                    Item::DamagedEntry { damage, .. } | Item::Damaged(damage) => return Err(damage.into()),
                    _ => continue,
                };
                if edge.kind != Kind::Directory {
                    work.push(async move { self.file(ino, &name).await }.boxed());
                    continue;
                }
                // Nobody waits for a turn here, holding one: a directory without goes on in this one's place.
                match self.directories.try_acquire() {
                    Ok(turn) => work.push(
                        async move {
                            let _turn = turn;
                            self.directory(ino, name, edge.ino).await
                        }
                        .boxed(),
                    ),
                    Err(_) => self.directory(ino, name, edge.ino).await?,
                }
            }
            while let Some(outcome) = work.next().await {
                outcome?;
            }
        }
        Ok(())
    }
}
