//! A whole volume into an empty database: rows as plain commands, each of which may be sent twice, and at the end the
//! numbers with the setting in one transaction.

use redis::{Cmd, Pipeline};

use super::RedisEngine;
use super::keys;
use super::reply::Replies;
use crate::engines::packed::{self, QuotaRecord};
use crate::error::{Error, Result};
use crate::port::{Counters, Item, QuotaRow};
use crate::types::{Ino, Usage};

/// Rows in one flush; nobody else is served meanwhile.
const ROWS_PER_FLUSH: usize = 1_000;

impl RedisEngine {
    pub(super) async fn read_counters(&self) -> Result<Counters> {
        let names =
            [keys::USED_SPACE, keys::TOTAL_INODES, "nextinode", "nextchunk", "nextsession", "nextTrash"];
        let mut pipeline = Pipeline::with_capacity(names.len());
        for name in names {
            pipeline.cmd("GET").arg(name);
        }
        let mut replies = Replies::new(&self.endpoint, self.bulk.flush(&pipeline).await?);
        let mut next = |name: &str| Ok::<_, Error>(replies.number(name)?.unwrap_or(0));
        let usage = Usage { space: next(names[0])?, inodes: next(names[1])? };
        let mut number = |name: &str| Ok::<_, Error>(next(name)?.cast_unsigned());
        // These hold the last number given out; 1 is the root and never was.
        Ok(Counters {
            usage,
            next_inode: number(names[2])?.saturating_add(1).max(2),
            next_slice: number(names[3])?.saturating_add(1),
            last_session: number(names[4])?,
            last_trash: number(names[5])?,
        })
    }

    pub(super) async fn check_empty(&self) -> Result<()> {
        let reply = self.mux.send(&redis::cmd("DBSIZE")).await?;
        let count = Replies::new(&self.endpoint, vec![reply]).int()?;
        if count == 0 {
            return Ok(());
        }
        let name = self.endpoint.name();
        Err(Error::Engine(match self.read_setting().await? {
            Some(_) => format!("Redis at {name} holds a volume already"),
            None => format!(
                "the database of Redis at {name} is not empty: it holds {count} keys and no volume, as a load that did \
                 not end leaves it; give another database, or empty this one"
            ),
        }))
    }

    pub(super) async fn load_rows(&self, rows: &[Item]) -> Result<()> {
        for rows in rows.chunks(ROWS_PER_FLUSH) {
            let mut commands = Vec::with_capacity(rows.len());
            for row in rows {
                insert(row, &mut commands)?;
            }
            self.run_all(commands).await?;
        }
        Ok(())
    }

    async fn run_all(&self, commands: Vec<Cmd>) -> Result<()> {
        let mut pipeline = Pipeline::with_capacity(commands.len());
        let count = commands.len();
        for command in commands {
            pipeline.add_command(command);
        }
        let mut replies = Replies::new(&self.endpoint, self.bulk.flush(&pipeline).await?);
        (0..count).try_for_each(|_| replies.next().map(drop))
    }

    pub(super) async fn write_loaded(&self, setting: &str, counters: Counters, last_acl: u32) -> Result<()> {
        let numbers = [
            (keys::USED_SPACE, counters.usage.space),
            (keys::TOTAL_INODES, counters.usage.inodes),
            ("nextinode", counters.next_inode.saturating_sub(1).cast_signed()),
            ("nextchunk", counters.next_slice.saturating_sub(1).cast_signed()),
            ("nextsession", counters.last_session.cast_signed()),
            ("nextTrash", counters.last_trash.cast_signed()),
        ];
        let mut commands = Vec::with_capacity(numbers.len() + 2);
        for (key, number) in numbers {
            commands.push(command("SET", key, &[number.to_string().as_bytes()]));
        }
        if last_acl > 0 {
            commands.push(command("SET", keys::ACL_MAX, &[last_acl.to_string().as_bytes()]));
        }
        commands.push(command("SET", keys::SETTING, &[setting.as_bytes()]));
        self.at_once(commands).await.map(drop)
    }
}

