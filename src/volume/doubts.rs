//! Changes of settings that somebody should have to say yes to: they take something away at once.

use juicefs_meta::engines;
use juicefs_meta::url::MetaUrl;

use crate::config::SettingChange;
use crate::error::Result;
use crate::storage::load_format;

/// One sentence for each consequence of `change` that can't be taken back, in the order to ask for them.
///
/// # Errors
/// An engine that does not answer, a database without a volume, a change that can't be made.
pub async fn doubts(url: &MetaUrl, change: &SettingChange) -> Result<Vec<String>> {
    let engine = engines::open(url).await?;
    let old = load_format(engine.as_ref()).await?;
    let mut wanted = old.decrypted()?;
    change.apply(&mut wanted)?;
    let mut doubts = Vec::new();
    if change.capacity.is_some_and(|limit| limit > 0) || change.inodes.is_some_and(|limit| limit > 0) {
        let usage = engine.usage().await?;
        let limits = [(wanted.capacity, usage.space, "bytes"), (wanted.inodes, usage.inodes, "inodes")];
        for (limit, used, unit) in limits {
            if limit > 0 && u64::try_from(used).unwrap_or(0) >= limit {
                doubts.push(format!(
                    "{used} {unit} are in use, the new limit is {limit}: every write will fail"
                ));
            }
        }
    }
    if old.trash_days > 0 && wanted.trash_days == 0 {
        doubts.push(
            "what lies in the trash will go, and what is removed from now on is gone at once".to_owned(),
        );
    }
    if let Err(refusal) = wanted.check_version() {
        doubts.push(format!("clients like this one will be refused from now on ({refusal})"));
    }
    Ok(doubts)
}
