//! One file system as the controller works on it: directories, records, and what waits to be removed.

use bytes::Bytes;
use juicefs_base::ExposeSecret;
use juicefs_k8s::settings::SecretSettings;
use juicefs_meta::request::{MetaOptions, NewNode, RenameFlags};
use juicefs_meta::url::MetaUrl;
use juicefs_meta::{Caller, Ino, Kind, Meta, Name, engines};
use std::sync::Arc;
use std::time::Duration;
use tonic::Status;

use super::records::{DELETED, RECORDS, VOLUMES, VolumeRecord, record_name};
use crate::status;
use juicefs_base::Errno;

/// A call ends before the provisioner's own limit.
const OPEN_TIMEOUT: Duration = Duration::from_secs(20);

/// An open file system, without a session.
pub(crate) struct Volume {
    pub meta: Arc<Meta>,
    caller: Caller,
}

impl Volume {
    /// Opens the metadata and checks that it holds the volume the Secret names.
    pub(crate) async fn open(secret: &SecretSettings) -> Result<Self, Status> {
        let open = async {
            let url = MetaUrl::parse(secret.complete_meta_url().expose_secret())?;
            let engine = engines::open(&url).await?;
            Meta::open(engine, MetaOptions::default()).await
        };
        let meta = tokio::time::timeout(OPEN_TIMEOUT, open)
            .await
            .map_err(|_| {
                Status::unavailable(format!("metadata does not answer within {} s", OPEN_TIMEOUT.as_secs()))
            })?
            .map_err(|error| status::of_meta("metadata", &error))?;
        let format = meta.format();
        if format.name != secret.volume_name {
            return Err(Status::failed_precondition(format!(
                "the Secret names volume {}, the database holds {}: correct the Secret",
                secret.volume_name, format.name
            )));
        }
        Ok(Self { meta, caller: Caller::internal() })
    }

    /// Why nothing may be written, if so.
    pub(crate) fn check_writable(&self) -> Result<(), Status> {
        match self.meta.read_only_reason() {
            None => Ok(()),
            Some(reason) => Err(Status::failed_precondition(reason)),
        }
    }

    pub(crate) async fn child(&self, parent: Ino, name: &str) -> Result<Option<(Ino, Kind)>, Status> {
        match self.meta.lookup(&self.caller, parent, &named(name)?).await {
            Ok((ino, attr)) => Ok(Some((ino, attr.kind))),
            Err(error) if error.errno() == Errno::ENOENT => Ok(None),
            Err(error) => Err(status::of_meta(name, &error)),
        }
    }

    /// The directory at `path`, if there is one.
    pub(crate) async fn find(&self, path: &str) -> Result<Option<Ino>, Status> {
        let mut at = Ino::ROOT;
        for part in path.split('/') {
            match self.child(at, part).await? {
                None => return Ok(None),
                Some((ino, Kind::Directory)) => at = ino,
                Some(_) => return Err(Status::invalid_argument(format!("{path}: {part} is no directory"))),
            }
        }
        Ok(Some(at))
    }

    /// The directory at `path`, made where it is missing; what is made gets `mode`.
    pub(crate) async fn make_path(&self, path: &str, mode: u16) -> Result<Ino, Status> {
        let mut at = Ino::ROOT;
        for part in path.split('/') {
            at = self.make_directory(at, part, mode).await?;
        }
        Ok(at)
    }

    async fn make_directory(&self, parent: Ino, name: &str, mode: u16) -> Result<Ino, Status> {
        match self.child(parent, name).await? {
            Some((ino, Kind::Directory)) => return Ok(ino),
            Some(_) => return Err(Status::invalid_argument(format!("{name} is there and is no directory"))),
            None => {}
        }
        let new = NewNode { kind: Kind::Directory, mode, umask: 0, rdev: 0, target: None };
        match self.meta.mknod(&self.caller, parent, &named(name)?, &new).await {
            Ok((ino, _)) => Ok(ino),
            Err(error) if error.errno() == Errno::EEXIST => match self.child(parent, name).await? {
                Some((ino, Kind::Directory)) => Ok(ino),
                _ => Err(Status::aborted(format!("{name} is being changed by somebody else"))),
            },
            Err(error) => Err(status::of_meta(name, &error)),
        }
    }

    async fn records(&self) -> Result<Option<Ino>, Status> {
        let Some((own, _)) = self.child(Ino::ROOT, RECORDS).await? else { return Ok(None) };
        Ok(self.child(own, VOLUMES).await?.map(|(ino, _)| ino))
    }

    /// The record of a volume.
    pub(crate) async fn record(&self, id: &str) -> Result<Option<VolumeRecord>, Status> {
        let Some(records) = self.records().await? else { return Ok(None) };
        let name = record_name(id);
        let Some((ino, _)) = self.child(records, &name).await? else { return Ok(None) };
        let target = self.meta.readlink(ino).await.map_err(|error| status::of_meta(&name, &error))?;
        let record = VolumeRecord::parse(&target);
        record.map(Some).ok_or_else(|| Status::failed_precondition(format!("record {name} can't be read")))
    }

