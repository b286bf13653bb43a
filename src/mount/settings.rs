//! What a mount is told, in full: the command line and the CSI driver fill the same struct.
//!
//! [`MountOptions`] may be printed and written anywhere. [`MountSecrets`] has no serialisation of its own: the
//! only way out of the process is `MountSettings::seal`, a sealed memfd handed to a mount pod.

use crate::error::{Error, Result};
use juicefs_base::{ExposeSecret, SecretString};
use juicefs_fuse::FuseOptions;
use juicefs_object::StoreVariables;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What a mount is told.
#[derive(Clone, Debug)]
pub struct MountSettings {
    pub secrets: MountSecrets,
    pub options: MountOptions,
}

/// The part that is never printed.
#[derive(Clone, Debug)]
pub struct MountSecrets {
    /// Address of the metadata engine, password included.
    pub meta_url: SecretString,
    /// Replace the volume's own credentials when present.
    pub access_key: Option<SecretString>,
    pub secret_key: Option<SecretString>,
    pub session_token: Option<SecretString>,
    /// The private key's passphrase and what else the store asks the environment for.
    pub variables: StoreVariables,
}

/// The part that may be printed. Sizes are bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct MountOptions {
    pub mountpoint: PathBuf,
    /// What `juicefs version` says; written into the session.
    pub version: String,
    /// Name for the mount table when the mount is made before the volume is opened (broker).
    pub volume_name: String,
    /// Directory of the volume shown as root.
    pub subdir: Option<String>,
    /// It is made if it is missing. The CSI driver makes directories itself, and none that was deleted since.
    pub makes_subdir: bool,
    pub read_only: bool,
    pub heartbeat: Duration,
    pub skip_dir_mtime: Duration,
    /// `noatime`, `relatime` or `strictatime`.
    pub atime_mode: String,
    /// Zero: every open asks.
    pub open_cache: Duration,
    /// 0: as many as are allowed at all.
    pub open_cache_limit: usize,
    pub no_bgjob: bool,
    /// Zero turns the hourly metadata backup off.
    pub backup_meta: Duration,
    pub backup_skip_trash: bool,
    pub hide_internal: bool,
    pub prefix_internal: bool,
    /// A name in the volume's root that is not shown; only the CSI driver sets it.
    pub hidden_name: Option<String>,

    pub attr_ttl: Duration,
    pub entry_ttl: Duration,
    pub dir_entry_ttl: Duration,
    pub negative_ttl: Duration,
    pub readdir_cache: bool,

    /// Replace what the volume's setting says.
    pub storage: Option<String>,
    pub bucket: Option<String>,
    pub storage_class: Option<String>,
    pub tag: Option<String>,
    /// `AWS_REGION` of who asked for the mount; replaces what the bucket's URL tells.
    pub region: Option<String>,
    pub get_timeout: Duration,
    pub put_timeout: Duration,
    pub io_retries: u32,
    /// Acknowledge from the cache disk, store later.
    pub writeback: bool,
    /// Only blocks below it; 0: all.
    pub writeback_threshold_bytes: u64,
    pub max_stage_write: usize,
    pub upload_delay: Duration,
    /// Such as `1,5`; empty: all day.
    pub upload_hours: String,
    pub max_uploads: usize,
    pub max_downloads: usize,
    pub max_deletes: usize,
    /// Megabits a second; replace what the volume's setting says.
    pub upload_limit_mbps: Option<u32>,
    pub download_limit_mbps: Option<u32>,
    /// Probe the object store before mounting.
    pub check_storage: bool,
    /// Which of two buckets comes first; replaces what the volume says.
    pub flip: Option<bool>,

    /// Read and write buffers together.
    pub buffer_bytes: u64,
    pub readahead_bytes: Option<u64>,
    /// Blocks fetched ahead of a random read.
    pub prefetch: usize,
    /// Empty: the default directory. The one word `memory`: no disk.
    pub cache_dirs: Vec<PathBuf>,
    pub cache_bytes: u64,
    pub cache_items: u64,
    pub cache_scan_interval: Duration,
    pub cache_expire: Duration,
    pub free_space_ratio: f64,
    pub cache_mode: u32,
    pub cache_partial_only: bool,
    pub cache_large_write: bool,
    /// `none`, `full`, `shrink` or `extend`.
    pub verify_cache_checksum: String,
    /// `none`, `2-random` or `lru`.
    pub cache_eviction: String,

    /// `-o` lists, in order.
    pub fuse_options: Vec<String>,
    pub max_fuse_io_bytes: u32,
    pub enable_xattr: bool,
    pub enable_cap: bool,
    pub enable_selinux: bool,
    pub enable_ioctl: bool,
    pub umask: Option<u16>,
    pub root_squash: Option<(u32, u32)>,
    pub all_squash: Option<(u32, u32)>,
    /// Mount over another mount of ours.
    pub force: bool,
    /// Only the command line does anything about it.
    pub update_fstab: bool,
    pub disable_thp: bool,
    /// `host:port` for metrics; empty: none. Unset: the peer's, or another port when that is taken.
    pub metrics: Option<String>,
    /// On every line of the metrics.
    pub custom_labels: Vec<(String, String)>,
}

