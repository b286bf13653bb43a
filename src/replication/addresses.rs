//! A mirror by the two addresses that an operator knows: made if it is not there, followed, looked at, promoted.

use std::sync::Arc;
use std::time::Duration;

use juicefs_base::{ExposeSecret, SecretString};
use juicefs_meta::Time;
use juicefs_meta::mirror::{self, State};
use juicefs_meta::port::Engine;
use juicefs_meta::{Format, MetaUrl, engines};

use crate::blocks::BlockCopier;
use crate::create::{NewMirror, OwnBucket, create};
use crate::error::{Error, Result};
use crate::follower::Follower;
use crate::promote::{Promoted, Promotion, promote};
use crate::status::{MirrorStatus, status};

/// A database that does not answer within this is no help to whoever looks at a mirror.
const LOOK_DEADLINE: Duration = Duration::from_secs(10);

/// Both databases of a mirror, each with its password.
#[derive(Clone, Debug)]
pub struct Addresses {
    pub source: SecretString,
    pub mirror: SecretString,
}

impl Addresses {
    /// Makes the mirror `name` if its database is empty. Does nothing to a database that holds anything else.
    ///
    /// # Errors
    /// As [`create`]; a database with a volume, another mirror, one with another kind of bucket, or one that was dropped.
    pub async fn make(&self, name: &str, bucket: Option<OwnBucket>) -> Result<()> {
        let source_url = parse(&self.source)?;
        let source = engines::open(&source_url).await?;
        let target = engines::open(&parse(&self.mirror)?).await?;
        match target.setting().await? {
            None => {
                let new =
                    NewMirror { display_name: name.to_owned(), source: source_url, bucket, rejoins: false };
                create(&*source, &*target, &new).await
            }
            Some(setting) => check_own(&*source, &*target, &setting, name, bucket.is_some()).await,
        }
    }

    /// Follows the mirror that is there; `copier` brings blocks where it has a bucket of its own.
    ///
    /// # Errors
    /// As [`Follower::new`].
    pub async fn follower(&self, copier: Option<Arc<BlockCopier>>) -> Result<Follower> {
        let source = engines::open(&parse(&self.source)?).await?;
        let target = engines::open(&parse(&self.mirror)?).await?;
        Follower::new(source, target, copier).await
    }

    /// Makes the mirror a volume of its own. A source that does not answer is `promotion`'s to judge.
    ///
    /// # Errors
    /// As [`promote`].
    pub async fn promote(&self, promotion: &Promotion) -> Result<Promoted> {
        let target = engines::open(&parse(&self.mirror)?).await?;
        let url = parse(&self.source)?;
        let source = engines::open(&url).await.map_err(|error| error.to_string());
        promote(source, &url.to_string(), target, promotion).await
    }

    /// Whether the source's database answers.
    pub async fn source_answers(&self) -> bool {
        let Ok(url) = parse(&self.source) else { return false };
        matches!(tokio::time::timeout(LOOK_DEADLINE, engines::open(&url)).await, Ok(Ok(_)))
    }

    /// The source's setting.
    ///
    /// # Errors
    /// A source that does not answer or holds no volume.
    pub async fn source_setting(&self) -> Result<Format> {
        setting_of(&*engines::open(&parse(&self.source)?).await?).await
    }

    /// The mirror's setting, and of one with a bucket of its own what opens the source's.
    ///
    /// # Errors
    /// [`Error::NoMirror`]; as the engine's.
    pub async fn settings(&self) -> Result<(Format, Option<Format>)> {
        let target = engines::open(&parse(&self.mirror)?).await?;
        let own = setting_of(&*target).await?;
        let record = mirror::read_any(&*target, &own).await?.ok_or(Error::NoMirror)?;
        let far = if record.bucket.is_own() { mirror::read_source_setting(&*target).await? } else { None };
        Ok((own, far))
    }

    /// How far the mirror is behind. A source that does not answer is part of the answer.
    ///
    /// # Errors
    /// [`Error::NoMirror`]; a mirror's database that does not answer.
    pub async fn status(&self) -> Result<MirrorStatus> {
        let open = async |url: &SecretString| -> Result<Arc<dyn Engine>, juicefs_meta::Error> {
            let unreachable = |_| juicefs_meta::Error::Unavailable("does not answer".to_owned());
            let url = parse(url)?;
            tokio::time::timeout(LOOK_DEADLINE, engines::open(&url)).await.map_err(unreachable)?
        };
        let target = open(&self.mirror).await?;
        let source = open(&self.source).await;
        let source = match &source {
            Ok(engine) => Ok(&**engine),
            Err(error) => Err(juicefs_meta::Error::Unavailable(error.to_string())),
        };
        let looked = status(source, &*target, Time::now().unix_ms());
        tokio::time::timeout(LOOK_DEADLINE, looked).await.map_err(|_| {
            Error::Meta(juicefs_meta::Error::Unavailable("the mirror's database does not answer".to_owned()))
        })?
    }
}

