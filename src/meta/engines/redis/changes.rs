//! Changes of the port as the commands between MULTI and EXEC, exactly those of format 3.6 and 3.8.

use std::collections::HashSet;

use redis::{Cmd, Pipeline, Value};

use super::RedisEngine;
use super::keys;
use super::reply::{self, Replies};
use crate::engines::packed;
use crate::error::Result;
use crate::lock::{Holder, LockKind};
use crate::port::{Change, Mirrored, QuotaKind, Receipt};
use crate::types::{DirStat, Ino, SliceId};

/// Moves the statistics of directories that have some: KEYS are the three hashes, ARGV is
/// `ino, length, space, inodes` for each directory.
const ADD_DIR_STATS: &str = "for i = 1, #ARGV, 4 do \
    if redis.call('HEXISTS', KEYS[2], ARGV[i]) == 1 then \
    for j = 1, 3 do redis.call('HINCRBY', KEYS[j], ARGV[i], ARGV[i + j]) end end end return 0";

/// What the receipt wants to know of a command's reply.
enum Telling {
    /// RPUSH: the length of the list.
    Appended { key: String },
    /// HINCRBY of a reference: below zero = free.
    Released { id: SliceId, size: u32 },
}

/// The commands of a commit.
#[derive(Default)]
pub(super) struct Writes {
    pub(super) commands: Vec<Cmd>,
    tellings: Vec<(usize, Telling)>,
    dir_stats: Vec<(Ino, DirStat)>,
    /// Of the change log, written last.
    lines: Vec<String>,
}

/// What has to be read before a batch can be written. Empty for everything but clean-up work.
#[derive(Default)]
pub(super) struct Before {
    /// Lock hashes of stale sessions with the fields to remove.
    locks: Vec<(u64, Vec<u8>, Vec<Vec<u8>>)>,
    /// Directories that have statistics; `None` = let a script find out.
    with_stats: Option<HashSet<Ino>>,
}

impl Before {
    /// No flush at all unless `changes` needs one.
    pub(super) async fn read(engine: &RedisEngine, changes: &[Change]) -> Result<Self> {
        let mut before = Self::default();
        for change in changes {
            if let Change::DeleteLocks { sid } = change {
                before.read_locks(engine, *sid).await?;
            }
        }
        if !engine.has_scripts() {
            before.read_dir_stats(engine, changes).await?;
        }
        Ok(before)
    }

    /// The session is stale: nobody but cleaners touches its locks any more.
    async fn read_locks(&mut self, engine: &RedisEngine, sid: u64) -> Result<()> {
        let members = engine.mux.send(redis::cmd("SMEMBERS").arg(keys::locked(sid))).await?;
        let lock_keys: Vec<Vec<u8>> =
            reply::array(members)?.into_iter().map(reply::some_bytes).collect::<Result<_>>()?;
        if lock_keys.is_empty() {
            return Ok(());
        }
        let mut pipeline = Pipeline::with_capacity(lock_keys.len());
        for key in &lock_keys {
            pipeline.cmd("HKEYS").arg(key);
        }
        let mut replies = Replies::new(&engine.endpoint, engine.mux.flush(&pipeline).await?);
        let prefix = format!("{sid}_");
        for key in lock_keys {
            let mut fields: Vec<Vec<u8>> =
                replies.array()?.into_iter().map(reply::some_bytes).collect::<Result<_>>()?;
            fields.retain(|field| field.starts_with(prefix.as_bytes()));
            self.locks.push((sid, key, fields));
        }
        Ok(())
    }

    async fn read_dir_stats(&mut self, engine: &RedisEngine, changes: &[Change]) -> Result<()> {
        let mut inos = Vec::new();
        let mut pipeline = Pipeline::new();
        for change in changes {
            if let Change::AddDirStat { ino, .. } = change {
                inos.push(*ino);
                pipeline.cmd("HEXISTS").arg(keys::DIR_STATS[1]).arg(ino.0);
            }
        }
        let mut present = HashSet::new();
        if !inos.is_empty() {
            let mut replies = Replies::new(&engine.endpoint, engine.mux.flush(&pipeline).await?);
            for ino in inos {
                if replies.int()? == 1 {
                    present.insert(ino);
                }
            }
        }
        self.with_stats = Some(present);
        Ok(())
    }
}

