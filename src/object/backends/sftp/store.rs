//! The port over SFTP. Files appear by rename from `.<name>.tmp.<random>`, as the peer writes them.

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{SinkExt, StreamExt};
use russh_sftp::client::error::Error as SftpError;
use russh_sftp::client::fs::Metadata;
use russh_sftp::protocol::StatusCode;
use std::fmt;
use std::io::SeekFrom;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};

use super::connection::{Connection, Connector, Refusal};
use super::place::Place;
use crate::error::{Error, Result};
use crate::open::StoreSpec;
use crate::store::{Key, Limits, Listed, Store};
use crate::variables::StoreVariables;
use juicefs_base::ExposeSecret;

/// Bytes of the object's own name that its temporary name keeps, so that both fit 255.
const TEMPORARY_NAME_BYTES_MAX: usize = 200;
const TEMPORARY_MARK: &str = ".tmp.";

/// One directory of one host. Cheap to clone: the connection is shared.
#[derive(Clone)]
pub struct SftpStore {
    connector: Arc<Connector>,
}

/// # Errors
/// [`Error::BadSpec`] when the bucket can't be understood or there is nothing to log in with.
pub fn open(spec: &StoreSpec) -> Result<SftpStore> {
    let place = Place::parse(&spec.bucket)?;
    let file = |name: &str| spec.variables.get(name).map(|path| PathBuf::from(path.expose_secret()));
    let private_key = file(StoreVariables::SSH_PRIVATE_KEY);
    let known_hosts = file(StoreVariables::SSH_KNOWN_HOSTS);
    let user = place.user.clone().or_else(|| (!spec.access_key.is_empty()).then(|| spec.access_key.clone()));
    let Some(user) = user else {
        return Err(Error::BadSpec(format!(
            "bucket `{}` of storage `sftp`: name the user as USER@HOST or --access-key",
            spec.bucket
        )));
    };
    if private_key.is_none() && spec.secret_key.is_none() {
        return Err(Error::BadSpec(format!(
            "storage `sftp` needs a password as --secret-key, or the file of a private key in {}",
            StoreVariables::SSH_PRIVATE_KEY
        )));
    }
    if known_hosts.is_none() {
        tracing::warn!(
            "the key of {} is not checked: name a file of known hosts in {}",
            place.host,
            StoreVariables::SSH_KNOWN_HOSTS
        );
    }
    spec.warn_of_class();
    let connector = Connector::new(place, user, spec.secret_key.clone(), private_key, known_hosts);
    Ok(SftpStore { connector: Arc::new(connector) })
}

impl SftpStore {
    fn path(&self, key: &Key) -> String {
        format!("{}{key}", self.connector.place.root)
    }

    async fn connection(&self, key: &Key) -> Result<Arc<Connection>> {
        self.connector.get().await.map_err(|refusal| {
            let (store, key) = (self.to_string(), key.to_owned());
            match refusal {
                Refusal::Denied(cause) => Error::PermissionDenied { store, key, cause },
                Refusal::Unreachable(cause) => Error::Unreachable { store, key, cause },
            }
        })
    }

    /// The answer, or what its error means; a connection that did not answer in its protocol is not used again.
    async fn answer<T>(
        &self,
        key: &Key,
        connection: &Arc<Connection>,
        answer: std::result::Result<T, SftpError>,
    ) -> Result<T> {
        let cause = match answer {
            Ok(answer) => return Ok(answer),
            Err(cause) => cause,
        };
        let (store, key) = (self.to_string(), key.to_owned());
        match &cause {
            SftpError::Status(status) => Err(match status.status_code {
                StatusCode::NoSuchFile => Error::NotFound { store, key },
                StatusCode::PermissionDenied => {
                    Error::PermissionDenied { store, key, cause: cause.to_string() }
                }
                StatusCode::NoConnection | StatusCode::ConnectionLost => {
                    Error::Unreachable { store, key, cause: cause.to_string() }
                }
                _ => Error::Other { store, key, cause: cause.to_string() },
            }),
            _ => {
                self.connector.drop_broken(connection).await;
                Err(Error::Unreachable { store, key, cause: cause.to_string() })
            }
        }
    }

    async fn read(
        connection: &Connection,
        path: &str,
        range: Option<Range<u64>>,
    ) -> std::result::Result<Vec<u8>, SftpError> {
        let mut file = connection.sftp.open(path).await?;
        let mut body = Vec::new();
        match range {
            None => drop(file.read_to_end(&mut body).await?),
            Some(range) => {
                body.resize(usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(0), 0);
                file.seek(SeekFrom::Start(range.start)).await?;
                file.read_exact(&mut body).await?;
            }
        }
        file.shutdown().await?;
        Ok(body)
    }

    async fn write(connection: &Connection, path: &str, body: &[u8]) -> std::result::Result<(), SftpError> {
        let (folder, name) = path.rsplit_once('/').map_or(("", path), |(folder, name)| (folder, name));
        let mut kept = name.len().min(TEMPORARY_NAME_BYTES_MAX);
        while !name.is_char_boundary(kept) {
            kept -= 1;
        }
        let slash = if path.contains('/') { "/" } else { "" };
        let short = name.get(..kept).unwrap_or_default();
        let temporary = format!("{folder}{slash}.{short}{TEMPORARY_MARK}{}", rand::random::<u32>());
        let mut file = match connection.sftp.create(&temporary).await {
            Err(cause) if is_missing(&cause) => {
                make_directories(connection, folder).await?;
                connection.sftp.create(&temporary).await?
            }
            other => other?,
        };
        let written = async {
            file.write_all(body).await?;
            file.shutdown().await?;
            // The protocol renames onto nothing.
            match connection.sftp.remove_file(path).await {
                Err(cause) if !is_missing(&cause) => return Err(cause),
                _ => {}
            }
            connection.sftp.rename(&temporary, path).await
        };
        let written = written.await;
        if written.is_err() {
            // The first failure is what counts.
            let _ = connection.sftp.remove_file(&temporary).await;
        }
        written
    }

