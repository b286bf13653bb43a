//! The port over an `opendal` operator. Retries and deadlines are a layer; the operator has none of its own.

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use opendal::{ErrorKind, Metadata, Operator};
use std::fmt;
use std::ops::Range;

use crate::error::{Error, Result};
use crate::store::{Key, Limits, Listed, Store};

/// What differs between the services.
#[derive(Clone, Copy, Debug)]
pub(super) struct Habits {
    pub(super) lists_in_order: bool,
    /// The service itself can begin a listing behind a key.
    pub(super) starts_after: bool,
    /// Removing a directory removes what is in it.
    pub(super) removes_trees: bool,
}

/// One bucket, container or directory.
pub struct DalStore {
    operator: Operator,
    /// For sentences.
    label: String,
    habits: Habits,
}

impl DalStore {
    pub(super) fn new(operator: Operator, label: String, habits: Habits) -> Self {
        Self { operator, label, habits }
    }

    fn error(&self, key: &Key, cause: &opendal::Error) -> Error {
        let (store, key) = (self.label.clone(), key.to_owned());
        // One line: the library adds a service's whole answer.
        let text = cause.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
        // What the library asked and how comes before the service's own words.
        let said = text.rsplit_once(" => ").map_or(text.as_str(), |(_, said)| said).to_owned();
        let is_of_bucket = ["ContainerNotFound", "container does not exist", "bucket does not exist"]
            .iter()
            .any(|words| text.contains(words));
        match cause.kind() {
            ErrorKind::NotFound if is_of_bucket => Error::NoBucket { store, cause: said },
            ErrorKind::NotFound | ErrorKind::IsADirectory | ErrorKind::NotADirectory => {
                Error::NotFound { store, key }
            }
            // Not every service of the library knows the first as a refusal.
            _ if text.contains("status: 401") => Error::PermissionDenied { store, key, cause: said },
            ErrorKind::PermissionDenied => Error::PermissionDenied { store, key, cause: said },
            ErrorKind::RateLimited => Error::Unreachable { store, key, cause: said },
            _ if cause.is_temporary() => Error::Unreachable { store, key, cause: said },
            _ => Error::Other { store, key, cause: said },
        }
    }

    /// What is wrong where only the bucket can be missing.
    fn error_of_bucket(&self, key: &Key, cause: &opendal::Error) -> Error {
        match self.error(key, cause) {
            Error::NotFound { store, .. } => {
                let cause = "the service finds nothing under that name".to_owned();
                Error::NoBucket { store, cause }
            }
            error => error,
        }
    }
}

impl fmt::Display for DalStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.label)
    }
}

impl fmt::Debug for DalStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.label)
    }
}

impl Store for DalStore {
    fn get<'a>(&'a self, key: &'a Key, range: Option<Range<u64>>) -> BoxFuture<'a, Result<Bytes>> {
        Box::pin(async move {
            let read = match range {
                Some(range) => self.operator.read_with(key).range(range).await,
                None => self.operator.read(key).await,
            };
            Ok(read.map_err(|cause| self.error(key, &cause))?.to_bytes())
        })
    }

    fn put<'a>(&'a self, key: &'a Key, body: Bytes) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let put = if key.ends_with('/') {
                self.operator.create_dir(key).await
            } else {
                self.operator.write(key, body).await.map(drop)
            };
            // What is written needs nothing but its bucket.
            put.map_err(|cause| self.error_of_bucket(key, &cause))
        })
    }

    fn delete<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            if self.habits.removes_trees && key.ends_with('/') {
                match self.list(key, "").try_next().await {
                    Ok(None) | Err(Error::NotFound { .. }) => {}
                    Ok(Some(_)) => return Ok(()),
                    Err(error) => return Err(error),
                }
            }
            match self.operator.delete(key).await {
                Err(cause) if cause.kind() == ErrorKind::NotFound => Ok(()),
                deleted => deleted.map_err(|cause| self.error(key, &cause)),
            }
        })
    }

    fn head<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Listed>> {
        Box::pin(async move {
            let metadata = self.operator.stat(key).await.map_err(|cause| self.error(key, &cause))?;
            Ok(listed(key.to_owned(), &metadata))
        })
    }

    fn list<'a>(&'a self, prefix: &'a Key, after: &'a Key) -> BoxStream<'a, Result<Listed>> {
        // A service with directories has no prefixes: the directory is listed and what does not match left out.
        let folder = match self.habits.removes_trees {
            true => prefix.rfind('/').map_or("", |at| prefix.get(..=at).unwrap_or_default()),
            false => prefix,
        };
        let starts_after = self.habits.starts_after && !after.is_empty();
        let begun = async move {
            let request = self.operator.lister_with(folder).recursive(true);
            let begun = if starts_after { request.start_after(after).await } else { request.await };
            match begun {
                Ok(lister) => lister.left_stream(),
                Err(cause) => stream::iter([Err(cause)]).right_stream(),
            }
        };
        stream::once(begun)
            .flatten()
            .filter_map(move |entry| async move {
                match entry {
                    // A directory that is not there has nothing in it.
                    Err(cause)
                        if cause.kind() == ErrorKind::NotFound
                            && matches!(self.error(prefix, &cause), Error::NotFound { .. }) =>
                    {
                        None
                    }
                    Err(cause) => Some(Err(self.error(prefix, &cause))),
                    Ok(entry) => {
                        let (path, metadata) = entry.into_parts();
                        let is_asked = path.starts_with(prefix) && path.as_str() > after;
                        let is_folder = self.habits.removes_trees && metadata.is_dir();
                        (is_asked && !is_folder).then(|| Ok(listed(path, &metadata)))
                    }
                }
            })
            .boxed()
    }

    /// These services make buckets by means of their own only: what is asked is whether there is one.
    fn create_bucket(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let begun = self.operator.lister_with("").limit(1).await;
            let looked = match begun {
                Ok(mut lister) => lister.try_next().await.map(drop),
                Err(cause) => Err(cause),
            };
            looked.map_err(|cause| self.error_of_bucket("", &cause))
        })
    }

    fn limits(&self) -> Limits {
        Limits { lists_in_order: self.habits.lists_in_order, reads_ranges: true }
    }
}

fn listed(key: String, metadata: &Metadata) -> Listed {
    Listed {
        is_prefix: key.ends_with('/'),
        key,
        size: metadata.content_length(),
        modified_at: metadata.last_modified().map_or(0, |time| time.into_inner().as_second()),
    }
}
