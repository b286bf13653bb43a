//! Raw records of a SQL volume (format 4): in SQLite's file, or as the client program of a database server prints them.

use std::io::Write;
use std::process::{Command, Stdio};

use anyhow::{Context, bail, ensure};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};

use super::snapshot::{DirStat, Edge, Node, Slice, Snapshot};

/// The first column names what the others are; bytes travel as hexadecimal digits.
const QUERIES: &[&str] = &[
    "SELECT 'node', inode, type, nlink, length, coalesce(parent, 0) FROM jfs_node",
    "SELECT 'edge', parent, hex(name), inode, type FROM jfs_edge",
    "SELECT 'chunk', inode, indx, hex(slices) FROM jfs_chunk",
    "SELECT 'ref', chunkid, size, refs FROM jfs_chunk_ref",
    "SELECT 'delayed', chunkid, hex(slices) FROM jfs_delslices",
    "SELECT 'symlink', inode, hex(target) FROM jfs_symlink",
    "SELECT DISTINCT 'xattr', inode FROM jfs_xattr",
    "SELECT 'sustained', inode FROM jfs_sustained",
    "SELECT 'deleted', inode FROM jfs_delfile",
    "SELECT 'detached', inode FROM jfs_detached_node",
    "SELECT 'stat', inode, data_length, used_space, used_inodes FROM jfs_dir_stats",
    "SELECT 'quota', inode, used_space, used_inodes FROM jfs_dir_quota",
    "SELECT 'counter', name, value FROM jfs_counter",
];

pub fn read_sqlite(path: &str) -> anyhow::Result<Snapshot> {
    let database = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    // One transaction, so that all tables are of one moment.
    database.execute_batch("BEGIN")?;
    let mut snapshot = Snapshot { implicit_refs: 0, ..Snapshot::default() };
    for query in QUERIES {
        let mut statement = database.prepare(query)?;
        let columns = statement.column_count();
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let mut fields = Vec::with_capacity(columns);
            for column in 0..columns {
                fields.push(match row.get_ref(column)? {
                    ValueRef::Integer(number) => number.to_string(),
                    ValueRef::Text(text) => String::from_utf8_lossy(text).into_owned(),
                    other => bail!("{} in column {column} of {query}", other.data_type()),
                });
            }
            let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
            take(&mut snapshot, &fields)?;
        }
    }
    Ok(snapshot)
}

/// By way of `psql`, which reads the same addresses.
pub fn read_postgres(url: &str) -> anyhow::Result<Snapshot> {
    let (url, schema) = match url.split_once("search_path=") {
        Some((before, schema)) => (before.trim_end_matches(['?', '&']), schema),
        None => (url, ""),
    };
    let mut script = String::new();
    if !schema.is_empty() {
        script += &format!("SET search_path = \"{schema}\";\n");
    }
    script += "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;\n";
    for query in QUERIES {
        script += &hex_calls(query, |column| format!("encode({column}, 'hex')"));
        script += ";\n";
    }
    let mut psql = Command::new("psql");
    psql.args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--field-separator=\t"]);
    psql.args(["--set=ON_ERROR_STOP=1", "--file=-", url]);
    read_printed(psql, &script)
}

/// By way of `mariadb`, for MySQL too.
pub fn read_mysql(url: &str) -> anyhow::Result<Snapshot> {
    let address = url.strip_prefix("mysql://").and_then(|rest| rest.split_once("@("));
    let parts = address.and_then(|(user, rest)| Some((user, rest.split_once(")/")?)));
    let (user, (host, database)) =
        parts.context("an address like mysql://USER:PASSWORD@(HOST:PORT)/DATABASE")?;
    let (user, password) = user.split_once(':').unwrap_or((user, ""));
    let (host, port) = host.split_once(':').unwrap_or((host, "3306"));
    let database = database.split('?').next().unwrap_or(database);
    let mut script = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ;\n".to_owned();
    script += "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY;\n";
    for query in QUERIES {
        script += query;
        script += ";\n";
    }
    let mut client = Command::new("mariadb");
    client.args([
        "--no-defaults",
        "--batch",
        "--skip-column-names",
        "--host",
        host,
        "--port",
        port,
        "--user",
        user,
    ]);
    client.env("MYSQL_PWD", password).arg(database);
    read_printed(client, &script)
}

fn hex_calls(query: &str, call: impl Fn(&str) -> String) -> String {
    match query.split_once("hex(").and_then(|(before, rest)| Some((before, rest.split_once(')')?))) {
        Some((before, (column, after))) => format!("{before}{}{after}", call(column)),
        None => query.to_owned(),
    }
}

