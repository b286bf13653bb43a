//! A mirror is made, and given up.

use std::sync::Arc;

use futures::TryStreamExt;
use juicefs_meta::mirror::{self, BucketMode, MirrorRecord, SIDE, SOURCE_SIDE, State, VERSION};
use juicefs_meta::port::{Change, Engine, Get, Got, Hold, NewVolume, QuotaKind, Scan};
use juicefs_meta::types::Ino;
use juicefs_meta::{Format, MetaUrl};
use juicefs_object::Store;

use crate::apply::commit;
use crate::data;
use crate::error::{Error, Result};
use crate::fence;
use crate::follower::mirrored_setting;
use crate::heartbeats;

/// Object with the volume's UUID, as `format` writes it.
const UUID_KEY: &str = "juicefs_uuid";

/// What a mirror is made of.
#[derive(Clone, Debug)]
pub struct NewMirror {
    pub display_name: String,
    /// Where it is found again, told without its password.
    pub source: MetaUrl,
    /// Nothing: data stays in the source's bucket, which the mirror only reads.
    pub bucket: Option<OwnBucket>,
    /// The database is the volume that the source was promoted from: it is made a mirror by difference.
    pub rejoins: bool,
}

/// A bucket for the blocks of a mirror.
#[derive(Clone, Debug)]
pub struct OwnBucket {
    /// The source's setting, open, with where the mirror's blocks are.
    pub setting: Format,
    /// The same with the key by which the mirror reads the source's bucket, where it is another one.
    pub source_setting: Option<Format>,
    /// Names come when their blocks are there.
    pub is_data_first: bool,
    /// The mirror's, and the source's as the mirror reads it; both give bytes as they are stored.
    pub near: Arc<dyn Store>,
    pub far: Arc<dyn Store>,
}

/// Makes an empty database the mirror of a source; its rows come with the follower.
///
/// # Errors
/// A source that keeps no change log or uses what mirrors do not copy yet; a database that is not empty.
pub async fn create(source: &dyn Engine, target: &dyn Engine, new: &NewMirror) -> Result<()> {
    check_name(&new.display_name)?;
    let Some(text) = source.setting().await? else {
        return Err(Error::BadRequest(format!("{} holds no volume to mirror", new.source)));
    };
    let format = Format::parse(&text)?;
    if mirror::read(source, &format).await?.is_some() {
        return Err(Error::BadRequest(
            "a mirror of a mirror is not supported yet: name the volume itself".to_owned(),
        ));
    }
    check_source(source, &format, new).await?;
    if new.rejoins {
        return rejoin(source, &format, target, new).await;
    }
    if target.setting().await?.is_some() {
        return Err(Error::BadRequest(
            "the database for the mirror is not empty: name another one".to_owned(),
        ));
    }
    let root = [Ino::ROOT, Ino::TRASH].map(|ino| Get::Node { ino, hold: Hold::Peek });
    let mut nodes = source.read(&root).await?.into_iter();
    let Some(Got::Node(Some(root))) = nodes.next() else {
        return Err(Error::BadRequest(
            "the source has no root directory: `juicefs fsck` tells more".to_owned(),
        ));
    };
    let trash = if let Some(Got::Node(trash)) = nodes.next() { trash } else { None };
    let own = match &new.bucket {
        Some(bucket) => {
            check_bucket(bucket, &format).await?;
            bucket.setting.encrypted()?
        }
        None => format.clone(),
    };
    let setting = mirrored_setting(&format, &own).to_text();
    // A client that does not know of the change log yet leaves no trace of what it writes.
    heartbeats::wait_until_all_have_read(source).await?;
    target.create_volume(&NewVolume { setting, root, trash }).await?;
    let bucket = match &new.bucket {
        None => BucketMode::Shared,
        Some(bucket) if bucket.is_data_first => BucketMode::DataFirst,
        Some(_) => BucketMode::Own,
    };
    let has_own_source_key = new.bucket.as_ref().is_some_and(|bucket| bucket.source_setting.is_some());
    let record = MirrorRecord { has_own_source_key, ..begun(&format, new, bucket)? };
    let seen = match new.bucket.as_ref().and_then(|bucket| bucket.source_setting.as_ref()) {
        Some(own) => own.encrypted()?,
        None => format,
    };
    let sides = [(SIDE, record.to_value()), (SOURCE_SIDE, seen.to_text().into())];
    let sides = sides.map(|(name, value)| Change::PutSide { name: name.to_owned(), value });
    target.begin(0).await?.commit(&sides).await?;
    Ok(())
}

/// The record of a mirror that holds nothing yet.
fn begun(format: &Format, new: &NewMirror, bucket: BucketMode) -> Result<MirrorRecord> {
    Ok(MirrorRecord {
        v: VERSION,
        source_uuid: format.uuid.clone(),
        display_name: new.display_name.clone(),
        epoch: uuid::Uuid::new_v4().to_string(),
        source: without_password(&new.source)?,
        state: State::Copying,
        cursor: 0,
        cursor_ms: 0,
        cursor_mark: String::new(),
        has_gap: false,
        bucket,
        has_own_source_key: false,
    })
}

