//! A directory as a bucket, laid out as the peer's `file` store (format 6.3): the object's path is the bucket
//! text followed by the key, files appear by rename from `.jfs.<name>.tmp.<random>`.
//!
//! As with the peer, bytes are durable as soon as the local file system makes them so; no fsync per object.

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{SinkExt, StreamExt};
use std::fmt;
use std::fs;
use std::io::{self, Read, Seek, Write};
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use crate::error::{Error, Result};
use crate::store::{Key, Limits, Listed, Store};

const TEMPORARY_MARK: &str = ".jfs.";
/// Bytes of the object's own name that its temporary name keeps, so that both fit 255.
const TEMPORARY_NAME_BYTES_MAX: usize = 200;

/// Objects as files below one directory.
#[derive(Debug, Clone)]
pub struct FileStore {
    /// Ends in `/` unless the user chose a name prefix.
    root: String,
}

impl FileStore {
    /// # Errors
    /// [`Error::BadSpec`] when the path is not absolute.
    pub fn new(bucket: &str) -> Result<Self> {
        let root = bucket.strip_prefix("file://").unwrap_or(bucket);
        if !root.starts_with('/') {
            return Err(Error::BadSpec(format!(
                "bucket `{bucket}` of storage `file` must be an absolute path"
            )));
        }
        Ok(Self { root: root.to_owned() })
    }

    /// Where all objects are.
    fn folder(&self) -> &Path {
        Path::new(&self.root[..=self.root.rfind('/').unwrap_or(0)])
    }

    fn path(&self, key: &Key) -> PathBuf {
        PathBuf::from(format!("{}{key}", self.root))
    }

    fn error(&self, key: &Key, cause: &io::Error) -> Error {
        let (store, key) = (self.to_string(), key.to_owned());
        match cause.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => match self.folder().metadata() {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    Error::NoBucket { store, cause: format!("there is no {}", self.folder().display()) }
                }
                _ => Error::NotFound { store, key },
            },
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                Error::PermissionDenied { store, key, cause: cause.to_string() }
            }
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Error::Full { store, key },
            _ => Error::Other { store, key, cause: cause.to_string() },
        }
    }

    async fn blocking<T: Send + 'static>(
        &self,
        key: &Key,
        work: impl FnOnce(PathBuf) -> io::Result<T> + Send + 'static,
    ) -> Result<T> {
        let path = self.path(key);
        let done = tokio::task::spawn_blocking(move || work(path)).await;
        let done = done.unwrap_or_else(|panic| Err(io::Error::other(panic)));
        done.map_err(|cause| self.error(key, &cause))
    }
}

impl fmt::Display for FileStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "file://{}", self.root)
    }
}

