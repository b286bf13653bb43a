//! A volume in memory and its clients.

use crate::store::MemoryStore;
use juicefs_base::budget::Budget;
use juicefs_chunk::{ChunkConfig, ChunkStore};
use juicefs_meta::engines::memory::MemoryEngine;
use juicefs_meta::port::{Engine, NewVolume};
use juicefs_meta::{Attr, Caller, Format, Ino, Kind, Meta, MetaOptions, Name, OpenFlags, SetAttr, Time};
use juicefs_object::layers::faulty::Faulty;
use juicefs_vfs::{Vfs, VfsConfig};
use std::sync::Arc;

pub const BLOCK: usize = 64 << 10;
pub const CHUNK: u64 = 64 << 20;

pub struct World {
    pub engine: Arc<dyn Engine>,
    pub store: Arc<MemoryStore>,
    pub faulty: Arc<Faulty>,
}

/// One mount.
pub struct Client {
    pub vfs: Arc<Vfs>,
    pub meta: Arc<Meta>,
    pub chunks: Arc<ChunkStore>,
}

impl World {
    pub async fn new() -> Self {
        Self::with_format(|_| {}).await
    }

    pub async fn with_format(adjust: impl FnOnce(&mut Format)) -> Self {
        let mut format = Format::new("test");
        format.trash_days = 0;
        format.block_size_kib = (BLOCK >> 10) as u32;
        adjust(&mut format);
        let engine = MemoryEngine::new();
        let now = Time { sec: 1, nsec: 0 };
        let root = Attr::new(Kind::Directory, 0o777, 0, 0, Ino::ROOT, now);
        let trash = Attr::new(Kind::Directory, 0o555, 0, 0, Ino::ROOT, now);
        let trash = format.has_trash().then_some(trash);
        engine.create_volume(&NewVolume { setting: format.to_text(), root, trash }).await.unwrap();
        let store = Arc::new(MemoryStore::default());
        let faulty = Arc::new(Faulty::new(store.clone()));
        Self { engine: Arc::new(engine), store, faulty }
    }

    pub async fn client(&self) -> Client {
        self.client_with(64 << 20, VfsConfig::default()).await
    }

    /// A mount of a directory.
    pub async fn client_of(&self, subdir: &str) -> Client {
        let options = MetaOptions { subdir: Some(subdir.to_owned()), ..MetaOptions::default() };
        self.mounted(64 << 20, VfsConfig::default(), options).await
    }

    pub async fn client_with(&self, budget: usize, config: VfsConfig) -> Client {
        self.mounted(budget, config, MetaOptions::default()).await
    }

    /// One that, as stock clients do, deletes what others have open: it has no session to keep it under.
    pub async fn client_that_keeps_nothing(&self) -> Client {
        let meta = Meta::open(self.engine.clone(), MetaOptions::default()).await.unwrap();
        self.over(meta, 64 << 20, VfsConfig::default())
    }

    async fn mounted(&self, budget: usize, config: VfsConfig, options: MetaOptions) -> Client {
        let meta = Meta::open(self.engine.clone(), options).await.unwrap();
        meta.start_session().await.unwrap();
        self.over(meta, budget, config)
    }

    fn over(&self, meta: Arc<Meta>, budget: usize, config: VfsConfig) -> Client {
        let chunk_config = ChunkConfig {
            block_bytes: BLOCK,
            memory_cache_bytes: 4 << 20,
            cache_bytes: 0,
            ..ChunkConfig::default()
        };
        let chunks = ChunkStore::new(self.faulty.clone(), chunk_config, Budget::new(budget)).unwrap();
        let vfs = Vfs::new(meta.clone(), chunks.clone(), config);
        Client { vfs, meta, chunks }
    }
}

pub fn caller() -> Caller {
    Caller::internal()
}

pub fn name(text: &str) -> Name {
    Name::new(text.as_bytes().to_vec()).unwrap()
}

pub const RW: OpenFlags = OpenFlags(libc::O_RDWR);
pub const RO: OpenFlags = OpenFlags(libc::O_RDONLY);
pub const APPEND: OpenFlags = OpenFlags(libc::O_WRONLY | libc::O_APPEND);

impl Client {
    pub async fn create(&self, file: &str) -> (Ino, u64) {
        let made = self.vfs.create(&caller(), Ino::ROOT, &name(file), 0o644, 0, RW).await.unwrap();
        (made.found.ino, made.opened.fh)
    }

    pub async fn open(&self, file: &str, flags: OpenFlags) -> (Ino, u64) {
        let ino = self.ino(file).await;
        (ino, self.vfs.open(&caller(), ino, flags).await.unwrap().fh)
    }

    pub async fn ino(&self, file: &str) -> Ino {
        self.vfs.lookup(&caller(), Ino::ROOT, &name(file)).await.unwrap().ino
    }

    pub async fn close(&self, (ino, fh): (Ino, u64)) {
        self.vfs.flush(ino, fh, 0).await.unwrap();
        self.vfs.release(ino, fh).await.unwrap();
    }

    pub async fn write(&self, (ino, fh): (Ino, u64), off: u64, data: &[u8]) {
        for (at, part) in data.chunks(1 << 20).enumerate() {
            let off = off + (at << 20) as u64;
            let at_once = if at % 2 == 0 { self.vfs.try_write(ino, fh, off, part) } else { None };
            let written = match at_once {
                Some(written) => written.unwrap(),
                None => self.vfs.write(ino, fh, off, part).await.unwrap(),
            };
            assert_eq!(written as usize, part.len());
        }
    }

    pub async fn read(&self, (ino, fh): (Ino, u64), off: u64, len: usize) -> Vec<u8> {
        let mut all = Vec::new();
        while all.len() < len {
            let wanted = (len - all.len()).min(1 << 20) as u32;
            let part = self.vfs.read(ino, fh, off + all.len() as u64, wanted).await.unwrap();
            all.extend_from_slice(&part);
            if part.len() < wanted as usize {
                break;
            }
        }
        all
    }

    /// Opens, reads all, closes.
    pub async fn cat(&self, file: &str) -> Vec<u8> {
        let handle = self.open(file, RO).await;
        let length = self.attr(handle.0).await.length;
        let all = self.read(handle, 0, length as usize + 10).await;
        self.close(handle).await;
        assert_eq!(all.len() as u64, length);
        all
    }

    /// Opens, truncates, writes, closes.
    pub async fn put(&self, file: &str, data: &[u8]) {
        let flags = OpenFlags(libc::O_RDWR | libc::O_TRUNC);
        let made = self.vfs.create(&caller(), Ino::ROOT, &name(file), 0o644, 0, flags).await.unwrap();
        let handle = (made.found.ino, made.opened.fh);
        self.write(handle, 0, data).await;
        self.close(handle).await;
    }

    pub async fn attr(&self, ino: Ino) -> Attr {
        self.vfs.getattr(ino).await.unwrap().attr
    }

    pub async fn truncate(&self, (ino, fh): (Ino, u64), size: u64) -> Attr {
        self.vfs.setattr(&caller(), ino, &SetAttr::default(), Some(size), Some(fh)).await.unwrap().attr
    }

    pub async fn unlink(&self, file: &str) {
        self.vfs.unlink(&caller(), Ino::ROOT, &name(file)).await.unwrap();
    }
}

/// Bytes that tell where they belong.
pub fn pattern(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 24) as u8
        })
        .collect()
}
