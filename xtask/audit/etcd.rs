//! Raw records of a volume in etcd (format 5), by its JSON interface.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;

use anyhow::{Context, ensure};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::snapshot::{DirStat, Edge, Node, Slice, Snapshot};

/// Keys of one answer.
const PAGE: usize = 5_000;

/// `HOST:PORT[/PREFIX]`, as behind `etcd://`; the members of a cluster say the same, so the first is asked.
pub fn read(address: &str) -> anyhow::Result<Snapshot> {
    let address = address.split('?').next().unwrap_or(address);
    let (hosts, path) = match address.find('/') {
        Some(at) => address.split_at(at),
        None => (address, ""),
    };
    let host = hosts.split(',').next().unwrap_or(hosts);
    let prefix = [path.as_bytes(), &[0xFD]].concat();
    let mut snapshot = Snapshot { implicit_refs: 1, parents: Some(BTreeMap::new()), ..Snapshot::default() };
    for (key, value) in records(host, &prefix)? {
        if take(&mut snapshot, &key, &value).is_none() {
            snapshot.undecodable.push(format!("key {} of {} bytes", key.escape_ascii(), value.len()));
        }
    }
    Ok(snapshot)
}

/// All below the prefix, which is cut off, at one revision.
fn records(host: &str, prefix: &[u8]) -> anyhow::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut all = Vec::new();
    let (mut from, mut revision) = (prefix.to_vec(), "0".to_owned());
    let end = [prefix, &[0xFF]].concat();
    loop {
        let question = json!({
            "key": BASE64_STANDARD.encode(&from),
            "range_end": BASE64_STANDARD.encode(&end),
            "limit": PAGE.to_string(),
            "revision": revision,
        });
        let answer = post(host, "/v3/kv/range", &question.to_string())?;
        if revision == "0" {
            revision = answer["header"]["revision"].as_str().context("a revision")?.to_owned();
        }
        let found = answer["kvs"].as_array().cloned().unwrap_or_default();
        for kv in &found {
            let bytes = |name: &str| BASE64_STANDARD.decode(kv[name].as_str().unwrap_or_default());
            let key = bytes("key")?;
            from = [&key[..], &[0]].concat();
            all.push((key[prefix.len()..].to_vec(), bytes("value")?));
        }
        if found.len() < PAGE {
            return Ok(all);
        }
    }
}

/// Version 1.0 of HTTP, so that the answer ends with the connection.
fn post(host: &str, path: &str, body: &str) -> anyhow::Result<Value> {
    let mut stream = TcpStream::connect(host).context("connecting")?;
    write!(stream, "POST {path} HTTP/1.0\r\nContent-Length: {}\r\n\r\n{body}", body.len())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let cut = answer.windows(4).position(|four| four == b"\r\n\r\n").context("an answer without a head")?;
    let head = String::from_utf8_lossy(&answer[..cut]);
    ensure!(head.lines().next().is_some_and(|line| line.contains(" 200 ")), "etcd answered {head}");
    Ok(serde_json::from_slice(&answer[cut + 4..])?)
}

/// `None`: it can't be decoded.
fn take(snapshot: &mut Snapshot, key: &[u8], value: &[u8]) -> Option<()> {
    let little = |bytes: &[u8]| bytes.try_into().ok().map(u64::from_le_bytes);
    let big = |bytes: &[u8]| bytes.try_into().ok().map(u64::from_be_bytes);
    match key.first()? {
        b'A' => return take_of_inode(snapshot, little(key.get(1..9)?)?, key.get(9..)?, value),
        b'D' => {
            snapshot.deleted_files.insert(little(key.get(1..9)?)?);
        }
        b'K' => {
            let (id, size) = (big(key.get(1..9)?)?, key.get(9..)?.try_into().ok().map(u32::from_be_bytes)?);
            snapshot.refs.insert(id, (size, little(value)?.cast_signed() + 1));
        }
        b'L' => {
            for pair in value.chunks(12) {
                let size = pair.get(8..)?.try_into().ok().map(u32::from_be_bytes)?;
                snapshot.delayed.push((big(pair.get(..8)?)?, size));
            }
        }
        b'N' => {
            snapshot.detached.insert(little(key.get(1..)?)?);
        }
        b'S' if key.starts_with(b"SS") => {
            snapshot.sustained.insert(little(key.get(10..)?)?);
        }
        b'U' => {
            let number = |at: usize| Some(big(value.get(at..at + 8)?)?.cast_signed());
            let stat = DirStat { length: number(0)?, space: number(8)?, inodes: number(16)? };
            (value.len() == 24).then_some(())?;
            snapshot.dir_stats.insert(little(key.get(1..)?)?, stat);
        }
        b'Q' if key.starts_with(b"QD") => {
            let number = |at: usize| Some(big(value.get(at..at + 8)?)?.cast_signed());
            snapshot.dir_quotas.insert(little(key.get(2..)?)?, (number(16)?, number(24)?));
        }
        b'C' => {
            let counter = match &key[1..] {
                b"usedSpace" => &mut snapshot.used_space,
                b"totalInodes" => &mut snapshot.used_inodes,
                b"nextInode" => &mut snapshot.next_ino,
                b"nextChunk" => &mut snapshot.next_slice,
                _ => return Some(()),
            };
            *counter = little(value)?.cast_signed();
        }
        _ => {}
    }
    Some(())
}

