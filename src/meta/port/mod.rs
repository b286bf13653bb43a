//! What file-system semantics may ask of a metadata database.
//!
//! An *attempt* is a handful of batched reads followed by one commit. An engine turns each batch into one
//! flush on its wire, so `reads + 1` is the price of an operation on every engine. Engines know bytes and
//! transactions, nothing else: no POSIX rule is decided below this line.

mod change;

pub use change::{Change, Mirrored};

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use std::ops::Range;

use crate::engines::packed::AclRecord;
use crate::error::{Damage, Error, Result};
use crate::lock::{Holder, LockKind, RangeLock};
use crate::types::{Attr, DirStat, Edge, Ino, Name, Slice, SliceId, Usage};

/// What must stay true of a row between reading it and committing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hold {
    /// Nothing: the value is a hint. Redis GET, SQL SELECT.
    Peek,
    /// It must not change at all. Redis WATCH, SQL lock of decisions 8.
    Guard,
    /// It will be moved by amounts that commute. Redis WATCH, SQL relative UPDATE.
    Touch,
    /// It will be replaced by a value computed from this one. Redis WATCH, SQL FOR UPDATE.
    Update,
}

/// Every row a transaction may read. Closed on purpose: a new question is a change to all engines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Get {
    /// -> [`Got::Node`]
    Node { ino: Ino, hold: Hold },
    /// -> [`Got::Edge`]. On Redis a held edge watches the whole directory.
    Edge { parent: Ino, name: Name, hold: Hold },
    /// -> [`Got::Flag`]; held like `Guard`.
    HasChildren { ino: Ino },
    /// Parents of a hard-linked file with their counts (> 0 only) -> [`Got::Parents`]
    Parents { ino: Ino },
    /// -> [`Got::Bytes`]
    Symlink { ino: Ino },
    /// The value of an extended attribute; the names are raw bytes. On Redis a held one watches all attributes of
    /// the node -> [`Got::Bytes`]
    Xattr { ino: Ino, name: Bytes, hold: Hold },
    /// Names of all extended attributes, sorted -> [`Got::Names`]
    XattrNames { ino: Ino },
    /// The raw slice list, empty when there is none -> [`Got::Slices`]
    Chunk { ino: Ino, indx: u32, hold: Hold },
    /// Announces `Change::AppendSlice`; engines that cannot append blindly fetch the chunk now
    /// -> [`Got::Ready`]
    AppendTarget { ino: Ino, indx: u32 },
    /// Chunks with `first <= indx <= last` that may exist; an engine whose `AppendSlice{only_existing}` is
    /// safe by itself may answer the whole range. Announces appends to all it names -> [`Got::Indexes`]
    Chunks { ino: Ino, first: u32, last: u32 },
    /// -> [`Got::DirStat`]
    DirStat { ino: Ino },
    /// Limits and usage; the limits are held like `Guard`, what is used moves by amounts that commute
    /// -> [`Got::Quota`]
    Quota { kind: QuotaKind, key: u64 },
    /// Expiry in unix seconds and the info document; held like `Guard` -> [`Got::Session`]
    Session { sid: u64 },
    /// Whether any session but `sid` lives at `at` (unix seconds); a hint -> [`Got::Flag`]
    OtherSession { sid: u64, at: i64 },
    /// Length at deletion, when registered -> [`Got::Flag`]
    DeletedFile { ino: Ino, length: u64 },
    /// Whether this session sustains the inode -> [`Got::Flag`]
    Sustained { sid: u64, ino: Ino },
    /// A side record; always held like `Guard` -> [`Got::Bytes`]
    Side { name: String },
    /// Slices kept since a compaction, when they still are; always held like `Update` -> [`Got::SlicePairs`]
    DelayedSlices { id: SliceId, deleted_at: i64 },
    /// BSD locks of a file in the order of their holders; always held, also against the first lock of a file that has
    /// none (SQL servers lock its node row, as the peer does) -> [`Got::Flocks`]
    Flocks { ino: Ino },
    /// The same for POSIX locks -> [`Got::RangeLocks`]
    RangeLocks { ino: Ino },
}

