//! The flags of `mount`, once: the command line and the CSI driver's `mountOptions` both read this table and
//! both end in [`MountOptions::set`]. Names, units and defaults are the peer's (`juicefs mount --help`).

use juicefs_base::units::{UnitError, parse_bytes, parse_duration};
use juicefs_chunk::UploadHours;
use std::path::PathBuf;
use std::time::Duration;

use crate::backups;
use crate::settings::MountOptions;

/// What becomes of a flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Support {
    Kept,
    /// Taken, without effect, and said so: the text tells why.
    Ignored(&'static str),
}

/// One flag of the table.
#[derive(Clone, Copy, Debug)]
pub struct Flag {
    pub group: &'static str,
    pub name: &'static str,
    /// Empty for a switch.
    pub value: &'static str,
    pub default: &'static str,
    pub help: &'static str,
    pub support: Support,
}

/// A flag that can't be used as written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FlagError {
    #[error("unknown mount option `{0}`: see `juicefs mount --help`")]
    Unknown(String),
    #[error("mount option `{name}`: {cause}")]
    BadValue { name: String, cause: String },
}

const fn flag(
    group: &'static str,
    name: &'static str,
    value: &'static str,
    default: &'static str,
    help: &'static str,
) -> Flag {
    Flag { group, name, value, default, help, support: Support::Kept }
}

const fn ignored(group: &'static str, name: &'static str, value: &'static str, why: &'static str) -> Flag {
    Flag { group, name, value, default: "", help: why, support: Support::Ignored(why) }
}

const FUSE: &str = "FUSE";
const META: &str = "META";
const META_CACHE: &str = "META CACHE";
const STORAGE: &str = "DATA STORAGE";
const CACHE: &str = "DATA CACHE";
const METRICS: &str = "METRICS";

