//! Questions of the port as commands, and their replies as answers.

use redis::{Cmd, Pipeline};

use super::keys;
use super::reply::{self, Replies};
use crate::engines::packed::{self, QuotaRecord};
use crate::error::{Error, Result};
use crate::lock::{Holder, LockKind, RangeLock};
use crate::port::{Get, Got, Hold, QuotaKind, QuotaRow, SessionRow};
use crate::types::{Attr, DirStat, Edge, Ino, Name, Slice, Usage};

/// A span of chunks up to here is answered whole: `RPUSHX` leaves the missing ones missing.
pub(super) const CHUNK_SPAN_MAX: u32 = 10_000;

/// The commands of one batch. All node records travel as one MGET at the head.
pub(super) struct Questions<'g> {
    gets: &'g [Get],
    pub(super) commands: Vec<Cmd>,
    /// Keys that must not change before the commit.
    pub(super) watched: Vec<String>,
}

impl<'g> Questions<'g> {
    pub(super) fn new(gets: &'g [Get]) -> Self {
        let mut questions = Self { gets, commands: Vec::with_capacity(gets.len() + 1), watched: Vec::new() };
        let mut nodes = redis::cmd("MGET");
        let mut has_nodes = false;
        for get in gets {
            if let Get::Node { ino, .. } = get {
                nodes.arg(keys::node(*ino));
                has_nodes = true;
            }
        }
        if has_nodes {
            questions.commands.push(nodes);
        }
        for get in gets {
            questions.ask(get);
        }
        questions
    }

    fn ask(&mut self, get: &Get) {
        match get {
            Get::Node { ino, hold } => self.watch(*hold, || keys::node(*ino)),
            Get::Edge { parent, name, hold } => {
                self.watch(*hold, || keys::directory(*parent));
                self.command("HGET").arg(keys::directory(*parent)).arg(name.as_bytes());
            }
            Get::HasChildren { ino } => {
                self.watch(Hold::Guard, || keys::directory(*ino));
                self.command("HLEN").arg(keys::directory(*ino));
            }
            // Changes together with the node, which is what holders hold.
            Get::Parents { ino } => {
                self.command("HGETALL").arg(keys::parents(*ino));
            }
            Get::Symlink { ino } => {
                self.command("GET").arg(keys::symlink(*ino));
            }
            Get::Xattr { ino, name, hold } => {
                self.watch(*hold, || keys::xattrs(*ino));
                self.command("HGET").arg(keys::xattrs(*ino)).arg(&name[..]);
            }
            Get::XattrNames { ino } => {
                self.command("HKEYS").arg(keys::xattrs(*ino));
            }
            Get::Chunk { ino, indx, hold } => {
                self.watch(*hold, || keys::chunk(*ino, *indx));
                self.command("LRANGE").arg(keys::chunk(*ino, *indx)).arg(0).arg(-1);
            }
            // RPUSH appends blindly.
            Get::AppendTarget { .. } => {}
            // Answered whole, or probed afterwards by the engine.
            Get::Chunks { .. } => {}
            Get::DirStat { ino } => {
                for hash in keys::DIR_STATS {
                    self.command("HGET").arg(hash).arg(ino.0);
                }
            }
            Get::Quota { kind, key } => {
                let [limits, space, inodes] = keys::quotas(*kind);
                self.watch(Hold::Guard, || limits.to_owned());
                for hash in [limits, space, inodes] {
                    self.command("HGET").arg(hash).arg(*key);
                }
            }
            Get::Session { sid } => {
                self.command("ZSCORE").arg(keys::ALL_SESSIONS).arg(*sid);
                self.command("HGET").arg(keys::SESSION_INFOS).arg(*sid);
            }
            // Two are enough: one of them may be the asker's own.
            Get::OtherSession { at, .. } => {
                let command = self.command("ZRANGEBYSCORE").arg(keys::ALL_SESSIONS);
                command.arg(*at).arg("+inf").arg("LIMIT").arg(0).arg(2);
            }
            Get::DeletedFile { ino, length } => {
                self.command("ZSCORE").arg(keys::DELETED_FILES).arg(keys::deleted_file(*ino, *length));
            }
            Get::Side { name } => {
                self.watch(Hold::Guard, || keys::SIDES.to_owned());
                self.command("HGET").arg(keys::SIDES).arg(name);
            }
            Get::Sustained { sid, ino } => {
                self.command("SISMEMBER").arg(keys::sustained(*sid)).arg(ino.0);
            }
            Get::DelayedSlices { id, deleted_at } => {
                self.watch(Hold::Update, || keys::DELAYED_SLICES.to_owned());
                self.command("HGET").arg(keys::DELAYED_SLICES).arg(keys::delayed(*id, *deleted_at));
            }
            Get::Flocks { ino } => {
                self.watch(Hold::Guard, || keys::flocks(*ino));
                self.command("HGETALL").arg(keys::flocks(*ino));
            }
            Get::RangeLocks { ino } => {
                self.watch(Hold::Guard, || keys::range_locks(*ino));
                self.command("HGETALL").arg(keys::range_locks(*ino));
            }
        }
    }

