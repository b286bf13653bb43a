//! A volume that is mounted once more where it is mounted already: scripts and boot units do that, and mean "have it".

use crate::error::Result;
use crate::settings::MountSettings;
use juicefs_base::ExposeSecret;
use juicefs_meta::{Format, MetaUrl};
use serde_json::Value;
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

/// How long the mount that is there may take to say what it is.
const ANSWER_DEADLINE: Duration = Duration::from_secs(5);

/// What the user should know when the mount on `mountpoint` is of the same volume and directory and may do what is
/// asked for; otherwise nothing.
pub(crate) async fn is_there(settings: &MountSettings, mountpoint: &Path) -> Result<Option<String>> {
    let Some(shown) = shown(mountpoint) else { return Ok(None) };
    let url = MetaUrl::parse(settings.secrets.meta_url.expose_secret())?;
    let engine = juicefs_meta::engines::open(&url).await?;
    let Some(setting) = engine.setting().await? else { return Ok(None) };
    let format = Format::parse(&setting)?;
    if !is_same(&shown, settings, &format.uuid) {
        return Ok(None);
    }
    Ok(Some(format!(
        "volume {} is mounted on {} already, by process {}; its options stay as they are (umount first to change them)",
        format.name,
        mountpoint.display(),
        shown["Pid"]
    )))
}

fn is_same(shown: &Value, settings: &MountSettings, uuid: &str) -> bool {
    let options = &settings.options;
    let bare = |subdir: &str| subdir.trim_matches('/').to_owned();
    let read_only = options.read_only || options.fuse("").is_ok_and(|options| options.read_only);
    shown["Format"]["UUID"] == uuid
        && bare(shown["Meta"]["Subdir"].as_str().unwrap_or_default())
            == bare(options.subdir.as_deref().unwrap_or_default())
        && (read_only || shown["Meta"]["ReadOnly"] == false)
}

/// The `.config` of a mount, ours or the peer's, asked by a thread of its own: it may never answer.
fn shown(mountpoint: &Path) -> Option<Value> {
    let (sent, received) = mpsc::sync_channel(1);
    let files = [".config", ".jfs.config"].map(|name| mountpoint.join(name));
    std::thread::Builder::new()
        .name("ask-mount".to_owned())
        .spawn(move || {
            let text = files.iter().find_map(|file| std::fs::read(file).ok());
            // The asker may have given up.
            let _ = sent.send(text);
        })
        .ok()?;
    let text = received.recv_timeout(ANSWER_DEADLINE).ok()??;
    serde_json::from_slice(&text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use juicefs_base::SecretString;
    use serde_json::json;

    #[test]
    fn another_volume_directory_or_right_is_another_mount() {
        let shown = json!({ "Format": { "UUID": "u" }, "Meta": { "Subdir": "/a/", "ReadOnly": true } });
        let mut settings = MountSettings::new(SecretString::from("sqlite3:///x"), "/m");
        settings.options.subdir = Some("a".to_owned());
        assert!(!is_same(&shown, &settings, "u"), "it can't be written");
        settings.options.fuse_options = vec!["ro".to_owned()];
        assert!(is_same(&shown, &settings, "u"));
        assert!(!is_same(&shown, &settings, "v"));
        settings.options.subdir = None;
        assert!(!is_same(&shown, &settings, "u"));
        assert!(!is_same(&json!({}), &settings, "u"));
    }
}
