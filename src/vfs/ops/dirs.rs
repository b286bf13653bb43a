//! Operations on open directories.

use crate::answer::{Line, Opened};
use crate::directory::{DirHandle, Listing, Shown, listed};
use crate::error::{Result, stale};
use crate::handles::Handle;
use crate::special;
use crate::vfs::Vfs;
use bytes::Bytes;
use juicefs_base::Errno;
use juicefs_base::metrics::FileOp;
use juicefs_meta::{Attr, Caller, Ino, Kind};
use std::sync::Arc;

const COOKIE_DOT: u64 = 1;
const COOKIE_DOT_DOT: u64 = 2;

impl Vfs {
    /// Opens a directory; its entries are read when they are first asked for.
    ///
    /// # Errors
    /// ESTALE, ENOTDIR, EACCES.
    pub async fn opendir(&self, caller: &Caller, ino: Ino) -> Result<Opened> {
        self.count(FileOp::Opendir, async {
            let attr = self.core.meta.getattr(ino).await.map_err(stale)?;
            if attr.kind != Kind::Directory {
                return Err(Errno::ENOTDIR.into());
            }
            if caller.checks_permission {
                self.core.meta.access(caller, ino, 4).await?;
            }
            let handle = self.directories.open(ino);
            let fh = self.handles.add(Handle::Dir(handle));
            Ok(Opened { fh, keep_cache: false, direct: false })
        })
        .await
    }

    /// Up to `most` lines behind `cookie` (0 = from the start, which reads the directory anew); none at the end.
    /// `with_attr`: lines carry attributes as they are now, except where a name just changed.
    ///
    /// # Errors
    /// EBADF, EACCES, EIO. A directory that is gone is empty.
    pub async fn readdir(
        &self,
        caller: &Caller,
        ino: Ino,
        fh: u64,
        cookie: u64,
        with_attr: bool,
        most: usize,
    ) -> Result<Vec<Line>> {
        self.count(FileOp::Readdir, async {
            let handle = self.handles.dir(fh).filter(|handle| handle.ino == ino).ok_or(Errno::EBADF)?;
            if !handle.has_listing(cookie) {
                self.list(caller, &handle).await?;
                self.core.meta.touch_atime_of(ino).await;
            }
            let mut lines = Vec::with_capacity(most.min(1024));
            self.dots(&handle, cookie, &mut lines).await?;
            let shown = handle.lines(cookie, most.saturating_sub(lines.len()));
            let attrs = if with_attr {
                self.core.attributes_of(&handle, &shown, cookie).await?
            } else {
                vec![None; shown.len()]
            };
            lines.extend(shown.into_iter().zip(attrs).map(|(shown, attr)| self.line(shown, attr, with_attr)));
            Ok(lines)
        })
        .await
    }

    fn line(&self, shown: Shown, attr: Option<Attr>, with_attr: bool) -> Line {
        let Shown { name, ino, kind, cookie, .. } = shown;
        let found = match self.special_attr(ino).filter(|_| with_attr) {
            Some(attr) => Some(crate::Found { ino, attr, attr_ttl: special::TTL, entry_ttl: special::TTL }),
            None => attr.map(|attr| self.found(ino, attr)),
        };
        Line { name, ino, kind, next: cookie, found }
    }

    async fn dots(&self, handle: &DirHandle, cookie: u64, lines: &mut Vec<Line>) -> Result<()> {
        let dot = |name: &'static [u8], ino: Ino, next: u64| Line {
            name: Bytes::from_static(name),
            ino,
            kind: Kind::Directory,
            next,
            found: None,
        };
        if cookie < COOKIE_DOT {
            lines.push(dot(b".", handle.ino, COOKIE_DOT));
        }
        if cookie < COOKIE_DOT_DOT {
            let known = *handle.parent.lock();
            let parent = match known {
                Some(parent) => parent,
                // A directory that was removed is in none.
                None => self.core.meta.parent_of(handle.ino).await.unwrap_or(handle.ino),
            };
            *handle.parent.lock() = Some(parent);
            lines.push(dot(b"..", parent, COOKIE_DOT_DOT));
        }
        Ok(())
    }

    async fn list(&self, caller: &Caller, handle: &Arc<DirHandle>) -> Result<()> {
        handle.begin();
        let mut entries = match self.core.meta.readdir(caller, handle.ino, false).await {
            Ok(entries) => entries,
            Err(error) if error.errno() == Errno::ENOENT => Vec::new(),
            Err(error) => return Err(error.into()),
        };
        if handle.ino == Ino::ROOT {
            entries.retain(|entry| !self.specials.is_hidden(entry.name.as_bytes()));
        }
        let internal = if handle.ino == Ino::ROOT && !self.core.config.hide_internal {
            self.specials.listed()
        } else {
            Vec::new()
        };
        let internal = internal.into_iter().map(|(name, ino, kind)| (Bytes::from(name), ino, kind));
        handle.set(Listing::new(entries.into_iter().map(listed).chain(internal)));
        Ok(())
    }

    /// # Errors
    /// None.
    pub async fn releasedir(&self, _ino: Ino, fh: u64) -> Result<()> {
        self.count(FileOp::Releasedir, async {
            if let Some(Handle::Dir(handle)) = self.handles.remove(fh) {
                self.directories.close(&handle);
            }
            Ok(())
        })
        .await
    }
}
