//! Metadata on one Redis server, in the peer's records and with the peer's commands (format 3).
//!
//! Reads and commands outside transactions share connections ([`mux`]); an attempt has a connection for itself
//! ([`slots`]), because what is watched belongs to the connection. No state of the volume is kept here.

mod attempt;
mod changes;
mod commit;
mod connect;
mod gets;
mod keys;
mod load;
mod log;
mod mux;
mod records;
mod reply;
mod scan;
mod sentinel;
mod slots;
mod volume;

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::future::BoxFuture;
use futures::stream::BoxStream;
use redis::{ServerErrorKind, Value};
use tokio::runtime::Handle;

use crate::engines::inside::inside;
use crate::error::{Result, or_damage};
use crate::port::{
    Attempt, Counters, Engine, EngineLimits, Followed, Get, Got, Hold, Item, Job, LogLine, LogPage,
    MaybeNode, NewVolume, Scan, Sequence,
};
use crate::types::{Attr, Edge, Ino, Name, Usage};
use crate::url::RedisUrl;
use attempt::RedisAttempt;
use connect::{Endpoint, server_error};
use gets::Questions;
use mux::Mux;
use reply::Replies;
use slots::Slots;

/// Nodes asked for in one MGET, as the peer does.
const NODES_PER_READ: usize = 4096;
/// Redis serves nobody else while it runs a transaction.
const CHANGES_MAX: usize = 20_000;
/// A list of a million records still takes only 24 MB; compaction comes long before.
const SLICES_MAX: u32 = 1 << 20;

/// Entry and node in one trip. Lua's numbers are floats: a node whose number does not fit is left to the
/// caller, which sees a reply of one element. KEYS: the directory; ARGV: the name.
const LOOKUP: &str = "local e = redis.call('HGET', KEYS[1], ARGV[1]) \
    if not e then return false end \
    if #e ~= 9 then return {e} end \
    local n = 0 for i = 2, 9 do n = n * 256 + string.byte(e, i) end \
    if n > 4503599627370495 then return {e} end \
    return {e, redis.call('GET', 'i' .. string.format('%.0f', n))}";

/// A Redis server that holds one volume, or none yet.
pub struct RedisEngine {
    endpoint: Arc<Endpoint>,
    /// The runtime it was opened in.
    home: Handle,
    /// Look-ups and single commands.
    mux: Mux,
    /// Long reads.
    bulk: Mux,
    slots: Slots,
    lookup_digest: String,
    /// Whether the server lets us run scripts; found out on the way.
    has_scripts: AtomicBool,
}

impl RedisEngine {
    /// Connects and looks at the server: a standalone one that lets us run transactions.
    ///
    /// # Errors
    /// Sentences that name the server, the cause and the next step. `Unavailable` where it may come back.
    pub async fn open(url: &RedisUrl) -> Result<Self> {
        let endpoint = Arc::new(Endpoint::new(url)?);
        let engine = Self {
            mux: Mux::new(endpoint.clone()),
            bulk: Mux::new(endpoint.clone()),
            slots: Slots::new(endpoint.clone()),
            endpoint,
            home: Handle::current(),
            lookup_digest: redis::Script::new(LOOKUP).get_hash().to_owned(),
            has_scripts: AtomicBool::new(true),
        };
        engine.inspect_server().await?;
        Ok(engine)
    }

    fn has_scripts(&self) -> bool {
        self.has_scripts.load(Ordering::Relaxed)
    }

    /// Runs the look-up script. `None`: scripts can't be used here.
    async fn run_lookup(&self, parent: Ino, name: &Name) -> Result<Option<Value>> {
        let key = keys::directory(parent);
        let command = |name_of_command: &str, script: &str| {
            let mut command = redis::cmd(name_of_command);
            command.arg(script).arg(1).arg(&key).arg(name.as_bytes());
            command
        };
        let mut reply = self.mux.send(&command("EVALSHA", &self.lookup_digest)).await?;
        if server_error(&reply).is_some_and(|error| error.kind() == Some(ServerErrorKind::NoScript)) {
            reply = self.mux.send(&command("EVAL", LOOKUP)).await?;
        }
        let Some(error) = server_error(&reply) else { return Ok(Some(reply)) };
        let detail = error.details().unwrap_or_default();
        if error.code() == "NOPERM" || detail.starts_with("unknown command") {
            tracing::info!(%error, "Redis runs no scripts for us; look-ups take two trips");
            self.has_scripts.store(false, Ordering::Relaxed);
            return Ok(None);
        }
        Err(self.endpoint.refused(error))
    }

    async fn find(&self, parent: Ino, name: &Name) -> Result<Option<(Edge, Option<Attr>)>> {
        let reply = if self.has_scripts() { self.run_lookup(parent, name).await? } else { None };
        let edge = match reply {
            Some(Value::Nil) => return Ok(None),
            Some(reply) => {
                let mut parts = reply::array(reply)?.into_iter();
                let record = parts.next().map(reply::some_bytes).transpose()?.unwrap_or_default();
                let edge = gets::edge(parent, name, &record)?;
                if let Some(node) = parts.next() {
                    let attr = reply::bytes(node)?.map(|record| gets::node(edge.ino, &record)).transpose()?;
                    return Ok(Some((edge, attr)));
                }
                edge
            }
            None => {
                let get = Get::Edge { parent, name: name.clone(), hold: Hold::Peek };
                match self.answer(&[get]).await?.pop() {
                    Some(Got::Edge(Some(edge))) => edge,
                    _ => return Ok(None),
                }
            }
        };
        let attr = match self.answer(&[Get::Node { ino: edge.ino, hold: Hold::Peek }]).await?.pop() {
            Some(Got::Node(attr)) => attr,
            _ => None,
        };
        Ok(Some((edge, attr)))
    }