    fn watch(&mut self, hold: Hold, key: impl FnOnce() -> String) {
        if hold == Hold::Peek {
            return;
        }
        let key = key();
        if !self.watched.contains(&key) {
            self.watched.push(key);
        }
    }

    fn command(&mut self, name: &str) -> &mut Cmd {
        self.commands.push(redis::cmd(name));
        self.commands.last_mut().expect("just pushed")
    }

    pub(super) fn pipeline(&self) -> Pipeline {
        let mut pipeline = Pipeline::with_capacity(self.commands.len());
        for command in &self.commands {
            pipeline.add_command(command.clone());
        }
        pipeline
    }

    /// Reads the replies to [`commands`](Self::commands).
    pub(super) fn answers(&self, replies: &mut Replies<'_>) -> Result<Vec<Got>> {
        let has_nodes = self.gets.iter().any(|get| matches!(get, Get::Node { .. }));
        let mut nodes = if has_nodes { replies.array()? } else { Vec::new() }.into_iter();
        let mut answers = Vec::with_capacity(self.gets.len());
        for get in self.gets {
            answers.push(match get {
                Get::Node { ino, .. } => {
                    let record = nodes.next().map(reply::bytes).transpose()?.flatten();
                    Got::Node(record.map(|record| node(*ino, &record)).transpose()?)
                }
                Get::Edge { parent, name, .. } => {
                    Got::Edge(replies.bytes()?.map(|record| edge(*parent, name, &record)).transpose()?)
                }
                Get::HasChildren { .. } | Get::Sustained { .. } => Got::Flag(replies.int()? > 0),
                Get::Parents { ino } => Got::Parents(parents(*ino, replies)?),
                Get::Symlink { .. } | Get::Side { .. } | Get::Xattr { .. } => {
                    Got::Bytes(replies.bytes()?.map(Into::into))
                }
                Get::XattrNames { .. } => Got::Names(names(replies)?),
                Get::Chunk { ino, indx, .. } => Got::Slices(chunk(*ino, *indx, replies.array()?)?),
                Get::AppendTarget { .. } => Got::Ready,
                Get::Chunks { first, last, .. } if !is_long_span(*first, *last) => {
                    Got::Indexes((*first..=*last).collect())
                }
                Get::Chunks { .. } => Got::Indexes(Vec::new()),
                Get::DirStat { ino } => Got::DirStat(dir_stat(*ino, replies)?),
                Get::Quota { kind, key } => Got::Quota(quota(*kind, *key, replies)?),
                Get::Session { sid } => Got::Session(session(*sid, replies)?),
                Get::OtherSession { sid, .. } => {
                    let own = sid.to_string();
                    let alive =
                        replies.array()?.into_iter().map(reply::some_bytes).collect::<Result<Vec<_>>>()?;
                    Got::Flag(alive.iter().any(|other| *other != own.as_bytes()))
                }
                Get::DeletedFile { .. } => Got::Flag(replies.bytes()?.is_some()),
                Get::DelayedSlices { .. } => {
                    let pairs = |record: Vec<u8>| {
                        let decoded = packed::decode_slice_pairs(&record);
                        decoded.map_err(|cause| cause.of(keys::DELAYED_SLICES))
                    };
                    Got::SlicePairs(replies.bytes()?.map(pairs).transpose()?)
                }
                Get::Flocks { ino } => Got::Flocks(flocks(*ino, replies)?),
                Get::RangeLocks { ino } => Got::RangeLocks(range_locks(*ino, replies)?),
            });
        }
        Ok(answers)
    }
}

/// Whether [`Get::Chunks`] has to ask the server which chunks exist.
pub(super) fn is_long_span(first: u32, last: u32) -> bool {
    last.checked_sub(first).is_some_and(|span| span >= CHUNK_SPAN_MAX)
}

pub(super) fn node(ino: Ino, record: &[u8]) -> Result<Attr> {
    packed::decode_attr(record).map_err(|cause| cause.of(keys::node(ino)))
}

pub(super) fn edge(parent: Ino, name: &Name, record: &[u8]) -> Result<Edge> {
    packed::decode_edge(record).map_err(|cause| cause.of(format!("{} {name}", keys::directory(parent))))
}