/// The former source becomes the mirror: it keeps its rows and its bucket, and the follower makes of them what the new one
/// has. Whatever else is there is lost.
async fn rejoin(source: &dyn Engine, format: &Format, target: &dyn Engine, new: &NewMirror) -> Result<()> {
    if new.bucket.is_some() {
        return Err(Error::BadRequest(
            "a volume that rejoins keeps its bucket: leave --bucket out".to_owned(),
        ));
    }
    let Some(text) = target.setting().await? else {
        return Err(Error::BadRequest("the database holds no volume: leave --rejoin out".to_owned()));
    };
    let own = Format::parse(&text)?;
    if own.uuid != format.uuid {
        return Err(Error::OtherVolume { wanted: own.uuid, found: format.uuid.clone() });
    }
    let promoted = mirror::read_any(source, format).await?;
    if promoted.is_none_or(|record| record.state != State::Promoted) {
        return Err(Error::BadRequest(format!("{} was never promoted: nothing can rejoin it", new.source)));
    }
    heartbeats::wait_until_all_have_read(source).await?;
    let live = fence::live_sessions(target).await?;
    if !live.is_empty() {
        return Err(Error::BadRequest(format!(
            "{} clients have sessions in the volume that shall rejoin: end its mounts first",
            live.len()
        )));
    }
    let is_shared = (&own.storage, &own.bucket) == (&format.storage, &format.bucket);
    let record = begun(format, new, if is_shared { BucketMode::Shared } else { BucketMode::Own })?;
    // Stock clients stay away before the rows change; ours go by the record.
    let own = Format { meta_version: 1, ..own };
    target.update_setting(&mirrored_setting(format, &own).to_text(), None, false).await?;
    let put = |name: &str, value| Change::PutSide { name: name.to_owned(), value };
    let changes = [
        put(SIDE, record.to_value()),
        put(SOURCE_SIDE, format.to_text().into()),
        fence::removal(),
        data::removal(),
    ];
    target.begin(0).await?.commit(&changes).await?;
    Ok(())
}

/// Whose bucket it is: nobody's yet, or of this volume where a copying tool was faster, but never the source's own.
async fn check_bucket(bucket: &OwnBucket, source: &Format) -> Result<()> {
    let OwnBucket { near, far, .. } = bucket;
    far.get(UUID_KEY, None)
        .await
        .map(drop)
        .or_else(|error| if error.is_not_found() { Ok(()) } else { Err(error) })?;
    near.create_bucket().await?;
    match near.get(UUID_KEY, None).await {
        Ok(uuid) if uuid[..] == *source.uuid.as_bytes() => {}
        Ok(_) => {
            return Err(Error::BadRequest(format!(
                "{near} holds the blocks of another volume: name another bucket"
            )));
        }
        Err(error) if error.is_not_found() => {}
        Err(error) => return Err(error.into()),
    }
    let probe = format!("mirror-probe-{}", uuid::Uuid::new_v4());
    near.put(&probe, probe.clone().into()).await?;
    let seen = far.head(&probe).await;
    near.delete(&probe).await?;
    match seen {
        Err(error) if error.is_not_found() => {}
        Err(error) => return Err(error.into()),
        Ok(_) => {
            return Err(Error::BadRequest(format!(
                "{near} is the source's own bucket: leave --bucket out, and the mirror reads it"
            )));
        }
    }
    near.put(UUID_KEY, source.uuid.clone().into()).await?;
    Ok(())
}

/// The address as another process finds it, which brings the password by itself.
fn without_password(url: &MetaUrl) -> Result<String> {
    if let MetaUrl::Sqlite(file) = url {
        let path = std::path::absolute(&file.path)
            .map_err(|cause| Error::BadRequest(format!("{url} is no usable path: {cause}")))?;
        return Ok(url.to_string().replacen(&*file.path.to_string_lossy(), &path.to_string_lossy(), 1));
    }
    Ok(url.to_string().replacen("://:****@", "://", 1).replacen(":****@", "@", 1))
}

/// As the names of volumes: it becomes part of paths.
fn check_name(name: &str) -> Result<()> {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if (3..=63).contains(&name.len()) && name.bytes().all(is_plain) {
        return Ok(());
    }
    Err(Error::BadRequest(format!("`{name}` is no name for a mirror: take 3 to 63 of a-z, 0-9 and -")))
}

async fn check_source(source: &dyn Engine, format: &Format, new: &NewMirror) -> Result<()> {
    format.check_version()?;
    if !source.limits().has_change_log {
        return Err(Error::Meta(juicefs_meta::Error::no_change_log(source.limits().name)));
    }
    if !format.change_log {
        return Err(Error::BadRequest(format!(
            "volume {} keeps no change log, by which mirrors follow: run `juicefs config {} --changelog` first",
            format.name, new.source
        )));
    }
    let mut used = source.foreign_records().await?;
    for (is_used, what) in [(format.enable_acl, "ACLs"), (format.user_group_quota, "user and group quotas")] {
        if is_used {
            used.push(what);
        }
    }
    let mut quotas = source.scan(Scan::Quotas { kind: QuotaKind::Directory });
    if quotas.try_next().await?.is_some() {
        used.push("directory quotas");
    }
    if used.is_empty() {
        return Ok(());
    }
    let used = used.join(", ");
    Err(Error::BadRequest(format!("volume {} uses {used}: mirroring that is not supported yet", format.name)))
}

/// Gives a mirror up: its follower ends, mounts are refused. The database can then be deleted.
///
/// # Errors
/// [`Error::NoMirror`]; as the engine's.
pub async fn drop_mirror(target: &dyn Engine) -> Result<MirrorRecord> {
    let text = target.setting().await?.ok_or(Error::NoMirror)?;
    loop {
        let record = mirror::read(target, &Format::parse(&text)?).await?.ok_or(Error::NoMirror)?;
        let dropped = MirrorRecord { state: State::Dropped, ..record.clone() };
        match commit(target, &record, &dropped, Vec::new()).await {
            // Its follower was faster once more.
            Err(Error::Overtaken | Error::Meta(juicefs_meta::Error::Conflict)) => {}
            done => return done.map(|()| dropped),
        }
    }
}
