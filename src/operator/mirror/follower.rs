//! What runs inside the follower's pod: make the mirror if its database is empty, copy, follow; or promote it. Addresses come as files and
//! leave no trace: not in the arguments, not in the environment, not in what it says when it ends.

use super::buckets::{self, BucketFile};
use crate::format_job::mask::Mask;
use juicefs_base::SecretString;
pub use juicefs_k8s::crd::mirror::FencePolicy;
use juicefs_replication::{Addresses, Fencing, Promotion};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// Conditions have room for a sentence.
const MESSAGE_BYTES_MAX: usize = 1024;

/// How long clients of the source may take to leave, and the mirror to catch up.
const PROMOTION_PATIENCE: Duration = Duration::from_secs(300);
/// The kubelet keeps 4096 bytes of a report.
const BROKEN_FILES_MAX: usize = 10;

/// Where the pod finds things.
#[derive(Clone, Debug)]
pub struct FollowerSettings {
    /// Name of the mirror.
    pub name: String,
    /// Files with the whole addresses.
    pub source_url_file: PathBuf,
    pub mirror_url_file: PathBuf,
    /// A file that describes the mirror's own bucket; nothing if it reads its source's.
    pub bucket_file: Option<PathBuf>,
    /// Promote the mirror instead of following it.
    pub promote: Option<FencePolicy>,
    /// Where the sentence goes that tells why it ended: `/dev/termination-log`.
    pub report_file: PathBuf,
}

/// Why it ended. The sentence is masked and stands in the report, too.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Ended(String);

/// Follows until SIGTERM, or until the mirror was dropped.
///
/// # Errors
/// What does not pass by itself; the pod is then started again, with growing pauses.
pub async fn run(settings: &FollowerSettings) -> Result<(), Ended> {
    let mut mask = Mask::default();
    let ended = follow(settings, &mut mask)
        .await
        .map_err(|sentence| Ended(juicefs_k8s::events::shortened(&mask.hide(&sentence), MESSAGE_BYTES_MAX)));
    if let Err(Ended(sentence)) = &ended
        && let Err(error) = std::fs::write(&settings.report_file, sentence)
    {
        tracing::warn!(%error, file = %settings.report_file.display(), "the report can't be written");
    }
    ended
}

async fn follow(settings: &FollowerSettings, mask: &mut Mask) -> Result<(), String> {
    let text = |path: &Path| -> Result<String, String> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        Ok(text.trim().to_owned())
    };
    let mut address = |path: &Path| -> Result<SecretString, String> {
        let text = text(path)?;
        mask.add_url(&text);
        Ok(text.into())
    };
    let addresses = Addresses {
        source: address(&settings.source_url_file)?,
        mirror: address(&settings.mirror_url_file)?,
    };
    let bucket = match &settings.bucket_file {
        Some(path) => Some(BucketFile::read(&text(path)?, mask)?),
        None => None,
    };
    let mut terminate = signal(SignalKind::terminate()).map_err(|error| error.to_string())?;
    let work = async {
        if let Some(fence) = settings.promote {
            return promote(settings, &addresses, fence).await;
        }
        let own = match &bucket {
            Some(file) => Some(file.open(&addresses).await?),
            None => None,
        };
        addresses.make(&settings.name, own).await.map_err(|error| error.to_string())?;
        let copier = buckets::copier(&addresses).await?;
        let mut follower = addresses.follower(copier).await.map_err(|error| error.to_string())?;
        tracing::info!(mirror = settings.name, "following");
        follower.run().await.map_err(|error| error.to_string())
    };
    tokio::select! {
        ended = work => ended,
        _ = terminate.recv() => Ok(()),
    }
}

/// What became of it is the report: JSON that the operator reads.
async fn promote(
    settings: &FollowerSettings,
    addresses: &Addresses,
    fence: FencePolicy,
) -> Result<(), String> {
    let fencing = match fence {
        FencePolicy::BestEffort if !addresses.source_answers().await => Fencing::Force,
        FencePolicy::Required | FencePolicy::BestEffort => Fencing::Fence,
    };
    let copier = buckets::last_copier(addresses).await?;
    let promotion = Promotion { fencing, patience: PROMOTION_PATIENCE, copier };
    let mut promoted = addresses.promote(&promotion).await.map_err(|error| in_fields(&error))?;
    promoted.broken_files.truncate(BROKEN_FILES_MAX);
    let text = serde_json::to_string(&promoted).map_err(|error| error.to_string())?;
    std::fs::write(&settings.report_file, text)
        .map_err(|error| format!("{}: {error}", settings.report_file.display()))?;
    tracing::info!(mirror = settings.name, version = promoted.version, "promoted");
    Ok(())
}

/// Next steps of a command line, and what they are for a resource that is looked at again by itself.
const NEXT_STEPS: &[(&str, &str)] = &[
    (
        "if nobody can write there any more, promote with --force",
        "set promotion.fence to BestEffort to give it up",
    ),
    (
        "make sure that nobody writes there, and promote with --force",
        "make sure that nobody writes there, and set promotion.fence to BestEffort",
    ),
    ("promote again when it has caught up, or with --force", "it is tried again each minute"),
    ("end their mounts and promote again, or add --force", "end their mounts, it is tried again each minute"),
];

fn in_fields(error: &juicefs_replication::Error) -> String {
    NEXT_STEPS.iter().fold(error.to_string(), |text, (command, field)| text.replace(command, field))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_next_step_is_one_that_promotions_tell() {
        let told = [include_str!("../../replication/promote.rs"), include_str!("../../replication/fence.rs")];
        let told = told.map(|text| text.split_whitespace().collect::<Vec<_>>().join(" ").replace("\\ ", ""));
        for (command, field) in NEXT_STEPS {
            assert!(told.iter().any(|text| text.contains(command)), "nobody says {command:?} any more");
            assert!(!field.contains("--"), "{field}");
        }
    }
}