impl Writes {
    pub(super) fn new(changes: &[Change], before: &Before) -> Self {
        let mut writes = Self::default();
        for change in changes {
            writes.write(change, before);
        }
        writes.write_dir_stats(before);
        let lines = std::mem::take(&mut writes.lines);
        writes.commands.extend(log_commands(&lines));
        writes
    }

    fn command(&mut self, name: &str) -> &mut Cmd {
        self.commands.push(redis::cmd(name));
        self.commands.last_mut().expect("just pushed")
    }

    /// The last command's reply is wanted.
    fn tell(&mut self, telling: Telling) {
        self.tellings.push((self.commands.len() - 1, telling));
    }

    #[expect(clippy::too_many_lines, reason = "a table: one arm per change, no wildcard")]
    fn write(&mut self, change: &Change, before: &Before) {
        match change {
            Change::InsertNode { ino, attr } | Change::UpdateNode { ino, now: attr, .. } => {
                self.command("SET").arg(keys::node(*ino)).arg(packed::encode_attr(attr));
            }
            Change::DeleteNode { ino } => self.delete(keys::node(*ino)),
            Change::InsertEdge { parent, name, edge }
            | Change::UpdateEdge { parent, name, now: edge, .. } => {
                let record = packed::encode_edge(*edge);
                self.command("HSET").arg(keys::directory(*parent)).arg(name.as_bytes()).arg(&record[..]);
            }
            Change::DeleteEdge { parent, name, .. } => {
                self.command("HDEL").arg(keys::directory(*parent)).arg(name.as_bytes());
            }
            Change::AddParentRef { ino, parent, delta } => {
                self.command("HINCRBY").arg(keys::parents(*ino)).arg(parent.0).arg(*delta);
            }
            Change::DeleteParentRefs { ino } => self.delete(keys::parents(*ino)),
            Change::InsertSymlink { ino, target } => {
                self.command("SET").arg(keys::symlink(*ino)).arg(&target[..]);
            }
            Change::DeleteSymlink { ino } => self.delete(keys::symlink(*ino)),
            Change::SetXattr { ino, name, value } => {
                self.command("HSET").arg(keys::xattrs(*ino)).arg(&name[..]).arg(&value[..]);
            }
            Change::DeleteXattr { ino, name } => {
                self.command("HDEL").arg(keys::xattrs(*ino)).arg(&name[..]);
            }
            Change::DeleteXattrs { ino } => self.delete(keys::xattrs(*ino)),
            Change::AppendSlice { ino, indx, slice, only_existing } => {
                let key = keys::chunk(*ino, *indx);
                let name = if *only_existing { "RPUSHX" } else { "RPUSH" };
                self.command(name).arg(&key).arg(&packed::encode_slice(*slice)[..]);
                self.tell(Telling::Appended { key });
            }
            Change::DeleteChunk { ino, indx } => self.delete(keys::chunk(*ino, *indx)),
            // What the list holds was watched since it was read; the same commands as the peer's.
            Change::ReplaceSlices { ino, indx, was, now } => {
                let key = keys::chunk(*ino, *indx);
                self.command("LTRIM").arg(&key).arg(was.len()).arg(-1);
                let command = self.command("LPUSH").arg(&key);
                for slice in now.iter().rev() {
                    command.arg(&packed::encode_slice(*slice)[..]);
                }
            }
            Change::InsertDelayedSlices { id, deleted_at, slices } => {
                let field = keys::delayed(*id, *deleted_at);
                let record = packed::encode_slice_pairs(slices);
                self.command("HSET").arg(keys::DELAYED_SLICES).arg(field).arg(record);
            }
            Change::DeleteDelayedSlices { id, deleted_at } => {
                self.command("HDEL").arg(keys::DELAYED_SLICES).arg(keys::delayed(*id, *deleted_at));
            }
            // Absent = one reference.
            Change::TrackSlice { .. } => {}
            Change::ShareSlice { id, size } => {
                self.command("HINCRBY").arg(keys::SLICE_REFS).arg(keys::slice_ref(*id, *size)).arg(1);
            }
            Change::ReleaseSlice { id, size } => {
                self.command("HINCRBY").arg(keys::SLICE_REFS).arg(keys::slice_ref(*id, *size)).arg(-1);
                self.tell(Telling::Released { id: *id, size: *size });
            }
            Change::ForgetSlice { id, size } => {
                self.command("HDEL").arg(keys::SLICE_REFS).arg(keys::slice_ref(*id, *size));
            }
            Change::AddUsage { space, inodes } => {
                for (key, amount) in [(keys::USED_SPACE, *space), (keys::TOTAL_INODES, *inodes)] {
                    if amount != 0 {
                        self.command("INCRBY").arg(key).arg(amount);
                    }
                }
            }
            Change::InsertDirStat { ino } => self.set_dir_stat(*ino, DirStat::default()),
            Change::SetDirStat { ino, stat } => self.set_dir_stat(*ino, *stat),
            Change::AddDirStat { ino, delta } => self.dir_stats.push((*ino, *delta)),
            Change::DeleteDirRecords { ino } => {
                for hash in keys::DIR_STATS.into_iter().chain(keys::DIR_QUOTAS) {
                    self.command("HDEL").arg(hash).arg(ino.0);
                }
            }
            Change::DeleteDirQuota { ino } => {
                for hash in keys::DIR_QUOTAS {
                    self.command("HDEL").arg(hash).arg(ino.0);
                }
            }
            Change::PutQuota { kind, key, space_max, inodes_max } => {
                let [limits, space, inodes] = keys::quotas(*kind);
                let record = quota_limits(*space_max, *inodes_max);
                self.command("HSET").arg(limits).arg(*key).arg(record);
                for used in [space, inodes] {
                    self.command("HSETNX").arg(used).arg(*key).arg(0);
                }
            }
            Change::SetQuotaUsage { kind, key, used } => {
                let [_, space, inodes] = keys::quotas(*kind);
                self.command("HSET").arg(space).arg(*key).arg(used.space);
                self.command("HSET").arg(inodes).arg(*key).arg(used.inodes);
            }
            Change::AddQuotaUsage { kind, key, delta } => {
                let [limits, space, inodes] = keys::quotas(*kind);
                if *kind != QuotaKind::Directory {
                    self.command("HSETNX").arg(limits).arg(*key).arg(quota_limits(-1, -1));
                }
                self.command("HINCRBY").arg(space).arg(*key).arg(delta.space);
                self.command("HINCRBY").arg(inodes).arg(*key).arg(delta.inodes);
            }
            Change::Mirror(row) => self.write_mirrored(row),
            // The list's length comes with the reply: too late for the line.
            Change::Log(line) => self.lines.push(line.text(&[])),
            Change::PutSide { name, value } => {
                self.command("HSET").arg(keys::SIDES).arg(name).arg(&value[..]);
            }
            Change::DeleteSide { name } => {
                self.command("HDEL").arg(keys::SIDES).arg(name);
            }
            Change::InsertSustained { sid, ino } => {
                self.command("SADD").arg(keys::sustained(*sid)).arg(ino.0);
            }
            Change::DeleteSustained { sid, ino } => {
                self.command("SREM").arg(keys::sustained(*sid)).arg(ino.0);
            }
            Change::InsertDeletedFile { ino, length, deleted_at } => {
                let member = keys::deleted_file(*ino, *length);
                self.command("ZADD").arg(keys::DELETED_FILES).arg(*deleted_at).arg(member);
            }
            Change::DeleteDeletedFile { ino, length } => {
                self.command("ZREM").arg(keys::DELETED_FILES).arg(keys::deleted_file(*ino, *length));
            }
            Change::PutSession { sid, expires_at, info } => {
                self.command("HSETNX").arg(keys::SESSION_INFOS).arg(*sid).arg(&info[..]);
                self.command("ZADD").arg(keys::ALL_SESSIONS).arg(*expires_at).arg(*sid);
            }
            Change::DeleteSession { sid } => {
                self.command("HDEL").arg(keys::SESSION_INFOS).arg(*sid);
                self.command("ZREM").arg(keys::ALL_SESSIONS).arg(*sid);
            }
            Change::DeleteLocks { sid } => {
                for (_, key, fields) in before.locks.iter().filter(|(owner, ..)| owner == sid) {
                    if !fields.is_empty() {
                        self.command("HDEL").arg(key).arg(fields);
                    }
                    self.command("SREM").arg(keys::locked(*sid)).arg(key);
                }
            }
            Change::SetFlock { ino, holder, kind } => {
                let letter = if *kind == LockKind::Shared { b"R" } else { b"W" };
                self.set_lock(&keys::flocks(*ino), *holder, letter);
            }
            Change::SetRangeLocks { ino, holder, locks } => {
                self.set_lock(&keys::range_locks(*ino), *holder, &packed::encode_range_locks(locks));
            }
            Change::DeleteFlock { ino, holder, is_last } => {
                self.delete_lock(&keys::flocks(*ino), *holder, *is_last);
            }
            Change::DeleteRangeLocks { ino, holder, is_last } => {
                self.delete_lock(&keys::range_locks(*ino), *holder, *is_last);
            }
        }
    }