    async fn answer(&self, gets: &[Get]) -> Result<Vec<Got>> {
        let questions = Questions::new(gets);
        let values = match &questions.commands[..] {
            [] => Vec::new(),
            [command] => vec![self.mux.send(command).await?],
            _ => self.mux.flush(&questions.pipeline()).await?,
        };
        let mut answers = questions.answers(&mut Replies::new(&self.endpoint, values))?;
        self.fill_long_spans(gets, &mut answers).await?;
        Ok(answers)
    }

    async fn fetch_nodes(&self, mux: &Mux, inos: &[Ino]) -> Result<Vec<MaybeNode>> {
        let mut attrs = Vec::with_capacity(inos.len());
        for batch in inos.chunks(NODES_PER_READ) {
            let mut command = redis::cmd("MGET");
            for ino in batch {
                command.arg(keys::node(*ino));
            }
            let reply = mux.send(&command).await?;
            let records = Replies::new(&self.endpoint, vec![reply]).array()?;
            for (ino, record) in batch.iter().zip(records) {
                let attr = reply::bytes(record)?.map(|record| gets::node(*ino, &record)).transpose();
                attrs.push(or_damage(attr)?);
            }
        }
        Ok(attrs)
    }
}

impl Engine for RedisEngine {
    fn begin(&self, _attempt: u32) -> BoxFuture<'_, Result<Box<dyn Attempt + '_>>> {
        inside(&self.home, async move {
            let lease = self.slots.lease().await?;
            Ok(Box::new(RedisAttempt::new(self, lease)) as Box<dyn Attempt + '_>)
        })
    }

    fn read<'a>(&'a self, gets: &'a [Get]) -> BoxFuture<'a, Result<Vec<Got>>> {
        inside(&self.home, self.answer(gets))
    }

    fn lookup<'a>(
        &'a self,
        parent: Ino,
        name: &'a Name,
    ) -> BoxFuture<'a, Result<Option<(Edge, Option<Attr>)>>> {
        inside(&self.home, self.find(parent, name))
    }

    fn nodes<'a>(&'a self, inos: &'a [Ino]) -> BoxFuture<'a, Result<Vec<MaybeNode>>> {
        inside(&self.home, self.fetch_nodes(&self.mux, inos))
    }

    fn scan(&self, scan: Scan) -> BoxStream<'_, Result<Item>> {
        scan::items(self, scan)
    }

    fn allocate<'a>(
        &'a self,
        sequence: Sequence,
        count: u64,
        line: Option<&'a LogLine>,
    ) -> BoxFuture<'a, Result<Range<u64>>> {
        inside(&self.home, self.take_numbers(sequence, count, line))
    }

    fn claim<'a>(
        &'a self,
        job: Job,
        now: i64,
        gap_sec: i64,
        line: Option<&'a LogLine>,
    ) -> BoxFuture<'a, Result<bool>> {
        inside(&self.home, self.set_if_old(job, now, gap_sec, line))
    }

    fn read_log(&self, after: u64, max: usize) -> BoxFuture<'_, Result<LogPage>> {
        inside(&self.home, self.log_page(after, max))
    }

    fn follow<'a>(
        &'a self,
        after: u64,
        max: usize,
        questions: crate::port::Questions<'a>,
    ) -> BoxFuture<'a, Result<Followed>> {
        inside(&self.home, self.follow_log(after, max, questions))
    }

    fn trim_log(&self, upto: u64) -> BoxFuture<'_, Result<()>> {
        inside(&self.home, self.cut_log(upto))
    }

    fn setting(&self) -> BoxFuture<'_, Result<Option<String>>> {
        inside(&self.home, self.read_setting())
    }

    fn create_volume<'a>(&'a self, volume: &'a NewVolume) -> BoxFuture<'a, Result<()>> {
        inside(&self.home, self.write_volume(volume))
    }

    fn destroy_volume(&self) -> BoxFuture<'_, Result<()>> {
        inside(&self.home, self.empty_database())
    }

    fn update_setting<'a>(
        &'a self,
        setting: &'a str,
        trash: Option<Attr>,
        reset_dir_stats: bool,
    ) -> BoxFuture<'a, Result<()>> {
        inside(&self.home, self.write_setting(setting, trash, reset_dir_stats))
    }

    fn usage(&self) -> BoxFuture<'_, Result<Usage>> {
        inside(&self.home, self.read_usage())
    }

    fn flush(&self) -> BoxFuture<'_, Result<()>> {
        // Counters move in the transactions.
        Box::pin(async { Ok(()) })
    }

    fn foreign_records(&self) -> BoxFuture<'_, Result<Vec<&'static str>>> {
        inside(&self.home, self.find_foreign_records())
    }

    fn counters(&self) -> BoxFuture<'_, Result<Counters>> {
        inside(&self.home, self.read_counters())
    }

    fn start_load(&self) -> BoxFuture<'_, Result<()>> {
        inside(&self.home, self.check_empty())
    }

    fn load<'a>(&'a self, rows: &'a [Item]) -> BoxFuture<'a, Result<()>> {
        inside(&self.home, self.load_rows(rows))
    }

    fn finish_load<'a>(
        &'a self,
        setting: &'a str,
        counters: Counters,
        last_acl: u32,
    ) -> BoxFuture<'a, Result<()>> {
        inside(&self.home, self.write_loaded(setting, counters, last_acl))
    }

    fn limits(&self) -> EngineLimits {
        EngineLimits { changes_max: CHANGES_MAX, name: "redis", slices_max: SLICES_MAX, has_change_log: true }
    }
}

#[cfg(test)]
mod tests;
/// A server of its own for any test of this room.
#[cfg(test)]
pub(crate) use tests::server;
