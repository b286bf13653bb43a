//! Long reads page by page, on a connection of their own so that look-ups do not queue behind them.
//!
//! Redis may name an element twice while it resizes a table; entries of a directory are told once, other
//! scans pass repetitions on to callers that only look.

use std::collections::HashSet;

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use redis::{Cmd, Pipeline, Value};

use super::reply::{self, Replies};
use super::{RedisEngine, gets, keys, records};
use crate::engines::inside::inside;
use crate::engines::packed;
use crate::error::{Error, Result, or_damage};
use crate::port::{Item, Scan, SessionRow};
use crate::types::{Ino, Name};

/// As the peer's readdir.
const PAGE: usize = 10_000;
/// Records fetched at once behind a page of keys.
const FETCH: usize = 1_000;

pub(super) fn items(engine: &RedisEngine, scan: Scan) -> BoxStream<'_, Result<Item>> {
    if scan == Scan::Edges {
        return records::edges(engine);
    }
    let pages = stream::try_unfold(Cursor::new(engine, scan), |mut cursor| async move {
        let home = &cursor.engine.home;
        let page = inside(home, cursor.page()).await?;
        Ok::<_, Error>(page.map(|items| (items, cursor)))
    });
    pages.map_ok(|items| stream::iter(items.into_iter().map(Ok))).try_flatten().boxed()
}

struct Cursor<'e> {
    engine: &'e RedisEngine,
    scan: Scan,
    /// `None` = at the end.
    position: Option<u64>,
    /// Names told already, once a directory needs more than one page.
    told: HashSet<Bytes>,
}

impl<'e> Cursor<'e> {
    fn new(engine: &'e RedisEngine, scan: Scan) -> Self {
        Self { engine, scan, position: Some(0), told: HashSet::new() }
    }

    async fn page(&mut self) -> Result<Option<Vec<Item>>> {
        let Some(position) = self.position else { return Ok(None) };
        let reply = self.engine.bulk.send(&self.command(position)).await?;
        let (next, elements) = page_of(&mut Replies::new(&self.engine.endpoint, vec![reply]))?;
        self.position = (next != 0).then_some(next);
        let is_only_page = position == 0 && next == 0;
        self.items(elements, is_only_page).await.map(Some)
    }

    fn command(&self, position: u64) -> Cmd {
        let in_key = |name: &str, key: String| {
            let mut command = redis::cmd(name);
            command.arg(key).arg(position);
            command
        };
        let all_keys = |pattern: String| {
            let mut command = redis::cmd("SCAN");
            command.arg(position).arg("MATCH").arg(pattern);
            command
        };
        let mut command = match &self.scan {
            Scan::Entries { parent } => in_key("HSCAN", keys::directory(*parent)),
            Scan::Sessions => in_key("ZSCAN", keys::ALL_SESSIONS.to_owned()),
            Scan::Sustained { sid: Some(sid) } => in_key("SSCAN", keys::sustained(*sid)),
            Scan::Sustained { sid: None } => all_keys("session[0-9]*".to_owned()),
            Scan::DeletedFiles => in_key("ZSCAN", keys::DELETED_FILES.to_owned()),
            Scan::Chunks { ino: Some(ino) } => all_keys(format!("c{ino}_*")),
            Scan::Chunks { ino: None } => all_keys("c[0-9]*_[0-9]*".to_owned()),
            Scan::DelayedSlices => in_key("HSCAN", keys::DELAYED_SLICES.to_owned()),
            Scan::FreedSlices => in_key("HSCAN", keys::SLICE_REFS.to_owned()),
            Scan::Sides => in_key("HSCAN", keys::SIDES.to_owned()),
            Scan::Nodes => all_keys("i[0-9]*".to_owned()),
            other => return records::command(other, position).expect("every other scan is of records"),
        };
        command.arg("COUNT").arg(PAGE).to_owned()
    }