    /// Rows of a mirror's source.
    fn write_mirrored(&mut self, row: &Mirrored) {
        match row {
            Mirrored::Node { ino, attr: Some(attr) } => {
                self.command("SET").arg(keys::node(*ino)).arg(packed::encode_attr(attr));
            }
            Mirrored::Node { ino, attr: None } => {
                let command = self.command("DEL");
                command.arg(keys::node(*ino)).arg(keys::symlink(*ino));
                command.arg(keys::xattrs(*ino)).arg(keys::parents(*ino));
            }
            Mirrored::Edge { parent, name, edge: Some(edge) } => {
                let record = packed::encode_edge(*edge);
                self.command("HSET").arg(keys::directory(*parent)).arg(name.as_bytes()).arg(&record[..]);
            }
            Mirrored::Edge { parent, name, edge: None } => {
                self.command("HDEL").arg(keys::directory(*parent)).arg(name.as_bytes());
            }
            Mirrored::Slices { ino, indx, slices } => {
                let key = keys::chunk(*ino, *indx);
                self.delete(key.clone());
                if !slices.is_empty() {
                    let command = self.command("RPUSH");
                    command.arg(key);
                    for slice in slices {
                        command.arg(&packed::encode_slice(*slice)[..]);
                    }
                }
            }
            Mirrored::Symlink { ino, target } => {
                self.command("SET").arg(keys::symlink(*ino)).arg(&target[..]);
            }
            Mirrored::Parents { ino, parents } => {
                self.delete(keys::parents(*ino));
                if !parents.is_empty() {
                    let command = self.command("HSET");
                    command.arg(keys::parents(*ino));
                    for (parent, count) in parents {
                        command.arg(parent.0).arg(*count);
                    }
                }
            }
        }
    }

