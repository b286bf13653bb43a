//! Open directories.
//!
//! A listing is read whole when its first line is asked for and again whenever it is begun again. Lines are in
//! the order of a hash of their names, which is also the cookie: whoever holds a cookie, also from an earlier
//! process or an earlier listing, goes on behind the same name. What this mount adds or removes meanwhile is
//! noted with each open handle, so that a listing never shows a name that is gone as if it were there.

use crate::core::Core;
use bytes::Bytes;
use juicefs_base::sync::Mutex;
use juicefs_meta::{Attr, Entry, Ino, Kind};
use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// Cookies up to here are for `.` and `..`.
pub(crate) const COOKIE_FIRST: u64 = 16;
/// Cookies are positive as signed 64-bit numbers, for every caller.
const COOKIE_MAX: u64 = (1 << 62) - 1;
/// Attributes read together for a listing, and for how long they may be shown.
const BATCH: usize = 512;
const BATCH_FRESH: Duration = Duration::from_millis(50);

/// One line, its name in [`Listing::names`].
#[derive(Clone, Copy, Debug)]
struct Row {
    cookie: u64,
    ino: Ino,
    name_at: u32,
    name_len: u8,
    kind: Kind,
}

/// The names of a directory at one moment, by cookie.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    rows: Vec<Row>,
    names: Bytes,
}

impl Listing {
    pub(crate) fn new(entries: impl IntoIterator<Item = (Bytes, Ino, Kind)>) -> Self {
        let mut entries: Vec<_> =
            entries.into_iter().map(|(name, ino, kind)| (cookie(&name), name, ino, kind)).collect();
        entries.sort_unstable_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
        let mut names = Vec::with_capacity(entries.iter().map(|(_, name, ..)| name.len()).sum());
        let mut last = COOKIE_FIRST;
        let mut rows = Vec::with_capacity(entries.len());
        for (cookie, name, ino, kind) in entries {
            // Names of the same hash stand one behind the other, in the order of the names.
            let cookie = cookie.max(last + 1);
            last = cookie;
            let name_len = u8::try_from(name.len()).unwrap_or(u8::MAX);
            let Ok(name_at) = u32::try_from(names.len()) else { break };
            names.extend_from_slice(&name[..usize::from(name_len)]);
            rows.push(Row { cookie, ino, name_at, name_len, kind });
        }
        Self { rows, names: names.into() }
    }

    fn name(&self, row: &Row) -> Bytes {
        let at = row.name_at as usize;
        self.names.slice(at..at + usize::from(row.name_len))
    }

    fn may_have(&self, name: &Bytes) -> bool {
        // A name moved behind others of its hash is a little further on.
        let hash = cookie(name);
        let near = self.behind(hash - 1);
        self.rows[near..].iter().take_while(|row| row.cookie < hash + 16).any(|row| self.name(row) == *name)
    }

    /// Where the lines behind `cookie` begin.
    fn behind(&self, cookie: u64) -> usize {
        self.rows.partition_point(|row| row.cookie <= cookie)
    }
}

/// FNV-1a, 64 bits, mixed and cut to 62: it must be the same in every version that takes over open handles.
fn cookie(name: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    for byte in name {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash ^= hash >> 32;
    hash = hash.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    hash ^= hash >> 29;
    (hash & COOKIE_MAX).clamp(COOKIE_FIRST + 1, COOKIE_MAX - (1 << 20))
}

/// What happened to a name since the listing was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Touch {
    /// Something else may be under it.
    Changed,
    Removed,
}

/// A line of a listing without times to live.
#[derive(Clone, Debug)]
pub(crate) struct Shown {
    pub(crate) name: Bytes,
    pub(crate) ino: Ino,
    pub(crate) kind: Kind,
    pub(crate) cookie: u64,
    /// Something else may be under the name: no attributes for it.
    pub(crate) is_changed: bool,
}

#[derive(Default)]
struct DirState {
    listing: Option<Arc<Listing>>,
    touched: HashMap<Bytes, Touch>,
    batch: Batch,
}

/// Attributes read ahead for lines that will be asked for next.
#[derive(Default)]
struct Batch {
    attrs: HashMap<Ino, Attr>,
    read_at: Option<Instant>,
    /// When they were asked for, in ticks.
    asked_at: u64,
}

/// An open directory.
pub(crate) struct DirHandle {
    pub(crate) ino: Ino,
    /// For `..`; read when first needed.
    pub(crate) parent: Mutex<Option<Ino>>,
    state: Mutex<DirState>,
}

impl DirHandle {
    /// Whether lines behind `cookie` can be shown: a listing is begun anew at 0.
    pub(crate) fn has_listing(&self, cookie: u64) -> bool {
        cookie != 0 && self.state.lock().listing.is_some()
    }

    /// Before a listing is read: what is touched from now on counts.
    pub(crate) fn begin(&self) {
        *self.state.lock() = DirState::default();
    }

    pub(crate) fn set(&self, listing: Listing) {
        self.state.lock().listing = Some(Arc::new(listing));
    }

    /// Up to `most` lines behind `cookie`, and whether they may be the last.
    pub(crate) fn lines(&self, cookie: u64, most: usize) -> Vec<Shown> {
        let state = self.state.lock();
        let Some(listing) = &state.listing else { return Vec::new() };
        let rows = &listing.rows[listing.behind(cookie)..];
        let show = |row: &Row| {
            let name = listing.name(row);
            let is_changed = match state.touched.get(&name) {
                Some(Touch::Removed) => return None,
                Some(Touch::Changed) => true,
                None => false,
            };
            Some(Shown { name, ino: row.ino, kind: row.kind, cookie: row.cookie, is_changed })
        };
        rows.iter().filter_map(show).take(most).collect()
    }

