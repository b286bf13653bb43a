//! One file system as the controller works on it: directories, records, and what waits to be removed.

use bytes::Bytes;
use juicefs_base::ExposeSecret;
use juicefs_k8s::settings::SecretSettings;
use juicefs_meta::mirror::{self, MirrorRecord};
use juicefs_meta::port::QuotaKind;
use juicefs_meta::request::{MetaOptions, NewNode, RenameFlags};
use juicefs_meta::tree::TreeProgress;
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

/// Why the capacity of a volume limits nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unlimited {
    #[error(
        "the file system keeps no statistics of directories; `juicefs config META --dir-stats` switches them on for new claims"
    )]
    NoStatistics,
    #[error("the directory was there before any volume; its quota, if any, is that of `juicefs quota set`")]
    ThereBefore,
}

/// An open file system, without a session.
pub(crate) struct Volume {
    pub meta: Arc<Meta>,
    pub(super) caller: Caller,
    /// What the Secret calls it: the volume's name, or the mirror's.
    pub(super) name: String,
    /// The record of the mirror that this is.
    pub mirror: Option<MirrorRecord>,
}

impl Volume {
    /// Opens the metadata and checks that it holds the volume the Secret names.
    pub(crate) async fn open(secret: &SecretSettings) -> Result<Self, Status> {
        let url = MetaUrl::parse(secret.complete_meta_url().expose_secret())
            .map_err(|error| Status::invalid_argument(format!("metaurl in the Secret: {error}")))?;
        let what = format!("metadata {url}");
        let open = async {
            let engine = engines::open(&url).await?;
            let meta = Meta::open(engine.clone(), MetaOptions::default()).await?;
            let mirror = mirror::read_any(&*engine, &meta.format()).await?;
            Ok((meta, mirror))
        };
        let (meta, mirror) = tokio::time::timeout(OPEN_TIMEOUT, open)
            .await
            .map_err(|_| {
                let within = OPEN_TIMEOUT.as_secs();
                Status::unavailable(format!(
                    "{what} does not answer within {within} s: is metaurl right in the Secret?"
                ))
            })?
            .map_err(|error| status::of_meta(&what, &error))?;
        let format = meta.format();
        let (what, held) = match &mirror {
            Some(mirror) => ("mirror", &mirror.display_name),
            None => ("volume", &format.name),
        };
        if *held != secret.volume_name {
            return Err(Status::failed_precondition(format!(
                "the Secret names volume {}, the database holds {what} {held}: correct the Secret",
                secret.volume_name
            )));
        }
        // A promoted mirror keeps its name and is a volume like any other.
        let mirror = mirror.filter(|record| record.state != mirror::State::Promoted);
        Ok(Self { meta, caller: Caller::internal(), name: secret.volume_name.clone(), mirror })
    }

