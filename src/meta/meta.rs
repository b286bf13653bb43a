//! [`Meta`]: the name space of one open volume, for all rooms above.
//!
//! The state is the engine's; what lives here is what one process may know of it between calls: its session,
//! ranges of numbers to give out, which files it holds open, sums not yet written. Every call waits at most
//! [`crate::txn::DEADLINE`] for the engine and then fails with EIO.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Instant;

use juicefs_base::Errno;
use juicefs_base::sync::RwLock;
use tokio::sync::Semaphore;

use crate::change_log::LineNumbers;
use crate::error::{Error, Result};
use crate::format::Format;
use crate::numbers::Numbers;
use crate::open_files::OpenFiles;
use crate::port::{Engine, Sequence};
use crate::request::{MetaOptions, NewNode};
use crate::trash::TrashDirs;
use crate::txn::{Stripes, Waiting};
use crate::types::{Caller, Ino, Kind, Name, SliceId};
use crate::usage::{DirStatDeltas, UsageCache};

/// Where slices go whose objects are to be deleted; must not block. It gets what a transaction freed; what it
/// loses is found again by the hourly scan.
pub type FreedSliceSink = Box<dyn Fn(Vec<(SliceId, u32)>) + Send + Sync>;

/// Deleted files whose data is being removed at the same time; beyond it the hourly job does it.
pub(crate) const DELETIONS_MAX: usize = 100;
/// How many numbers are taken from the volume at once, as the peer does.
const INODES_AT_ONCE: u64 = 1024;
const SLICES_AT_ONCE: u64 = 4096;

/// An open volume's name space.
pub struct Meta {
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) options: MetaOptions,
    pub(crate) format: RwLock<Arc<Format>>,
    pub(crate) read_only_reason: RwLock<Option<String>>,
    /// 0 = no session. Set by `start_session`, cleared by `close_session`.
    pub(crate) sid: AtomicU64,
    pub(crate) open_files: OpenFiles,
    pub(crate) open_cache: crate::open_cache::OpenCache,
    pub(crate) kept: crate::kept::Kept,
    pub(crate) freed_slice_sink: RwLock<Option<FreedSliceSink>>,
    /// Operations take turns on what they change together.
    pub(crate) stripes: Stripes,
    /// Openers of an inode and those that delete it take turns; taken after `stripes`, one at a time.
    pub(crate) removals: Stripes,
    pub(crate) locks: crate::locks::Locks,
    pub(crate) waiting: Waiting,
    pub(crate) inode_numbers: Numbers,
    pub(crate) slice_numbers: Numbers,
    pub(crate) line_numbers: LineNumbers,
    /// The record of the mirror that this is, as it was opened.
    mirror: Option<crate::mirror::MirrorRecord>,
    pub(crate) trash_dirs: TrashDirs,
    pub(crate) dir_stats: DirStatDeltas,
    pub(crate) usage: UsageCache,
    pub(crate) quotas: crate::quotas::Quotas,
    pub(crate) deletions: Arc<Semaphore>,
    pub(crate) runtime: tokio::runtime::Handle,
    /// Itself, for work that goes on after a call.
    pub(crate) me: Weak<Self>,
    pub(crate) session: crate::session::Session,
    pub(crate) cleaning: crate::cleanup::Cleaning,
    root: AtomicU64,
}

