//! What is left of deleted files and ended sessions, and who removes it.
//!
//! A deleted file is a record first; its chunks go one transaction each, then the record. Any client may do any
//! part again: a chunk is removed only as it was read, and a record that is gone means that somebody was faster.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use futures::TryStreamExt;
use tokio::sync::watch;

use crate::change_log::Entry;
use crate::error::Result;
use crate::meta::Meta;
use crate::port::{Change, Get, Got, Hold, Item, Job, Scan};
use crate::txn::{ChunkOf, NodeOf, Operation, Txn};
use crate::types::{CHUNK_BYTES, Ino, SliceId, Time};

/// Stale sessions cleaned in one go, as the peer does.
const SESSIONS_AT_ONCE: usize = 1000;
/// Between two runs of an hourly job, and the gap that lets one client win it.
const HOUR: Duration = Duration::from_secs(3600);
const HOURLY_GAP_SEC: i64 = 3240;
/// A deleted file younger than this is still its unlinker's.
const FILE_AGE_SEC: i64 = 3600;
/// An hourly job stops before the next one begins.
pub(crate) const JOB_TIME_MAX: Duration = Duration::from_secs(50 * 60);
/// Sustained files let go between two looks at the session.
const SUSTAINED_AT_ONCE: usize = 64;
/// Freed slices handed over together.
const SLICES_AT_ONCE: usize = 1000;

impl Meta {
    /// Removes the chunks of a deleted file and then its record. Slices that nobody refers to any more go to the
    /// freed-slice sink.
    ///
    /// # Errors
    /// As the engine's; what is left is found again by the hourly job.
    pub async fn delete_file_data(&self, ino: Ino, length: u64) -> Result<()> {
        self.check_writable()?;
        let mut beyond = u32::try_from(length.div_ceil(CHUNK_BYTES)).unwrap_or(u32::MAX);
        let asked = [Get::DeletedFile { ino, length }, Get::Chunk { ino, indx: beyond, hold: Hold::Peek }];
        let got = self.ask(|engine| engine.read(&asked)).await?;
        let [Got::Flag(true), Got::Slices(slices)] = &got[..] else { return Ok(()) };
        let mut is_beyond = !slices.is_empty();
        for indx in self.chunks_of(ino, length).await? {
            self.transact(&DeleteChunk { ino, indx }).await?;
        }
        // Cutting a file leaves chunks beyond its end. Where they can't be listed they are followed up to the first that
        // is missing; what lies behind a hole stays for `gc`, as all of them do with the peer.
        while is_beyond && !self.engine.lists_chunks_by_inode() {
            self.transact(&DeleteChunk { ino, indx: beyond }).await?;
            let Some(next) = beyond.checked_add(1) else { break };
            beyond = next;
            is_beyond = !self.peek((ChunkOf(ino, beyond, Hold::Peek),)).await?.0.is_empty();
        }
        self.transact(&DeleteDeletedFile { ino, length }).await
    }

    /// Chunks that may exist, those beyond the end only where the engine lists them by inode.
    async fn chunks_of(&self, ino: Ino, length: u64) -> Result<Vec<u32>> {
        if self.engine.lists_chunks_by_inode() {
            let indexes = self.engine.scan(Scan::Chunks { ino: Some(ino) });
            return indexes
                .try_filter_map(async |item| match item {
                    Item::Chunk { indx, .. } => Ok(Some(indx)),
                    Item::Damaged(damage) => Err(damage.into()),
                    _ => Ok(None),
                })
                .try_collect()
                .await;
        }
        let Some(last) = length.div_ceil(CHUNK_BYTES).checked_sub(1) else { return Ok(Vec::new()) };
        let last = u32::try_from(last).unwrap_or(u32::MAX);
        let range = Get::Chunks { ino, first: 0, last };
        let got = self.ask(|engine| engine.read(std::slice::from_ref(&range))).await?;
        Ok(got
            .into_iter()
            .next()
            .map_or_else(Vec::new, |got| if let Got::Indexes(found) = got { found } else { Vec::new() }))
    }

    /// Ends a session: its sustained inodes become deleted files unless another session has them too, its locks and its row go. With `expires_at` it
    /// is somebody else's, and left alone when its expiry has moved since.
    ///
    /// Returns whether the session has ended.
    pub(crate) async fn clean_session(&self, sid: u64, expires_at: Option<i64>) -> Result<bool> {
        let sustained: Vec<Item> = self.engine.scan(Scan::Sustained { sid: Some(sid) }).try_collect().await?;
        let mut inos = Vec::with_capacity(sustained.len());
        for item in sustained {
            if let Item::Sustained { ino, .. } = item {
                inos.push(ino);
            }
        }
        for inos in inos.chunks(SUSTAINED_AT_ONCE) {
            if expires_at.is_some() && !self.is_still_stale(sid, expires_at).await? {
                return Ok(false);
            }
            self.let_go(sid, inos, expires_at.is_none()).await?;
        }
        self.transact(&EndSession { sid, expires_at }).await
    }

