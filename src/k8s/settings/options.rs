//! Mount options: `k=v,flag`, as upstream's `mountOptions` and `mount -o` write them.

/// Options of `juicefs mount` that take part in a mount, by their long names without dashes.
const CLIENT_OPTIONS: &[&str] = &[
    "access-log",
    "all-squash",
    "allow-other",
    "atime-mode",
    "attr-cache",
    "backup-meta",
    "backup-skip-trash",
    "bucket",
    "buffer-size",
    "cache-dir",
    "cache-eviction",
    "cache-expire",
    "cache-items",
    "cache-large-write",
    "cache-mode",
    "cache-partial-only",
    "cache-scan-interval",
    "cache-size",
    "check-storage",
    "consul",
    "custom-labels",
    "debug",
    "dir-entry-cache",
    "disable-transparent-hugepage",
    "download-limit",
    "enable-cap",
    "enable-ioctl",
    "enable-selinux",
    "enable-xattr",
    "entry-cache",
    "fast-statfs",
    "flip",
    "force",
    "foreground",
    "free-space-ratio",
    "fuse-trace-log",
    "get-timeout",
    "heartbeat",
    "hide-internal",
    "io-retries",
    "log",
    "log-id",
    "log-level",
    "max-deletes",
    "max-downloads",
    "max-fuse-io",
    "max-readahead",
    "max-stage-write",
    "max-uploads",
    "max-write",
    "metrics",
    "negative-entry-cache",
    "network-interfaces",
    "no-agent",
    "no-bgjob",
    "no-color",
    "no-syslog",
    "no-update",
    "no-usage-report",
    "non-default-permission",
    "open-cache",
    "open-cache-limit",
    "prefetch",
    "prefix-internal",
    "put-timeout",
    "pyroscope",
    "quiet",
    "read-only",
    "readdir-cache",
    "root-squash",
    "rsa-key",
    "skip-dir-mtime",
    "skip-dir-nlink",
    "sort-dir",
    "storage",
    "storage-class",
    "subdir",
    "tag",
    "trace",
    "umask",
    "update-fstab",
    "upload-delay",
    "upload-hours",
    "upload-limit",
    "verbose",
    "verify-cache-checksum",
    "writeback",
    "writeback-threshold-size",
];

/// Options of the kernel's mount and of FUSE.
const KERNEL_OPTIONS: &[&str] = &[
    "_netdev",
    "allow_other",
    "allow_root",
    "async",
    "atime",
    "auto",
    "context",
    "default_permissions",
    "dev",
    "diratime",
    "dirsync",
    "exec",
    "fsname",
    "max_read",
    "noatime",
    "noauto",
    "nodev",
    "nodiratime",
    "noexec",
    "nofail",
    "nonempty",
    "norelatime",
    "nosuid",
    "nouser",
    "relatime",
    "ro",
    "rw",
    "strictatime",
    "subtype",
    "suid",
    "sync",
    "user",
    "writeback_cache",
];

/// Options in the order in which they were first named; each name once, the last value wins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MountOptions {
    entries: Vec<(String, Option<String>)>,
}

impl MountOptions {
    /// Reads a comma list. Leading dashes are dropped, empty elements are skipped. A value may hold `=`.
    #[must_use]
    pub fn parse(list: &str) -> Self {
        let mut options = Self::default();
        for element in list.split(',') {
            let element = element.trim().trim_start_matches('-');
            let (name, value) = match element.split_once('=') {
                Some((name, value)) => (name.trim(), Some(value.trim().to_owned())),
                None => (element, None),
            };
            if !name.is_empty() {
                options.set(name, value);
            }
        }
        options
    }

    /// Sets one option.
    pub fn set(&mut self, name: &str, value: Option<String>) {
        match self.entries.iter_mut().find(|(known, _)| known == name) {
            Some(entry) => entry.1 = value,
            None => self.entries.push((name.to_owned(), value)),
        }
    }

    /// Sets everything that `later` sets. `ro` and `rw` replace each other.
    pub fn merge(&mut self, later: Self) {
        for (name, value) in later.entries {
            match name.as_str() {
                "ro" => self.entries.retain(|(known, _)| known != "rw"),
                "rw" => self.entries.retain(|(known, _)| known != "ro"),
                _ => {}
            }
            self.set(&name, value);
        }
    }

    /// Value of an option that has one.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&str> {
        self.entries.iter().find(|(known, _)| known == name)?.1.as_deref()
    }

    /// Whether a flag is set: named alone, or with `true`, `yes` or `1`.
    #[must_use]
    pub fn flag(&self, name: &str) -> bool {
        let entry = self.entries.iter().find(|(known, _)| known == name);
        entry.is_some_and(|(_, value)| matches!(value.as_deref(), None | Some("true" | "yes" | "1")))
    }

    /// Read-only by either of its names.
    #[must_use]
    pub fn read_only(&self) -> bool {
        self.flag("ro") || self.flag("read-only")
    }

    /// Every option, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.entries.iter().map(|(name, value)| (name.as_str(), value.as_deref()))
    }

    /// Options of `juicefs mount`, in order.
    pub fn client_options(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.iter().filter(|(name, _)| CLIENT_OPTIONS.contains(name))
    }

    /// Options of the kernel or of FUSE, in order.
    pub fn kernel_options(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.iter().filter(|(name, _)| KERNEL_OPTIONS.contains(name))
    }

    /// Names that are neither. `x-...` belongs to other tools and is never unknown.
    pub fn unknown(&self) -> impl Iterator<Item = &str> {
        self.iter().map(|(name, _)| name).filter(|name| {
            !CLIENT_OPTIONS.contains(name) && !KERNEL_OPTIONS.contains(name) && !name.starts_with("x-")
        })
    }

    /// As one comma list.
    #[must_use]
    pub fn to_list(&self) -> String {
        let element = |(name, value): (&str, Option<&str>)| match value {
            Some(value) => format!("{name}={value}"),
            None => name.to_owned(),
        };
        self.iter().map(element).collect::<Vec<_>>().join(",")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_as_the_command_line_reads_them() {
        let options = MountOptions::parse(
            "cache-size=200000, writeback,allow_other,,--max-uploads=50,custom-labels=a:b=c",
        );
        assert_eq!(options.value("cache-size"), Some("200000"));
        assert_eq!(options.value("custom-labels"), Some("a:b=c"));
        assert!(options.flag("writeback") && !options.flag("cache-size") && !options.flag("absent"));
        assert_eq!(
            options.to_list(),
            "cache-size=200000,writeback,allow_other,max-uploads=50,custom-labels=a:b=c"
        );
        assert_eq!(options.kernel_options().map(|(name, _)| name).collect::<Vec<_>>(), ["allow_other"]);
        assert_eq!(options.unknown().count(), 0);
    }

    #[test]
    fn the_last_value_wins_and_unknown_names_are_listed() {
        let mut options = MountOptions::parse("cache-size=1,rw,x-systemd.automount");
        options.merge(MountOptions::parse("cache-size=2,ro,cach-size=3"));
        assert_eq!(options.value("cache-size"), Some("2"));
        assert!(options.read_only() && !options.flag("rw"));
        assert_eq!(options.unknown().collect::<Vec<_>>(), ["cach-size"]);
    }

    #[test]
    fn the_tables_of_options_are_sorted_so_that_duplicates_show() {
        for table in [CLIENT_OPTIONS, KERNEL_OPTIONS] {
            assert!(table.windows(2).all(|pair| pair[0] < pair[1]));
        }
    }
}