fn read_printed(mut program: Command, script: &str) -> anyhow::Result<Snapshot> {
    let name = program.get_program().to_string_lossy().into_owned();
    let mut child = program
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("{name} is part of what `make tools` installs"))?;
    child.stdin.take().context("a pipe")?.write_all(script.as_bytes())?;
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "{name} ended with {}", output.status);
    let mut snapshot = Snapshot { implicit_refs: 0, ..Snapshot::default() };
    for line in String::from_utf8(output.stdout)?.lines().filter(|line| !line.is_empty()) {
        take(&mut snapshot, &line.split('\t').collect::<Vec<_>>())?;
    }
    Ok(snapshot)
}

/// Puts one printed row into the snapshot.
fn take(snapshot: &mut Snapshot, fields: &[&str]) -> anyhow::Result<()> {
    let text = |at: usize| fields.get(at).copied().with_context(|| format!("a short row: {fields:?}"));
    let number = |at: usize| -> anyhow::Result<i64> {
        text(at)?.parse().with_context(|| format!("column {at} of {fields:?}"))
    };
    let unsigned = |at: usize| number(at).map(i64::cast_unsigned);
    // Columns of 32 bits are signed on servers.
    let small = |at: usize| -> anyhow::Result<u32> {
        let value = number(at)?;
        Ok(u32::try_from(value).or_else(|_| i32::try_from(value).map(i32::cast_unsigned))?)
    };
    let bytes = |at: usize| text(at).and_then(from_hex);
    match text(0)? {
        "node" => {
            let node = Node {
                kind: u8::try_from(number(2)?)?,
                nlink: small(3)?,
                length: unsigned(4)?,
                parent: unsigned(5)?,
            };
            snapshot.nodes.insert(unsigned(1)?, node);
        }
        "edge" => {
            let kind = u8::try_from(number(4)?)?;
            snapshot.edges.push(Edge { parent: unsigned(1)?, name: bytes(2)?, ino: unsigned(3)?, kind });
        }
        "chunk" => {
            let (ino, indx, list) = (unsigned(1)?, small(2)?, bytes(3)?);
            match list.chunks(24).map(Slice::parse).collect() {
                Some(slices) => {
                    snapshot.chunks.insert((ino, indx), slices);
                }
                None => snapshot.undecodable.push(format!("chunk {ino}/{indx} of {} bytes", list.len())),
            }
        }
        "ref" => {
            snapshot.refs.insert(unsigned(1)?, (small(2)?, number(3)?));
        }
        "delayed" => {
            for pair in bytes(2)?.chunks(12) {
                let (Some(id), Some(size)) = (pair.first_chunk::<8>(), pair.last_chunk::<4>()) else {
                    snapshot.undecodable.push(format!("delslices {}", unsigned(1)?));
                    break;
                };
                snapshot.delayed.push((u64::from_be_bytes(*id), u32::from_be_bytes(*size)));
            }
        }
        "symlink" => {
            snapshot.symlinks.insert(unsigned(1)?, bytes(2)?);
        }
        "xattr" => {
            snapshot.xattrs.insert(unsigned(1)?);
        }
        "sustained" => {
            snapshot.sustained.insert(unsigned(1)?);
        }
        "deleted" => {
            snapshot.deleted_files.insert(unsigned(1)?);
        }
        "detached" => {
            snapshot.detached.insert(unsigned(1)?);
        }
        "stat" => {
            let stat = DirStat { length: number(2)?, space: number(3)?, inodes: number(4)? };
            snapshot.dir_stats.insert(unsigned(1)?, stat);
        }
        "quota" => {
            snapshot.dir_quotas.insert(unsigned(1)?, (number(2)?, number(3)?));
        }
        "counter" => match text(1)? {
            "usedSpace" => snapshot.used_space = number(2)?,
            "totalInodes" => snapshot.used_inodes = number(2)?,
            "nextInode" => snapshot.next_ino = number(2)?,
            "nextChunk" => snapshot.next_slice = number(2)?,
            _ => {}
        },
        other => bail!("a row of an unknown kind: {other}"),
    }
    Ok(())
}

fn from_hex(digits: &str) -> anyhow::Result<Vec<u8>> {
    let pairs = digits.as_bytes().chunks(2);
    let byte = |pair: &[u8]| Ok(u8::from_str_radix(std::str::from_utf8(pair)?, 16)?);
    pairs.map(byte).collect()
}