/// Every flag but `-d`, `--log` and `-o`, which belong to the command line alone.
pub const FLAGS: &[Flag] = &[
    flag(FUSE, "force", "", "", "mount even if the mount point already has a mount of ours"),
    flag(FUSE, "hide-internal", "", "", "hide .stats and .config"),
    flag(FUSE, "prefix-internal", "", "", "add the prefix .jfs to the names of internal files"),
    flag(
        FUSE,
        "update-fstab",
        "",
        "",
        "write the mount into /etc/fstab, and link /sbin/mount.juicefs to this program",
    ),
    flag(FUSE, "disable-transparent-hugepage", "", "", "avoid latency spikes of huge pages"),
    flag(FUSE, "enable-xattr", "", "", "extended attributes"),
    flag(FUSE, "enable-cap", "", "", "file capabilities (security.capability), with --enable-xattr"),
    flag(FUSE, "enable-selinux", "", "", "SELinux labels (security.selinux), with --enable-xattr"),
    flag(FUSE, "enable-ioctl", "", "", "flags of files: chattr +i, +a, and +s to go without the trash"),
    flag(
        FUSE,
        "root-squash",
        "UID:GID",
        "",
        "who root becomes on this mount; permissions are checked here, not by the kernel",
    ),
    flag(FUSE, "all-squash", "UID:GID", "", "who everybody becomes on this mount; before --root-squash"),
    flag(FUSE, "max-fuse-io", "SIZE", "1M", "largest FUSE request"),
    flag(
        FUSE,
        "umask",
        "OCTAL",
        "",
        "mask of the modes of new files and directories, beside the caller's own",
    ),
    flag(META, "subdir", "DIR", "", "directory of the volume shown as root"),
    flag(
        META,
        "backup-meta",
        "DURATION",
        "1h",
        "interval of metadata backups into the bucket, 5m or more; 0 = none",
    ),
    flag(META, "backup-skip-trash", "", "", "leave the trash out of metadata backups"),
    flag(
        META,
        "heartbeat",
        "DURATION",
        "12s",
        "interval of session heartbeats, best the same for all clients",
    ),
    flag(META, "read-only", "", "", "look and read only"),
    flag(META, "no-bgjob", "", "", "no background jobs (clean-up, backup)"),
    Flag {
        group: META,
        name: "atime-mode",
        value: "MODE",
        default: "noatime",
        help: "when reading moves atime: noatime, relatime or strictatime",
        support: Support::Kept,
    },
    ignored(META, "skip-dir-nlink", "N", "only for key-value engines, which are not there yet"),
    flag(
        META,
        "skip-dir-mtime",
        "DURATION",
        "0",
        "skip a directory's times when they changed less than this ago",
    ),
    ignored(META, "sort-dir", "", "directories are listed in a stable order already"),
    ignored(META, "fast-statfs", "", "statfs is answered from counters already"),
    ignored(META, "network-interfaces", "LIST", "the session reports every address of the host"),
    flag(META_CACHE, "attr-cache", "DURATION", "1s", "how long the kernel keeps attributes"),
    flag(META_CACHE, "entry-cache", "DURATION", "1s", "how long the kernel keeps names of files"),
    flag(META_CACHE, "dir-entry-cache", "DURATION", "1s", "how long the kernel keeps names of directories"),
    flag(
        META_CACHE,
        "negative-entry-cache",
        "DURATION",
        "0",
        "how long the kernel remembers that a name is missing",
    ),
    flag(META_CACHE, "readdir-cache", "", "", "let the kernel keep directory listings"),
    flag(
        META_CACHE,
        "open-cache",
        "DURATION",
        "0",
        "how long an opened file is good for another open without asking: changes by other clients are seen that late",
    ),
    flag(META_CACHE, "open-cache-limit", "N", "10000", "with --open-cache: most files, 0 = a million"),
    flag(STORAGE, "storage", "TYPE", "", "replaces the volume's storage type for this mount"),
    flag(STORAGE, "bucket", "URL", "", "replaces the volume's bucket for this mount"),
    flag(STORAGE, "storage-class", "CLASS", "", "storage class of what this mount writes"),
    flag(STORAGE, "tag", "K=V", "", "tag of the objects that this mount writes"),
    flag(STORAGE, "get-timeout", "DURATION", "60s", "for one download"),
    flag(STORAGE, "put-timeout", "DURATION", "60s", "for one upload"),
    flag(STORAGE, "io-retries", "N", "10", "a request is tried for this many timeouts"),
    flag(STORAGE, "max-uploads", "N", "20", "uploads at once"),
    flag(STORAGE, "max-downloads", "N", "200", "downloads at once"),
    flag(
        STORAGE,
        "max-stage-write",
        "N",
        "1000",
        "with --writeback: blocks written to the cache disk at once",
    ),
    flag(STORAGE, "max-deletes", "N", "10", "deletions at once"),
    flag(STORAGE, "upload-limit", "MBPS", "", "bandwidth of uploads in Mbps, for the volume's own"),
    flag(STORAGE, "download-limit", "MBPS", "", "bandwidth of downloads in Mbps, for the volume's own"),
    flag(STORAGE, "flip", "", "", "of a volume with two buckets the second comes first"),
    flag(STORAGE, "check-storage", "", "", "try the object store before mounting"),
    flag(CACHE, "buffer-size", "SIZE", "300M", "read and write buffers together (MiB)"),
    flag(CACHE, "max-readahead", "SIZE", "", "most bytes read ahead of one reader (MiB)"),
    flag(CACHE, "prefetch", "N", "1", "blocks fetched ahead of a random read"),
    flag(
        CACHE,
        "writeback",
        "",
        "",
        "acknowledge writes from the cache disk and store them later: they are lost with the disk",
    ),
    flag(CACHE, "writeback-threshold-size", "SIZE", "0", "with --writeback: only blocks below it, 0 = all"),
    flag(CACHE, "upload-delay", "DURATION", "0", "with --writeback: how long a block waits at least"),
    flag(
        CACHE,
        "upload-hours",
        "HOURS",
        "",
        "with --writeback: the hours in which blocks are stored, such as 1,5",
    ),
    flag(
        CACHE,
        "cache-dir",
        "DIRS",
        "/var/jfsCache",
        "cache directories, separated by colons, with patterns such as /disk*/cache, or `memory`",
    ),
    flag(CACHE, "cache-mode", "OCTAL", "0600", "file mode of cached blocks"),
    flag(CACHE, "cache-size", "SIZE", "100G", "most bytes of cached blocks (MiB)"),
    flag(CACHE, "cache-items", "N", "0", "most cached blocks, 0 = no limit"),
    flag(CACHE, "free-space-ratio", "RATIO", "0.1", "share of the cache disk that stays free"),
    flag(CACHE, "cache-partial-only", "", "", "cache random and small reads only"),
    flag(CACHE, "cache-large-write", "", "", "cache full blocks after their upload"),
    flag(CACHE, "verify-cache-checksum", "LEVEL", "extend", "none, full, shrink or extend"),
    flag(CACHE, "cache-eviction", "POLICY", "2-random", "none, 2-random or lru"),
    flag(
        CACHE,
        "cache-scan-interval",
        "DURATION",
        "1h",
        "how often cache directories are searched for new files, 0 = only at the start",
    ),
    flag(CACHE, "cache-expire", "DURATION", "0", "cached blocks not used for this long go, 0 = never"),
    flag(
        METRICS,
        "metrics",
        "ADDRESS",
        "127.0.0.1:9567",
        "where /metrics and /healthz are served; empty: nowhere",
    ),
    flag(METRICS, "custom-labels", "LABELS", "", "KEY:VALUE;KEY:VALUE, on every line of the metrics"),
    ignored(METRICS, "consul", "ADDRESS", "mounts do not register themselves"),
    ignored(METRICS, "no-usage-report", "", "this client never reports usage"),
    ignored(METRICS, "no-update", "", "mount never formats"),
    ignored(METRICS, "foreground", "", "the default"),
];

