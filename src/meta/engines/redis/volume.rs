//! The volume as a whole: the server's fitness, the setting, counters, jobs, long spans of chunks.

use std::ops::Range;

use redis::{Cmd, Pipeline, Value};

use super::RedisEngine;
use super::changes::log_commands;
use super::commit;
use super::connect::server_error;
use super::gets;
use super::keys;
use super::reply::{self, Replies};
use super::slots::{Flushed, Lease};
use crate::engines::packed;
use crate::error::{Error, Result};
use crate::port::{Get, Got, Job, LogLine, NewVolume, Sequence};
use crate::types::{Attr, Ino, Usage};

/// Chunks asked about in one flush.
const PROBES: usize = 10_000;

impl RedisEngine {
    /// # Errors
    /// A cluster, a sentinel in place of a server, a server that does not let us run transactions, or none.
    pub(super) async fn inspect_server(&self) -> Result<()> {
        let info = self.mux.send(&redis::cmd("INFO")).await?;
        match server_error(&info) {
            None => self.judge(&String::from_utf8_lossy(&reply::bytes(info)?.unwrap_or_default())).await?,
            // Some hosted servers hide it.
            Some(error) if error.code() == "NOPERM" || error.code() == "ERR" => {
                tracing::warn!(%error, "Redis does not tell about itself");
                self.forbid_eviction("unknown").await?;
            }
            Some(error) => return Err(self.endpoint.refused(error)),
        }
        // Without MULTI the commands of a transaction would be carried out one by one.
        let mut probe = Pipeline::with_capacity(3);
        probe.cmd("MULTI");
        probe.cmd("GET").arg(keys::SETTING);
        probe.cmd("EXEC");
        let mut replies = Replies::new(&self.endpoint, self.mux.flush(&probe).await?);
        for _ in 0..3 {
            replies.next()?;
        }
        Ok(())
    }

    async fn judge(&self, info: &str) -> Result<()> {
        let field = |name: &str| {
            let mut lines = info.lines();
            lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        };
        let name = self.endpoint.name();
        match field("redis_mode") {
            Some("cluster") => return Err(self.endpoint.is_cluster()),
            Some("sentinel") => {
                return Err(Error::Engine(format!(
                    "Redis at {name} is a sentinel: write redis://MASTER,{name} with the name that it gives the master"
                )));
            }
            _ => {}
        }
        if field("role") == Some("slave") {
            tracing::warn!(
                "Redis at {name} is a replica: nothing can be written until it is made the master"
            );
        }
        if field("aof_enabled") == Some("0") {
            tracing::warn!(
                "Redis at {name} keeps no append-only file: changes since its last snapshot are lost when it dies; \
                 set `appendonly yes`"
            );
        }
        match field("maxmemory_policy") {
            Some("noeviction") => Ok(()),
            policy => self.forbid_eviction(policy.unwrap_or("unknown")).await,
        }
    }

    /// Metadata must never be evicted: the server is asked to, as the peer does at each start.
    async fn forbid_eviction(&self, policy: &str) -> Result<()> {
        let name = self.endpoint.name();
        let mut command = redis::cmd("CONFIG");
        command.arg("SET").arg("maxmemory-policy").arg("noeviction");
        match self.mux.send(&command).await? {
            Value::Okay => tracing::info!("Redis at {name}: maxmemory-policy {policy} is now noeviction"),
            _ => tracing::warn!(
                "Redis at {name} may evict metadata (maxmemory-policy {policy}) and does not let us change it: \
                 set `maxmemory-policy noeviction` on the server"
            ),
        }
        Ok(())
    }

    pub(super) async fn read_setting(&self) -> Result<Option<String>> {
        let reply = self.mux.send(redis::cmd("GET").arg(keys::SETTING)).await?;
        let Some(setting) = Replies::new(&self.endpoint, vec![reply]).bytes()? else { return Ok(None) };
        let text = String::from_utf8(setting);
        text.map(Some)
            .map_err(|_| Error::Corrupt { record: keys::SETTING.to_owned(), cause: "not UTF-8".to_owned() })
    }