fn command(name: &str, key: impl redis::ToRedisArgs, arguments: &[&[u8]]) -> Cmd {
    let mut command = redis::cmd(name);
    command.arg(key).arg(arguments);
    command
}

fn field(key: &str, field: impl ToString, value: impl ToString) -> Cmd {
    command("HSET", key, &[field.to_string().as_bytes(), value.to_string().as_bytes()])
}

fn insert(item: &Item, commands: &mut Vec<Cmd>) -> Result<()> {
    let last = match item {
        Item::Node { ino, attr } => command("SET", keys::node(*ino), &[&packed::encode_attr(attr)]),
        Item::Edge { parent, name, edge } => {
            command("HSET", keys::directory(*parent), &[name.as_bytes(), &packed::encode_edge(*edge)])
        }
        Item::Parent { ino, parent, count } => field(&keys::parents(*ino), parent, count),
        Item::Chunk { ino, indx, slices } => {
            let key = keys::chunk(*ino, *indx);
            commands.push(command("DEL", &key, &[]));
            if slices.is_empty() {
                return Ok(());
            }
            let records: Vec<_> = slices.iter().map(|slice| packed::encode_slice(*slice)).collect();
            let records: Vec<&[u8]> = records.iter().map(|record| &record[..]).collect();
            command("RPUSH", key, &records)
        }
        // A single reference has no record.
        Item::SliceRefs { refs: 1, .. } => return Ok(()),
        Item::SliceRefs { id, size, refs } => field(keys::SLICE_REFS, keys::slice_ref(*id, *size), refs - 1),
        Item::Symlink { ino, target } => command("SET", keys::symlink(*ino), &[target]),
        Item::Xattr { ino, name, value } => command("HSET", keys::xattrs(*ino), &[name, value]),
        Item::Acl { id, rule } => {
            command("HSET", keys::ACL, &[id.to_string().as_bytes(), &packed::encode_acl(rule)])
        }
        Item::DirStat { ino, stat } => {
            commands.push(field(keys::DIR_STATS[0], ino, stat.length));
            commands.push(field(keys::DIR_STATS[1], ino, stat.space));
            field(keys::DIR_STATS[2], ino, stat.inodes)
        }
        Item::Quota(row) => {
            quota(row, commands);
            return Ok(());
        }
        Item::Sustained { sid, ino } => command("SADD", keys::sustained(*sid), &[ino.to_string().as_bytes()]),
        Item::DeletedFile { ino, length, deleted_at } => deleted_file(*ino, *length, *deleted_at),
        Item::DelayedSlices { id, deleted_at, slices } => {
            let name = format!("{id}_{deleted_at}");
            command("HSET", keys::DELAYED_SLICES, &[name.as_bytes(), &packed::encode_slice_pairs(slices)])
        }
        Item::Entry { .. }
        | Item::Session(_)
        | Item::FreedSlice { .. }
        | Item::Side { .. }
        | Item::Damaged(_)
        | Item::DamagedEntry { .. } => return Err(item.not_loaded()),
    };
    commands.push(last);
    Ok(())
}

fn quota(row: &QuotaRow, commands: &mut Vec<Cmd>) {
    let [limits, space, inodes] = keys::quotas(row.kind);
    let record = QuotaRecord { space_max: row.space_max, inodes_max: row.inodes_max, used: None };
    commands.push(command("HSET", limits, &[row.key.to_string().as_bytes(), &packed::encode_quota(&record)]));
    commands.push(field(space, row.key, row.used.space));
    commands.push(field(inodes, row.key, row.used.inodes));
}

fn deleted_file(ino: Ino, length: u64, deleted_at: i64) -> Cmd {
    let (score, member) = (deleted_at.to_string(), keys::deleted_file(ino, length));
    command("ZADD", keys::DELETED_FILES, &[score.as_bytes(), member.as_bytes()])
}
