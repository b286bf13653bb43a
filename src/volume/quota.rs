//! `quota`: limits of directories, users and groups, and whether what they say to be used is so.

use std::sync::Arc;
use std::time::Duration;

use juicefs_base::Errno;
use juicefs_meta::port::{QuotaKind, QuotaRow};
use juicefs_meta::tree::TreeProgress;
use juicefs_meta::url::MetaUrl;
use juicefs_meta::{Caller, Ino, Kind, Meta, Name, NewNode, Usage};

use crate::config::save;
use crate::error::{Error, Result};
use crate::opened::open_meta;
use crate::progress::Progress;

/// How often progress is told.
const TOLD_EVERY: Duration = Duration::from_millis(200);
/// Names on the way to a directory.
const DEPTH_MAX: usize = 4096;

/// Whose quota.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QuotaOf {
    /// By its path from the volume's root.
    Directory(String),
    User(u32),
    Group(u32),
}

/// Limits to set; `None` leaves one as it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct QuotaLimits {
    /// Bytes, 0 = no limit.
    pub space: Option<i64>,
    pub inodes: Option<i64>,
}

/// A quota under the name that people know it by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuotaLine {
    pub name: String,
    /// Bytes; 0 and below = no limit.
    pub space_max: i64,
    pub inodes_max: i64,
    pub used_space: i64,
    pub used_inodes: i64,
}

impl QuotaLine {
    fn new(name: String, row: &QuotaRow) -> Self {
        let QuotaRow { space_max, inodes_max, used, .. } = *row;
        Self { name, space_max, inodes_max, used_space: used.space, used_inodes: used.inodes }
    }
}

/// A quota's record, found.
struct Place {
    kind: QuotaKind,
    key: u64,
    name: String,
}

/// Sets limits, and counts what is used already when the quota is new. Statistics of directories, or quotas of users
/// and groups, are switched on for the volume where they are off. `creates` makes a directory that is missing.
///
/// # Errors
/// A volume that this client must not change, a directory that is not there or lies in the trash.
pub async fn set_quota(
    url: &MetaUrl,
    of: &QuotaOf,
    limits: QuotaLimits,
    creates: bool,
    progress: &dyn Progress,
) -> Result<QuotaLine> {
    let meta = open_meta(url).await?;
    let place = place(&meta, of, creates).await?;
    let begins = switch_on(&meta, place.kind).await?;
    // The setting counts from here on.
    let meta = if begins { open_meta(url).await? } else { meta };
    let is_new = meta.set_quota(place.kind, place.key, limits.space, limits.inodes).await?;
    match place.kind {
        QuotaKind::Directory if is_new => {
            let used = count_below(&meta, Ino(place.key), progress).await?;
            meta.set_quota_usage(place.kind, place.key, used).await?;
        }
        QuotaKind::User | QuotaKind::Group if begins => count_owners(&meta, progress).await?,
        QuotaKind::Directory | QuotaKind::User | QuotaKind::Group => {}
    }
    let row = meta.quota(place.kind, place.key).await?.ok_or_else(|| missing(&place))?;
    Ok(QuotaLine::new(place.name, &row))
}

/// # Errors
/// A directory that is not there; as the engine's.
pub async fn get_quota(url: &MetaUrl, of: &QuotaOf) -> Result<Option<QuotaLine>> {
    let meta = open_meta(url).await?;
    let place = place(&meta, of, false).await?;
    Ok(meta.quota(place.kind, place.key).await?.map(|row| QuotaLine::new(place.name, &row)))
}

/// Takes the limits away.
///
/// # Errors
/// As [`get_quota`].
pub async fn delete_quota(url: &MetaUrl, of: &QuotaOf) -> Result<()> {
    let meta = open_meta(url).await?;
    let place = place(&meta, of, false).await?;
    Ok(meta.delete_quota(place.kind, place.key).await?)
}

