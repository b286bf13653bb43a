//! The state of each file that this mount works with.
//!
//! A [`File`] exists while it is open or has unstored bytes, and some time longer: what is remembered of a
//! closed file tells the next `open` whether the kernel's pages are still right. Its state changes only under
//! its lock, which is never held across a wait. Three things are kept apart:
//! the *attributes* as last heard from the metadata, the *lists* of its chunks with the version of the file
//! they belong to, and the *dirty* slices that the metadata does not know yet.

use crate::dirty::DirtyQueue;
use crate::lists::ChunkList;
use juicefs_base::Errno;
use juicefs_base::sync::{Mutex, MutexGuard};
use juicefs_meta::{Attr, Ino, Kind, SlicesDone, Time};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

const SHARDS: usize = 64;
/// Closed files that are remembered, over all shards.
const CLOSED_MAX: usize = 10_000;
/// Chunk lists kept per file; past it they are all dropped.
const LISTS_MAX: usize = 4096;
/// Lists of a closed file are kept only up to this many.
const LISTS_CLOSED_MAX: usize = 4;
/// After an `open` told the kernel to drop its pages, others say so too for this long: theirs may be read first.
const DROPPING: Duration = Duration::from_millis(100);

/// What changes with every change of a file's data. The ctime is what nobody can set back: `cp -p` and
/// `rsync --inplace -t` leave other bytes under the same mtime and length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Version {
    shape: Shape,
    ctime: Time,
}

impl Version {
    pub(crate) fn of(attr: &Attr) -> Self {
        Self { shape: Shape::of(attr), ctime: attr.ctime }
    }
}

/// The attributes by which the kernel judges its own pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    mtime: Time,
    length: u64,
}

impl Shape {
    pub(crate) fn of(attr: &Attr) -> Self {
        Self { mtime: attr.mtime, length: attr.length }
    }
}

/// The last write that was acknowledged and then lost.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Fault {
    /// Counts lost writes; 0 = none.
    pub(crate) seq: u64,
    pub(crate) errno: Option<Errno>,
    /// Whether any handle was told.
    pub(crate) is_told: bool,
}

#[derive(Default)]
pub(crate) struct FileState {
    pub(crate) opens: u32,
    /// As the metadata last said it, without what is dirty here.
    pub(crate) attr: Option<Attr>,
    /// When `attr` was asked for, and when it last came from a change of our own (ticks of [`Files::tick`]).
    asked_at: u64,
    changed_at: u64,
    /// Which version of the file `lists` show.
    lists_of: Option<Version>,
    lists: HashMap<u32, ChunkList>,
    /// Moves whenever a list that is being fetched must not be kept.
    epoch: u64,
    /// Which version of the file the kernel's pages show, as far as opens have made sure.
    pages_of: Option<Version>,
    pages_dropped: Option<Instant>,
    pub(crate) dirty: DirtyQueue,
    pub(crate) fault: Fault,
}

impl FileState {
    /// Takes in attributes that were asked for at `asked_at`; answers what to report and whether somebody else has
    /// changed the data since we last looked and left no trace by which the kernel would see that for itself.
    pub(crate) fn observe(&mut self, attr: Attr, asked_at: u64) -> (Attr, bool) {
        if let Some(ours) = self.attr
            && self.changed_at > asked_at
        {
            // A change of our own finished meanwhile; its answer is younger than our question.
            return (self.with_dirty(ours), false);
        }
        if asked_at < self.asked_at {
            return (self.with_dirty(attr), false);
        }
        let version = Version::of(&attr);
        let is_foreign = self.lists_of.is_some_and(|known| known != version);
        let before = [self.attr.as_ref().map(Shape::of), self.pages_of.map(|pages| pages.shape)];
        let is_hidden = is_foreign && before.contains(&Some(version.shape));
        if self.lists_of != Some(version) {
            self.forget_lists();
            self.lists_of = Some(version);
        }
        self.attr = Some(attr);
        self.asked_at = asked_at;
        (self.with_dirty(attr), is_hidden)
    }

    /// Takes in what an own change (not of dirty slices) answered.
    pub(crate) fn changed(&mut self, attr: Attr, tick: u64) {
        self.forget_lists();
        self.lists_of = Some(Version::of(&attr));
        self.pages_of = None;
        self.attr = Some(attr);
        self.asked_at = tick;
        self.changed_at = tick;
    }

