//! A mirror is made, and given up.

use futures::TryStreamExt;
use juicefs_meta::mirror::{self, MirrorRecord, SIDE, State, VERSION};
use juicefs_meta::port::{Change, Engine, Get, Got, Hold, NewVolume, QuotaKind, Scan};
use juicefs_meta::types::Ino;
use juicefs_meta::{Format, MetaUrl};

use crate::apply::commit;
use crate::error::{Error, Result};
use crate::follower::mirrored_setting;
use crate::heartbeats;

/// What a mirror is made of.
#[derive(Clone, Debug)]
pub struct NewMirror {
    pub display_name: String,
    /// Where it is found again, told without its password.
    pub source: MetaUrl,
}

/// Makes an empty database the mirror of a source; its rows come with the follower. Data stays in the source's bucket,
/// which the mirror only reads.
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
    let setting = mirrored_setting(&format, &format).to_text();
    target.create_volume(&NewVolume { setting, root, trash }).await?;
    let record = MirrorRecord {
        v: VERSION,
        source_uuid: format.uuid.clone(),
        display_name: new.display_name.clone(),
        epoch: uuid::Uuid::new_v4().to_string(),
        source: without_password(&new.source)?,
        state: State::Copying,
        cursor: 0,
        cursor_ms: 0,
    };
    let put = Change::PutSide { name: SIDE.to_owned(), value: record.to_value() };
    target.begin(0).await?.commit(&[put]).await?;
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
        // A client that does not know of the change log yet leaves no trace of what it writes.
        return heartbeats::wait_until_all_have_read(source).await;
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