/// The flag of that name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Flag> {
    FLAGS.iter().find(|flag| flag.name == name)
}

const MIB: u64 = 1 << 20;
const KIB: u64 = 1 << 10;

impl MountOptions {
    /// Sets one flag from its text (a switch takes an empty text, `true` or `false`). What is said about an
    /// ignored one comes back.
    ///
    /// # Errors
    /// A name that the table doesn't have, a value that can't be read.
    pub fn set(&mut self, name: &str, value: &str) -> Result<Option<&'static str>, FlagError> {
        let found = find(name).ok_or_else(|| FlagError::Unknown(name.to_owned()))?;
        let bad = |cause: String| FlagError::BadValue { name: name.to_owned(), cause };
        match found.support {
            Support::Ignored(why) => return Ok(Some(why)),
            Support::Kept => {}
        }
        if found.value.is_empty() {
            let on = match value {
                "" | "true" => true,
                "false" => false,
                other => return Err(bad(format!("`{other}` is neither true nor false"))),
            };
            self.set_switch(name, on);
            return Ok(None);
        }
        self.set_value(name, value).map_err(bad)?;
        Ok(None)
    }

    fn set_switch(&mut self, name: &str, on: bool) {
        if name == "flip" {
            self.flip = Some(on);
            return;
        }
        let switch = match name {
            "force" => &mut self.force,
            "hide-internal" => &mut self.hide_internal,
            "prefix-internal" => &mut self.prefix_internal,
            "disable-transparent-hugepage" => &mut self.disable_thp,
            "enable-xattr" => &mut self.enable_xattr,
            "enable-cap" => &mut self.enable_cap,
            "enable-selinux" => &mut self.enable_selinux,
            "enable-ioctl" => &mut self.enable_ioctl,
            "update-fstab" => &mut self.update_fstab,
            "read-only" => &mut self.read_only,
            "no-bgjob" => &mut self.no_bgjob,
            "backup-skip-trash" => &mut self.backup_skip_trash,
            "readdir-cache" => &mut self.readdir_cache,
            "check-storage" => &mut self.check_storage,
            "writeback" => &mut self.writeback,
            "cache-partial-only" => &mut self.cache_partial_only,
            "cache-large-write" => &mut self.cache_large_write,
            _ => return,
        };
        *switch = on;
    }

    fn set_value(&mut self, name: &str, value: &str) -> Result<(), String> {
        let unit = |error: UnitError| error.to_string();
        match name {
            "max-fuse-io" => {
                let bytes = parse_bytes(value, KIB).map_err(unit)?;
                let used = bytes.clamp(4096, MIB);
                if used != bytes {
                    tracing::warn!(
                        "--max-fuse-io {value}: the kernel takes 4 KiB to 1 MiB, so {used} bytes it is"
                    );
                }
                self.max_fuse_io_bytes = u32::try_from(used).unwrap_or(1 << 20);
            }
            "root-squash" => self.root_squash = Some(squashed(value)?),
            "all-squash" => self.all_squash = Some(squashed(value)?),
            "subdir" => self.subdir = (!value.is_empty()).then(|| value.to_owned()),
            "backup-meta" => self.backup_meta = backup_interval(parse_duration(value).map_err(unit)?)?,
            "heartbeat" => self.heartbeat = parse_duration(value).map_err(unit)?,
            "atime-mode" => self.atime_mode = one_of(value, &["noatime", "relatime", "strictatime"])?,
            "open-cache" => self.open_cache = parse_duration(value).map_err(unit)?,
            "open-cache-limit" => self.open_cache_limit = whole(value)?,
            "umask" => {
                let mask = u16::from_str_radix(value, 8).ok().filter(|mask| *mask <= 0o777);
                self.umask = Some(
                    mask.ok_or_else(|| format!("`{value}` is no mask: write it in octal, such as 022"))?,
                );
            }
            "skip-dir-mtime" => self.skip_dir_mtime = parse_duration(value).map_err(unit)?,
            "attr-cache" => self.attr_ttl = parse_duration(value).map_err(unit)?,
            "entry-cache" => self.entry_ttl = parse_duration(value).map_err(unit)?,
            "dir-entry-cache" => self.dir_entry_ttl = parse_duration(value).map_err(unit)?,
            "negative-entry-cache" => self.negative_ttl = parse_duration(value).map_err(unit)?,
            "metrics" => self.metrics = Some(value.to_owned()),
            "custom-labels" => self.custom_labels = crate::metrics::parse_labels(value)?,
            "storage" => self.storage = Some(value.to_owned()),
            "bucket" => self.bucket = Some(value.to_owned()),
            "storage-class" => self.storage_class = Some(value.to_owned()),
            "tag" => self.tag = Some(value.to_owned()),
            "get-timeout" => self.get_timeout = parse_duration(value).map_err(unit)?,
            "put-timeout" => self.put_timeout = parse_duration(value).map_err(unit)?,
            "io-retries" => self.io_retries = whole(value)?,
            "max-uploads" => self.max_uploads = at_least_one(value)?,
            "max-downloads" => self.max_downloads = at_least_one(value)?,
            "max-deletes" => self.max_deletes = at_least_one(value)?,
            "upload-limit" => self.upload_limit_mbps = Some(whole(value)?),
            "download-limit" => self.download_limit_mbps = Some(whole(value)?),
            "buffer-size" => self.buffer_bytes = parse_bytes(value, MIB).map_err(unit)?,
            "max-readahead" => self.readahead_bytes = Some(parse_bytes(value, MIB).map_err(unit)?),
            "prefetch" => self.prefetch = whole(value)?,
            "max-stage-write" => self.max_stage_write = whole(value)?,
            "writeback-threshold-size" => {
                self.writeback_threshold_bytes = parse_bytes(value, 1).map_err(unit)?;
            }
            "upload-delay" => self.upload_delay = parse_duration(value).map_err(unit)?,
            "upload-hours" => {
                if !value.is_empty() {
                    UploadHours::parse(value)?;
                }
                self.upload_hours = value.to_owned();
            }
            other => self.set_cache_value(other, value)?,
        }
        Ok(())
    }

    fn set_cache_value(&mut self, name: &str, value: &str) -> Result<(), String> {
        let unit = |error: UnitError| error.to_string();
        match name {
            "cache-dir" => {
                self.cache_dirs = directories(value);
            }
            "cache-mode" => {
                self.cache_mode = u32::from_str_radix(value, 8)
                    .ok()
                    .filter(|mode| *mode <= 0o777)
                    .ok_or_else(|| format!("`{value}` is no file mode: write it in octal, such as 0600"))?;
            }
            "cache-scan-interval" => self.cache_scan_interval = parse_duration(value).map_err(unit)?,
            "cache-expire" => self.cache_expire = parse_duration(value).map_err(unit)?,
            "cache-size" => self.cache_bytes = parse_bytes(value, MIB).map_err(unit)?,
            "cache-items" => self.cache_items = whole(value)?,
            "free-space-ratio" => {
                self.free_space_ratio = value
                    .parse()
                    .ok()
                    .filter(|ratio| (0.0..=1.0).contains(ratio))
                    .ok_or_else(|| format!("`{value}` is no ratio between 0 and 1"))?;
            }
            "verify-cache-checksum" => {
                self.verify_cache_checksum = one_of(value, &["none", "full", "shrink", "extend"])?
            }
            "cache-eviction" => self.cache_eviction = one_of(value, &["none", "2-random", "lru"])?,
            other => return Err(format!("`{other}` has no setting")),
        }
        Ok(())
    }
}

