//! What runs inside the follower's pod: make the mirror if its database is empty, copy, follow. Addresses come as files and
//! leave no trace: not in the arguments, not in the environment, not in what it says when it ends.

use crate::format_job::mask::Mask;
use juicefs_base::SecretString;
use juicefs_replication::Addresses;
use std::path::{Path, PathBuf};
use tokio::signal::unix::{SignalKind, signal};

/// Conditions have room for a sentence.
const MESSAGE_BYTES_MAX: usize = 1024;

/// Where the pod finds things.
#[derive(Clone, Debug)]
pub struct FollowerSettings {
    /// Name of the mirror.
    pub name: String,
    /// Files with the whole addresses.
    pub source_url_file: PathBuf,
    pub mirror_url_file: PathBuf,
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
    let mut address = |path: &Path| -> Result<SecretString, String> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        mask.add_url(text.trim());
        Ok(text.trim().into())
    };
    let addresses = Addresses {
        source: address(&settings.source_url_file)?,
        mirror: address(&settings.mirror_url_file)?,
    };
    let mut terminate = signal(SignalKind::terminate()).map_err(|error| error.to_string())?;
    let work = async {
        let mut follower = addresses.follower(&settings.name).await.map_err(|error| error.to_string())?;
        tracing::info!(mirror = settings.name, "following");
        follower.run().await.map_err(|error| error.to_string())
    };
    tokio::select! {
        ended = work => ended,
        _ = terminate.recv() => Ok(()),
    }
}