    async fn items(&mut self, elements: Vec<Value>, is_only_page: bool) -> Result<Vec<Item>> {
        match &self.scan {
            Scan::Entries { parent } => {
                let parent = *parent;
                let mut items = Vec::with_capacity(elements.len() / 2);
                for (name, record) in reply::pairs(elements)? {
                    let name = Bytes::from(name);
                    if is_only_page || self.told.insert(name.clone()) {
                        let name = Name::from_record(name);
                        items.push(match or_damage(gets::edge(parent, &name, &record))? {
                            Ok(edge) => Item::Entry { name, edge },
                            Err(damage) => Item::DamagedEntry { name, damage },
                        });
                    }
                }
                Ok(items)
            }
            Scan::Sessions => self.sessions(reply::pairs(elements)?).await,
            Scan::Sustained { sid: Some(sid) } => {
                let members = elements.into_iter().map(reply::some_bytes).collect::<Result<Vec<_>>>()?;
                members.iter().map(|member| whole(sustained(*sid, member))).collect()
            }
            Scan::Sustained { sid: None } => {
                let sids = parsed(elements, keys::parse_sustained)?;
                let fetch = |sid: &u64| redis::cmd("SMEMBERS").arg(keys::sustained(*sid)).to_owned();
                let mut items = Vec::new();
                for (sid, members) in sids.iter().zip(self.engine.fetch(&sids, fetch).await?) {
                    for member in reply::array(members)? {
                        items.push(whole(sustained(*sid, &reply::some_bytes(member)?))?);
                    }
                }
                Ok(items)
            }
            Scan::DeletedFiles => reply::pairs(elements)?
                .iter()
                .map(|(member, time)| whole(deleted_file(member, time)))
                .collect(),
            Scan::Chunks { .. } => {
                let chunks = parsed(elements, keys::parse_chunk)?;
                let fetch = |&(ino, indx): &(Ino, u32)| {
                    redis::cmd("LRANGE").arg(keys::chunk(ino, indx)).arg(0).arg(-1).to_owned()
                };
                let lists = self.engine.fetch(&chunks, fetch).await?;
                let item = |(&(ino, indx), list): (&(Ino, u32), Value)| {
                    let slices = gets::chunk(ino, indx, reply::array(list)?);
                    whole(slices.map(|slices| Item::Chunk { ino, indx, slices }))
                };
                chunks.iter().zip(lists).map(item).collect()
            }
            Scan::DelayedSlices => {
                reply::pairs(elements)?.iter().map(|(field, record)| whole(delayed(field, record))).collect()
            }
            Scan::Sides => reply::pairs(elements)?.into_iter().map(|pair| whole(side(pair))).collect(),
            Scan::FreedSlices => {
                let mut items = Vec::new();
                for (field, count) in reply::pairs(elements)? {
                    if count.starts_with(b"-") {
                        let freed =
                            keys::parse_slice_ref(&field).ok_or_else(|| odd(keys::SLICE_REFS, &field));
                        items.push(whole(freed.map(|(id, size)| Item::FreedSlice { id, size }))?);
                    }
                }
                Ok(items)
            }
            Scan::Nodes => {
                let inos = parsed(elements, keys::parse_node)?;
                let mut items = Vec::with_capacity(inos.len());
                for (ino, attr) in inos.iter().zip(self.engine.fetch_nodes(&self.engine.bulk, &inos).await?) {
                    match attr {
                        Ok(Some(attr)) => items.push(Item::Node { ino: *ino, attr }),
                        // Gone since the page of keys was read.
                        Ok(None) => {}
                        Err(damage) => items.push(Item::Damaged(damage)),
                    }
                }
                Ok(items)
            }
            other => self.engine.records(other, elements).await,
        }
    }

    async fn sessions(&self, rows: Vec<(Vec<u8>, Vec<u8>)>) -> Result<Vec<Item>> {
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let mut command = redis::cmd("HMGET");
        command.arg(keys::SESSION_INFOS);
        for (sid, _) in &rows {
            command.arg(sid);
        }
        let reply = self.engine.bulk.send(&command).await?;
        let infos = Replies::new(&self.engine.endpoint, vec![reply]).array()?;
        let mut items = Vec::with_capacity(rows.len());
        for ((sid, time), info) in rows.into_iter().zip(infos) {
            let info = reply::bytes(info)?.unwrap_or_default().into();
            items.push(whole(session(&sid, &time, info))?);
        }
        Ok(items)
    }
}