impl Store for FileStore {
    fn get<'a>(&'a self, key: &'a Key, range: Option<Range<u64>>) -> BoxFuture<'a, Result<Bytes>> {
        Box::pin(self.blocking(key, move |path| {
            let mut file = fs::File::open(path)?;
            let metadata = file.metadata()?;
            if metadata.is_dir() {
                return Err(io::ErrorKind::NotFound.into());
            }
            let length = metadata.len();
            let range = range.unwrap_or(0..length);
            let end = range.end.min(length);
            let wanted = usize::try_from(end.saturating_sub(range.start)).map_err(io::Error::other)?;
            let mut body = Vec::with_capacity(wanted);
            file.seek(io::SeekFrom::Start(range.start))?;
            // Into spare capacity: nothing is zeroed first.
            file.take(wanted as u64).read_to_end(&mut body)?;
            if body.len() < wanted {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            Ok(Bytes::from(body))
        }))
    }

    fn put<'a>(&'a self, key: &'a Key, body: Bytes) -> BoxFuture<'a, Result<()>> {
        let is_directory = key.ends_with('/');
        Box::pin(self.blocking(key, move |path| {
            if is_directory {
                return make_directories(&path);
            }
            let parent = path.parent().unwrap_or(Path::new("/"));
            let temporary = temporary_path(parent, &path);
            let written = match write_new(&temporary, &body) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    make_directories(parent)?;
                    write_new(&temporary, &body)
                }
                other => other,
            };
            written.and_then(|()| fs::rename(&temporary, &path)).inspect_err(|_| {
                let _ = fs::remove_file(&temporary);
            })
        }))
    }

    fn delete<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<()>> {
        let is_directory = key.ends_with('/');
        Box::pin(self.blocking(key, move |path| {
            let removed = if is_directory { fs::remove_dir(&path) } else { fs::remove_file(&path) };
            match removed {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                Err(error) if is_directory && error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(()),
                other => other,
            }
        }))
    }

    fn head<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Listed>> {
        let name = key.to_owned();
        Box::pin(self.blocking(key, move |path| Ok(listed(name, &fs::metadata(path)?))))
    }

    fn list<'a>(&'a self, prefix: &'a Key, after: &'a Key) -> BoxStream<'a, Result<Listed>> {
        let (mut sender, receiver) = futures::channel::mpsc::channel(256);
        let (store, prefix, after) = (self.clone(), prefix.to_owned(), after.to_owned());
        tokio::task::spawn_blocking(move || {
            let folder = prefix.rfind('/').map_or("", |at| &prefix[..=at]).to_owned();
            let mut emit = |item: Result<Listed>| futures::executor::block_on(sender.send(item)).is_ok();
            store.walk(&folder, &prefix, &after, &mut emit);
        });
        receiver.boxed()
    }

    fn create_bucket(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.blocking("", |path| make_directories(&path)))
    }

    fn limits(&self) -> Limits {
        Limits { lists_in_order: true, reads_ranges: true }
    }
}

impl FileStore {
    /// Depth first in byte order of the full keys; false when the reader has gone.
    fn walk(
        &self,
        folder: &str,
        prefix: &str,
        after: &str,
        emit: &mut dyn FnMut(Result<Listed>) -> bool,
    ) -> bool {
        let entries = match fs::read_dir(self.path(folder)).and_then(Iterator::collect::<io::Result<Vec<_>>>)
        {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return true,
            Err(error) => return emit(Err(self.error(folder, &error))),
        };
        let mut children: Vec<(String, bool)> = Vec::with_capacity(entries.len());
        for entry in entries {
            let Ok(name) = entry.file_name().into_string() else { continue };
            let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
            children.push((if is_directory { format!("{name}/") } else { name }, is_directory));
        }
        children.sort_unstable();
        for (name, is_directory) in children {
            let key = format!("{folder}{name}");
            if is_directory {
                let overlaps = key.starts_with(prefix) || prefix.starts_with(&key);
                let is_passed = !after.is_empty() && key.as_str() < after && !after.starts_with(&key);
                if overlaps && !is_passed && !self.walk(&key, prefix, after, emit) {
                    return false;
                }
            } else if key.starts_with(prefix) && key.as_str() > after {
                let item = match fs::metadata(self.path(&key)) {
                    Ok(metadata) => Ok(listed(key, &metadata)),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    Err(error) => Err(self.error(&key, &error)),
                };
                if !emit(item) {
                    return false;
                }
            }
        }
        true
    }
}

fn listed(key: String, metadata: &fs::Metadata) -> Listed {
    let modified = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    Listed {
        key,
        size: if metadata.is_dir() { 0 } else { metadata.len() },
        modified_at: modified.map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX)),
        is_prefix: metadata.is_dir(),
    }
}

fn temporary_path(parent: &Path, path: &Path) -> PathBuf {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let mut kept = name.len().min(TEMPORARY_NAME_BYTES_MAX);
    while !name.is_char_boundary(kept) {
        kept -= 1;
    }
    parent.join(format!("{TEMPORARY_MARK}{}.tmp.{}", &name[..kept], rand::random::<u32>()))
}

fn write_new(path: &Path, body: &[u8]) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o666).open(path)?;
    file.write_all(body)
}

fn make_directories(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o777).create(path)
}