impl Get {
    /// What must stay true of the answer until the commit; the same on every engine.
    #[must_use]
    pub fn hold(&self) -> Hold {
        match self {
            Self::Node { hold, .. }
            | Self::Edge { hold, .. }
            | Self::Chunk { hold, .. }
            | Self::Xattr { hold, .. } => *hold,
            Self::HasChildren { .. }
            | Self::Chunks { .. }
            | Self::Quota { .. }
            | Self::Session { .. }
            | Self::DeletedFile { .. }
            | Self::Sustained { .. }
            | Self::Flocks { .. }
            | Self::RangeLocks { .. }
            | Self::Side { .. }
            | Self::DelayedSlices { .. } => Hold::Guard,
            // These change together with their node, which is what holders hold.
            Self::Parents { .. }
            | Self::Symlink { .. }
            | Self::XattrNames { .. }
            | Self::AppendTarget { .. }
            | Self::OtherSession { .. }
            | Self::DirStat { .. } => Hold::Peek,
        }
    }
}

/// Answers in the order of the questions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Got {
    Node(Option<Attr>),
    Edge(Option<Edge>),
    Flag(bool),
    Parents(Vec<(Ino, i64)>),
    Bytes(Option<Bytes>),
    Names(Vec<Bytes>),
    Slices(Vec<Slice>),
    Indexes(Vec<u32>),
    DirStat(Option<DirStat>),
    Quota(Option<QuotaRow>),
    Session(Option<SessionRow>),
    SlicePairs(Option<Vec<(SliceId, u32)>>),
    Flocks(Vec<(Holder, LockKind)>),
    RangeLocks(Vec<(Holder, Vec<RangeLock>)>),
    Ready,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionRow {
    pub sid: u64,
    /// Unix seconds.
    pub expires_at: i64,
    /// Session JSON of the format (7.1); empty when missing.
    pub info: Bytes,
}

/// A volume's rows as they are at a version of its change log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Followed {
    /// Lines after the version asked from; the last one's version is the one that the rows are of.
    pub page: LogPage,
    /// Answers to the questions that these lines raise; `None` when there are more lines than were asked for.
    pub answers: Option<Vec<Got>>,
}

/// The questions that lines of a change log raise. More lines never raise fewer questions.
pub type Questions<'a> = &'a (dyn Fn(&[(u64, Bytes)]) -> Vec<Get> + Send + Sync);

/// A line of the change log (format 7.7), written with the changes that it tells of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// Time and operation.
    pub head: String,
    /// Which `AppendSlice` of the same commit, counted from 0, the line's result is the list length of. An engine
    /// that does not know it before the commit writes 0, as the peer does there.
    pub appended: Option<usize>,
    /// Session and number.
    pub tail: String,
}

impl LogLine {
    /// The line; `lengths` are those of the lists appended to so far.
    #[must_use]
    pub fn text(&self, lengths: &[u32]) -> String {
        let Self { head, appended, tail } = self;
        match appended {
            Some(at) => format!("{head}:{}{tail}", lengths.get(*at).copied().unwrap_or(0)),
            None => format!("{head}{tail}"),
        }
    }
}

/// Lines of the change log in the order of their versions, which have no gap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogPage {
    pub lines: Vec<(u64, Bytes)>,
    /// Of the oldest line that is still there, `last + 1` when none is.
    pub first: u64,
    /// Of the newest line that may be read, 0 before the first. Lines that others may still commit below a version
    /// keep it from being read.
    pub last: u64,
}

/// Facts known only once the commit has run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Receipt {
    /// Length of each appended list, in the order of the `AppendSlice` changes; 0 where nothing was appended.
    pub slices_after_append: Vec<u32>,
    pub slices_freed: Vec<(SliceId, u32)>,
}

/// Numbers handed out by the volume. The engine hides how its family stores them: the range it returns is
/// free to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sequence {
    Inode,
    Slice,
    Session,
    /// Hourly trash directories; the inode is `Ino::TRASH + number`.
    TrashDir,
}

/// Jobs that one client of the volume does at a time (format 7.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Job {
    CleanSessions,
    CleanFiles,
    CleanSlices,
    CleanTrash,
    CleanChangeLog,
}