    async fn is_still_stale(&self, sid: u64, expires_at: Option<i64>) -> Result<bool> {
        Ok(self.session_row(sid).await?.is_none_or(|row| Some(row.expires_at) == expires_at))
    }

    /// Looks for stale sessions in the background when this client's turn has come; one look at a time.
    pub(crate) fn clean_stale_sessions_soon(self: &Arc<Self>, gap_sec: i64) {
        if self.read_only_reason().is_some() || self.cleaning.is_running.swap(true, Ordering::AcqRel) {
            return;
        }
        let me = Arc::clone(self);
        self.runtime.spawn(async move {
            if let Err(error) = me.clean_stale_sessions(gap_sec).await {
                tracing::warn!(%error, "stale sessions could not be cleaned");
            }
            me.cleaning.is_running.store(false, Ordering::Release);
        });
    }

    pub(crate) async fn clean_stale_sessions(&self, gap_sec: i64) -> Result<()> {
        let now_sec = Time::now().sec;
        if !self.claim(Job::CleanSessions, now_sec, gap_sec).await? {
            return Ok(());
        }
        let own = self.session_id();
        let stale: Vec<_> = self
            .sessions()
            .await?
            .into_iter()
            .filter(|row| row.sid != own && row.expires_at < now_sec)
            .take(SESSIONS_AT_ONCE)
            .collect();
        for row in stale {
            match self.clean_session(row.sid, Some(row.expires_at)).await {
                Ok(true) => tracing::info!(sid = row.sid, "a stale session was cleaned"),
                Ok(false) => tracing::info!(sid = row.sid, "a session that looked stale lives"),
                Err(error) => tracing::warn!(sid = row.sid, %error, "a stale session could not be cleaned"),
            }
        }
        Ok(())
    }

    /// Removes the data of files that were deleted before `before` (unix seconds).
    ///
    /// # Errors
    /// As the engine's; single files that fail are logged and left.
    pub async fn clean_deleted_files(&self, before: i64) -> Result<u64> {
        let started = Instant::now();
        let mut cleaned = 0;
        let mut files = self.engine.scan(Scan::DeletedFiles);
        while let Some(item) = files.try_next().await? {
            let Item::DeletedFile { ino, length, deleted_at } = item else { continue };
            if deleted_at > before {
                continue;
            }
            match self.delete_file_data(ino, length).await {
                Ok(()) => cleaned += 1,
                Err(error) => tracing::warn!(%ino, %error, "data of a deleted file stays until the next run"),
            }
            if started.elapsed() > JOB_TIME_MAX {
                break;
            }
        }
        Ok(cleaned)
    }

    /// Waits until the data of files deleted so far is removed, or left to [`Self::clean_deleted_files`].
    pub async fn wait_for_deleted_files(&self) {
        let everything = u32::try_from(crate::meta::DELETIONS_MAX).unwrap_or(u32::MAX);
        // Nobody closes the semaphore.
        let _ = self.deletions.acquire_many(everything).await;
    }

    /// Removes the list of a chunk whose file is gone; false when it has an owner, or is gone itself.
    ///
    /// # Errors
    /// As the engine's.
    pub async fn delete_orphan_chunk(&self, ino: Ino, indx: u32) -> Result<bool> {
        self.check_writable()?;
        self.transact(&DeleteOrphan { ino, indx }).await
    }

    /// Hands every slice without references to the sink again.
    ///
    /// # Errors
    /// As the engine's.
    pub async fn find_freed_slices(&self) -> Result<u64> {
        let mut found = 0;
        let mut batch: Vec<(SliceId, u32)> = Vec::new();
        let mut slices = self.engine.scan(Scan::FreedSlices);
        while let Some(item) = slices.try_next().await? {
            let Item::FreedSlice { id, size } = item else { continue };
            batch.push((id, size));
            found += 1;
            if batch.len() >= SLICES_AT_ONCE {
                self.hand_over_freed(std::mem::take(&mut batch));
            }
        }
        self.hand_over_freed(batch);
        Ok(found)
    }

    async fn hourly_jobs(&self, is_first: bool) -> Result<()> {
        if self.read_only_reason().is_some() {
            return Ok(());
        }
        let now_sec = Time::now().sec;
        if self.claim(Job::CleanFiles, now_sec, HOURLY_GAP_SEC).await? {
            self.clean_deleted_files(now_sec - FILE_AGE_SEC).await?;
        }
        // A first client finds what a crash left, however young: nobody else is at it.
        if is_first
            && self
                .sessions()
                .await?
                .iter()
                .all(|row| row.sid == self.session_id() || row.expires_at < now_sec)
        {
            self.clean_deleted_files(now_sec).await?;
        }
        if self.claim(Job::CleanSlices, now_sec, HOURLY_GAP_SEC).await? {
            self.find_freed_slices().await?;
        }
        if self.has_trash_root().await? && self.claim(Job::CleanTrash, now_sec, HOURLY_GAP_SEC).await? {
            self.empty_trash(self.trash_edge(now_sec)).await?;
            self.release_delayed_slices(self.delayed_edge(now_sec)).await?;
        }
        Ok(())
    }
}

