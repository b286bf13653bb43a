//! Long reads of what only a whole copy of a volume asks for: the entries of all directories, and records about nodes.

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use redis::{Cmd, Value};
use roaring::RoaringTreemap;

use super::reply::{self, Replies};
use super::scan::{self, corrupt, odd, parsed, whole};
use super::{RedisEngine, keys};
use crate::engines::inside::inside;
use crate::engines::packed;
use crate::error::{Error, Result};
use crate::port::{Item, QuotaKind, QuotaRow, Scan};
use crate::types::{DirStat, Ino, Usage};

/// Keys of a page whose records may be long.
const PAGE: usize = 1_000;
/// Directories read at the same time.
const DIRECTORIES_AT_ONCE: usize = 16;

/// A field of a hash with its value.
type Field = (Vec<u8>, Vec<u8>);
/// The same field of two other hashes.
type Others = (Option<Vec<u8>>, Option<Vec<u8>>);

/// The entries of all directories, each directory once and as its own scan lists it.
pub(super) fn edges(engine: &RedisEngine) -> BoxStream<'_, Result<Item>> {
    let begin = Some((0_u64, RoaringTreemap::new()));
    let pages = stream::try_unfold(begin, move |state| async move {
        let Some((position, mut told)) = state else { return Ok::<_, Error>(None) };
        let mut command = redis::cmd("SCAN");
        command.arg(position).arg("MATCH").arg("d[0-9]*").arg("COUNT").arg(PAGE);
        let page = async {
            let reply = engine.bulk.send(&command).await?;
            scan::page_of(&mut Replies::new(&engine.endpoint, vec![reply]))
        };
        let (next, found) = inside(&engine.home, page).await?;
        let mut directories = parsed(found, keys::parse_directory)?;
        directories.retain(|ino| told.insert(ino.0));
        Ok(Some((stream::iter(directories.into_iter().map(Ok)), (next != 0).then_some((next, told)))))
    });
    let entries = move |parent: Ino| {
        let edge = move |item| match item {
            Item::Entry { name, edge } => Item::Edge { parent, name, edge },
            other => other,
        };
        Ok::<_, Error>(scan::items(engine, Scan::Entries { parent }).map_ok(edge))
    };
    pages
        .try_flatten()
        .and_then(move |parent| std::future::ready(entries(parent)))
        .try_flatten_unordered(DIRECTORIES_AT_ONCE)
        .boxed()
}

/// The command that reads a page of the records, without its COUNT; `None` for other scans.
pub(super) fn command(scan: &Scan, position: u64) -> Option<Cmd> {
    let (hash, pattern) = match scan {
        Scan::Parents => (None, "p[0-9]*"),
        Scan::Symlinks => (None, "s[0-9]*"),
        Scan::Xattrs => (None, "x[0-9]*"),
        Scan::SliceRefs => (Some(keys::SLICE_REFS), ""),
        Scan::Acls => (Some(keys::ACL), ""),
        Scan::DirStats => (Some(keys::DIR_STATS[1]), ""),
        Scan::Quotas { kind } => (Some(keys::quotas(*kind)[0]), ""),
        _ => return None,
    };
    let mut command = match hash {
        Some(hash) => redis::cmd("HSCAN").arg(hash).arg(position).to_owned(),
        None => redis::cmd("SCAN").arg(position).arg("MATCH").arg(pattern).to_owned(),
    };
    Some(command.arg("COUNT").arg(PAGE).to_owned())
}

impl RedisEngine {
    /// What the elements of a page of [`command`] stand for.
    pub(super) async fn records(&self, scan: &Scan, elements: Vec<Value>) -> Result<Vec<Item>> {
        match scan {
            Scan::Parents => {
                let hashes = self.hashes(elements, keys::parse_parents, keys::parents).await?;
                let pairs = hashes.iter().flat_map(|(ino, pairs)| pairs.iter().map(move |pair| (*ino, pair)));
                pairs.map(|(ino, pair)| whole(parent(ino, pair))).collect()
            }
            Scan::Xattrs => {
                let mut items = Vec::new();
                for (ino, pairs) in self.hashes(elements, keys::parse_xattrs, keys::xattrs).await? {
                    let xattr =
                        |(name, value): Field| Item::Xattr { ino, name: name.into(), value: value.into() };
                    items.extend(pairs.into_iter().map(xattr));
                }
                Ok(items)
            }
            Scan::Symlinks => {
                let inos = parsed(elements, keys::parse_symlink)?;
                let targets =
                    self.fetch(&inos, |ino| redis::cmd("GET").arg(keys::symlink(*ino)).to_owned()).await?;
                let mut items = Vec::with_capacity(inos.len());
                for (ino, target) in inos.into_iter().zip(targets) {
                    let target = reply::bytes(target)?.map(Bytes::from);
                    items.extend(target.map(|target| Item::Symlink { ino, target }));
                }
                Ok(items)
            }
            Scan::SliceRefs => {
                reply::pairs(elements)?.iter().map(|(field, count)| whole(slice_refs(field, count))).collect()
            }
            Scan::Acls => {
                reply::pairs(elements)?.iter().map(|(field, record)| whole(acl(field, record))).collect()
            }
            Scan::DirStats => {
                let spaces = reply::pairs(elements)?;
                let [lengths, _, inodes] = keys::DIR_STATS;
                let (lengths, inodes) =
                    (self.fields(lengths, &spaces).await?, self.fields(inodes, &spaces).await?);
                let row = |((key, space), (length, inodes)): (&Field, Others)| {
                    whole(dir_stat(key, length.as_deref(), space, inodes.as_deref()))
                };
                spaces.iter().zip(lengths.into_iter().zip(inodes)).map(row).collect()
            }
            Scan::Quotas { kind } => {
                let limits = reply::pairs(elements)?;
                let [_, space, inodes] = keys::quotas(*kind);
                let (spaces, inodes) =
                    (self.fields(space, &limits).await?, self.fields(inodes, &limits).await?);
                let row = |((key, limits), (space, inodes)): (&Field, Others)| {
                    whole(quota(*kind, key, limits, [space.as_deref(), inodes.as_deref()]))
                };
                limits.iter().zip(spaces.into_iter().zip(inodes)).map(row).collect()
            }
            other => Err(Error::Engine(format!("{other:?} is another kind of scan"))),
        }
    }

