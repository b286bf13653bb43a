//! The operations over the memory engine, and the random ones over every engine.

mod audit;
mod backup;
mod budget;
mod change_log;
mod compact;
mod data;
mod faults;
mod links;
mod locks;
mod model;
mod names;
mod outage;
mod quota;
mod race;
mod rename;
mod repair;
mod restore;
mod smoke;
mod xattrs;

use std::sync::Arc;

use juicefs_base::Errno;

use crate::Format;
use crate::engines::layers::Counting;
use crate::engines::memory::MemoryEngine;
use crate::error::{Error, Result};
use crate::meta::Meta;
use crate::port::{Engine, NewVolume};
use crate::request::{MetaOptions, NewNode, OpenFlags};
use crate::types::{Attr, Caller, Ino, Kind, Name, Slice, Time};

/// A volume, and one mount of it with a session number of its own.
struct Volume {
    engine: Arc<dyn Engine>,
    counting: Arc<Counting>,
    meta: Arc<Meta>,
}

impl Volume {
    /// Without trash.
    async fn new() -> Self {
        Self::with(|format| format.trash_days = 0).await
    }

    async fn with_trash() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut Format)) -> Self {
        Self::on(Arc::new(MemoryEngine::new()), change).await
    }

    /// In an empty database.
    async fn on(engine: Arc<dyn Engine>, change: impl FnOnce(&mut Format)) -> Self {
        let mut format = Format::new("vol");
        change(&mut format);
        let root = Attr {
            parent: Ino::ROOT,
            ..Attr::new(Kind::Directory, 0o777, 0, 0, Ino::ROOT, Time { sec: 1, nsec: 0 })
        };
        let trash = format.has_trash().then_some(Attr { mode: 0o555, ..root });
        let volume = NewVolume { setting: format.to_text(), root, trash };
        engine.create_volume(&volume).await.unwrap();
        let counting = Arc::new(Counting::new(engine.clone()));
        let meta = mount(counting.clone(), 1).await;
        Self { engine, counting, meta }
    }

    async fn mkdir(&self, parent: Ino, text: &str) -> Ino {
        self.meta.mknod(&root(), parent, &name(text), &NewNode::directory(0o755, 0)).await.unwrap().0
    }

    async fn touch(&self, parent: Ino, text: &str) -> Ino {
        self.meta.mknod(&root(), parent, &name(text), &NewNode::file(0o644, 0)).await.unwrap().0
    }

    async fn look(&self, parent: Ino, text: &str) -> Result<(Ino, Attr)> {
        self.meta.lookup(&root(), parent, &name(text)).await
    }

    async fn attr(&self, ino: Ino) -> Attr {
        self.meta.getattr(ino).await.unwrap()
    }

    async fn unlink(&self, parent: Ino, text: &str) -> Result<()> {
        self.meta.unlink(&root(), parent, &name(text)).await
    }

    async fn rmdir(&self, parent: Ino, text: &str) -> Result<()> {
        self.meta.rmdir(&root(), parent, &name(text)).await
    }

    async fn open(&self, ino: Ino) {
        self.meta.open_file(&root(), ino, OpenFlags(libc::O_RDWR)).await.unwrap();
    }

    /// A new slice of `len` bytes at `off`.
    async fn write(&self, ino: Ino, off: u64, len: u32) -> Result<Attr> {
        let id = self.meta.new_slice_id().await?;
        let (indx, pos, _) = crate::overlay::parts(off, off + u64::from(len)).next().unwrap();
        let slice = Slice { pos, id, size: len, off: 0, len };
        Ok(self.meta.write_slice(ino, indx, slice, Time::now()).await?.attr)
    }

    /// The name of the hourly directory's one entry that ends so.
    async fn trashed(&self, ending: &str) -> Option<(Name, Ino)> {
        for hour in self.meta.readdir(&root(), Ino::TRASH, false).await.unwrap() {
            for entry in self.meta.readdir(&root(), hour.edge.ino, false).await.unwrap() {
                if entry.name.as_bytes().ends_with(ending.as_bytes()) {
                    return Some((entry.name, entry.edge.ino));
                }
            }
        }
        None
    }

    async fn audit(&self) {
        audit::audit(&*self.engine, &[&self.meta]).await;
    }
}

async fn mount(engine: Arc<dyn Engine>, sid: u64) -> Arc<Meta> {
    let meta = Meta::open(engine, MetaOptions::default()).await.unwrap();
    meta.sid.store(sid, std::sync::atomic::Ordering::Release);
    meta
}

fn root() -> Caller {
    Caller { uid: 0, gid: 0, groups: Vec::new(), pid: 1, checks_permission: true }
}

fn user(uid: u32) -> Caller {
    Caller { uid, gid: uid, ..root() }
}

fn name(text: &str) -> Name {
    Name::new(text.as_bytes().to_vec()).unwrap()
}

#[track_caller]
fn refused<T: std::fmt::Debug>(outcome: Result<T>, errno: Errno) {
    match outcome {
        Err(Error::Errno(found)) => assert_eq!(found, errno),
        other => panic!("{other:?} instead of {errno}"),
    }
}