    /// Writes the statistics of the directories that this call changed: without a session nobody else does.
    pub(crate) async fn write_statistics(&self) {
        if let Err(error) = self.meta.flush_statistics().await {
            tracing::warn!(volume = self.meta.format().name, "directory statistics are not written: {error}");
        }
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

    /// The directory at `path`, made where it is missing; what is made gets `mode`. Whether the last one was made.
    pub(crate) async fn make_path(&self, path: &str, mode: u16) -> Result<(Ino, bool), Status> {
        let mut at = (Ino::ROOT, false);
        for part in path.split('/') {
            at = self.make_directory(at.0, part, mode).await?;
        }
        Ok(at)
    }

    async fn make_directory(&self, parent: Ino, name: &str, mode: u16) -> Result<(Ino, bool), Status> {
        match self.child(parent, name).await? {
            Some((ino, Kind::Directory)) => return Ok((ino, false)),
            Some(_) => return Err(Status::invalid_argument(format!("{name} is there and is no directory"))),
            None => {}
        }
        let new = NewNode { kind: Kind::Directory, mode, umask: 0, rdev: 0, target: None };
        match self.meta.mknod(&self.caller, parent, &named(name)?, &new).await {
            Ok((ino, _)) => Ok((ino, true)),
            Err(error) if error.errno() == Errno::EEXIST => match self.child(parent, name).await? {
                Some((ino, Kind::Directory)) => Ok((ino, false)),
                _ => Err(Status::aborted(format!("{name} is being changed by somebody else"))),
            },
            Err(error) => Err(status::of_meta(name, &error)),
        }
    }

    /// Limits what may lie below a directory to `bytes`, 0 = nothing to limit. Volumes that share a directory have the
    /// largest of their capacities, so that none takes from another. Why it is not limited, if so.
    pub(super) async fn limit(
        &self,
        directory: Ino,
        bytes: i64,
        made: bool,
    ) -> Result<Option<Unlimited>, Status> {
        let unlimited = match (made, self.meta.format().dir_stats) {
            _ if bytes <= 0 => return Ok(None),
            (false, _) => Some(Unlimited::ThereBefore),
            (true, false) => Some(Unlimited::NoStatistics),
            (true, true) => None,
        };
        if unlimited.is_some() {
            return Ok(unlimited);
        }
        let kind = QuotaKind::Directory;
        let set = async {
            let limit = self.meta.quota(kind, directory.0).await?.map_or(0, |quota| quota.space_max);
            if self.meta.set_quota(kind, directory.0, Some(bytes.max(limit)), None).await? {
                let used = self.meta.usage_below(directory, &TreeProgress::default()).await?;
                self.meta.set_quota_usage(kind, directory.0, used).await?;
            }
            Ok(None)
        };
        set.await.map_err(|error: juicefs_meta::Error| status::of_meta("the quota of the claim", &error))
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
                // Whatever it is, it may be about any directory.
                Ok(target) => others.push(VolumeRecord::parse(&target).ok_or_else(|| {
                    Status::failed_precondition(format!(
                        "record {} can't be read: a newer driver may have written it",
                        entry.name
                    ))
                })?),
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
        let (own, _) = self.make_directory(Ino::ROOT, RECORDS, 0o700).await?;
        let (records, _) = self.make_directory(own, VOLUMES, 0o700).await?;
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

    /// Puts `record` in the place of the one that is there. Whoever looks meanwhile finds either.
    pub(super) async fn replace_record(&self, id: &str, record: &VolumeRecord) -> Result<(), Status> {
        let target = record.to_target().ok_or_else(|| {
            Status::invalid_argument(format!("path {} is too long for a record", record.path))
        })?;
        let (own, _) = self.make_directory(Ino::ROOT, RECORDS, 0o700).await?;
        let (records, _) = self.make_directory(own, VOLUMES, 0o700).await?;
        let name = record_name(id);
        // Not among the records, where it would be one.
        let new_name = named(&format!("{name}.new"))?;
        let failed = |error: juicefs_meta::Error| status::of_meta(&name, &error);
        match self.meta.unlink(&self.caller, own, &new_name).await {
            Err(error) if error.errno() != Errno::ENOENT => return Err(failed(error)),
            _ => {}
        }
        let target = Some(Bytes::from(target));
        let new = NewNode { kind: Kind::Symlink, mode: 0o777, umask: 0, rdev: 0, target };
        self.meta.mknod(&self.caller, own, &new_name, &new).await.map_err(failed)?;
        let flags = RenameFlags::default();
        self.meta
            .rename(&self.caller, own, &new_name, records, &named(&name)?, flags)
            .await
            .map(drop)
            .map_err(failed)
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
        let (own, _) = self.make_directory(Ino::ROOT, RECORDS, 0o700).await?;
        let (deleted, _) = self.make_directory(own, DELETED, 0o700).await?;
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
}

fn named(text: &str) -> Result<Name, Status> {
    let bad = |errno| Status::invalid_argument(format!("{text:?} is no name: {errno}"));
    Name::new(Bytes::copy_from_slice(text.as_bytes())).map_err(bad)
}
