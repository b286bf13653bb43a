//! Long reads in pages. Each page is one read of the keys behind the page before, so a scan never holds a snapshot and
//! never misses a record that stays. Records of all inodes lie among one another: what asks for one kind of all of them
//! reads past the others.

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};

use super::keys::{self, part};
use super::store::{Ask, Range, Record, Store};
use super::{KvEngine, gets, records};
use crate::engines::inside::inside;
use crate::engines::packed;
use crate::error::{Error, Result, or_damage};
use crate::port::{Item, Scan, SessionRow};
use crate::types::Name;

/// Records of the first page; later ones are as long as [`PAGE_BYTES`] makes them.
const PAGE_RECORDS: usize = 1_000;
const PAGE_RECORDS_MAX: usize = 10_000;
/// What a page should not be much larger than: one record may be half a megabyte.
const PAGE_BYTES: usize = 2 << 20;

pub(super) fn items<S: Store>(engine: &KvEngine<S>, scan: Scan) -> BoxStream<'_, Result<Item>> {
    let begin = (range(&scan), PAGE_RECORDS);
    let pages = stream::try_unfold((Some(begin), scan), move |(position, scan)| {
        inside(&engine.home, async move {
            let Some((range, records_max)) = position else { return Ok::<_, Error>(None) };
            let ask = Ask::Range { range: range.clone(), records_max, keys_only: false };
            let found = engine.read_all(&[ask]).await?.into_iter().next().unwrap_or_default();
            let next = match found.records.last() {
                Some(last) if found.has_more => {
                    Some((range.after(&last.key), next_page(records_max, &found.records)))
                }
                _ => None,
            };
            let items = engine.items_of(&scan, found.records).await?;
            Ok(Some((stream::iter(items.into_iter().map(Ok)), (next, scan))))
        })
    });
    pages.try_flatten().boxed()
}

fn next_page(records_max: usize, records: &[Record]) -> usize {
    let bytes: usize = records.iter().map(|record| record.key.len() + record.value.len()).sum();
    let fitting = records.len() * PAGE_BYTES / bytes.max(1);
    fitting.clamp(1, PAGE_RECORDS_MAX).min(records_max * 2)
}

fn range(scan: &Scan) -> Range {
    let letters = |letters: &[u8]| Range::prefix(letters.to_vec());
    match scan {
        Scan::Entries { parent } => keys::all_of(*parent, part::EDGE),
        Scan::Sessions => letters(b"SE"),
        Scan::Sustained { sid } => keys::sustained_by(*sid),
        Scan::DeletedFiles => letters(b"D"),
        Scan::Chunks { ino: Some(ino) } => keys::all_of(*ino, part::CHUNK),
        Scan::Chunks { ino: None }
        | Scan::Nodes
        | Scan::Edges
        | Scan::Parents
        | Scan::Symlinks
        | Scan::Xattrs => keys::of_inodes(),
        Scan::DelayedSlices => letters(b"L"),
        Scan::FreedSlices | Scan::SliceRefs => letters(b"K"),
        Scan::Acls => letters(b"R"),
        Scan::DirStats => letters(b"U"),
        Scan::Quotas { kind } => keys::quotas(*kind),
        Scan::Sides => letters(keys::SIDES),
    }
}

impl<S: Store> KvEngine<S> {
    async fn items_of(&self, scan: &Scan, found: Vec<Record>) -> Result<Vec<Item>> {
        if *scan == Scan::Sessions {
            return self.sessions(found).await;
        }
        let mut items = Vec::with_capacity(found.len());
        for record in &found {
            match (or_damage(item(scan, record))?, scan) {
                (Ok(Some(item)), _) => items.push(item),
                (Ok(None), _) => {}
                (Err(damage), Scan::Entries { .. }) => {
                    let name = Name::from_record(gets::name_behind(record).unwrap_or_default());
                    items.push(Item::DamagedEntry { name, damage });
                }
                (Err(damage), _) => items.push(Item::Damaged(damage)),
            }
        }
        Ok(items)
    }