    pub(super) async fn write_volume(&self, volume: &NewVolume) -> Result<()> {
        let mut lease = self.slots.lease().await?;
        let held = watch_and_get(&mut lease, keys::SETTING).await?;
        if held.is_some_and(|held| held != volume.setting.as_bytes()) {
            return Err(Error::Engine(format!("Redis at {} holds a volume already", self.endpoint.name())));
        }
        let mut commands = setting_commands(&volume.setting, volume.trash.as_ref());
        commands.push(set(keys::node(Ino::ROOT), packed::encode_attr(&volume.root)));
        commit::commit(&mut lease, commands).await.map(drop)
    }

    /// A volume has a database of its own.
    pub(super) async fn empty_database(&self) -> Result<()> {
        let reply = self.mux.send(&redis::cmd("FLUSHDB")).await?;
        Replies::new(&self.endpoint, vec![reply]).next().map(drop)
    }

    pub(super) async fn write_setting(
        &self,
        setting: &str,
        trash: Option<Attr>,
        reset_dir_stats: bool,
    ) -> Result<()> {
        let mut commands = setting_commands(setting, trash.as_ref());
        if reset_dir_stats {
            // Not the lengths: the peer leaves them, too.
            let mut command = redis::cmd("DEL");
            command.arg(keys::DIR_STATS[2]).arg(keys::DIR_STATS[1]);
            commands.push(command);
        }
        let mut lease = self.slots.lease().await?;
        commit::commit(&mut lease, commands).await.map(drop)
    }

    pub(super) async fn read_usage(&self) -> Result<Usage> {
        let reply = self.mux.send(redis::cmd("MGET").arg(keys::USED_SPACE).arg(keys::TOTAL_INODES)).await?;
        let mut counters = Replies::new(&self.endpoint, vec![reply]).array()?.into_iter();
        let mut next = |name: &str| -> Result<i64> {
            let digits = counters.next().map(reply::bytes).transpose()?.flatten();
            digits.map_or(Ok(0), |digits| reply::decimal(&digits, name))
        };
        Ok(Usage { space: next(keys::USED_SPACE)?, inodes: next(keys::TOTAL_INODES)? })
    }

    /// The counters hold the last number handed out (format 2.2, trap 2).
    pub(super) async fn take_numbers(
        &self,
        sequence: Sequence,
        count: u64,
        line: Option<&LogLine>,
    ) -> Result<Range<u64>> {
        let (key, first_usable) = match sequence {
            // 0 is nothing and 1 the root.
            Sequence::Inode => ("nextinode", 2),
            Sequence::Slice => ("nextchunk", 1),
            Sequence::Session => ("nextsession", 1),
            Sequence::TrashDir => ("nextTrash", 1),
        };
        let count = count.max(1);
        loop {
            // Sent twice it wastes numbers, nothing else.
            let mut command = redis::cmd("INCRBY");
            command.arg(key).arg(count);
            let last = match line {
                None => Replies::new(&self.endpoint, vec![self.mux.send(&command).await?]).int()?,
                Some(line) => self.increase_and_log(command, line).await?,
            };
            let Ok(last) = u64::try_from(last) else {
                return Err(Error::Corrupt { record: key.to_owned(), cause: format!("counter at {last}") });
            };
            let first = (last + 1).saturating_sub(count).max(first_usable);
            if first <= last {
                return Ok(first..last + 1);
            }
        }
    }