    /// An own change of attributes that leaves the data as it is; its mtime may be new.
    pub(crate) fn attributes_changed(&mut self, attr: Attr, tick: u64) {
        let version = Version::of(&attr);
        let Some(known) = self.lists_of.filter(|known| known.shape == version.shape) else {
            return self.changed(attr, tick);
        };
        // The new ctime is our own doing: what we know of the data stays right.
        self.lists_of = Some(version);
        self.pages_of = self.pages_of.filter(|pages| *pages == known).map(|_| version);
        self.attr = Some(attr);
        self.asked_at = tick;
        self.changed_at = tick;
    }

    /// Dirty slices of ours are in the metadata now.
    pub(crate) fn committed(&mut self, done: &SlicesDone, tick: u64) {
        let before =
            |known: &Version| known.shape.mtime == done.mtime_before && known.ctime == done.ctime_before;
        let version = Version::of(&done.attr);
        self.epoch += 1;
        if self.lists_of.as_ref().is_some_and(before) {
            for (at, write) in done.placed.iter().enumerate() {
                let records = done.slices.get(at).map_or(0, |records| *records as usize);
                match self.lists.get_mut(&write.indx) {
                    Some(list) if list.records() + 1 == records => list.push(&write.slice),
                    _ => drop(self.lists.remove(&write.indx)),
                }
            }
        } else {
            self.lists.clear();
        }
        self.lists_of = Some(version);
        self.pages_of = self.pages_of.filter(before).map(|_| version);
        self.attr = Some(done.attr);
        self.asked_at = tick;
        self.changed_at = tick;
    }

    /// An open answers: whether the kernel may keep its pages. From now on they show the current version.
    pub(crate) fn keeps_pages(&mut self) -> bool {
        let version = self.attr.as_ref().map(Version::of);
        if version.is_some() && self.pages_of == version {
            return self.pages_dropped.is_none_or(|at| at.elapsed() > DROPPING);
        }
        self.pages_of = version;
        self.pages_dropped = Some(Instant::now());
        false
    }

    /// A file of our own making: nobody has pages of it yet.
    pub(crate) fn has_no_pages(&mut self) {
        self.pages_of = self.attr.as_ref().map(Version::of);
    }

    /// The kernel has put bytes where they are not.
    pub(crate) fn has_wrong_pages(&mut self) {
        self.pages_of = None;
    }

    /// Whether the kernel may hold pages that the current version has made wrong.
    pub(crate) fn has_stale_pages(&self) -> bool {
        self.pages_of.is_some() && self.pages_of != self.attr.as_ref().map(Version::of)
    }

    /// The version that the kernel's pages must be dropped for, unless they show it already.
    pub(crate) fn stale_pages(&self) -> Option<Version> {
        let version = self.attr.as_ref().map(Version::of);
        version.filter(|_| self.pages_of != version)
    }

    /// The kernel has dropped its pages; what it reads from now on is of `version`, unless that has passed.
    pub(crate) fn pages_are_of(&mut self, version: Version) {
        if self.attr.as_ref().map(Version::of) == Some(version) {
            self.pages_of = Some(version);
        }
    }

    /// `attr` with what was written here and is not committed.
    pub(crate) fn with_dirty(&self, mut attr: Attr) -> Attr {
        if let Some((end, mtime)) = self.dirty.reach() {
            attr.length = attr.length.max(end);
            if mtime > attr.mtime {
                attr.mtime = mtime;
                attr.ctime = attr.ctime.max(mtime);
            }
        }
        attr
    }

    /// Bytes that a read sees.
    pub(crate) fn length(&self) -> u64 {
        let dirty = self.dirty.reach().map_or(0, |(end, _)| end);
        self.attr.map_or(0, |attr| attr.length).max(dirty)
    }

    pub(crate) fn list(&self, indx: u32) -> Option<&ChunkList> {
        self.lists.get(&indx)
    }