impl Meta {
    /// Opens the volume that `engine` holds. Must be called inside the runtime that later works in the
    /// background. No session is started.
    ///
    /// # Errors
    /// [`Error::NotFormatted`] for an empty database, [`Error::Unsupported`] when the volume asks for another
    /// client, ENOENT or ENOTDIR for a wrong subdir. A volume that uses what this client does not keep right
    /// opens, but only for reading ([`Self::read_only_reason`]).
    pub async fn open(engine: Arc<dyn Engine>, options: MetaOptions) -> Result<Arc<Self>> {
        let Some(setting) = engine.setting().await? else {
            return Err(Error::NotFormatted(format!(
                "the {} database holds no volume: create one with `juicefs format`",
                engine.limits().name
            )));
        };
        let format = Format::parse(&setting)?;
        let mirror = crate::mirror::read(&*engine, &format).await?;
        let read_only_reason = match &mirror {
            Some(record) => {
                record.check_readable()?;
                Some(record.read_only_reason())
            }
            None => match fenced_reason(&*engine, &format).await? {
                Some(reason) => Some(reason),
                None => {
                    format.check_version()?;
                    reason_to_only_read(&*engine, &options, &format).await?
                }
            },
        };
        let meta = Arc::new_cyclic(|me| Self {
            inode_numbers: Numbers::new(Sequence::Inode, INODES_AT_ONCE),
            slice_numbers: Numbers::new(Sequence::Slice, SLICES_AT_ONCE),
            line_numbers: LineNumbers::default(),
            mirror,
            engine,
            open_cache: crate::open_cache::OpenCache::new(options.open_cache, options.open_cache_limit),
            options,
            format: RwLock::new(Arc::new(format)),
            read_only_reason: RwLock::new(read_only_reason),
            sid: AtomicU64::new(0),
            open_files: OpenFiles::default(),
            kept: crate::kept::Kept::default(),
            freed_slice_sink: RwLock::new(None),
            stripes: Stripes::default(),
            removals: Stripes::default(),
            locks: crate::locks::Locks::default(),
            waiting: Waiting::default(),
            trash_dirs: TrashDirs::default(),
            dir_stats: DirStatDeltas::default(),
            usage: UsageCache::default(),
            quotas: crate::quotas::Quotas::default(),
            deletions: Arc::new(Semaphore::new(DELETIONS_MAX)),
            runtime: tokio::runtime::Handle::current(),
            me: me.clone(),
            session: crate::session::Session::default(),
            cleaning: crate::cleanup::Cleaning::default(),
            root: AtomicU64::new(Ino::ROOT.0),
        });
        meta.refresh_usage().await?;
        meta.load_quotas().await?;
        if meta.options.subdir.is_some() {
            let root = meta.resolve_subdir().await?;
            meta.root.store(root.0, Ordering::Release);
        }
        Ok(meta)
    }

    /// The setting as last read.
    #[must_use]
    pub fn format(&self) -> Arc<Format> {
        Arc::clone(&self.format.read())
    }

    /// Puts a newly read setting into effect; a limit that appears makes the volume's usage be read.
    pub(crate) fn set_format(&self, format: Format) {
        *self.format.write() = Arc::new(format);
    }

    /// The name of the mirror that this is; mirrors share the UUID of their source and must not share its caches.
    #[must_use]
    pub fn mirror_name(&self) -> Option<&str> {
        self.mirror.as_ref().map(|record| &*record.display_name)
    }

    /// The mirror's record as it was when the volume was opened; `None` for a volume of its own.
    #[must_use]
    pub fn mirror(&self) -> Option<&crate::mirror::MirrorRecord> {
        self.mirror.as_ref()
    }

    #[must_use]
    pub fn engine(&self) -> &Arc<dyn Engine> {
        &self.engine
    }

    #[must_use]
    pub fn options(&self) -> &MetaOptions {
        &self.options
    }

    /// Why every change is refused with EROFS; `None` = the volume is writable.
    #[must_use]
    pub fn read_only_reason(&self) -> Option<String> {
        self.read_only_reason.read().clone()
    }

    /// The inode that callers know as [`Ino::ROOT`]; another one only when a subdir was asked for. Calls take
    /// either number.
    #[must_use]
    pub fn root(&self) -> Ino {
        Ino(self.root.load(Ordering::Acquire))
    }

    /// Since when some call has been waiting for an engine that does not answer (more than 5 s).
    #[must_use]
    pub fn waiting_since(&self) -> Option<Instant> {
        self.waiting.since()
    }

    /// Transactions that had to be tried again because somebody else was faster, since the start.
    #[must_use]
    pub fn restarts(&self) -> u64 {
        self.waiting.restarts()
    }

