//! What each operation does to the vfs, one file per topic. Names and data are copied before the first wait:
//! the thread that read the request reuses its buffer.

mod attributes;
mod caller;
mod data;
mod directory;
mod flags;
mod inherited;
mod locks;
mod names;
mod special;
mod xattrs;

pub(crate) use attributes::Changes;
pub(crate) use flags::Ioctl;
pub(crate) use locks::LockCall;

use crate::options::FuseOptions;
use crate::repeats::{Question, Repeats};
use crate::request::Answer;
use crate::task;
use bytes::Bytes;
use juicefs_base::Errno;
use juicefs_vfs::{AccessLog, Ino, Name, Vfs};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use tokio::runtime::Handle;

/// Requests become calls of the vfs; of its own it knows only what the kernel is about to ask again.
pub(crate) struct Adapter {
    vfs: Arc<Vfs>,
    repeats: Arc<Repeats>,
    pub(crate) options: FuseOptions,
    runtime: Handle,
    /// Set once, when the volume is closed under a mount that is still there.
    refusing: Arc<AtomicBool>,
}

/// A name in a directory.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) parent: Ino,
    pub(crate) name: Bytes,
}

impl Place {
    fn name(&self) -> Result<Name, Errno> {
        Name::new(self.name.clone())
    }
}

impl Adapter {
    pub(crate) fn new(
        vfs: Arc<Vfs>,
        options: FuseOptions,
        runtime: Handle,
        refusing: Arc<AtomicBool>,
    ) -> Self {
        Self { vfs, repeats: Arc::default(), options, runtime, refusing }
    }

    pub(crate) fn access_log(&self) -> &Arc<AccessLog> {
        self.vfs.access_log()
    }

    fn refuses(&self) -> bool {
        self.refusing.load(Ordering::Acquire)
    }

    /// Starts `work` on this thread and answers with its result, whichever thread that ends on.
    fn run<T, A, W>(&self, operation: &'static str, reply: A, work: W)
    where
        A: Answer<T>,
        W: Future<Output = Result<T, juicefs_vfs::Error>> + Send + 'static,
    {
        if self.refuses() {
            return reply.answer(Err(Errno::ENOTCONN));
        }
        task::run(&self.runtime, async move {
            reply.answer(work.await.map_err(|error| errno(operation, &error)));
        });
    }

    /// As [`Self::run`] for a question that the kernel asks once more when it failed.
    fn run_repeated<T, A, W>(&self, operation: &'static str, question: Question, reply: A, work: W)
    where
        A: Answer<T>,
        W: Future<Output = Result<T, juicefs_vfs::Error>> + Send + 'static,
    {
        if let Some(errno) = self.repeats.take(&question) {
            return reply.answer(Err(errno));
        }
        let (repeats, begun) = (Arc::clone(&self.repeats), Instant::now());
        self.run(operation, reply, async move {
            let result = work.await;
            if let Err(error) = &result {
                repeats.failed(question, begun, error.errno());
            }
            result
        });
    }

    /// Bits of a mode that a new node may not have: `--umask` takes away more than the caller's mask does, as with the peer
    /// (whose help says that it replaces that mask).
    fn umask(&self, callers: u32) -> u16 {
        self.options.umask.unwrap_or_default() | (callers & 0o777) as u16
    }
}

/// The twelve bits of a mode.
fn permissions(mode: u32) -> u16 {
    (mode & 0o7777) as u16
}

/// What the caller is told; an I/O error also tells the log why.
fn errno(operation: &'static str, error: &juicefs_vfs::Error) -> Errno {
    let errno = error.errno();
    if errno == Errno::EIO {
        tracing::error!(operation, "{error}");
    }
    errno
}