    pub(super) async fn set_if_old(
        &self,
        job: Job,
        now: i64,
        gap_sec: i64,
        line: Option<&LogLine>,
    ) -> Result<bool> {
        let key = job.counter();
        let mut lease = self.slots.lease().await?;
        let held = watch_and_get(&mut lease, key).await?;
        let last = held.map(|digits| reply::decimal(&digits, key)).transpose()?.unwrap_or(0);
        if last > now - gap_sec {
            return Ok(false);
        }
        let mut commands = vec![set(key.to_owned(), now.to_string().into_bytes())];
        commands.extend(log_commands(&line.map(|line| line.text(&[])).into_iter().collect::<Vec<_>>()));
        match commit::commit(&mut lease, commands).await {
            Ok(_) => Ok(true),
            Err(Error::Conflict) => Ok(false),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn find_foreign_records(&self) -> Result<Vec<&'static str>> {
        const FOREIGN: [(&str, &str); 1] = [("acl", "ACL")];
        let mut pipeline = Pipeline::with_capacity(FOREIGN.len());
        for (key, _) in FOREIGN {
            pipeline.cmd("EXISTS").arg(key);
        }
        let mut replies = Replies::new(&self.endpoint, self.mux.flush(&pipeline).await?);
        let mut present = Vec::new();
        for (_, name) in FOREIGN {
            if replies.int()? > 0 {
                present.push(name);
            }
        }
        Ok(present)
    }

    /// Answers [`Get::Chunks`] over spans that are too long to be answered whole: the few chunks of a sparse
    /// file among millions of indexes. The node is held by then, so that no chunk comes into being unseen.
    pub(super) async fn fill_long_spans(&self, gets: &[Get], answers: &mut [Got]) -> Result<()> {
        for (get, answer) in gets.iter().zip(answers) {
            if let (&Get::Chunks { ino, first, last }, Got::Indexes(indexes)) = (get, answer)
                && gets::is_long_span(first, last)
            {
                *indexes = self.existing_chunks(ino, first, last).await?;
            }
        }
        Ok(())
    }

    /// Asks about each index, or walks the whole key space when that is smaller.
    async fn existing_chunks(&self, ino: Ino, first: u32, last: u32) -> Result<Vec<u32>> {
        let reply = self.bulk.send(&redis::cmd("DBSIZE")).await?;
        let keys_total = Replies::new(&self.endpoint, vec![reply]).int()?;
        let mut indexes = Vec::new();
        if i64::from(last - first) > keys_total {
            let mut position = 0_u64;
            loop {
                let mut command = redis::cmd("SCAN");
                command.arg(position).arg("MATCH").arg(format!("c{ino}_*")).arg("COUNT").arg(PROBES);
                let reply = self.bulk.send(&command).await?;
                let mut parts = Replies::new(&self.endpoint, vec![reply]).array()?.into_iter();
                let next = parts.next().map(reply::some_bytes).transpose()?.unwrap_or_default();
                for key in parts.next().map(reply::array).transpose()?.unwrap_or_default() {
                    let chunk = keys::parse_chunk(&reply::some_bytes(key)?);
                    indexes.extend(chunk.filter(|(owner, _)| *owner == ino).map(|(_, indx)| indx));
                }
                position = keys::number(&next).unwrap_or(0);
                if position == 0 {
                    break;
                }
            }
            indexes.retain(|indx| (first..=last).contains(indx));
            indexes.sort_unstable();
            indexes.dedup();
            return Ok(indexes);
        }
        let span: Vec<u32> = (first..=last).collect();
        for batch in span.chunks(PROBES) {
            let mut pipeline = Pipeline::with_capacity(batch.len());
            for indx in batch {
                pipeline.cmd("EXISTS").arg(keys::chunk(ino, *indx));
            }
            let mut replies = Replies::new(&self.endpoint, self.bulk.flush(&pipeline).await?);
            for indx in batch {
                if replies.int()? > 0 {
                    indexes.push(*indx);
                }
            }
        }
        Ok(indexes)
    }
}

fn set(key: String, value: Vec<u8>) -> Cmd {
    let mut command = redis::cmd("SET");
    command.arg(key).arg(value);
    command
}

/// The trash root first and only where it is missing, as the peer writes them.
fn setting_commands(setting: &str, trash: Option<&Attr>) -> Vec<Cmd> {
    let mut commands = Vec::with_capacity(3);
    if let Some(trash) = trash {
        let mut command = redis::cmd("SETNX");
        command.arg(keys::node(Ino::TRASH)).arg(packed::encode_attr(trash));
        commands.push(command);
    }
    commands.push(set(keys::SETTING.to_owned(), setting.as_bytes().to_vec()));
    commands
}

/// Reads a string that the following commit depends on.
async fn watch_and_get(lease: &mut Lease<'_>, key: &str) -> Result<Option<Vec<u8>>> {
    loop {
        let is_fresh = lease.connect().await?;
        let mut pipeline = Pipeline::with_capacity(3);
        pipeline.cmd("UNWATCH");
        pipeline.cmd("WATCH").arg(lease.marker()).arg(key);
        pipeline.cmd("GET").arg(key);
        match lease.flush(&pipeline).await {
            Flushed::Lost(cause) if is_fresh || cause.is_timeout() => {
                return Err(lease.endpoint().lost(&cause));
            }
            Flushed::Lost(_) => {}
            Flushed::Replies(replies) => {
                let mut replies = Replies::new(lease.endpoint(), replies);
                replies.next()?;
                replies.next()?;
                lease.confirm(true, true);
                return replies.bytes();
            }
        }
    }
}