impl Default for MountOptions {
    fn default() -> Self {
        let second = Duration::from_secs(1);
        Self {
            mountpoint: PathBuf::new(),
            version: String::new(),
            volume_name: String::new(),
            subdir: None,
            makes_subdir: false,
            read_only: false,
            heartbeat: 12 * second,
            skip_dir_mtime: Duration::ZERO,
            atime_mode: "noatime".to_owned(),
            open_cache: Duration::ZERO,
            open_cache_limit: 10_000,
            no_bgjob: false,
            backup_meta: 3600 * second,
            backup_skip_trash: false,
            hide_internal: false,
            prefix_internal: false,
            hidden_name: None,
            attr_ttl: second,
            entry_ttl: second,
            dir_entry_ttl: second,
            negative_ttl: Duration::ZERO,
            readdir_cache: false,
            storage: None,
            bucket: None,
            storage_class: None,
            tag: None,
            region: None,
            get_timeout: 60 * second,
            put_timeout: 60 * second,
            io_retries: 10,
            writeback: false,
            writeback_threshold_bytes: 0,
            max_stage_write: 1000,
            upload_delay: Duration::ZERO,
            upload_hours: String::new(),
            max_uploads: 20,
            max_downloads: 200,
            max_deletes: 10,
            upload_limit_mbps: None,
            download_limit_mbps: None,
            check_storage: false,
            flip: None,
            buffer_bytes: 300 << 20,
            readahead_bytes: None,
            prefetch: 1,
            cache_dirs: Vec::new(),
            cache_bytes: 100 << 30,
            cache_items: 0,
            cache_scan_interval: 3600 * second,
            cache_expire: Duration::ZERO,
            free_space_ratio: 0.1,
            cache_mode: 0o600,
            cache_partial_only: false,
            cache_large_write: false,
            verify_cache_checksum: "extend".to_owned(),
            cache_eviction: "2-random".to_owned(),
            fuse_options: Vec::new(),
            max_fuse_io_bytes: 1 << 20,
            enable_xattr: false,
            enable_cap: false,
            enable_selinux: false,
            enable_ioctl: false,
            umask: None,
            root_squash: None,
            all_squash: None,
            force: false,
            update_fstab: false,
            disable_thp: false,
            metrics: None,
            custom_labels: Vec::new(),
        }
    }
}

impl MountOptions {
    /// What the kernel is asked for; `volume_name` is shown in the mount table.
    ///
    /// # Errors
    /// An `-o` word that is not known.
    pub fn fuse(&self, volume_name: &str) -> Result<FuseOptions> {
        let mut fuse = FuseOptions::new(volume_name);
        fuse.set_io_bytes(self.max_fuse_io_bytes);
        fuse.umask = self.umask;
        fuse.root_squash = self.root_squash;
        fuse.all_squash = self.all_squash;
        fuse.default_permissions = self.root_squash.is_none() && self.all_squash.is_none();
        fuse.xattrs = self.enable_xattr;
        fuse.capabilities = self.enable_cap;
        fuse.selinux = self.enable_selinux;
        fuse.ioctl = self.enable_ioctl;
        fuse.caches_listings = self.readdir_cache;
        for list in &self.fuse_options {
            fuse.apply_list(list)?;
        }
        fuse.read_only |= self.read_only;
        Ok(fuse)
    }
}

impl MountSettings {
    /// Defaults for `meta_url` on `mountpoint`.
    #[must_use]
    pub fn new(meta_url: SecretString, mountpoint: impl Into<PathBuf>) -> Self {
        Self {
            secrets: MountSecrets {
                meta_url,
                access_key: None,
                secret_key: None,
                session_token: None,
                variables: StoreVariables::default(),
            },
            options: MountOptions { mountpoint: mountpoint.into(), ..MountOptions::default() },
        }
    }