    /// Every record but `id`'s.
    pub(crate) async fn other_records(&self, id: &str) -> Result<Vec<VolumeRecord>, Status> {
        let Some(folder) = self.records().await? else { return Ok(Vec::new()) };
        let own = record_name(id);
        let entries = self.meta.readdir(&self.caller, folder, false).await;
        let mut others = Vec::new();
        for entry in entries.map_err(|error| status::of_meta(RECORDS, &error))? {
            if entry.name.as_bytes() == own.as_bytes() {
                continue;
            }
            match self.meta.readlink(entry.edge.ino).await {
                Ok(target) => others.extend(VolumeRecord::parse(&target)),
                Err(error) if error.errno() == Errno::ENOENT => {}
                Err(error) => return Err(status::of_meta(RECORDS, &error)),
            }
        }
        Ok(others)
    }

    pub(crate) async fn write_record(&self, id: &str, record: &VolumeRecord) -> Result<(), Status> {
        let target = record.to_target().ok_or_else(|| {
            Status::invalid_argument(format!("path {} is too long for a record", record.path))
        })?;
        let own = self.make_directory(Ino::ROOT, RECORDS, 0o700).await?;
        let records = self.make_directory(own, VOLUMES, 0o700).await?;
        let name = record_name(id);
        let target = Some(Bytes::from(target));
        let new = NewNode { kind: Kind::Symlink, mode: 0o777, umask: 0, rdev: 0, target };
        match self.meta.mknod(&self.caller, records, &named(&name)?, &new).await {
            Ok(_) => Ok(()),
            Err(error) if error.errno() == Errno::EEXIST => {
                Err(Status::aborted(format!("volume {id} is being made by another controller")))
            }
            Err(error) => Err(status::of_meta(&name, &error)),
        }
    }

    pub(crate) async fn remove_record(&self, id: &str) -> Result<(), Status> {
        let Some(records) = self.records().await? else { return Ok(()) };
        let name = record_name(id);
        match self.meta.unlink(&self.caller, records, &named(&name)?).await {
            Err(error) if error.errno() != Errno::ENOENT => Err(status::of_meta(&name, &error)),
            _ => Ok(()),
        }
    }

    /// Moves the directory at `path` to where removed ones wait.
    pub(crate) async fn retire(&self, id: &str, path: &str) -> Result<(), Status> {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        let parent = if folder.is_empty() { Some(Ino::ROOT) } else { self.find(folder).await? };
        let Some(parent) = parent else { return Ok(()) };
        let Some((ino, Kind::Directory)) = self.child(parent, name).await? else { return Ok(()) };
        let own = self.make_directory(Ino::ROOT, RECORDS, 0o700).await?;
        let deleted = self.make_directory(own, DELETED, 0o700).await?;
        let waiting = named(&format!("{}.{ino}", record_name(id)))?;
        let moved = self
            .meta
            .rename(&self.caller, parent, &named(name)?, deleted, &waiting, RenameFlags::default())
            .await;
        match moved {
            Err(error) if error.errno() != Errno::ENOENT => Err(status::of_meta(path, &error)),
            _ => Ok(()),
        }
    }

    /// Removes what waits in `deleted/`, file by file, so that files go through the trash as any others.
    pub(crate) async fn purge(&self) -> Result<u64, juicefs_meta::Error> {
        let find = async |parent: Ino, name: &str| {
            let Ok(name) = Name::new(name.as_bytes().to_vec()) else { return Ok(None) };
            match self.meta.lookup(&self.caller, parent, &name).await {
                Ok((ino, _)) => Ok(Some(ino)),
                Err(error) if error.errno() == Errno::ENOENT => Ok(None),
                Err(error) => Err(error),
            }
        };
        let Some(own) = find(Ino::ROOT, RECORDS).await? else { return Ok(0) };
        let Some(deleted) = find(own, DELETED).await? else { return Ok(0) };
        let mut removed = 0;
        // Directories on the way down, each with its parent and name; emptied ones are removed on the way up.
        let mut ways: Vec<(Ino, Option<(Ino, Name)>)> = vec![(deleted, None)];
        while let Some((folder, way)) = ways.last().cloned() {
            let mut below = None;
            for entry in self.meta.readdir(&self.caller, folder, false).await? {
                if entry.edge.kind == Kind::Directory {
                    below = Some((entry.edge.ino, Some((folder, entry.name))));
                } else {
                    ignore_missing(self.meta.unlink(&self.caller, folder, &entry.name).await)?;
                    removed += 1;
                }
            }
            match (below, way) {
                (Some(next), _) => ways.push(next),
                (None, Some((parent, name))) => {
                    let gone = self.meta.rmdir(&self.caller, parent, &name).await;
                    // Somebody may still be writing there: then it is listed again.
                    if !matches!(&gone, Err(error) if error.errno() == Errno::ENOTEMPTY) {
                        ignore_missing(gone)?;
                        removed += 1;
                    }
                    ways.pop();
                }
                (None, None) => return Ok(removed),
            }
        }
        Ok(removed)
    }
}

fn ignore_missing(result: Result<(), juicefs_meta::Error>) -> Result<(), juicefs_meta::Error> {
    match result {
        Err(error) if error.errno() == Errno::ENOENT => Ok(()),
        other => other,
    }
}

fn named(text: &str) -> Result<Name, Status> {
    let bad = |errno| Status::invalid_argument(format!("{text:?} is no name: {errno}"));
    Name::new(Bytes::copy_from_slice(text.as_bytes())).map_err(bad)
}