/// Long reads, in pages of the engine's choice, outside any transaction. A record that can't be decoded is an
/// item like the others ([`Item::Damaged`], [`Item::DamagedEntry`]) and does not end the scan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scan {
    /// Entries of one directory -> [`Item::Entry`] (in no order).
    Entries { parent: Ino },
    /// -> [`Item::Session`]
    Sessions,
    /// Sustained inodes of one session, or of all with `None` -> [`Item::Sustained`]
    Sustained { sid: Option<u64> },
    /// -> [`Item::DeletedFile`]
    DeletedFiles,
    /// Every chunk of the volume, or of one inode -> [`Item::Chunk`]
    Chunks { ino: Option<Ino> },
    /// Compacted-away slices kept while trash is on -> [`Item::DelayedSlices`]
    DelayedSlices,
    /// References that fell to none and whose objects may still exist -> [`Item::FreedSlice`]
    FreedSlices,
    /// Every node of the volume -> [`Item::Node`]
    Nodes,
    /// Every entry of every directory -> [`Item::Edge`]
    Edges,
    /// Parents of hard-linked files -> [`Item::Parent`]
    Parents,
    /// References of slices; an engine whose records leave out a single reference leaves it out, too
    /// -> [`Item::SliceRefs`]
    SliceRefs,
    /// -> [`Item::Symlink`]
    Symlinks,
    /// -> [`Item::Xattr`]
    Xattrs,
    /// -> [`Item::Acl`]
    Acls,
    /// -> [`Item::DirStat`]
    DirStats,
    /// -> [`Item::Quota`]
    Quotas { kind: QuotaKind },
    /// -> [`Item::Side`]
    Sides,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    Entry {
        name: Name,
        edge: Edge,
    },
    Session(SessionRow),
    Sustained {
        sid: u64,
        ino: Ino,
    },
    DeletedFile {
        ino: Ino,
        length: u64,
        deleted_at: i64,
    },
    Chunk {
        ino: Ino,
        indx: u32,
        slices: Vec<Slice>,
    },
    DelayedSlices {
        id: SliceId,
        deleted_at: i64,
        slices: Vec<(SliceId, u32)>,
    },
    FreedSlice {
        id: SliceId,
        size: u32,
    },
    Node {
        ino: Ino,
        attr: Attr,
    },
    Side {
        name: String,
        value: Bytes,
    },
    Edge {
        parent: Ino,
        name: Name,
        edge: Edge,
    },
    /// `count` names of a hard-linked file in one directory; 0 where a record was left behind.
    Parent {
        ino: Ino,
        parent: Ino,
        count: i64,
    },
    /// The true count; 0 or less = the objects wait for their deletion.
    SliceRefs {
        id: SliceId,
        size: u32,
        refs: i64,
    },
    Symlink {
        ino: Ino,
        target: Bytes,
    },
    Xattr {
        ino: Ino,
        name: Bytes,
        value: Bytes,
    },
    Acl {
        id: u32,
        rule: AclRecord,
    },
    DirStat {
        ino: Ino,
        stat: DirStat,
    },
    Quota(QuotaRow),
    Damaged(Damage),
    /// What a directory holds under this name is unknown.
    DamagedEntry {
        name: Name,
        damage: Damage,
    },
}

impl Item {
    /// A caller's mistake, said rather than passed over: a document has no such row.
    pub(crate) fn not_loaded(&self) -> Error {
        Error::Engine(format!("no load has rows like {self:?}"))
    }
}

/// How often [`Engine::follow`] looks for a quiet moment.
pub const FOLLOW_TRIES: u32 = 100;

/// Whose usage a quota limits; the numbers are the format's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum QuotaKind {
    Directory = 0,
    User = 1,
    Group = 2,
}

/// A limit and what is used of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuotaRow {
    pub kind: QuotaKind,
    /// Inode, uid or gid.
    pub key: u64,
    /// Bytes; 0 and below = no limit, as written.
    pub space_max: i64,
    pub inodes_max: i64,
    pub used: Usage,
}

/// Numbers of the whole volume, in one meaning for all engines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    pub usage: Usage,
    /// The next free inode; 2 in a new volume.
    pub next_inode: u64,
    /// The next free slice; 1 in a new volume.
    pub next_slice: u64,
    /// The last session number given out.
    pub last_session: u64,
    /// The last hourly trash directory made.
    pub last_trash: u64,
}