/// Separated by colons, or by commas where there is no colon.
fn directories(list: &str) -> Vec<PathBuf> {
    let separator = if list.contains(':') { ':' } else { ',' };
    list.split(separator).filter(|directory| !directory.is_empty()).map(PathBuf::from).collect()
}

/// Not more often than the peer takes it.
fn backup_interval(interval: Duration) -> Result<Duration, String> {
    if interval.is_zero() || interval >= backups::INTERVAL_MIN {
        return Ok(interval);
    }
    Err(format!("backup-meta should not be less than 5 minutes: {interval:?}"))
}

/// `UID:GID`, or `UID` with the group of nobody.
fn squashed(value: &str) -> Result<(u32, u32), String> {
    const NOBODY: &str = "65534";
    let (uid, gid) = value.split_once(':').unwrap_or((value, NOBODY));
    match (uid.parse(), gid.parse()) {
        (Ok(uid), Ok(gid)) => Ok((uid, gid)),
        _ => Err(format!("`{value}` is no pair of numbers such as 65534:65534")),
    }
}

fn whole<T: std::str::FromStr>(value: &str) -> Result<T, String> {
    value.parse().map_err(|_| format!("`{value}` is no whole number"))
}

fn at_least_one(value: &str) -> Result<usize, String> {
    whole(value)
        .and_then(|number| if number == 0 { Err("must be at least 1".to_owned()) } else { Ok(number) })
}