impl RedisEngine {
    /// One command for each of `subjects`, a bounded number in a flush.
    pub(super) async fn fetch<T>(&self, subjects: &[T], command: impl Fn(&T) -> Cmd) -> Result<Vec<Value>> {
        let mut values = Vec::with_capacity(subjects.len());
        for batch in subjects.chunks(FETCH) {
            let mut pipeline = Pipeline::with_capacity(batch.len());
            for subject in batch {
                pipeline.add_command(command(subject));
            }
            let mut replies = Replies::new(&self.endpoint, self.bulk.flush(&pipeline).await?);
            for _ in batch {
                values.push(replies.next()?);
            }
        }
        Ok(values)
    }
}

/// The cursor to go on from, 0 at the end, and the elements.
pub(super) fn page_of(replies: &mut Replies<'_>) -> Result<(u64, Vec<Value>)> {
    let mut parts = replies.array()?.into_iter();
    let (Some(next), Some(elements)) = (parts.next(), parts.next()) else {
        return Err(corrupt("reply", "a scan without a cursor"));
    };
    let next = keys::number(&reply::some_bytes(next)?).ok_or_else(|| corrupt("reply", "no cursor"))?;
    Ok((next, reply::array(elements)?))
}

/// The keys of a page that are of the kind looked for; the pattern lets more through.
pub(super) fn parsed<T>(elements: Vec<Value>, parse: impl Fn(&[u8]) -> Option<T>) -> Result<Vec<T>> {
    let mut subjects = Vec::new();
    for key in elements {
        subjects.extend(parse(&reply::some_bytes(key)?));
    }
    Ok(subjects)
}

/// A record that can't be decoded stands for itself in a scan.
pub(super) fn whole(item: Result<Item>) -> Result<Item> {
    Ok(or_damage(item)?.unwrap_or_else(Item::Damaged))
}

fn session(sid: &[u8], time: &[u8], info: Bytes) -> Result<Item> {
    let sid = keys::number(sid).ok_or_else(|| odd(keys::ALL_SESSIONS, sid))?;
    Ok(Item::Session(SessionRow { sid, expires_at: reply::score(time, keys::ALL_SESSIONS)?, info }))
}

fn deleted_file(member: &[u8], time: &[u8]) -> Result<Item> {
    let (ino, length) = keys::parse_deleted_file(member).ok_or_else(|| odd(keys::DELETED_FILES, member))?;
    Ok(Item::DeletedFile { ino, length, deleted_at: reply::score(time, keys::DELETED_FILES)? })
}

fn delayed(field: &[u8], record: &[u8]) -> Result<Item> {
    let (id, deleted_at) = keys::parse_delayed(field).ok_or_else(|| odd(keys::DELAYED_SLICES, field))?;
    let slices = packed::decode_slice_pairs(record).map_err(|cause| cause.of(keys::DELAYED_SLICES))?;
    Ok(Item::DelayedSlices { id, deleted_at, slices })
}

fn side((name, value): (Vec<u8>, Vec<u8>)) -> Result<Item> {
    let name = String::from_utf8(name).map_err(|cause| odd(keys::SIDES, cause.as_bytes()))?;
    Ok(Item::Side { name, value: value.into() })
}

fn sustained(sid: u64, member: &[u8]) -> Result<Item> {
    let ino = keys::number(member).map(Ino).ok_or_else(|| odd(&keys::sustained(sid), member))?;
    Ok(Item::Sustained { sid, ino })
}

pub(super) fn odd(record: &str, content: &[u8]) -> Error {
    corrupt(record, &format!("an element \"{}\"", content.escape_ascii()))
}

pub(super) fn corrupt(record: &str, cause: &str) -> Error {
    Error::Corrupt { record: record.to_owned(), cause: cause.to_owned() }
}