    /// A holder's locks of a file, and the file's hash among those in which its session has any (format 3.9).
    fn set_lock(&mut self, key: &str, holder: Holder, value: &[u8]) {
        self.command("HSET").arg(key).arg(keys::holder(holder)).arg(value);
        self.command("SADD").arg(keys::locked(holder.sid)).arg(key);
    }

    /// `is_last`: the session has no other lock in this hash.
    fn delete_lock(&mut self, key: &str, holder: Holder, is_last: bool) {
        self.command("HDEL").arg(key).arg(keys::holder(holder));
        if is_last {
            self.command("SREM").arg(keys::locked(holder.sid)).arg(key);
        }
    }

    fn delete(&mut self, key: String) {
        self.command("DEL").arg(key);
    }

    fn set_dir_stat(&mut self, ino: Ino, stat: DirStat) {
        for (hash, number) in keys::DIR_STATS.into_iter().zip([stat.length, stat.space, stat.inodes]) {
            self.command("HSET").arg(hash).arg(ino.0).arg(number);
        }
    }

    /// Missing statistics stay missing: the one who needs them counts anew.
    fn write_dir_stats(&mut self, before: &Before) {
        let moved = std::mem::take(&mut self.dir_stats);
        if moved.is_empty() {
            return;
        }
        let Some(present) = &before.with_stats else {
            // Whole text instead of a digest: a missing script would fail half of the transaction.
            let command = self.command("EVAL");
            command.arg(ADD_DIR_STATS).arg(keys::DIR_STATS.len()).arg(&keys::DIR_STATS[..]);
            for (ino, delta) in moved {
                command.arg(ino.0).arg(delta.length).arg(delta.space).arg(delta.inodes);
            }
            return;
        };
        for (ino, delta) in moved.into_iter().filter(|(ino, _)| present.contains(ino)) {
            for (hash, number) in keys::DIR_STATS.into_iter().zip([delta.length, delta.space, delta.inodes]) {
                self.command("HINCRBY").arg(hash).arg(ino.0).arg(number);
            }
        }
    }

