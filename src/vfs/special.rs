//! Files that exist in no metadata: `.accesslog`, `.stats` and `.config` in the root of the mount, and how `.trash` is
//! called. `.control` is found in every directory and listed in none.

use crate::config::VfsConfig;
use juicefs_meta::{Attr, Ino, Kind, Meta, Name, Time};
use serde_json::{Map, Value, json};
use std::time::Duration;

/// What tells of each operation.
pub const ACCESS_LOG: Ino = Ino(0x7FFF_FFFF_0000_0001);
/// What tools open to ask something of the mount.
pub const CONTROL: Ino = Ino(0x7FFF_FFFF_0000_0002);
pub(crate) const STATS: Ino = Ino(0x7FFF_FFFF_0000_0003);
pub(crate) const CONFIG: Ino = Ino(0x7FFF_FFFF_0000_0004);
/// For how long the kernel may keep what it knows of them.
pub(crate) const TTL: Duration = Duration::from_secs(3600);

/// What a name in the root stands for, if it is not a stored one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Special {
    AccessLog,
    Control,
    Stats,
    Config,
    Trash,
    /// A name of the format for which nothing is here yet: not found, and not to be made.
    Reserved,
    /// A stored name that this mount does not show.
    Hidden,
}

/// The internal names of one mount.
pub(crate) struct Specials {
    prefix: &'static str,
    started: Time,
    /// `.trash` and the hidden name are in the volume's own root only.
    has_trash: bool,
    hidden_name: Option<Vec<u8>>,
}

impl Specials {
    pub(crate) fn new(config: &VfsConfig, meta: &Meta) -> Self {
        Self {
            prefix: if config.prefix_internal { ".jfs" } else { "" },
            started: Time { nsec: 0, ..Time::now() },
            has_trash: meta.root() == Ino::ROOT,
            hidden_name: config
                .hidden_name
                .as_ref()
                .filter(|_| meta.root() == Ino::ROOT)
                .map(|name| name.clone().into_bytes()),
        }
    }

    pub(crate) fn find(&self, parent: Ino, name: &[u8]) -> Option<Special> {
        let bare = name.strip_prefix(self.prefix.as_bytes());
        // The peer finds this one in every directory: the paths of its messages start there.
        if bare == Some(b".control") {
            return Some(Special::Control);
        }
        if parent != Ino::ROOT {
            return None;
        }
        if self.is_hidden(name) {
            return Some(Special::Hidden);
        }
        if name == b".trash" && (bare != Some(name) || !self.has_trash) {
            return Some(Special::Reserved);
        }
        match bare? {
            b".accesslog" => Some(Special::AccessLog),
            b".stats" => Some(Special::Stats),
            b".config" => Some(Special::Config),
            b".trash" if self.has_trash => Some(Special::Trash),
            _ => None,
        }
    }

    /// Whether a stored name in the root is left out of its listing.
    pub(crate) fn is_hidden(&self, name: &[u8]) -> bool {
        self.hidden_name.as_deref() == Some(name)
    }

    /// Names in the root's listing.
    pub(crate) fn listed(&self) -> Vec<(String, Ino, Kind)> {
        let mut listed = vec![
            (format!("{}.accesslog", self.prefix), ACCESS_LOG, Kind::File),
            (format!("{}.stats", self.prefix), STATS, Kind::File),
            (format!("{}.config", self.prefix), CONFIG, Kind::File),
        ];
        if self.has_trash {
            listed.push((format!("{}.trash", self.prefix), Ino::TRASH, Kind::Directory));
        }
        listed
    }

    /// Attributes of an internal file; `config_bytes` is the length of `.config`, `.stats` says 0.
    pub(crate) fn attr(&self, ino: Ino, config_bytes: u64) -> Option<Attr> {
        let (mode, length) = match ino {
            ACCESS_LOG => (0o400, 0),
            CONTROL => (0o666, 0),
            STATS => (0o444, 0),
            CONFIG => (0o400, config_bytes),
            _ => return None,
        };
        // As the peer's, they belong to who mounts.
        let (uid, gid) = (nix::unistd::getuid().as_raw(), nix::unistd::getgid().as_raw());
        Some(Attr { length, ..Attr::new(Kind::File, mode, uid, gid, Ino::ROOT, self.started) })
    }
}

/// Whether `ino` is an internal file of this mount.
pub(crate) fn is_special(ino: Ino) -> bool {
    matches!(ino, ACCESS_LOG | CONTROL | STATS | CONFIG)
}

/// Whether attributes of `ino` are nobody's to change: internal files, the trash and its directories by the hour.
pub(crate) fn is_fixed(ino: Ino) -> bool {
    is_special(ino) || ino.is_trash()
}

/// The name under which the metadata knows the trash.
pub(crate) fn trash_name() -> Name {
    Name::from_record(bytes::Bytes::from_static(b".trash"))
}

/// The text of `.config`: what the mount was told, with what changes while it is mounted, and no secrets.
pub(crate) fn config_text(meta: &Meta, config: &VfsConfig) -> String {
    let format: Value = serde_json::from_str(&meta.format().to_shown_text()).unwrap_or_default();
    let mut shown = Value::Object(config.shown.clone());
    let live = json!({
        "Meta": { "Sid": meta.session_id() },
        "Format": format,
        "Version": config.version,
        "Pid": std::process::id(),
        "PPid": nix::unistd::getppid().as_raw(),
    });
    if let (Some(fields), Some(live)) = (shown.as_object_mut(), live.as_object()) {
        lay_over(fields, live);
    }
    let mut text = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b" ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut text, formatter);
    if serde::Serialize::serialize(&shown, &mut serializer).is_err() {
        return String::new();
    }
    String::from_utf8(text).unwrap_or_default()
}

fn lay_over(fields: &mut Map<String, Value>, over: &Map<String, Value>) {
    for (key, value) in over {
        match (fields.get_mut(key), value) {
            (Some(Value::Object(inner)), Value::Object(value)) => lay_over(inner, value),
            _ => drop(fields.insert(key.clone(), value.clone())),
        }
    }
}