    /// Makes every relative path absolute, so that the process may leave its directory.
    ///
    /// # Errors
    /// The working directory is gone.
    pub fn make_absolute(&mut self) -> Result<()> {
        let absolute = |path: &Path| std::path::absolute(path).map_err(Error::io("working directory"));
        self.options.mountpoint = absolute(&self.options.mountpoint)?;
        for directory in &mut self.options.cache_dirs {
            if directory.as_os_str() != "memory" {
                *directory = absolute(directory)?;
            }
        }
        if let (Some(bucket), Some("file")) = (&mut self.options.bucket, self.options.storage.as_deref()) {
            *bucket = absolute(Path::new(bucket))?.to_string_lossy().into_owned();
        }
        let url = self.secrets.meta_url.expose_secret();
        for scheme in ["sqlite3://", "sqlite://"] {
            if let Some(path) = url.strip_prefix(scheme) {
                let (path, query) =
                    path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
                let mut made = format!("{scheme}{}", absolute(Path::new(path))?.display());
                if let Some(query) = query {
                    made.push('?');
                    made.push_str(query);
                }
                self.secrets.meta_url = SecretString::from(made);
                break;
            }
        }
        Ok(())
    }

    /// The directories that hold cached blocks of the volume `uuid`; none for a cache in memory. A pattern stands for
    /// what matches it now.
    #[must_use]
    pub fn cache_dirs_of(&self, uuid: &str) -> Vec<PathBuf> {
        let dirs = &self.options.cache_dirs;
        if dirs.iter().any(|directory| directory.as_os_str() == "memory") {
            return Vec::new();
        }
        if dirs.is_empty() {
            return vec![default_cache_dir().join(uuid)];
        }
        dirs.iter().flat_map(|directory| matching(directory)).map(|found| found.join(uuid)).collect()
    }
}

/// Name of a volume's cache directory. A mirror has the UUID of its source: it must not take the source's staged blocks
/// for its own.
#[must_use]
pub fn cache_name(uuid: &str, mirror: Option<&str>) -> String {
    match mirror {
        Some(name) => format!("{uuid}-{name}"),
        None => uuid.to_owned(),
    }
}

/// The directories that a pattern names; a path without `*`, `?` or `[` names itself.
fn matching(path: &Path) -> Vec<PathBuf> {
    let text = path.to_string_lossy();
    if !text.contains(['*', '?', '[']) {
        return vec![path.to_owned()];
    }
    glob::glob(&text).into_iter().flatten().flatten().filter(|found| found.is_dir()).collect()
}

/// `/var/jfsCache` for root, `~/.juicefs/cache` for everybody else.
#[must_use]
pub fn default_cache_dir() -> PathBuf {
    match std::env::var_os("HOME") {
        Some(home) if !nix::unistd::geteuid().is_root() => Path::new(&home).join(".juicefs/cache"),
        _ => PathBuf::from("/var/jfsCache"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relative_paths_become_absolute() {
        let here = std::env::current_dir().unwrap();
        let mut settings = MountSettings::new(SecretString::from("sqlite3://my.db?cache=x"), "mnt");
        settings.options.cache_dirs = vec!["c".into(), "/abs".into()];
        settings.make_absolute().unwrap();
        assert_eq!(
            settings.secrets.meta_url.expose_secret(),
            format!("sqlite3://{}/my.db?cache=x", here.display())
        );
        assert_eq!(settings.options.mountpoint, here.join("mnt"));
        assert_eq!(settings.cache_dirs_of("u"), [here.join("c/u"), "/abs/u".into()]);
        let disks = tempfile::tempdir().unwrap();
        for disk in ["disk1/cache", "disk2/cache", "other"] {
            std::fs::create_dir_all(disks.path().join(disk)).unwrap();
        }
        let pattern = disks.path().join("disk*/cache");
        settings.options.set("cache-dir", &format!("{}:/abs", pattern.display())).unwrap();
        let found = ["disk1/cache/u", "disk2/cache/u"].map(|disk| disks.path().join(disk));
        assert_eq!(settings.cache_dirs_of("u"), [&found[..], &["/abs/u".into()]].concat());
        settings.options.cache_dirs = vec!["memory".into()];
        assert!(settings.cache_dirs_of("u").is_empty());
    }
}