    /// Reads what EXEC answered.
    pub(super) fn receipt(&self, replies: &[Value]) -> Receipt {
        let number = |at: usize| match replies.get(at) {
            Some(Value::Int(number)) => *number,
            _ => 0,
        };
        let mut receipt = Receipt::default();
        for (at, telling) in &self.tellings {
            match telling {
                Telling::Appended { .. } => receipt.slices_after_append.push(number(*at) as u32),
                Telling::Released { id, size } => {
                    if number(*at) < 0 {
                        note_freed(&mut receipt, *id, *size);
                    }
                }
            }
        }
        receipt
    }

    /// The receipt of a commit whose reply was lost: as the records are now. What can't be read is left out;
    /// freed slices are then found by the collector.
    pub(super) async fn receipt_afterwards(&self, engine: &RedisEngine) -> Receipt {
        let mut pipeline = Pipeline::new();
        for (_, telling) in &self.tellings {
            match telling {
                Telling::Appended { key } => pipeline.cmd("LLEN").arg(key),
                Telling::Released { id, size } => {
                    pipeline.cmd("HGET").arg(keys::SLICE_REFS).arg(keys::slice_ref(*id, *size))
                }
            };
        }
        let mut receipt = Receipt::default();
        if pipeline.is_empty() {
            return receipt;
        }
        let values = engine.mux.flush(&pipeline).await.unwrap_or_default();
        for (nth, (_, telling)) in self.tellings.iter().enumerate() {
            let number = match values.get(nth) {
                Some(Value::Int(number)) => *number,
                Some(Value::BulkString(digits)) => keys::signed(digits).unwrap_or(0),
                _ => 0,
            };
            match telling {
                Telling::Appended { .. } => receipt.slices_after_append.push(number as u32),
                Telling::Released { id, size } if number < 0 => note_freed(&mut receipt, *id, *size),
                Telling::Released { .. } => {}
            }
        }
        receipt
    }
}

/// Appends lines to the change log; must run with what they tell of between MULTI and EXEC.
pub(super) fn log_commands(lines: &[String]) -> Vec<Cmd> {
    if lines.is_empty() {
        return Vec::new();
    }
    let mut push = redis::cmd("RPUSH");
    push.arg(keys::LOG).arg(lines);
    let mut count = redis::cmd("INCRBY");
    count.arg(keys::LOG_LAST).arg(lines.len());
    vec![push, count]
}

/// A slice that two records of one batch pointed at is freed once.
fn note_freed(receipt: &mut Receipt, id: SliceId, size: u32) {
    if !receipt.slices_freed.contains(&(id, size)) {
        receipt.slices_freed.push((id, size));
    }
}

fn quota_limits(space_max: i64, inodes_max: i64) -> Vec<u8> {
    packed::encode_quota(&packed::QuotaRecord { space_max, inodes_max, used: None })
}