    /// Depth first in byte order of the full keys; false when the reader has gone.
    fn walk<'a>(
        &'a self,
        folder: String,
        prefix: &'a str,
        after: &'a str,
        sender: &'a mut futures::channel::mpsc::Sender<Result<Listed>>,
    ) -> BoxFuture<'a, bool> {
        Box::pin(async move {
            let looked = async {
                let connection = self.connection(&folder).await?;
                let entries = connection.sftp.read_dir(self.path(&folder)).await;
                self.answer(&folder, &connection, entries).await
            };
            let entries = match looked.await {
                Ok(entries) => entries,
                Err(Error::NotFound { .. }) => return true,
                Err(error) => return sender.send(Err(error)).await.is_ok(),
            };
            let mut children: Vec<(String, Metadata)> = entries
                .map(|entry| {
                    let slash = if entry.metadata().is_dir() { "/" } else { "" };
                    (format!("{}{slash}", entry.file_name()), entry.metadata())
                })
                .collect();
            children.sort_unstable_by(|one, other| one.0.cmp(&other.0));
            for (name, metadata) in children {
                let key = format!("{folder}{name}");
                if metadata.is_dir() {
                    let overlaps = key.starts_with(prefix) || prefix.starts_with(&key);
                    let is_passed = !after.is_empty() && key.as_str() < after && !after.starts_with(&key);
                    if overlaps && !is_passed && !self.walk(key, prefix, after, sender).await {
                        return false;
                    }
                } else if key.starts_with(prefix)
                    && key.as_str() > after
                    && sender.send(Ok(listed(key, &metadata))).await.is_err()
                {
                    return false;
                }
            }
            true
        })
    }
}

fn is_missing(cause: &SftpError) -> bool {
    matches!(cause, SftpError::Status(status) if status.status_code == StatusCode::NoSuchFile)
}

/// Makes what is missing; somebody else may be faster.
async fn make_directories(connection: &Connection, folder: &str) -> std::result::Result<(), SftpError> {
    let ends = folder.match_indices('/').map(|(at, _)| at).chain([folder.len()]).filter(|at| *at > 0);
    for end in ends {
        let Some(path) = folder.get(..end) else { continue };
        if connection.sftp.create_dir(path).await.is_err() {
            connection.sftp.metadata(path).await?;
        }
    }
    Ok(())
}

fn listed(key: String, metadata: &Metadata) -> Listed {
    Listed {
        is_prefix: metadata.is_dir(),
        key,
        size: if metadata.is_dir() { 0 } else { metadata.size.unwrap_or(0) },
        modified_at: metadata.mtime.map_or(0, i64::from),
    }
}

impl fmt::Display for SftpStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Place { host, port, root, .. } = &self.connector.place;
        write!(f, "sftp://{}@{host}:{port}:{root}", self.connector.user)
    }
}

impl fmt::Debug for SftpStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Store for SftpStore {
    fn get<'a>(&'a self, key: &'a Key, range: Option<Range<u64>>) -> BoxFuture<'a, Result<Bytes>> {
        Box::pin(async move {
            let connection = self.connection(key).await?;
            let read = Self::read(&connection, &self.path(key), range).await;
            Ok(self.answer(key, &connection, read).await?.into())
        })
    }

    fn put<'a>(&'a self, key: &'a Key, body: Bytes) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let connection = self.connection(key).await?;
            let path = self.path(key);
            let put = match path.strip_suffix('/') {
                Some(folder) => make_directories(&connection, folder).await,
                None => Self::write(&connection, &path, &body).await,
            };
            self.answer(key, &connection, put).await
        })
    }

    fn delete<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let connection = self.connection(key).await?;
            let path = self.path(key);
            let deleted = match path.strip_suffix('/') {
                // One that is not empty stays.
                Some(folder) => match connection.sftp.remove_dir(folder).await {
                    Err(SftpError::Status(_)) => Ok(()),
                    other => other,
                },
                None => connection.sftp.remove_file(path).await,
            };
            match self.answer(key, &connection, deleted).await {
                Err(Error::NotFound { .. }) => Ok(()),
                other => other,
            }
        })
    }

    fn head<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Listed>> {
        Box::pin(async move {
            let connection = self.connection(key).await?;
            let metadata = connection.sftp.metadata(self.path(key)).await;
            Ok(listed(key.to_owned(), &self.answer(key, &connection, metadata).await?))
        })
    }

    fn list<'a>(&'a self, prefix: &'a Key, after: &'a Key) -> BoxStream<'a, Result<Listed>> {
        let (mut sender, receiver) = futures::channel::mpsc::channel(256);
        let (store, prefix, after) = (self.clone(), prefix.to_owned(), after.to_owned());
        tokio::spawn(async move {
            let folder = prefix.rfind('/').map_or("", |at| prefix.get(..=at).unwrap_or_default()).to_owned();
            store.walk(folder, &prefix, &after, &mut sender).await;
        });
        receiver.boxed()
    }

    fn create_bucket(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let connection = self.connection("").await?;
            let folder = self.connector.place.root.rsplit_once('/').map_or("", |(folder, _)| folder);
            let made = make_directories(&connection, folder).await;
            self.answer("", &connection, made).await
        })
    }

    fn limits(&self) -> Limits {
        Limits { lists_in_order: true, reads_ranges: true }
    }
}