impl Counters {
    /// Under the names of the SQL tables and the binary document (format 4).
    #[must_use]
    pub fn named(&self) -> [(&'static str, i64); 6] {
        [
            ("usedSpace", self.usage.space),
            ("totalInodes", self.usage.inodes),
            ("nextInode", self.next_inode.cast_signed()),
            ("nextChunk", self.next_slice.cast_signed()),
            ("nextSession", self.last_session.cast_signed()),
            ("nextTrash", self.last_trash.cast_signed()),
        ]
    }
}

/// What an engine can do; callers ask, never guess by name.
#[derive(Clone, Copy, Debug)]
pub struct EngineLimits {
    /// Changes that fit one commit.
    pub changes_max: usize,
    /// Name of the engine as users and metrics see it (`redis`, `sqlite3`).
    pub name: &'static str,
    /// Slices a chunk may hold before a write must be refused.
    pub slices_max: u32,
    /// Whether clients of any kind write a change log there.
    pub has_change_log: bool,
}

/// What `format` writes into an empty database.
#[derive(Clone, Debug)]
pub struct NewVolume {
    pub setting: String,
    pub root: Attr,
    /// Present when trash is on.
    pub trash: Option<Attr>,
}

/// A node's record: there, missing or damaged.
pub type MaybeNode = Result<Option<Attr>, Damage>;

/// What a name holds, and the node behind it; a node may be missing.
pub type Found = Option<(Edge, Option<Attr>)>;

/// A metadata database that holds one volume, or none yet.
pub trait Engine: Send + Sync + 'static {
    /// Starts a try; nothing needs to travel before its first read. `attempt` counts tries of one operation.
    fn begin(&self, attempt: u32) -> BoxFuture<'_, Result<Box<dyn Attempt + '_>>>;

    /// One flush outside any transaction; every `Hold` counts as `Peek`.
    fn read<'a>(&'a self, gets: &'a [Get]) -> BoxFuture<'a, Result<Vec<Got>>>;

    /// The node behind a name. The default takes two flushes; a script or a join takes one.
    fn lookup<'a>(&'a self, parent: Ino, name: &'a Name) -> BoxFuture<'a, Result<Found>> {
        Box::pin(async move {
            let got = self.read(&[Get::Edge { parent, name: name.clone(), hold: Hold::Peek }]).await?;
            let Some(Got::Edge(Some(edge))) = got.into_iter().next() else { return Ok(None) };
            let got = self.read(&[Get::Node { ino: edge.ino, hold: Hold::Peek }]).await?;
            let Some(Got::Node(attr)) = got.into_iter().next() else { return Ok(None) };
            Ok(Some((edge, attr)))
        })
    }

    /// Attributes of many nodes, in the order asked; one that can't be decoded does not hide the others.
    fn nodes<'a>(&'a self, inos: &'a [Ino]) -> BoxFuture<'a, Result<Vec<MaybeNode>>>;

    fn scan(&self, scan: Scan) -> BoxStream<'_, Result<Item>>;