    async fn sessions(&self, found: Vec<Record>) -> Result<Vec<Item>> {
        let sid = |record: &Record| keys::parse_session(&record.key);
        let asks: Vec<_> =
            found.iter().filter_map(sid).map(|sid| Ask::Key(keys::session_info(sid))).collect();
        let mut infos = self.read_all(&asks).await?.into_iter();
        let mut items = Vec::with_capacity(found.len());
        for record in &found {
            let row = sid(record).ok_or_else(|| records::corrupt(&record.key, "a session is 8 bytes"));
            let row = row.and_then(|sid| {
                let info = infos.next().and_then(|found| found.records.into_iter().next());
                let info = info.map(|record| record.value).unwrap_or_default();
                let expires_at = records::big_endian(&record.key, &record.value)?;
                Ok(Item::Session(SessionRow { sid, expires_at, info }))
            });
            items.push(or_damage(row)?.unwrap_or_else(Item::Damaged));
        }
        Ok(items)
    }
}

/// What a record says; none when it is of another kind.
fn item(scan: &Scan, record: &Record) -> Result<Option<Item>> {
    let Record { key, value, .. } = record;
    let odd = || records::corrupt(key, "a key of this length is nobody's");
    Ok(Some(match scan {
        Scan::Entries { .. }
        | Scan::Nodes
        | Scan::Edges
        | Scan::Parents
        | Scan::Symlinks
        | Scan::Xattrs
        | Scan::Chunks { .. } => return of_inode(scan, record),
        Scan::Sustained { .. } => {
            let (sid, ino) = keys::parse_sustained(key).ok_or_else(odd)?;
            Item::Sustained { sid, ino }
        }
        Scan::DeletedFiles => {
            let (ino, length) = keys::parse_deleted_file(key).ok_or_else(odd)?;
            Item::DeletedFile { ino, length, deleted_at: records::big_endian(key, value)? }
        }
        Scan::DelayedSlices => {
            let (id, deleted_at) = keys::parse_delayed_slices(key).ok_or_else(odd)?;
            Item::DelayedSlices { id, deleted_at, slices: records::slice_pairs(key, value)? }
        }
        Scan::FreedSlices => {
            let (id, size) = keys::parse_slice_ref(key).ok_or_else(odd)?;
            if records::little_endian(key, value)? >= 0 {
                return Ok(None);
            }
            Item::FreedSlice { id, size }
        }
        Scan::SliceRefs => {
            let (id, size) = keys::parse_slice_ref(key).ok_or_else(odd)?;
            Item::SliceRefs { id, size, refs: records::little_endian(key, value)?.saturating_add(1) }
        }
        Scan::Acls => {
            let id = keys::parse_acl(key).ok_or_else(odd)?;
            let rule = packed::decode_acl(value).map_err(|cause| cause.of(keys::show(key)))?;
            Item::Acl { id, rule }
        }
        Scan::DirStats => {
            let ino = keys::parse_dir_stat(key).ok_or_else(odd)?;
            Item::DirStat { ino, stat: records::dir_stat(key, value)? }
        }
        Scan::Quotas { kind } => {
            let number = keys::parse_quota(*kind, key).ok_or_else(odd)?;
            Item::Quota(records::quota(*kind, number, key, value)?)
        }
        Scan::Sides => {
            let name = String::from_utf8_lossy(&key[keys::SIDES.len()..]).into_owned();
            Item::Side { name, value: value.clone() }
        }
        Scan::Sessions => return Ok(None),
    }))
}

fn of_inode(scan: &Scan, record: &Record) -> Result<Option<Item>> {
    let Some((ino, letter, rest)) = keys::parse_of_inode(&record.key) else { return Ok(None) };
    let name = || Name::from_record(Bytes::copy_from_slice(rest));
    Ok(Some(match (scan, letter) {
        (Scan::Entries { .. }, part::EDGE) => Item::Entry { name: name(), edge: gets::edge(record)? },
        (Scan::Edges, part::EDGE) => Item::Edge { parent: ino, name: name(), edge: gets::edge(record)? },
        (Scan::Nodes, part::NODE) => Item::Node { ino, attr: gets::attr(record)? },
        (Scan::Parents, part::PARENT) => {
            let (parent, count) = gets::parent(record)?;
            Item::Parent { ino, parent, count }
        }
        (Scan::Symlinks, part::SYMLINK) => Item::Symlink { ino, target: record.value.clone() },
        (Scan::Xattrs, part::XATTR) => {
            Item::Xattr { ino, name: Bytes::copy_from_slice(rest), value: record.value.clone() }
        }
        (Scan::Chunks { .. }, part::CHUNK) => {
            let indx = keys::parse_indx(rest);
            let indx = indx.ok_or_else(|| records::corrupt(&record.key, "a chunk's number is 4 bytes"))?;
            Item::Chunk { ino, indx, slices: records::slices(&record.key, &record.value)? }
        }
        _ => return Ok(None),
    }))
}
