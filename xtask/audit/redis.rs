//! Raw records of a volume in Redis (format 3).

use anyhow::Context;
use redis::{Commands, Connection, Value};
use std::collections::BTreeMap;

use super::snapshot::{DirStat, Edge, Node, Slice, Snapshot};

type Fields = BTreeMap<Vec<u8>, Vec<u8>>;

pub fn read(url: &str) -> anyhow::Result<Snapshot> {
    let mut db = redis::Client::open(url)?.get_connection().context("connecting")?;
    let keys: Vec<Vec<u8>> = db.scan::<Vec<u8>>()?.collect::<Result<_, _>>()?;
    let mut snapshot = Snapshot { implicit_refs: 1, parents: Some(BTreeMap::new()), ..Snapshot::default() };
    for key in keys {
        read_key(&mut db, &key, &mut snapshot)?;
    }
    read_tables(&mut db, &mut snapshot)?;
    Ok(snapshot)
}

fn read_key(db: &mut Connection, key: &[u8], snapshot: &mut Snapshot) -> anyhow::Result<()> {
    let Ok(text) = std::str::from_utf8(key) else { return Ok(()) };
    if let Some(sid) = text.strip_prefix("session").and_then(|rest| rest.parse::<u64>().ok()) {
        let held: Vec<u64> = db.smembers(format!("session{sid}"))?;
        snapshot.sustained.extend(held);
        return Ok(());
    }
    let (sort, rest) = text.split_at_checked(1).unwrap_or(("", ""));
    if sort == "c" {
        let Some((ino, indx)) = rest.split_once('_') else { return Ok(()) };
        let (Ok(ino), Ok(indx)) = (ino.parse(), indx.parse()) else { return Ok(()) };
        let records: Vec<Vec<u8>> = db.lrange(key, 0, -1)?;
        let slices: Option<Vec<Slice>> = records.iter().map(|record| Slice::parse(record)).collect();
        match slices {
            Some(slices) => {
                snapshot.chunks.insert((ino, indx), slices);
            }
            None => snapshot.undecodable.push(format!("chunk {text}")),
        }
        return Ok(());
    }
    let Ok(ino) = rest.parse::<u64>() else { return Ok(()) };
    match sort {
        "i" => match Node::parse(&db.get::<_, Vec<u8>>(key)?) {
            Some(node) => {
                snapshot.nodes.insert(ino, node);
            }
            None => snapshot.undecodable.push(format!("node {text}")),
        },
        "d" => {
            for (name, record) in db.hgetall::<_, Fields>(key)? {
                match (record.len(), record.first(), record.last_chunk::<8>()) {
                    (9, Some(kind), Some(child)) => {
                        let edge = Edge { parent: ino, name, ino: u64::from_be_bytes(*child), kind: *kind };
                        snapshot.edges.push(edge);
                    }
                    _ => snapshot.undecodable.push(format!("entry {ino}/{}", name.escape_ascii())),
                }
            }
        }
        "p" => {
            let counts: BTreeMap<u64, i64> = db.hgetall(key)?;
            snapshot.parents.get_or_insert_default().insert(ino, counts);
        }
        "s" => {
            snapshot.symlinks.insert(ino, db.get(key)?);
        }
        "x" => {
            snapshot.xattrs.insert(ino);
        }
        _ => {}
    }
    Ok(())
}

fn read_tables(db: &mut Connection, snapshot: &mut Snapshot) -> anyhow::Result<()> {
    for (field, value) in db.hgetall::<_, BTreeMap<String, i64>>("sliceRef")? {
        let parsed = field.strip_prefix('k').and_then(|rest| rest.split_once('_'));
        match parsed.and_then(|(id, size)| Some((id.parse().ok()?, size.parse().ok()?))) {
            Some((id, size)) => {
                snapshot.refs.insert(id, (size, value + 1));
            }
            None => snapshot.undecodable.push(format!("sliceRef {field}")),
        }
    }
    for (_, pairs) in db.hgetall::<_, Fields>("delSlices")? {
        for pair in pairs.chunks(12) {
            if let (Some(id), Some(size)) = (pair.first_chunk::<8>(), pair.last_chunk::<4>()) {
                snapshot.delayed.push((u64::from_be_bytes(*id), u32::from_be_bytes(*size)));
            }
        }
    }
    for member in db.zrange::<_, Vec<String>>("delfiles", 0, -1)? {
        let ino = member.split(':').next().unwrap_or_default();
        snapshot.deleted_files.insert(ino.parse().with_context(|| format!("delfiles {member}"))?);
    }
    snapshot.detached = db.zrange::<_, Vec<u64>>("detachedNodes", 0, -1)?.into_iter().collect();
    let lengths: BTreeMap<u64, i64> = db.hgetall("dirDataLength")?;
    let inodes: BTreeMap<u64, i64> = db.hgetall("dirUsedInodes")?;
    for (ino, space) in db.hgetall::<_, BTreeMap<u64, i64>>("dirUsedSpace")? {
        let of = |table: &BTreeMap<u64, i64>| table.get(&ino).copied().unwrap_or(0);
        snapshot.dir_stats.insert(ino, DirStat { length: of(&lengths), space, inodes: of(&inodes) });
    }
    let spaces: BTreeMap<u64, i64> = db.hgetall("dirQuotaUsedSpace")?;
    let inodes: BTreeMap<u64, i64> = db.hgetall("dirQuotaUsedInodes")?;
    for ino in db.hkeys::<_, Vec<u64>>("dirQuota")? {
        let of = |table: &BTreeMap<u64, i64>| table.get(&ino).copied().unwrap_or(0);
        snapshot.dir_quotas.insert(ino, (of(&spaces), of(&inodes)));
    }
    let mut counter = |name: &str| -> anyhow::Result<i64> {
        match db.get::<_, Value>(name)? {
            Value::Nil => Ok(0),
            value => Ok(redis::from_redis_value(value)?),
        }
    };
    snapshot.used_space = counter("usedSpace")?;
    snapshot.used_inodes = counter("totalInodes")?;
    snapshot.next_ino = counter("nextinode")? + 1;
    snapshot.next_slice = counter("nextchunk")? + 1;
    Ok(())
}