fn one_of(value: &str, choices: &[&str]) -> Result<String, String> {
    if choices.contains(&value) {
        return Ok(value.to_owned());
    }
    Err(format!("`{value}` is none of {}", choices.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn every_kept_flag_takes_its_default_and_changes_nothing_by_it() {
        let defaults = MountOptions::default();
        for flag in FLAGS.iter().filter(|flag| flag.support == Support::Kept && !flag.default.is_empty()) {
            let mut options = defaults.clone();
            options.set(flag.name, flag.default).unwrap_or_else(|error| panic!("{error}"));
            options.cache_dirs.clone_from(&defaults.cache_dirs);
            // Asked for, it must be that very port.
            options.metrics.clone_from(&defaults.metrics);
            assert_eq!(options, defaults, "{}", flag.name);
        }
    }

    #[test]
    fn every_switch_switches() {
        for flag in FLAGS.iter().filter(|flag| flag.support == Support::Kept && flag.value.is_empty()) {
            let mut options = MountOptions::default();
            options.set(flag.name, "").unwrap_or_else(|error| panic!("{error}"));
            assert_ne!(options, MountOptions::default(), "{}", flag.name);
            options.set(flag.name, "false").unwrap_or_else(|error| panic!("{error}"));
            // Said, it is this mount's own word against the volume's.
            let off =
                MountOptions { flip: (flag.name == "flip").then_some(false), ..MountOptions::default() };
            assert_eq!(options, off, "{}", flag.name);
        }
    }

    #[test]
    fn units_are_the_peers_and_wrong_values_are_named() {
        let mut options = MountOptions::default();
        options.set("cache-size", "512000").expect("MiB");
        assert_eq!(options.cache_bytes, 500 << 30);
        options.set("attr-cache", "3").expect("seconds");
        assert_eq!(options.attr_ttl, Duration::from_secs(3));
        let error = options.set("max-uploads", "zero").expect_err("bad").to_string();
        assert!(error.contains("max-uploads") && error.contains("zero"), "{error}");
        assert_eq!(options.set("nonsense", ""), Err(FlagError::Unknown("nonsense".into())));
        assert!(options.set("no-usage-report", "").expect("ignored").is_some());
    }
}