    /// Transactions since the start and the seconds they took together.
    #[must_use]
    pub fn transactions(&self) -> (u64, f64) {
        self.waiting.transactions()
    }

    /// Transactions and questions to the engine since the start, and the seconds they took together.
    #[must_use]
    pub fn engine_calls(&self) -> (u64, f64) {
        self.waiting.calls()
    }

    /// Who deletes the objects of freed slices; without a sink they stay for the hourly scan.
    pub fn set_freed_slice_sink(&self, sink: FreedSliceSink) {
        *self.freed_slice_sink.write() = Some(sink);
    }

    pub(crate) fn hand_over_freed(&self, slices: Vec<(SliceId, u32)>) {
        if slices.is_empty() {
            return;
        }
        if let Some(sink) = &*self.freed_slice_sink.read() {
            sink(slices);
        }
    }

    /// The stored inode behind a number that a caller knows.
    pub(crate) fn stored(&self, ino: Ino) -> Ino {
        if ino == Ino::ROOT { self.root() } else { ino }
    }

    /// # Errors
    /// EROFS when the volume must not be changed.
    pub(crate) fn check_writable(&self) -> Result<()> {
        if self.read_only_reason.read().is_some() { Err(Errno::EROFS.into()) } else { Ok(()) }
    }

    async fn resolve_subdir(&self) -> Result<Ino> {
        let (mut ino, mut has_made) = (Ino::ROOT, false);
        for part in self.options.subdir.as_deref().unwrap_or_default().split('/') {
            if part.is_empty() || part == "." {
                continue;
            }
            let name = Name::new(part.as_bytes().to_vec())?;
            let mut found = self.ask(|engine| engine.lookup(ino, &name)).await?;
            if found.is_none() && self.options.makes_subdir && self.read_only_reason().is_none() {
                match self.mknod(&Caller::internal(), ino, &name, &NewNode::directory(0o777, 0)).await {
                    Ok(_) => has_made = true,
                    Err(Error::Errno(Errno::EEXIST)) => {}
                    Err(error) => return Err(error),
                }
                found = self.ask(|engine| engine.lookup(ino, &name)).await?;
            }
            let (edge, _) = found.ok_or(Errno::ENOENT)?;
            if edge.kind != Kind::Directory {
                return Err(Errno::ENOTDIR.into());
            }
            ino = edge.ino;
        }
        if has_made {
            // A mount that fails later has no session that would write them.
            self.flush_statistics().await?;
        }
        Ok(ino)
    }
}

/// A volume whose mirror was promoted can still be read.
async fn fenced_reason(engine: &dyn Engine, format: &Format) -> Result<Option<String>> {
    if format.meta_version != crate::mirror::FENCED_META_VERSION {
        return Ok(None);
    }
    let fence = crate::mirror::read_fence(engine).await?;
    Ok(fence.map(|fence| {
        format!("volume {} is fenced: its mirror {} goes on in its place", format.name, fence.by)
    }))
}

async fn reason_to_only_read(
    engine: &dyn Engine,
    options: &MetaOptions,
    format: &Format,
) -> Result<Option<String>> {
    if options.read_only {
        return Ok(Some(format!("volume {} was opened read-only", format.name)));
    }
    match format.unsupported() {
        Some(reason) => Ok(Some(reason)),
        None => foreign_records(engine, format).await,
    }
}

pub(crate) async fn foreign_records(engine: &dyn Engine, format: &Format) -> Result<Option<String>> {
    let found = engine.foreign_records().await?;
    if found.is_empty() {
        return Ok(None);
    }
    Ok(Some(format!(
        "volume {} holds records that this client does not keep yet ({}): it can only be mounted read-only",
        format.name,
        found.join(", ")
    )))
}

impl std::fmt::Debug for Meta {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Meta")
            .field("volume", &self.format().name)
            .field("sid", &self.sid)
            .finish_non_exhaustive()
    }
}