    /// To hand to [`Self::keep_list`] with a list that is asked for from now on.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    pub(crate) fn keep_list(&mut self, indx: u32, list: ChunkList, epoch: u64) {
        if self.epoch == epoch {
            if self.lists.len() >= LISTS_MAX {
                self.lists.clear();
            }
            self.lists.insert(indx, list);
        }
    }

    pub(crate) fn forget_list(&mut self, indx: u32) {
        self.epoch += 1;
        self.lists.remove(&indx);
    }

    pub(crate) fn forget_lists(&mut self) {
        self.epoch += 1;
        self.lists.clear();
    }

    /// A write that was acknowledged is lost; the kernel's pages still show it.
    pub(crate) fn lose(&mut self, errno: Errno) {
        self.pages_of = None;
        self.fault = Fault { seq: self.fault.seq + 1, errno: Some(errno), is_told: false };
    }
}

/// One file.
pub(crate) struct File {
    pub(crate) ino: Ino,
    state: Mutex<FileState>,
    /// Moves when a dirty slice was committed or lost.
    pub(crate) progress: Notify,
    /// Writes share it, changes of the length or of whole ranges have it alone.
    pub(crate) turn: tokio::sync::RwLock<()>,
    /// Appends take turns from choosing their offset to having written.
    pub(crate) append: tokio::sync::Mutex<()>,
}

impl File {
    pub(crate) fn new(ino: Ino) -> Self {
        Self {
            ino,
            state: Mutex::default(),
            progress: Notify::new(),
            turn: tokio::sync::RwLock::new(()),
            append: tokio::sync::Mutex::new(()),
        }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, FileState> {
        self.state.lock()
    }
}

#[derive(Default)]
struct Shard {
    files: HashMap<Ino, Arc<File>>,
    /// Files that were not open at some time, oldest first; may name files that are open again.
    closed: VecDeque<Ino>,
}

/// All files of a mount, by inode.
pub(crate) struct Files {
    shards: Vec<Mutex<Shard>>,
    clock: AtomicU64,
}

impl Default for Files {
    fn default() -> Self {
        Self { shards: (0..SHARDS).map(|_| Mutex::default()).collect(), clock: AtomicU64::new(1) }
    }
}

impl Files {
    /// A moment in the order of questions and own changes.
    pub(crate) fn tick(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::AcqRel)
    }

    pub(crate) fn find(&self, ino: Ino) -> Option<Arc<File>> {
        self.shard(ino).lock().files.get(&ino).cloned()
    }

    /// The file, made if it is new. What is not opened is forgotten like a closed file.
    pub(crate) fn get(&self, ino: Ino) -> Arc<File> {
        let mut shard = self.shard(ino).lock();
        if let Some(file) = shard.files.get(&ino) {
            return Arc::clone(file);
        }
        let file = Arc::new(File::new(ino));
        shard.files.insert(ino, Arc::clone(&file));
        shard.retire(ino);
        file
    }

    pub(crate) fn open(&self, ino: Ino) -> Arc<File> {
        let mut shard = self.shard(ino).lock();
        let file = shard.files.entry(ino).or_insert_with(|| Arc::new(File::new(ino)));
        file.state().opens += 1;
        Arc::clone(file)
    }

    pub(crate) fn close(&self, file: &File) {
        let mut shard = self.shard(file.ino).lock();
        let mut state = file.state();
        state.opens = state.opens.saturating_sub(1);
        if state.opens > 0 {
            return;
        }
        if state.lists.len() > LISTS_CLOSED_MAX {
            state.forget_lists();
        }
        // Nobody is left to be told.
        state.fault.is_told = true;
        let is_gone = state.attr.is_some_and(|attr| attr.nlink == 0 && attr.kind == Kind::File);
        drop(state);
        if is_gone {
            shard.files.remove(&file.ino);
        } else {
            shard.retire(file.ino);
        }
    }

    fn shard(&self, ino: Ino) -> &Mutex<Shard> {
        &self.shards[ino.0 as usize % SHARDS]
    }
}

impl Shard {
    fn retire(&mut self, ino: Ino) {
        self.closed.push_back(ino);
        while self.closed.len() > CLOSED_MAX / SHARDS {
            let Some(oldest) = self.closed.pop_front() else { break };
            // Once more in the queue: it was closed again later.
            if self.closed.contains(&oldest) {
                continue;
            }
            let is_idle = self.files.get(&oldest).is_some_and(|file| {
                let state = file.state();
                state.opens == 0 && state.dirty.is_empty() && Arc::strong_count(file) == 1
            });
            if is_idle {
                self.files.remove(&oldest);
            }
        }
    }
}
