//! Questions of the port as keys and ranges, and what their records say.

use bytes::Bytes;

use super::keys::{self, part};
use super::records;
use super::store::{Ask, Found, Range, Record};
use crate::error::Result;
use crate::port::{Get, Got, SessionRow};
use crate::types::{Attr, Edge};

/// Keys of what a question asks; not for those that ask for a range.
pub(super) fn asks(get: &Get, asks: &mut Vec<Ask>) {
    let key = match get {
        Get::Node { ino, .. } => keys::node(*ino),
        Get::Edge { parent, name, .. } => keys::edge(*parent, name),
        Get::HasChildren { ino } => {
            asks.push(Ask::Range { range: children(*ino), records_max: 1, keys_only: true });
            return;
        }
        Get::Parents { ino } => {
            asks.push(Ask::all(keys::all_of(*ino, part::PARENT)));
            return;
        }
        Get::Symlink { ino } => keys::symlink(*ino),
        Get::Xattr { ino, name, .. } => keys::xattr(*ino, name),
        Get::XattrNames { ino } => {
            asks.push(Ask::keys(keys::all_of(*ino, part::XATTR)));
            return;
        }
        // Appending is writing the whole list anew.
        Get::Chunk { ino, indx, .. } | Get::AppendTarget { ino, indx } => keys::chunk(*ino, *indx),
        Get::Chunks { ino, first, last } => {
            asks.push(Ask::all(keys::chunks(*ino, *first, *last)));
            return;
        }
        Get::DirStat { ino } => keys::dir_stat(*ino),
        Get::Quota { kind, key } => keys::quota(*kind, *key),
        Get::Session { sid } => {
            asks.push(Ask::Key(keys::session_expiry(*sid)));
            keys::session_info(*sid)
        }
        Get::OtherSession { .. } => {
            asks.push(Ask::all(keys::session_expiries()));
            return;
        }
        Get::DeletedFile { ino, length } => keys::deleted_file(*ino, *length),
        Get::Sustained { sid, ino } => keys::sustained(*sid, *ino),
        Get::Side { name } => keys::side(name),
        Get::DelayedSlices { id, deleted_at } => keys::delayed_slices(*id, *deleted_at),
        Get::Flocks { ino } => keys::flocks(*ino),
        Get::RangeLocks { ino } => keys::range_locks(*ino),
    };
    asks.push(Ask::Key(key));
}

pub(super) fn children(ino: crate::types::Ino) -> Range {
    keys::all_of(ino, part::EDGE)
}

/// The answer to a question from the next of `found`.
pub(super) fn answer<'f>(get: &Get, found: &mut impl Iterator<Item = &'f Found>) -> Result<Got> {
    static NOTHING: Found = Found { records: Vec::new(), has_more: false, moment: 0 };
    let mut next = || &found.next().unwrap_or(&NOTHING).records[..];
    let all = next();
    let one = all.first();
    let value = || one.map(|record| record.value.clone());
    Ok(match get {
        Get::Node { .. } => Got::Node(one.map(attr).transpose()?),
        Get::Edge { .. } => Got::Edge(one.map(edge).transpose()?),
        Get::HasChildren { .. } | Get::DeletedFile { .. } | Get::Sustained { .. } => Got::Flag(one.is_some()),
        Get::Parents { .. } => {
            let mut parents = Vec::with_capacity(all.len());
            for record in all {
                let (ino, count) = parent(record)?;
                // Links that are gone may stay behind with 0.
                if count > 0 {
                    parents.push((ino, count));
                }
            }
            Got::Parents(parents)
        }
        Get::Symlink { .. } | Get::Xattr { .. } | Get::Side { .. } => Got::Bytes(value()),
        Get::XattrNames { .. } => Got::Names(all.iter().filter_map(name_behind).collect()),
        Get::Chunk { .. } => {
            let slices = one.map(|record| records::slices(&record.key, &record.value));
            Got::Slices(slices.transpose()?.unwrap_or_default())
        }
        Get::AppendTarget { .. } => Got::Ready,
        Get::Chunks { .. } => {
            let indx = |record: &Record| {
                keys::parse_of_inode(&record.key).and_then(|(_, _, rest)| keys::parse_indx(rest))
            };
            Got::Indexes(all.iter().filter_map(indx).collect())
        }
        Get::DirStat { .. } => {
            Got::DirStat(one.map(|record| records::dir_stat(&record.key, &record.value)).transpose()?)
        }
        Get::Quota { kind, key } => {
            let row = one.map(|record| records::quota(*kind, *key, &record.key, &record.value));
            Got::Quota(row.transpose()?)
        }
        Get::Session { sid } => {
            let info = next().first().map(|record| record.value.clone()).unwrap_or_default();
            let expiry = one.map(|record| records::big_endian(&record.key, &record.value)).transpose()?;
            Got::Session(expiry.map(|expires_at| SessionRow { sid: *sid, expires_at, info }))
        }
        Get::OtherSession { sid, at } => {
            let mut found = false;
            for record in all.iter().filter(|record| keys::parse_session(&record.key) != Some(*sid)) {
                found |= records::big_endian(&record.key, &record.value)? >= *at;
            }
            Got::Flag(found)
        }
        Get::DelayedSlices { .. } => {
            let pairs = one.map(|record| records::slice_pairs(&record.key, &record.value));
            Got::SlicePairs(pairs.transpose()?)
        }
        Get::Flocks { .. } => {
            let locks = one.map(|record| records::flocks(&record.key, &record.value));
            Got::Flocks(locks.transpose()?.unwrap_or_default())
        }
        Get::RangeLocks { .. } => {
            let locks = one.map(|record| records::range_locks(&record.key, &record.value));
            Got::RangeLocks(locks.transpose()?.unwrap_or_default())
        }
    })
}

pub(super) fn attr(record: &Record) -> Result<Attr> {
    records::attr(&record.key, &record.value)
}

pub(super) fn edge(record: &Record) -> Result<Edge> {
    records::edge(&record.key, &record.value)
}

/// A parent and its count of names.
pub(super) fn parent(record: &Record) -> Result<(crate::types::Ino, i64)> {
    let parent = keys::parse_of_inode(&record.key).and_then(|(_, _, rest)| keys::parse_parent(rest));
    let parent = parent.ok_or_else(|| records::corrupt(&record.key, "a parent is 8 bytes"))?;
    Ok((parent, records::little_endian(&record.key, &record.value)?))
}

/// The name that a key of an inode ends with.
pub(super) fn name_behind(record: &Record) -> Option<Bytes> {
    keys::parse_of_inode(&record.key).map(|(_, _, name)| Bytes::copy_from_slice(name))
}
