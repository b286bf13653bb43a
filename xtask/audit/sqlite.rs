//! Raw records of a SQL volume in SQLite (format 4).

use rusqlite::{Connection, OpenFlags, Row};

use super::snapshot::{DirStat, Edge, Node, Slice, Snapshot};

#[expect(clippy::too_many_lines, reason = "one statement a table")]
pub fn read(path: &str) -> anyhow::Result<Snapshot> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
    let database = Connection::open_with_flags(path, flags)?;
    // One transaction, so that all tables are of one moment.
    database.execute_batch("BEGIN")?;
    let mut snapshot = Snapshot { implicit_refs: 0, ..Snapshot::default() };
    rows(&database, "SELECT inode, type, nlink, length, parent FROM jfs_node", |row| {
        let node = Node {
            kind: row.get(1)?,
            nlink: row.get(2)?,
            length: unsigned(row, 3)?,
            parent: row.get::<_, Option<i64>>(4)?.unwrap_or(0).cast_unsigned(),
        };
        snapshot.nodes.insert(unsigned(row, 0)?, node);
        Ok(())
    })?;
    rows(&database, "SELECT parent, name, inode, type FROM jfs_edge", |row| {
        snapshot.edges.push(Edge {
            parent: unsigned(row, 0)?,
            name: bytes(row, 1)?,
            ino: unsigned(row, 2)?,
            kind: row.get(3)?,
        });
        Ok(())
    })?;
    rows(&database, "SELECT inode, indx, slices FROM jfs_chunk", |row| {
        let (ino, indx, blob): (u64, u32, Vec<u8>) = (unsigned(row, 0)?, row.get(1)?, bytes(row, 2)?);
        let slices: Option<Vec<Slice>> = blob.chunks(24).map(Slice::parse).collect();
        match slices {
            Some(slices) => {
                snapshot.chunks.insert((ino, indx), slices);
            }
            None => snapshot.undecodable.push(format!("chunk {ino}/{indx} of {} bytes", blob.len())),
        }
        Ok(())
    })?;
    rows(&database, "SELECT chunkid, size, refs FROM jfs_chunk_ref", |row| {
        snapshot.refs.insert(unsigned(row, 0)?, (row.get(1)?, row.get(2)?));
        Ok(())
    })?;
    rows(&database, "SELECT chunkid, slices FROM jfs_delslices", |row| {
        let blob = bytes(row, 1)?;
        for pair in blob.chunks(12) {
            let (Some(id), Some(size)) = (pair.first_chunk::<8>(), pair.last_chunk::<4>()) else {
                snapshot.undecodable.push(format!("delslices {}", unsigned(row, 0)?));
                break;
            };
            snapshot.delayed.push((u64::from_be_bytes(*id), u32::from_be_bytes(*size)));
        }
        Ok(())
    })?;
    rows(&database, "SELECT inode, target FROM jfs_symlink", |row| {
        snapshot.symlinks.insert(unsigned(row, 0)?, bytes(row, 1)?);
        Ok(())
    })?;
    rows(&database, "SELECT DISTINCT inode FROM jfs_xattr", |row| {
        snapshot.xattrs.insert(unsigned(row, 0)?);
        Ok(())
    })?;
    rows(&database, "SELECT inode FROM jfs_sustained", |row| {
        snapshot.sustained.insert(unsigned(row, 0)?);
        Ok(())
    })?;
    rows(&database, "SELECT inode FROM jfs_delfile", |row| {
        snapshot.deleted_files.insert(unsigned(row, 0)?);
        Ok(())
    })?;
    rows(&database, "SELECT inode FROM jfs_detached_node", |row| {
        snapshot.detached.insert(unsigned(row, 0)?);
        Ok(())
    })?;
    rows(&database, "SELECT inode, data_length, used_space, used_inodes FROM jfs_dir_stats", |row| {
        let stat = DirStat { length: row.get(1)?, space: row.get(2)?, inodes: row.get(3)? };
        snapshot.dir_stats.insert(unsigned(row, 0)?, stat);
        Ok(())
    })?;
    rows(&database, "SELECT name, value FROM jfs_counter", |row| {
        let (name, value): (String, i64) = (row.get(0)?, row.get(1)?);
        match name.as_str() {
            "usedSpace" => snapshot.used_space = value,
            "totalInodes" => snapshot.used_inodes = value,
            "nextInode" => snapshot.next_ino = value,
            "nextChunk" => snapshot.next_slice = value,
            _ => {}
        }
        Ok(())
    })?;
    Ok(snapshot)
}

fn unsigned(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    row.get::<_, i64>(column).map(i64::cast_unsigned)
}

/// A column of bytes: the peer appends to slice lists with `||`, which makes SQLite call the result text.
fn bytes(row: &Row<'_>, column: usize) -> rusqlite::Result<Vec<u8>> {
    Ok(row.get_ref(column)?.as_bytes()?.to_vec())
}

fn rows(
    database: &Connection,
    query: &str,
    mut each: impl FnMut(&Row<'_>) -> rusqlite::Result<()>,
) -> anyhow::Result<()> {
    let mut statement = database.prepare(query)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        each(row)?;
    }
    Ok(())
}
