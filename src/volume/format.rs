//! `format`: a new volume in an empty database and an empty bucket, or the same volume once more.

use juicefs_base::{ExposeSecret, SecretString};
use juicefs_meta::engines;
use juicefs_meta::format::{Format, Tier};
use juicefs_meta::port::{Engine, NewVolume};
use juicefs_meta::url::MetaUrl;
use juicefs_meta::{Attr, Ino, Kind, Time};
use juicefs_object::layers::shard::SHARDS_MAX;
use juicefs_object::{Store, StoreExt};

use crate::config::{self, SettingChange};
use crate::error::{Error, Result};
use crate::storage::{StorageAccess, open_store};

/// Object with the volume's UUID, so that a bucket tells whose it is.
pub(crate) const UUID_KEY: &str = "juicefs_uuid";
const PROBE_BYTES: usize = 100;

/// What the caller wants; fields of [`SettingChange`] that are `None` take the defaults on a new volume and
/// stay as they are on an existing one.
#[derive(Clone, Debug, Default)]
pub struct FormatRequest {
    pub name: String,
    pub settings: SettingChange,
    /// KiB, rounded down to a power of two and clamped to 64 KiB ..= 16 MiB.
    pub block_size_kib: Option<u64>,
    pub compression: Option<String>,
    pub shards: Option<u32>,
    pub hash_prefix: Option<bool>,
    /// PEM text of an RSA private key, whose passphrase is in [`StorageAccess::variables`].
    pub encrypt_key: Option<SecretString>,
    /// `aes256gcm-rsa` or `chacha20-rsa`.
    pub encrypt_algorithm: Option<String>,
    /// Replaces settings that a volume keeps for ever.
    pub force: bool,
    /// Leaves an existing volume as it is.
    pub no_update: bool,
    /// `JFS_NO_CHECK_OBJECT_STORAGE`.
    pub skips_store_check: bool,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct FormatOutcome {
    pub format: Format,
    pub result: FormatResult,
    /// Where the data goes, for the log.
    pub store: String,
    /// What was not done as it was asked for.
    pub notice: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FormatResult {
    Created,
    Updated,
    Unchanged,
}

/// Makes the volume. Nothing is written to the database before the store has been tried.
///
/// # Errors
/// A bad name or setting, a store that does not work or is not empty, a setting that may not change.
pub async fn format(url: &MetaUrl, request: &FormatRequest, access: &StorageAccess) -> Result<FormatOutcome> {
    check_name(&request.name)?;
    let engine = engines::open(url).await?;
    format_on(engine.as_ref(), request, access).await
}

async fn format_on(
    engine: &dyn Engine,
    request: &FormatRequest,
    access: &StorageAccess,
) -> Result<FormatOutcome> {
    let existing = engine.setting().await?;
    let old = existing.as_deref().map(Format::parse).transpose()?;
    if let Some(old) = &old {
        old.check_version()?;
        if request.no_update {
            let store = open_store(old, access).await?;
            return Ok(FormatOutcome {
                format: old.clone(),
                result: FormatResult::Unchanged,
                store: store.to_string(),
                notice: None,
            });
        }
    }
    let wanted = wanted_format(old.as_ref(), request)?;
    if let Some(old) = &old {
        check_kept_settings(&old.decrypted()?, &wanted, request.force)?;
        if let Some(sentence) = old.unsupported() {
            return Err(Error::Meta(juicefs_meta::Error::Unsupported(sentence)));
        }
    }
    let store = open_store(&wanted, access).await?;
    if !request.skips_store_check {
        // A bucket of somebody else's is not even written to for a try.
        if old.is_none() {
            check_empty(store.as_ref()).await?;
            make_shards(store.as_ref(), wanted.shards).await?;
        }
        probe(store.as_ref()).await?;
    }
    let stored = wanted.encrypted()?;
    let result = match &old {
        None => {
            engine.create_volume(&new_volume(&stored)).await?;
            engine.settle().await?;
            FormatResult::Created
        }
        Some(old) if old.decrypted()?.to_text() == wanted.to_text() => FormatResult::Unchanged,
        Some(old) => {
            config::save(engine, old, &stored).await?;
            FormatResult::Updated
        }
    };
    // The database comes first, so that a `format` that dies here is finished by the next one: a bucket with a UUID
    // that no database has would look like somebody else's for ever.
    let mut moved = None;
    if !request.skips_store_check && store.get_if_exists(UUID_KEY).await?.is_none() {
        if let Some(old) = &old {
            moved = config::moved_notice(old, &stored, engine.usage().await?);
        }
        store.put(UUID_KEY, stored.uuid.clone().into()).await?;
    }
    let notice =
        request.block_size_kib.filter(|asked| u64::from(stored.block_size_kib) != *asked).map(|asked| {
            let used = stored.block_size_kib;
            format!("a block of {asked} KiB is none of 64 KiB, 128 KiB, ... 16 MiB: blocks have {used} KiB")
        });
    let notice = moved.or(notice);
    Ok(FormatOutcome { format: stored, result, store: store.to_string(), notice })
}

fn wanted_format(old: Option<&Format>, request: &FormatRequest) -> Result<Format> {
    let mut wanted = match old {
        Some(old) => Format { name: request.name.clone(), ..old.decrypted()? },
        None => Format::new(&request.name),
    };
    if let Some(kib) = request.block_size_kib {
        wanted.block_size_kib = block_size_kib(kib);
    }
    if let Some(compression) = &request.compression {
        if !matches!(compression.to_lowercase().as_str(), "" | "none" | "lz4" | "zstd") {
            return Err(Error::BadRequest(format!(
                "unknown compression `{compression}`: use none, lz4 or zstd"
            )));
        }
        // As written: the peer compares it so.
        wanted.compression.clone_from(compression);
    }
    if let Some(shards) = request.shards {
        if shards > SHARDS_MAX {
            return Err(Error::BadRequest(format!("--shards {shards}: at most {SHARDS_MAX}")));
        }
        wanted.shards = shards;
    }
    if let Some(hash_prefix) = request.hash_prefix {
        wanted.hash_prefix = hash_prefix;
    }
    if let Some(key) = &request.encrypt_key {
        wanted.encrypt_key.clone_from(key);
    }
    if let Some(algorithm) = &request.encrypt_algorithm {
        wanted.encrypt_algo.clone_from(algorithm);
    }
    request.settings.apply(&mut wanted)?;
    if old.is_none() {
        wanted.storage_class = request.settings.storage_class.clone().unwrap_or_default();
        let tag = request.settings.tag.clone().unwrap_or_default();
        let tier = Tier { id: 0, storage_class: wanted.storage_class.clone(), tag };
        wanted.tiers.insert("0".to_owned(), tier);
    }
    Ok(wanted)
}

/// Settings that decide where bytes are (format 1.7).
fn check_kept_settings(old: &Format, wanted: &Format, force: bool) -> Result<()> {
    if force {
        return Ok(());
    }
    let conflict = |field, from: &dyn ToString, to: &dyn ToString| {
        Err(Error::Conflict { field, from: from.to_string(), to: to.to_string() })
    };
    let compression = |format: &Format| match format.compression.as_str() {
        "" => "none".to_owned(),
        other => other.to_owned(),
    };
    if old.name != wanted.name {
        return conflict("name", &old.name, &wanted.name);
    }
    if old.block_size_kib != wanted.block_size_kib {
        return conflict("block size", &old.block_size_kib, &wanted.block_size_kib);
    }
    if compression(old) != compression(wanted) {
        return conflict("compression", &compression(old), &compression(wanted));
    }
    if old.shards != wanted.shards {
        return conflict("shards", &old.shards, &wanted.shards);
    }
    if old.hash_prefix != wanted.hash_prefix {
        return conflict("hash prefix", &old.hash_prefix, &wanted.hash_prefix);
    }
    // The peer lets it pass, and what was written before can't be read any more.
    let (key, new_key) = (old.encrypt_key.expose_secret(), wanted.encrypt_key.expose_secret());
    if key != new_key {
        let shown = |key: &str| if key.is_empty() { "none" } else { "the one it has" };
        return conflict("encryption key", &shown(key), &"another");
    }
    if !key.is_empty() && old.encrypt_algo != wanted.encrypt_algo {
        return conflict("encryption algorithm", &old.encrypt_algo, &wanted.encrypt_algo);
    }
    Ok(())
}

/// Format 1.3.
fn block_size_kib(kib: u64) -> u32 {
    let kib = kib.clamp(64, 16 << 10);
    1 << kib.ilog2()
}

/// Format 1.2: `^[a-z0-9][a-z0-9\-]{1,61}[a-z0-9]$`.
fn check_name(name: &str) -> Result<()> {
    let is_edge = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = name.as_bytes();
    let is_good = (3..=63).contains(&bytes.len())
        && bytes.iter().all(|byte| is_edge(byte) || *byte == b'-')
        && bytes.first().is_some_and(is_edge)
        && bytes.last().is_some_and(is_edge);
    if is_good {
        return Ok(());
    }
    Err(Error::BadRequest(format!(
        "invalid volume name `{name}`: use 3 to 63 lower-case letters, digits and hyphens, no hyphen at the ends"
    )))
}

pub(crate) fn new_volume(format: &Format) -> NewVolume {
    let now = now();
    NewVolume {
        setting: format.to_text(),
        root: Attr::new(Kind::Directory, 0o777, 0, 0, Ino::ROOT, now),
        trash: format.has_trash().then(|| trash_root(now)),
    }
}

pub(crate) fn trash_root(now: Time) -> Attr {
    Attr::new(Kind::Directory, 0o555, 0, 0, Ino::ROOT, now)
}

/// Whole seconds, as the peer writes the first nodes.
pub(crate) fn now() -> Time {
    Time { nsec: 0, ..Time::now() }
}

/// Writes, reads and deletes one small object; makes the bucket when it is missing.
async fn probe(store: &dyn Store) -> Result<()> {
    let key = format!("testing/{}", &uuid::Uuid::new_v4().simple().to_string()[..10]);
    let body: bytes::Bytes = (0..PROBE_BYTES).map(|at| (at * 31 % 251) as u8).collect::<Vec<_>>().into();
    if let Err(error) = store.put(&key, body.clone()).await {
        if !matches!(error, juicefs_object::Error::NoBucket { .. } | juicefs_object::Error::NotFound { .. }) {
            return Err(error.into());
        }
        store.create_bucket().await?;
        store.put(&key, body.clone()).await?;
    }
    let back = store.get(&key, None).await?;
    if back != body {
        let cause = format!("wrote {PROBE_BYTES} bytes to {key}, read back {} that differ", back.len());
        return Err(Error::Store { store: store.to_string(), cause });
    }
    store.delete(&key).await?;
    store.delete("testing/").await?;
    Ok(())
}

/// The trial meets one shard only: all buckets are made at once, unless somebody else has to.
async fn make_shards(store: &dyn Store, shards: u32) -> Result<()> {
    if shards <= 1 {
        return Ok(());
    }
    match store.create_bucket().await {
        Err(juicefs_object::Error::PermissionDenied { .. }) => Ok(()),
        made => Ok(made?),
    }
}

async fn check_empty(store: &dyn Store) -> Result<()> {
    use futures::TryStreamExt;
    let mut items = store.list("", "");
    loop {
        let item = match items.try_next().await {
            Ok(Some(item)) => item,
            // A bucket that is missing is made when it is tried.
            Ok(None) | Err(juicefs_object::Error::NoBucket { .. }) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let is_nothing = item.is_prefix || item.size == 0 || item.key.starts_with("testing/");
        if !is_nothing {
            return Err(Error::NotEmpty { store: store.to_string(), key: item.key });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn block_sizes_are_powers_of_two_in_bounds() {
        for (asked, got) in [(0, 64), (64, 64), (100, 64), (4096, 4096), (5000, 4096), (1 << 30, 16384)] {
            assert_eq!(block_size_kib(asked), got);
        }
    }

    #[test]
    fn names_follow_the_peers_rule() {
        for good in ["abc", "a-1", "0aa", &"x".repeat(63)] {
            check_name(good).expect(good);
        }
        for bad in ["", "ab", "-ab", "ab-", "Abc", "a_b", "a.b", &"x".repeat(64)] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }
}