    async fn hashes(
        &self,
        elements: Vec<Value>,
        parse: impl Fn(&[u8]) -> Option<Ino>,
        key: impl Fn(Ino) -> String,
    ) -> Result<Vec<(Ino, Vec<Field>)>> {
        let inos = parsed(elements, parse)?;
        let hashes = self.fetch(&inos, |ino| redis::cmd("HGETALL").arg(key(*ino)).to_owned()).await?;
        let pairs = |(ino, hash)| Ok((ino, reply::pairs(reply::array(hash)?)?));
        inos.into_iter().zip(hashes).map(pairs).collect()
    }

    /// The same fields of another hash.
    async fn fields(&self, hash: &str, of: &[Field]) -> Result<Vec<Option<Vec<u8>>>> {
        if of.is_empty() {
            return Ok(Vec::new());
        }
        let mut command = redis::cmd("HMGET");
        command.arg(hash);
        for (field, _) in of {
            command.arg(field);
        }
        let reply = self.bulk.send(&command).await?;
        Replies::new(&self.endpoint, vec![reply]).array()?.into_iter().map(reply::bytes).collect()
    }
}

fn parent(ino: Ino, (parent, count): &Field) -> Result<Item> {
    let record = keys::parents(ino);
    let number = keys::number(parent).map(Ino).ok_or_else(|| odd(&record, parent))?;
    Ok(Item::Parent { ino, parent: number, count: reply::decimal(count, &record)? })
}

/// The record counts what is beyond the first reference.
fn slice_refs(field: &[u8], count: &[u8]) -> Result<Item> {
    let (id, size) = keys::parse_slice_ref(field).ok_or_else(|| odd(keys::SLICE_REFS, field))?;
    Ok(Item::SliceRefs { id, size, refs: reply::decimal(count, keys::SLICE_REFS)?.saturating_add(1) })
}

fn acl(field: &[u8], record: &[u8]) -> Result<Item> {
    let id = keys::number(field).ok_or_else(|| odd(keys::ACL, field))?;
    let rule = packed::decode_acl(record).map_err(|cause| cause.of(format!("{} {id}", keys::ACL)))?;
    Ok(Item::Acl { id, rule })
}

fn dir_stat(key: &[u8], length: Option<&[u8]>, space: &[u8], inodes: Option<&[u8]>) -> Result<Item> {
    let record = keys::DIR_STATS[1];
    let ino = keys::number(key).map(Ino).ok_or_else(|| odd(record, key))?;
    let number = |digits: Option<&[u8]>| digits.map_or(Ok(0), |digits| reply::decimal(digits, record));
    let stat = DirStat { length: number(length)?, space: number(Some(space))?, inodes: number(inodes)? };
    Ok(Item::DirStat { ino, stat })
}

fn quota(kind: QuotaKind, key: &[u8], limits: &[u8], used: [Option<&[u8]>; 2]) -> Result<Item> {
    let record = keys::quotas(kind)[0];
    let number = keys::number(key).ok_or_else(|| odd(record, key))?;
    let limits = packed::decode_quota(limits).map_err(|cause| cause.of(format!("{record} {number}")))?;
    if limits.used.is_some() {
        return Err(corrupt(record, "usage where limits belong"));
    }
    let amount = |digits: Option<&[u8]>| digits.map_or(Ok(0), |digits| reply::decimal(digits, record));
    let used = Usage { space: amount(used[0])?, inodes: amount(used[1])? };
    Ok(Item::Quota(QuotaRow {
        kind,
        key: number,
        space_max: limits.space_max,
        inodes_max: limits.inodes_max,
        used,
    }))
}