    /// `line` goes into the change log in the same transaction, here and in [`Self::claim`].
    fn allocate<'a>(
        &'a self,
        sequence: Sequence,
        count: u64,
        line: Option<&'a LogLine>,
    ) -> BoxFuture<'a, Result<Range<u64>>>;

    /// True for the one client that may do `job` now: nobody did within `gap_sec` before `now` (unix seconds).
    /// Nothing is written for the others.
    fn claim<'a>(
        &'a self,
        job: Job,
        now: i64,
        gap_sec: i64,
        line: Option<&'a LogLine>,
    ) -> BoxFuture<'a, Result<bool>>;

    /// Up to `max` lines of the change log after the version `after`, never past one that may still appear below.
    fn read_log(&self, after: u64, max: usize) -> BoxFuture<'_, Result<LogPage>>;

    /// All lines after `after` (not more than `max`), and the rows they raise questions about, as they are at the
    /// version of the last line. The default reads again until nobody has changed anything meanwhile; engines with
    /// snapshots do it at once.
    ///
    /// # Errors
    /// [`Error::Conflict`](crate::Error::Conflict) when there was no quiet moment.
    fn follow<'a>(
        &'a self,
        after: u64,
        max: usize,
        questions: Questions<'a>,
    ) -> BoxFuture<'a, Result<Followed>> {
        Box::pin(async move {
            let mut page = self.read_log(after, max).await?;
            for _ in 0..FOLLOW_TRIES {
                let end = page.lines.last().map_or(after, |(version, _)| *version);
                if page.last > end {
                    return Ok(Followed { page, answers: None });
                }
                let answers = self.read(&questions(&page.lines)).await?;
                let later = self.read_log(after, max).await?;
                if later.last == page.last {
                    return Ok(Followed { page, answers: Some(answers) });
                }
                page = later;
            }
            Err(crate::Error::Conflict)
        })
    }

    /// Removes the lines up to a version, that one included; later versions keep their numbers.
    fn trim_log(&self, upto: u64) -> BoxFuture<'_, Result<()>>;

    /// The setting document as stored, `None` in an empty database.
    fn setting(&self) -> BoxFuture<'_, Result<Option<String>>>;

    /// Writes a new volume into an empty database, all or nothing.
    fn create_volume<'a>(&'a self, volume: &'a NewVolume) -> BoxFuture<'a, Result<()>>;

    /// Forgets the volume: every record goes, those of our own beside the peer's too. Nothing undoes it.
    fn destroy_volume(&self) -> BoxFuture<'_, Result<()>> {
        let name = self.limits().name;
        Box::pin(std::future::ready(Err(Error::Unsupported(format!(
            "the {name} engine can't be emptied by this version: its objects are gone, drop the database by its own means"
        )))))
    }

    /// Replaces the setting; makes the trash root when given and absent. `reset_dir_stats`: directory
    /// statistics were switched on again, so the old ones go (format 1.7).
    fn update_setting<'a>(
        &'a self,
        setting: &'a str,
        trash: Option<Attr>,
        reset_dir_stats: bool,
    ) -> BoxFuture<'a, Result<()>>;

    /// Volume counters with what this process has not flushed yet.
    fn usage(&self) -> BoxFuture<'_, Result<Usage>>;

    /// Writes what the engine has added up (usage on SQL); called every second and at the end.
    fn flush(&self) -> BoxFuture<'_, Result<()>>;

    /// Makes what is committed survive a power cut of the engine's host; for engines that do not do so at every
    /// commit (fsync and umount call it).
    fn sync(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// Brings what a database keeps beside its file into it, where nobody else is there: called at the end of a session and
    /// of work without one, so that a copy of the file is the volume.
    fn settle(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// Plain names of record kinds present that this client does not keep right (`ACL`): such volumes are not
    /// written. Detached nodes are a stock client's
    /// clone under way, which needs nobody's help.
    fn foreign_records(&self) -> BoxFuture<'_, Result<Vec<&'static str>>>;

    fn counters(&self) -> BoxFuture<'_, Result<Counters>>;

    /// Makes an empty database ready for [`Self::load`]. Until [`Self::finish_load`] it holds no volume, so that what
    /// a load that broke off leaves is never mounted.
    ///
    /// # Errors
    /// `Engine` for a database that holds anything.
    fn start_load(&self) -> BoxFuture<'_, Result<()>>;

    /// Inserts rows of a volume as [`Self::scan`] yields them, in no transaction with one another; nobody else is there.
    /// A row that is there already is replaced or refused. On SQL, where edges are the parents, parents are passed over.
    ///
    /// # Errors
    /// `Engine` for rows that no load has: sessions, side records, damaged ones.
    fn load<'a>(&'a self, rows: &'a [Item]) -> BoxFuture<'a, Result<()>>;

    /// The numbers and, with them, the setting: from here on the database holds a volume. `last_acl` is the highest
    /// number of an ACL.
    fn finish_load<'a>(
        &'a self,
        setting: &'a str,
        counters: Counters,
        last_acl: u32,
    ) -> BoxFuture<'a, Result<()>>;

    fn limits(&self) -> EngineLimits;

    /// Whether [`Scan::Chunks`] of one inode reads that inode's rows only, not the whole volume.
    fn lists_chunks_by_inode(&self) -> bool {
        false
    }

    /// Whether [`Scan::Entries`] comes in the order of the names' bytes.
    fn lists_names_in_order(&self) -> bool {
        false
    }
}

/// One try: reads, then at most one commit. Dropping it without a commit leaves no trace.
pub trait Attempt: Send {
    /// One flush. Answers come back in the order of the questions.
    fn read<'a>(&'a mut self, gets: &'a [Get]) -> BoxFuture<'a, Result<Vec<Got>>>;
    /// One flush. All of `changes` or none of them.
    fn commit<'a>(self: Box<Self>, changes: &'a [Change]) -> BoxFuture<'a, Result<Receipt>>
    where
        Self: 'a;
}