/// All quotas with a limit, or one; directories by a path, users as `uid:5`, groups as `gid:5`; sorted by these names.
///
/// # Errors
/// As [`get_quota`].
pub async fn list_quotas(url: &MetaUrl, of: Option<&QuotaOf>) -> Result<Vec<QuotaLine>> {
    let meta = open_meta(url).await?;
    let wanted = match of {
        Some(of) => Some(place(&meta, of, false).await?),
        None => None,
    };
    let mut lines = Vec::new();
    for kind in [QuotaKind::Directory, QuotaKind::User, QuotaKind::Group] {
        for row in meta.quota_rows(kind).await? {
            let is_wanted = wanted.as_ref().is_none_or(|place| (place.kind, place.key) == (kind, row.key));
            if (row.space_max, row.inodes_max) == (-1, -1) || !is_wanted {
                continue;
            }
            let name = match kind {
                QuotaKind::Directory => {
                    let paths = meta.paths(Ino(row.key)).await.unwrap_or_default();
                    paths.into_iter().next().unwrap_or_else(|| format!("inode:{}", row.key))
                }
                QuotaKind::User => format!("uid:{}", row.key),
                QuotaKind::Group => format!("gid:{}", row.key),
            };
            lines.push(QuotaLine::new(name, &row));
        }
    }
    lines.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(lines)
}

/// Counts anew what a directory's quota, or all users and groups, have used, and compares. With `repairs` the records
/// become what was counted. Answers the quotas that are right by now; each that is not is logged.
///
/// # Errors
/// [`Error::BadRequest`] when something is off and is not to be repaired, or the directory has no quota.
pub async fn check_quota(
    url: &MetaUrl,
    of: Option<&QuotaOf>,
    repairs: bool,
    progress: &dyn Progress,
) -> Result<Vec<QuotaLine>> {
    let meta = open_meta(url).await?;
    match of {
        Some(of @ QuotaOf::Directory(_)) => {
            let place = place(&meta, of, false).await?;
            check_directory(&meta, place, repairs, progress).await
        }
        Some(QuotaOf::User(_) | QuotaOf::Group(_)) | None => check_owners(&meta, repairs, progress).await,
    }
}

async fn check_directory(
    meta: &Arc<Meta>,
    place: Place,
    repairs: bool,
    progress: &dyn Progress,
) -> Result<Vec<QuotaLine>> {
    let row = meta.quota(place.kind, place.key).await?.ok_or_else(|| missing(&place))?;
    let used = count_below(meta, Ino(place.key), progress).await?;
    let name = &place.name;
    if row.used == used {
        tracing::info!("quota of {name} is consistent");
    } else {
        tracing::warn!(
            "{name}: quota({} inodes, {} bytes) != summary({} inodes, {} bytes)",
            row.used.inodes,
            row.used.space,
            used.inodes,
            used.space
        );
        if !repairs {
            return Err(Error::BadRequest(format!(
                "quota of {name} is inconsistent, please repair it with --repair flag"
            )));
        }
        tracing::info!("repairing...");
        meta.set_quota_usage(place.kind, place.key, used).await?;
    }
    Ok(vec![QuotaLine::new(place.name, &QuotaRow { used, ..row })])
}

async fn check_owners(meta: &Arc<Meta>, repairs: bool, progress: &dyn Progress) -> Result<Vec<QuotaLine>> {
    progress.begin("owners", None);
    let mut counted = meta.usage_of_owners().await?;
    let (mut lines, mut wrong) = (Vec::new(), Vec::new());
    for kind in [QuotaKind::User, QuotaKind::Group] {
        for row in meta.quota_rows(kind).await? {
            let is_nobodys = !counted.contains_key(&(kind, row.key));
            let used = counted.remove(&(kind, row.key)).unwrap_or_default();
            if row.used != used {
                wrong.push((kind, row.key, Some(row.used), used));
            } else if !is_nobodys {
                lines.push((kind, QuotaLine::new(row.key.to_string(), &row)));
            }
        }
    }
    wrong.extend(counted.into_iter().map(|((kind, key), used)| (kind, key, None, used)));
    for (kind, key, known, used) in &wrong {
        let what = if *kind == QuotaKind::User { "uid" } else { "gid" };
        let Usage { space, inodes } = used;
        match known {
            Some(known) => tracing::warn!(
                "{what}:{key}: usage({} inodes, {} bytes) != actual usage({inodes} inodes, {space} bytes)",
                known.inodes,
                known.space
            ),
            None => {
                tracing::warn!("{what}:{key}: quota not found, actual usage({inodes} inodes, {space} bytes)");
            }
        }
    }
    if !wrong.is_empty() && !repairs {
        return Err(Error::BadRequest(
            "user/group quota is inconsistent, please repair it with --repair flag".to_owned(),
        ));
    }
    if repairs {
        tracing::info!("Begin to repair user/group quota.");
        for (kind, key, _, used) in wrong {
            meta.set_quota_usage(kind, key, used).await?;
        }
    }
    // A number that is both is shown once, as the peer does: with what the group has.
    lines.sort_by(|(kind, line), (other_kind, other)| (&line.name, other_kind).cmp(&(&other.name, kind)));
    lines.dedup_by(|(_, later), (_, line)| later.name == line.name);
    Ok(lines.into_iter().map(|(_, line)| line).collect())
}

