//! `config --bucket2`: a volume gets a second bucket, prefers it, or loses it. Mounts see it at their next heartbeat.

use juicefs_base::{ExposeSecret, SecretString};
use juicefs_meta::engines;
use juicefs_meta::port::{Change, Engine};
use juicefs_meta::replication::{self, Mode, ReplicationRecord, SIDE};
use juicefs_meta::url::MetaUrl;
use juicefs_object::StoreExt;

use crate::config::{SettingDiff, normal_bucket};
use crate::error::{Error, Result};
use crate::format::UUID_KEY;
use crate::storage::{StorageAccess, load_own_format, open_both};

/// What shall become of the second bucket; `None` stays as it is.
#[derive(Clone, Debug, Default)]
pub struct ReplicationChange {
    pub storage2: Option<String>,
    pub bucket2: Option<String>,
    pub access_key2: Option<String>,
    pub secret_key2: Option<SecretString>,
    pub flip: Option<bool>,
    /// `off`, `async` or `sync`.
    pub mode: Option<String>,
}

impl ReplicationChange {
    #[must_use]
    pub fn is_anything(&self) -> bool {
        self.touches_storage() || self.flip.is_some() || self.mode.is_some()
    }

    fn touches_storage(&self) -> bool {
        self.storage2.is_some()
            || self.bucket2.is_some()
            || self.access_key2.is_some()
            || self.secret_key2.is_some()
    }
}

/// Changes the record and says what changed. `force` skips the trial of the second bucket.
///
/// # Errors
/// A volume that is not to be changed; a bucket that does not work or holds another volume.
pub async fn change_replication(
    url: &MetaUrl,
    change: &ReplicationChange,
    access: &StorageAccess,
    force: bool,
) -> Result<Vec<SettingDiff>> {
    let engine = engines::open(url).await?;
    let format = load_own_format(engine.as_ref(), "config").await?;
    if let Some(sentence) = format.unsupported() {
        return Err(Error::Meta(juicefs_meta::Error::Unsupported(sentence)));
    }
    let before = replication::read(engine.as_ref(), &format).await?;
    let mode = change.mode.as_deref().map(parse_mode).transpose()?;
    if let Some(None) = mode {
        if change.touches_storage() || change.flip.is_some() {
            return Err(Error::BadRequest(
                "--replication off takes the second bucket away: say nothing else of it".to_owned(),
            ));
        }
        let Some(before) = before else { return Ok(Vec::new()) };
        let is_first_too = (&before.storage2, &before.bucket2) == (&format.storage, &format.bucket);
        if before.flip && !is_first_too {
            return Err(Error::BadRequest(format!(
                "the second bucket {0} comes first, and clients that forget it would look into {1} only: make it the first \
                 one (--storage {2} --bucket {0} with its keys) or take it back (--flip=false), then say this again",
                before.bucket2, format.bucket, before.storage2
            )));
        }
        commit(engine.as_ref(), Change::DeleteSide { name: SIDE.to_owned() }).await?;
        return Ok(vec![SettingDiff {
            name: "bucket2",
            change: format!("{} -> (replication is off)", before.bucket2),
        }]);
    }
    let storage2 = match (&change.storage2, &before) {
        (Some(storage), _) => storage.clone(),
        (None, Some(before)) => before.storage2.clone(),
        (None, None) => format.storage.clone(),
    };
    let bucket2 = match (&change.bucket2, &before) {
        (Some(bucket), _) => normal_bucket(&storage2, bucket)?,
        (None, Some(before)) => before.bucket2.clone(),
        (None, None) => String::new(),
    };
    if bucket2.is_empty() {
        return Err(Error::BadRequest(
            "the volume has no second bucket: name one with --bucket2 (and --storage2, --access-key2, --secret-key2)"
                .to_owned(),
        ));
    }
    if (&storage2, &bucket2) == (&format.storage, &format.bucket) {
        return Err(Error::BadRequest(format!("{bucket2} is the volume's first bucket: name another one")));
    }
    let mut wanted = before.clone().unwrap_or_else(|| ReplicationRecord::new(&format, &storage2, &bucket2));
    (wanted.storage2, wanted.bucket2) = (storage2, bucket2);
    let mut diffs = Vec::new();
    if let Some(key) = &change.access_key2 {
        wanted.access_key2.clone_from(key);
    }
    if let Some(secret) = &change.secret_key2 {
        wanted.set_secret_key2(&format, secret)?;
        diffs.push(SettingDiff { name: "secret-key2", change: "updated".to_owned() });
    }
    wanted.flip = change.flip.unwrap_or(wanted.flip);
    wanted.mode = mode.flatten().unwrap_or(wanted.mode);
    diffs.extend(differences(before.as_ref(), &wanted));
    if diffs.is_empty() {
        return Ok(diffs);
    }
    if change.touches_storage() && !force {
        check(&format, &wanted, access).await?;
    }
    commit(engine.as_ref(), Change::PutSide { name: SIDE.to_owned(), value: wanted.to_value() }).await?;
    Ok(diffs)
}