    fn known(&self, ino: Ino) -> Option<(Attr, u64)> {
        let state = self.state.lock();
        let is_fresh = state.batch.read_at.is_some_and(|at| at.elapsed() < BATCH_FRESH);
        let attr = state.batch.attrs.get(&ino).filter(|_| is_fresh)?;
        Some((*attr, state.batch.asked_at))
    }
}

impl Core {
    /// Attributes for lines about to be shown, as they are now; missing for nodes that are gone.
    pub(crate) async fn attributes_of(
        &self,
        dir: &DirHandle,
        lines: &[Shown],
        cookie: u64,
    ) -> juicefs_meta::Result<Vec<Option<Attr>>> {
        let is_known = lines.iter().all(|line| line.is_changed || dir.known(line.ino).is_some());
        if !is_known {
            let asked_at = self.tick();
            let wanted = dir.lines(cookie, BATCH.max(lines.len()));
            let inos: Vec<Ino> = wanted.iter().filter(|line| !line.is_changed).map(|line| line.ino).collect();
            let nodes = self.meta.attributes(&inos).await?;
            let attrs = inos.into_iter().zip(nodes).filter_map(|(ino, attr)| Some((ino, attr?))).collect();
            dir.state.lock().batch = Batch { attrs, read_at: Some(Instant::now()), asked_at };
        }
        let state = dir.state.lock();
        let attr = |line: &Shown| {
            if line.is_changed {
                return None;
            }
            let attr = state.batch.attrs.get(&line.ino)?;
            Some(self.observe(line.ino, *attr, state.batch.asked_at))
        };
        Ok(lines.iter().map(attr).collect())
    }
}

/// The open directories, by inode.
#[derive(Default)]
pub(crate) struct Directories {
    open: Mutex<HashMap<Ino, Vec<Weak<DirHandle>>>>,
}

impl Directories {
    pub(crate) fn open(&self, ino: Ino) -> Arc<DirHandle> {
        let handle = Arc::new(DirHandle { ino, parent: Mutex::default(), state: Mutex::default() });
        self.open.lock().entry(ino).or_default().push(Arc::downgrade(&handle));
        handle
    }

    pub(crate) fn close(&self, handle: &Arc<DirHandle>) {
        let mut open = self.open.lock();
        if let Some(handles) = open.get_mut(&handle.ino) {
            handles.retain(|other| {
                other.strong_count() > 0 && !std::ptr::eq(other.as_ptr(), Arc::as_ptr(handle))
            });
            if handles.is_empty() {
                open.remove(&handle.ino);
            }
        }
    }

    /// This mount changed what is under `name` in `parent`.
    pub(crate) fn touch(&self, parent: Ino, name: &Bytes, touch: Touch) {
        let handles: Vec<_> = match self.open.lock().get(&parent) {
            Some(handles) => handles.iter().filter_map(Weak::upgrade).collect(),
            None => return,
        };
        for handle in handles {
            let mut state = handle.state.lock();
            // Names that the listing does not have need no note; so notes are bounded by it.
            if state.listing.as_ref().is_none_or(|listing| listing.may_have(name)) {
                state.touched.insert(name.clone(), touch);
            }
        }
    }
}

/// What a stored entry is in a listing.
pub(crate) fn listed(entry: Entry) -> (Bytes, Ino, Kind) {
    (Bytes::copy_from_slice(entry.name.as_bytes()), entry.edge.ino, entry.edge.kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(count: usize) -> impl Iterator<Item = (Bytes, Ino, Kind)> {
        (0..count).map(|n| (Bytes::from(format!("file-{n}")), Ino(n as u64 + 2), Kind::File))
    }

    #[test]
    fn a_cookie_continues_in_another_listing_behind_the_same_name() {
        let first = Listing::new(names(10_000));
        let at = first.rows[5000];
        let second = Listing::new(names(12_000));
        let begin = second.behind(at.cookie);
        assert_eq!(second.name(&second.rows[begin - 1]), first.name(&at));
        let rest: std::collections::HashSet<_> =
            second.rows[begin..].iter().map(|row| second.name(row)).collect();
        assert!(first.rows[5001..].iter().all(|row| rest.contains(&first.name(row))));
        assert!(second.rows.windows(2).all(|pair| pair[0].cookie < pair[1].cookie));
        assert!(second.rows.iter().all(|row| row.cookie > COOKIE_FIRST && row.cookie <= COOKIE_MAX));
    }

    #[test]
    fn cookies_do_not_change_between_versions() {
        assert_eq!(cookie(b"a"), cookie_of_first_release(b"a"));
        assert_ne!(cookie(b"ab"), cookie(b"ba"));
    }

    fn cookie_of_first_release(name: &[u8]) -> u64 {
        let fnv = name.iter().fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
        let mixed = (fnv ^ (fnv >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed ^ (mixed >> 29)) & COOKIE_MAX
    }

    #[test]
    fn what_is_removed_meanwhile_is_not_shown() {
        let directories = Directories::default();
        let handle = directories.open(Ino(1));
        handle.begin();
        handle.set(Listing::new(names(100)));
        directories.touch(Ino(1), &Bytes::from("file-7"), Touch::Removed);
        directories.touch(Ino(1), &Bytes::from("file-8"), Touch::Changed);
        let lines = handle.lines(COOKIE_FIRST, 1000);
        assert_eq!(lines.len(), 99);
        assert!(lines.iter().all(|line| line.name != "file-7"));
        assert!(lines.iter().all(|line| line.is_changed == (line.name == "file-8")));
        directories.close(&handle);
        assert!(directories.open.lock().is_empty());
    }
}
