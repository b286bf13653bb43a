//! Files are opened and closed; an open file outlives its last name.

use std::time::Instant;

use juicefs_base::Errno;

use crate::error::Result;
use crate::meta::Meta;
use crate::request::OpenFlags;
use crate::rules;
use crate::types::{Attr, Caller, Ino, Kind, flags};

impl Meta {
    /// Checks and counts an open of a file; each needs one [`Self::close_file`]. `O_TRUNC` is the caller's.
    ///
    /// # Errors
    /// ENOENT, EACCES, EPERM (trash, immutable and append-only files), EISDIR, EROFS.
    pub async fn open_file(&self, caller: &Caller, ino: Ino, how: OpenFlags) -> Result<Attr> {
        if how.writes() {
            self.check_writable()?;
        }
        let ino = self.stored(ino);
        {
            // After this turn an unlink sees the file as open; before it, we see the file as gone.
            let _turn = self.removals.lock(ino).await;
            self.open_files.open(ino);
        }
        let opened = self.found_open(caller, ino, how).await;
        if opened.is_err() {
            self.close_file(ino).await?;
        }
        opened
    }

    async fn found_open(&self, caller: &Caller, ino: Ino, how: OpenFlags) -> Result<Attr> {
        let attr = match self.open_cache.get(ino) {
            Some(attr) => attr,
            None => {
                let (asked_at, generation) = (Instant::now(), self.open_cache.generation(ino));
                let attr = self.getattr(ino).await?;
                if attr.kind == Kind::File && attr.nlink > 0 {
                    self.open_cache.keep(ino, &attr, asked_at, generation);
                }
                attr
            }
        };
        check_open(caller, &attr, how)?;
        // Another client took its last name, and will not keep it for long.
        let is_nameless = attr.kind == Kind::File && attr.nlink == 0;
        if is_nameless && !self.open_files.is_sustained(ino) && !self.adopt(ino).await? {
            return Err(Errno::ENOENT.into());
        }
        if how.reads() && !is_nameless {
            return Ok(self.touch_atime(ino, &attr).await.unwrap_or(attr));
        }
        Ok(attr)
    }

    /// The attributes of a file as an open takes them: what was read for an open is good for a while where the mount says
    /// so (`open_cache`).
    ///
    /// # Errors
    /// As [`Self::getattr`].
    pub async fn getattr_of_open(&self, ino: Ino) -> Result<Attr> {
        match self.open_cache.get(self.stored(ino)) {
            Some(attr) => Ok(attr),
            None => self.getattr(ino).await,
        }
    }

    /// One open less; the last close of a file without a name deletes it, unless another client has it open.
    ///
    /// # Errors
    /// As the engine's; the file is closed anyway, and the session's end deletes it.
    pub async fn close_file(&self, ino: Ino) -> Result<()> {
        let ino = self.stored(ino);
        // What is kept for others goes when they have had their time.
        if self.open_files.close(ino) && !self.kept.is_kept(ino) {
            self.let_go(self.session_id(), &[ino], false).await?;
        }
        Ok(())
    }

    /// Whether this process holds the file open.
    #[must_use]
    pub fn is_open(&self, ino: Ino) -> bool {
        self.open_files.is_open(ino)
    }
}

fn check_open(caller: &Caller, attr: &Attr, how: OpenFlags) -> Result<()> {
    if attr.kind == Kind::Directory && how.writes() {
        return Err(Errno::EISDIR.into());
    }
    if how.writes() {
        let is_cut = how.truncates() || !how.appends();
        let is_refused = attr.parent.is_trash()
            || attr.flags & flags::IMMUTABLE != 0
            || attr.flags & flags::APPEND != 0 && is_cut;
        if is_refused {
            return Err(Errno::EPERM.into());
        }
    }
    let mut mask = 0;
    if how.reads() {
        mask |= rules::READ;
    }
    if how.writes() {
        mask |= rules::WRITE;
    }
    Ok(rules::check(caller, attr, mask)?)
}