fn parse_mode(word: &str) -> Result<Option<Mode>> {
    match word {
        "off" => Ok(None),
        "async" => Ok(Some(Mode::Async)),
        "sync" => Ok(Some(Mode::Sync)),
        "any" | "external" => Err(Error::BadRequest(format!(
            "--replication {word} is not supported yet: use off, async or sync"
        ))),
        _ => Err(Error::BadRequest(format!("--replication {word} is not known: use off, async or sync"))),
    }
}

fn differences(before: Option<&ReplicationRecord>, wanted: &ReplicationRecord) -> Vec<SettingDiff> {
    type Shown = fn(&ReplicationRecord) -> String;
    let fields: [(&'static str, Shown); 5] = [
        ("storage2", |record| record.storage2.clone()),
        ("bucket2", |record| record.bucket2.clone()),
        ("access-key2", |record| record.access_key2.clone()),
        ("flip", |record| record.flip.to_string()),
        ("replication", |record| format!("{:?}", record.mode).to_lowercase()),
    ];
    fields
        .into_iter()
        .filter_map(|(name, shown)| {
            let (from, to) = (before.map(shown).unwrap_or_default(), shown(wanted));
            (from != to).then(|| SettingDiff { name, change: format!("{from} -> {to}") })
        })
        .collect()
}

/// The second bucket is there, takes and gives, and holds no other volume.
async fn check(
    format: &juicefs_meta::Format,
    record: &ReplicationRecord,
    access: &StorageAccess,
) -> Result<()> {
    let store = open_both(format, record, access).await?.second;
    store.create_bucket().await?;
    match store.get_if_exists(UUID_KEY).await? {
        None => {
            // As the first bucket has it, so that no other volume of this name begins there.
            let first = open_both(format, record, access).await?.first;
            let mark = first.get_if_exists(UUID_KEY).await?.unwrap_or_else(|| format.uuid.clone().into());
            store.put(UUID_KEY, mark.clone()).await?;
            let back = store.get(UUID_KEY, None).await?;
            if back != mark {
                return Err(Error::Store {
                    store: store.to_string(),
                    cause: "it gives back other bytes than it took".to_owned(),
                });
            }
        }
        Some(mark) => {
            let first = open_both(format, record, access).await?.first;
            let own = first.get_if_exists(UUID_KEY).await?;
            // Sealed marks of one volume differ when they were not copied; open ones don't.
            if format.encrypt_key.expose_secret().is_empty()
                && mark != format.uuid.as_bytes()
                && own.as_ref() != Some(&mark)
            {
                return Err(Error::NotEmpty { store: store.to_string(), key: UUID_KEY.to_owned() });
            }
        }
    }
    Ok(())
}

async fn commit(engine: &dyn Engine, change: Change) -> Result<()> {
    engine.begin(0).await?.commit(&[change]).await?;
    Ok(())
}