/// Behind the inode stand a letter and what it is about.
fn take_of_inode(snapshot: &mut Snapshot, ino: u64, rest: &[u8], value: &[u8]) -> Option<()> {
    let (letter, rest) = rest.split_first()?;
    match letter {
        b'I' => {
            snapshot.nodes.insert(ino, Node::parse(value)?);
        }
        b'D' => {
            let child = value.get(1..)?.try_into().ok().map(u64::from_be_bytes)?;
            let edge = Edge { parent: ino, name: rest.to_vec(), ino: child, kind: *value.first()? };
            snapshot.edges.push(edge);
        }
        b'P' => {
            let parent = rest.try_into().ok().map(u64::from_le_bytes)?;
            let count = value.try_into().ok().map(i64::from_le_bytes)?;
            snapshot.parents.get_or_insert_default().entry(ino).or_default().insert(parent, count);
        }
        b'C' => {
            let indx = rest.try_into().ok().map(u32::from_be_bytes)?;
            let slices = value.chunks(24).map(Slice::parse).collect::<Option<Vec<_>>>()?;
            snapshot.chunks.insert((ino, indx), slices);
        }
        b'S' => {
            snapshot.symlinks.insert(ino, value.to_vec());
        }
        b'X' => {
            snapshot.xattrs.insert(ino);
        }
        _ => return None,
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Format 17.2, as the peer wrote them.
    #[test]
    fn records_of_the_peer_are_read() {
        let mut snapshot = Snapshot::default();
        let mut put =
            |key: &[u8], value: &[u8]| assert!(take(&mut snapshot, key, value).is_some(), "{key:?}");
        let of_six = b"A\x06\0\0\0\0\0\0\0";
        put(&[&of_six[..], b"C\0\0\0\0"].concat(), &[[0; 11], [8; 11], [0; 11]].concat()[..24]);
        put(&[&of_six[..], b"Da"].concat(), b"\x02\0\0\0\0\0\0\x04\x01");
        put(&[&of_six[..], b"P\x02\0\0\0\0\0\0\0"].concat(), b"\x02\0\0\0\0\0\0\0");
        put(b"K\0\0\0\0\0\0\0\x04\0\0\x03\xe8", b"\x01\0\0\0\0\0\0\0");
        put(
            b"U\x01\0\0\0\0\0\0\0",
            &[[0, 0, 0, 0, 0, 0, 3, 0xe8], [0, 0, 0, 0, 0, 0, 0x40, 0], [0, 0, 0, 0, 0, 0, 0, 4]].concat(),
        );
        put(b"CnextChunk", b"\x01\x10\0\0\0\0\0\0");
        assert_eq!(snapshot.chunks[&(6, 0)].len(), 1);
        assert_eq!((snapshot.edges[0].parent, snapshot.edges[0].ino), (6, 1025));
        assert_eq!(snapshot.parents.as_ref().map(|of| of[&6][&2]), Some(2));
        assert_eq!(snapshot.refs[&4], (1000, 2));
        assert_eq!(snapshot.dir_stats[&1], DirStat { length: 1000, space: 16384, inodes: 4 });
        assert_eq!(snapshot.next_slice, 4097);
        assert!(take(&mut snapshot, b"A\x06\0\0\0\0\0\0\0I", b"short").is_none());
    }
}