fn parse(url: &SecretString) -> Result<MetaUrl, juicefs_meta::Error> {
    MetaUrl::parse(url.expose_secret())
}

async fn setting_of(engine: &dyn Engine) -> Result<Format> {
    let text = engine.setting().await?;
    let none = || Error::BadRequest("the database holds no volume".to_owned());
    Ok(Format::parse(&text.ok_or_else(none)?)?)
}

/// What is there is this mirror of this source, or nobody touches it.
async fn check_own(
    source: &dyn Engine,
    target: &dyn Engine,
    setting: &str,
    name: &str,
    has_own_bucket: bool,
) -> Result<()> {
    let held = Format::parse(setting)?;
    let Some(record) = mirror::read_any(target, &held).await? else {
        return Err(Error::BadRequest(format!(
            "the database for the mirror holds the volume {} already; nothing was written: name an empty one",
            held.name
        )));
    };
    if record.display_name != name {
        return Err(Error::BadRequest(format!(
            "the database holds the mirror {}, not {name}; nothing was written: name an empty one",
            record.display_name
        )));
    }
    let ended = match record.state {
        State::Copying | State::CatchingUp | State::Following => None,
        State::Dropped => Some("was dropped: name an empty database, or empty this one"),
        State::Promoting => Some("is being promoted: `juicefs mirror promote` once more ends what broke off"),
        State::Promoted => Some("was promoted and follows nobody any more"),
    };
    if let Some(ended) = ended {
        return Err(Error::BadRequest(format!("mirror {name} {ended}")));
    }
    if record.bucket.is_own() != has_own_bucket {
        let (found, asked) = match has_own_bucket {
            true => ("reads its source's bucket", "one of its own"),
            false => ("has a bucket of its own", "its source's"),
        };
        return Err(Error::BadRequest(format!(
            "mirror {name} {found}, asked for is {asked}; nothing was written: name an empty database"
        )));
    }
    let Some(text) = source.setting().await? else {
        return Err(Error::BadRequest("the source's database holds no volume".to_owned()));
    };
    let found = Format::parse(&text)?.uuid;
    if found == record.source_uuid {
        return Ok(());
    }
    Err(Error::OtherVolume { wanted: record.source_uuid, found })
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn addresses(folder: &std::path::Path) -> Addresses {
        let url = |name: &str| -> SecretString { format!("sqlite3://{}/{name}.db", folder.display()).into() };
        Addresses { source: url("source"), mirror: url("mirror") }
    }

    #[tokio::test]
    async fn an_empty_database_becomes_a_mirror_once_and_anything_else_is_left_alone() {
        let folder = tempfile::tempdir().expect("temp");
        let addresses = addresses(folder.path()).await;
        let volume = async |url: &SecretString| {
            let engine = engines::open(&parse(url).expect("an address")).await.expect("opened");
            let mut format = Format::new("data");
            format.uuid = "51c45a61-2647-47ed-84b5-c14e9f92a47c".to_owned();
            format.change_log = true;
            let time = Time { sec: 1, nsec: 0 };
            let ino = juicefs_meta::Ino::ROOT;
            let root = juicefs_meta::Attr::new(juicefs_meta::Kind::Directory, 0o777, 0, 0, ino, time);
            let new = juicefs_meta::port::NewVolume { setting: format.to_text(), root, trash: None };
            engine.create_volume(&new).await.expect("made");
        };
        volume(&addresses.source).await;
        assert!(matches!(addresses.status().await, Err(Error::NoMirror)));
        addresses.make("near", None).await.expect("made");
        addresses.make("near", None).await.expect("it is there");
        addresses.follower(None).await.map(drop).expect("followed");
        assert!(
            addresses.settings().await.expect("a mirror").1.is_none() && addresses.source_answers().await
        );
        let status = addresses.status().await.expect("a mirror");
        assert!(!status.record.readable && status.source_error.is_none());
        let told = addresses.make("far", None).await.expect_err("another name").to_string();
        assert!(told.contains("holds the mirror near, not far"), "{told}");
        let other = folder.path().join("other");
        std::fs::create_dir(&other).expect("made");
        let taken = Addresses { source: addresses.source.clone(), ..self::addresses(&other).await };
        volume(&taken.mirror).await;
        let told = taken.make("near", None).await.expect_err("a volume").to_string();
        assert!(told.contains("holds the volume data already"), "{told}");
    }
}