pub(super) fn chunk(ino: Ino, indx: u32, elements: Vec<redis::Value>) -> Result<Vec<Slice>> {
    let slice = |element| {
        packed::decode_slice(&reply::some_bytes(element)?).map_err(|cause| cause.of(keys::chunk(ino, indx)))
    };
    elements.into_iter().map(slice).collect()
}

fn parents(ino: Ino, replies: &mut Replies<'_>) -> Result<Vec<(Ino, i64)>> {
    let record = keys::parents(ino);
    let mut parents = Vec::new();
    for (field, count) in reply::pairs(replies.array()?)? {
        let parent = keys::number(&field).map(Ino);
        let parent = parent.ok_or_else(|| {
            let cause = format!("\"{}\" is no inode", field.escape_ascii());
            Error::Corrupt { record: record.clone(), cause }
        })?;
        // Links that are gone may stay behind with 0.
        let count = reply::decimal(&count, &record)?;
        if count > 0 {
            parents.push((parent, count));
        }
    }
    Ok(parents)
}

fn flocks(ino: Ino, replies: &mut Replies<'_>) -> Result<Vec<(Holder, LockKind)>> {
    locks(keys::flocks(ino), replies, |record, value| match value {
        b"R" => Ok(LockKind::Shared),
        b"W" => Ok(LockKind::Exclusive),
        other => {
            let cause = format!("\"{}\" is no lock", other.escape_ascii());
            Err(Error::Corrupt { record: record.to_owned(), cause })
        }
    })
}

fn range_locks(ino: Ino, replies: &mut Replies<'_>) -> Result<Vec<(Holder, Vec<RangeLock>)>> {
    locks(keys::range_locks(ino), replies, |record, value| {
        packed::decode_range_locks(value).map_err(|cause| cause.of(record))
    })
}

/// The holders of a lock hash in their order.
fn locks<T>(
    record: String,
    replies: &mut Replies<'_>,
    value: impl Fn(&str, &[u8]) -> Result<T>,
) -> Result<Vec<(Holder, T)>> {
    let mut locks = Vec::new();
    for (field, bytes) in reply::pairs(replies.array()?)? {
        let holder = keys::parse_holder(&field).ok_or_else(|| {
            let cause = format!("\"{}\" is no holder", field.escape_ascii());
            Error::Corrupt { record: record.clone(), cause }
        })?;
        locks.push((holder, value(&record, &bytes)?));
    }
    locks.sort_unstable_by_key(|(holder, _)| *holder);
    Ok(locks)
}

fn dir_stat(ino: Ino, replies: &mut Replies<'_>) -> Result<Option<DirStat>> {
    let mut numbers = [None; 3];
    for (number, hash) in numbers.iter_mut().zip(keys::DIR_STATS) {
        *number = replies.number(&format!("{hash} {ino}"))?;
    }
    // The used space says whether there are statistics, as the peer has it.
    let [length, Some(space), inodes] = numbers else { return Ok(None) };
    Ok(Some(DirStat { length: length.unwrap_or(0), space, inodes: inodes.unwrap_or(0) }))
}

fn quota(kind: QuotaKind, key: u64, replies: &mut Replies<'_>) -> Result<Option<QuotaRow>> {
    let [hash, space, inodes] = keys::quotas(kind);
    let limits = replies.bytes()?;
    let space = replies.number(&format!("{space} {key}"))?.unwrap_or(0);
    let inodes = replies.number(&format!("{inodes} {key}"))?.unwrap_or(0);
    let Some(limits) = limits else { return Ok(None) };
    let QuotaRecord { space_max, inodes_max, .. } =
        packed::decode_quota(&limits).map_err(|cause| cause.of(format!("{hash} {key}")))?;
    Ok(Some(QuotaRow { kind, key, space_max, inodes_max, used: Usage { space, inodes } }))
}

fn names(replies: &mut Replies<'_>) -> Result<Vec<bytes::Bytes>> {
    let fields = replies.array()?.into_iter();
    let mut names = fields.map(|name| reply::some_bytes(name).map(Into::into)).collect::<Result<Vec<_>>>()?;
    names.sort_unstable();
    Ok(names)
}

fn session(sid: u64, replies: &mut Replies<'_>) -> Result<Option<SessionRow>> {
    let expires_at = replies.bytes()?;
    let info = replies.bytes()?.unwrap_or_default().into();
    let Some(digits) = expires_at else { return Ok(None) };
    let expires_at = reply::score(&digits, keys::ALL_SESSIONS)?;
    Ok(Some(SessionRow { sid, expires_at, info }))
}
