//! Listings.

use super::{Adapter, errno};
use crate::request::{Answer, Listing, OpenedDirectory, Request};
use crate::task;
use juicefs_base::Errno;
use juicefs_vfs::Ino;

/// Lines asked of the vfs at a time; more are asked for while the kernel's buffer has room.
const LINES_AT_ONCE: usize = 128;

impl Adapter {
    pub(crate) fn opendir(&self, request: &Request, ino: Ino, reply: impl Answer<OpenedDirectory>) {
        let (vfs, caller) = (self.vfs.clone(), self.caller(request));
        let cache_listing = self.options.caches_listings;
        self.run("opendir", reply, async move {
            let fh = vfs.opendir(&caller, ino).await?.fh;
            Ok(OpenedDirectory { fh, cache_listing })
        });
    }

    pub(crate) fn readdir(
        &self,
        request: &Request,
        ino: Ino,
        fh: u64,
        cookie: u64,
        with_attr: bool,
        mut reply: impl Listing,
    ) {
        if self.refuses() {
            return reply.answer(Err(Errno::ENOTCONN));
        }
        let (vfs, caller) = (self.vfs.clone(), self.caller(request));
        task::run(&self.runtime, async move {
            let mut next = cookie;
            let result = loop {
                let lines = match vfs.readdir(&caller, ino, fh, next, with_attr, LINES_AT_ONCE).await {
                    Ok(lines) => lines,
                    // Lines that are in the buffer are told first; the next call meets the error again.
                    Err(_) if next != cookie => break Ok(()),
                    Err(error) => break Err(errno("readdir", &error)),
                };
                let is_full = lines.iter().any(|line| reply.add(line));
                match lines.last() {
                    Some(last) if !is_full && lines.len() >= LINES_AT_ONCE => next = last.next,
                    _ => break Ok(()),
                }
            };
            reply.answer(result);
        });
    }

    pub(crate) fn releasedir(&self, ino: Ino, fh: u64, reply: impl Answer<()>) {
        let vfs = self.vfs.clone();
        self.run("releasedir", reply, async move { vfs.releasedir(ino, fh).await });
    }
}