/// Whether a look for stale sessions is under way.
#[derive(Default)]
pub(crate) struct Cleaning {
    is_running: AtomicBool,
}

/// Runs the hourly jobs at once and then every hour, until the session ends.
pub(crate) async fn hourly(meta: Weak<Meta>, mut stopped: watch::Receiver<bool>) {
    let mut is_first = true;
    loop {
        let Some(alive) = meta.upgrade() else { return };
        tokio::select! {
            outcome = alive.hourly_jobs(is_first) => {
                if let Err(error) = outcome {
                    tracing::warn!(%error, "an hourly job could not be done");
                }
            }
            _ = stopped.wait_for(|stop| *stop) => return,
        }
        drop(alive);
        is_first = false;
        tokio::select! {
            () = tokio::time::sleep(HOUR.mul_f64(rand::random_range(0.95..1.05))) => {}
            _ = stopped.wait_for(|stop| *stop) => return,
        }
    }
}

struct DeleteChunk {
    ino: Ino,
    indx: u32,
}

impl Operation for DeleteChunk {
    type Output = ();
    const NAME: &'static str = "delete_chunk";
    const FLUSHES: u32 = 2;

    fn contends_on(&self) -> [Option<Ino>; 2] {
        [Some(self.ino), None]
    }

    async fn run(&self, txn: &mut Txn<'_>) -> Result<()> {
        let (slices,) = txn.read((ChunkOf(self.ino, self.indx, Hold::Guard),)).await?;
        if slices.is_empty() {
            return Ok(());
        }
        txn.change(Change::DeleteChunk { ino: self.ino, indx: self.indx });
        txn.log(&Entry::DelChunk { ino: self.ino, indx: self.indx });
        // One reference each record, the same slice twice included.
        for slice in slices.iter().filter(|slice| slice.id > 0) {
            txn.change(Change::ReleaseSlice { id: slice.id, size: slice.size });
        }
        Ok(())
    }
}

/// As [`DeleteChunk`], if the file has no node any more. Numbers of inodes are never used twice, so it never will.
struct DeleteOrphan {
    ino: Ino,
    indx: u32,
}

impl Operation for DeleteOrphan {
    type Output = bool;
    const NAME: &'static str = "delete_orphan_chunk";
    const FLUSHES: u32 = 2;

    fn contends_on(&self) -> [Option<Ino>; 2] {
        [Some(self.ino), None]
    }

    async fn run(&self, txn: &mut Txn<'_>) -> Result<bool> {
        let Self { ino, indx } = *self;
        let (node, slices) = txn.read((NodeOf(ino, Hold::Guard), ChunkOf(ino, indx, Hold::Guard))).await?;
        if node.is_some() || slices.is_empty() {
            return Ok(false);
        }
        txn.change(Change::DeleteChunk { ino, indx });
        txn.log(&Entry::DelChunk { ino, indx });
        for slice in slices.iter().filter(|slice| slice.id > 0) {
            txn.change(Change::ReleaseSlice { id: slice.id, size: slice.size });
        }
        Ok(true)
    }
}

struct DeleteDeletedFile {
    ino: Ino,
    length: u64,
}

impl Operation for DeleteDeletedFile {
    type Output = ();
    const NAME: &'static str = "delete_deleted_file";
    const FLUSHES: u32 = 1;

    fn contends_on(&self) -> [Option<Ino>; 2] {
        [None, None]
    }

    async fn run(&self, txn: &mut Txn<'_>) -> Result<()> {
        txn.change(Change::DeleteDeletedFile { ino: self.ino, length: self.length });
        Ok(())
    }
}

struct EndSession {
    sid: u64,
    expires_at: Option<i64>,
}

impl Operation for EndSession {
    type Output = bool;
    const NAME: &'static str = "end_session";
    const FLUSHES: u32 = 2;

    fn contends_on(&self) -> [Option<Ino>; 2] {
        [None, None]
    }

    async fn run(&self, txn: &mut Txn<'_>) -> Result<bool> {
        let sid = self.sid;
        let row = match txn.read_all(&[Get::Session { sid }]).await?.next() {
            Some(Got::Session(row)) => row,
            _ => None,
        };
        if let (Some(expires_at), Some(row)) = (self.expires_at, row)
            && row.expires_at != expires_at
        {
            return Ok(false);
        }
        txn.change(Change::DeleteLocks { sid });
        txn.change(Change::DeleteSession { sid });
        txn.log(&Entry::CleanSession { sid });
        Ok(true)
    }
}