/// Counts what every user and group has used and says so, after their quotas were switched on.
///
/// # Errors
/// As the engine's.
pub(crate) async fn count_owners(meta: &Meta, progress: &dyn Progress) -> Result<()> {
    progress.begin("owners", None);
    let mut counted = meta.usage_of_owners().await?;
    for kind in [QuotaKind::User, QuotaKind::Group] {
        for row in meta.quota_rows(kind).await? {
            // What an earlier time has left counts nothing.
            counted.entry((kind, row.key)).or_default();
        }
    }
    for ((kind, key), used) in counted {
        meta.set_quota_usage(kind, key, used).await?;
    }
    Ok(())
}

/// Switches on what quotas of this kind need; true if it was off.
async fn switch_on(meta: &Meta, kind: QuotaKind) -> Result<bool> {
    let old = meta.format();
    let mut wanted = (*old).clone();
    match kind {
        QuotaKind::Directory => wanted.dir_stats = true,
        QuotaKind::User | QuotaKind::Group => wanted.user_group_quota = true,
    }
    let begins = (wanted.dir_stats, wanted.user_group_quota) != (old.dir_stats, old.user_group_quota);
    if begins {
        save(meta.engine().as_ref(), &old, &wanted).await?;
    }
    Ok(begins)
}

async fn place(meta: &Meta, of: &QuotaOf, creates: bool) -> Result<Place> {
    let (kind, key, name) = match of {
        QuotaOf::Directory(path) => {
            let found = resolve(meta, path, creates).await;
            let ino = found.map_err(|cause| match cause {
                juicefs_meta::Error::Errno(errno) => {
                    Error::BadRequest(format!("resolve dir {path}: {errno}"))
                }
                cause => cause.into(),
            })?;
            if ino.is_trash() {
                return Err(Error::BadRequest("no quota for any trash directory".to_owned()));
            }
            (QuotaKind::Directory, ino.0, path.clone())
        }
        QuotaOf::User(uid) => (QuotaKind::User, u64::from(*uid), uid.to_string()),
        QuotaOf::Group(gid) => (QuotaKind::Group, u64::from(*gid), gid.to_string()),
    };
    Ok(Place { kind, key, name })
}

async fn resolve(meta: &Meta, path: &str, creates: bool) -> juicefs_meta::Result<Ino> {
    let caller = Caller::internal();
    let (mut at, mut has_made) = (Ino::ROOT, false);
    for part in path.split('/').filter(|part| !part.is_empty() && *part != ".").take(DEPTH_MAX) {
        let name = Name::new(part.as_bytes().to_vec())?;
        let (ino, attr) = match meta.lookup(&caller, at, &name).await {
            Err(error) if creates && error.errno() == Errno::ENOENT => {
                has_made = true;
                meta.mknod(&caller, at, &name, &NewNode::directory(0o777, 0)).await?
            }
            found => found?,
        };
        if attr.kind != Kind::Directory {
            return Err(Errno::ENOTDIR.into());
        }
        at = ino;
    }
    if has_made {
        meta.flush_statistics().await?;
    }
    Ok(at)
}

fn missing(place: &Place) -> Error {
    Error::BadRequest(format!("no quota for inode {} path {}", place.key, place.name))
}

async fn count_below(meta: &Meta, ino: Ino, progress: &dyn Progress) -> Result<Usage> {
    progress.begin("counted", None);
    let (done, mut told) = (TreeProgress::default(), 0);
    let mut work = std::pin::pin!(meta.usage_below(ino, &done));
    loop {
        let outcome = tokio::time::timeout(TOLD_EVERY, work.as_mut()).await;
        let (count, _) = done.get();
        progress.advance(count - told);
        told = count;
        if let Ok(outcome) = outcome {
            return Ok(outcome?);
        }
    }
}
