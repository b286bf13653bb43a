//! What a mount asks of the kernel, and the `-o` list that changes it.

use crate::error::{Error, Result};
use nix::mount::MsFlags;

/// Largest request any kernel takes without `fs.fuse.max_pages_limit` being raised.
const IO_BYTES_MAX: u32 = 1 << 20;

/// Everything the kernel is told at mount and at INIT.
#[derive(Clone, Debug)]
pub struct FuseOptions {
    /// Shown as `JuiceFS:NAME` in the mount table.
    pub volume_name: String,
    pub read_only: bool,
    /// Others than the mounting user may enter.
    pub allow_other: bool,
    /// The kernel checks permissions; when false, the volume does, with the caller's groups.
    pub default_permissions: bool,
    /// Largest read or write request in bytes (`--max-fuse-io`).
    pub io_bytes: u32,
    /// Asynchronous requests the kernel may have in flight.
    pub max_background: u16,
    /// Threads that read the one descriptor.
    pub threads: usize,
    /// Beside the caller's own umask (`--umask`).
    pub umask: Option<u16>,
    /// Who root becomes (`--root-squash`).
    pub root_squash: Option<(u32, u32)>,
    /// Who everybody becomes (`--all-squash`).
    pub all_squash: Option<(u32, u32)>,
    /// Lets the kernel keep directory listings (`--readdir-cache`).
    pub caches_listings: bool,
    /// Extended attributes (`--enable-xattr`).
    pub xattrs: bool,
    /// `security.capability` (`--enable-cap`).
    pub capabilities: bool,
    /// `security.selinux` (`--enable-selinux`).
    pub selinux: bool,
    /// Flags of nodes, as chattr and lsattr ask for them (`--enable-ioctl`).
    pub ioctl: bool,
    flags: MsFlags,
    fsname: Option<String>,
    /// `-o` words that were accepted and change nothing, for a warning.
    pub ignored: Vec<String>,
}

impl FuseOptions {
    /// The defaults for this process's user: root shares the mount with everybody.
    #[must_use]
    pub fn new(volume_name: impl Into<String>) -> Self {
        Self {
            volume_name: volume_name.into(),
            read_only: false,
            allow_other: nix::unistd::geteuid().is_root(),
            default_permissions: true,
            io_bytes: IO_BYTES_MAX,
            max_background: 256,
            threads: 4,
            umask: None,
            root_squash: None,
            all_squash: None,
            caches_listings: false,
            xattrs: false,
            capabilities: false,
            selinux: false,
            ioctl: false,
            // As the peer and `fusermount3` do; `-o suid,dev` takes them off.
            flags: MsFlags::MS_NOSUID | MsFlags::MS_NODEV,
            fsname: None,
            ignored: Vec::new(),
        }
    }

    /// Applies one `-o` list (`ro,allow_other,fsname=x`).
    ///
    /// # Errors
    /// A word that no mount of ours understands.
    pub fn apply_list(&mut self, list: &str) -> Result<()> {
        for word in list.split(',').map(str::trim).filter(|word| !word.is_empty()) {
            self.apply(word)?;
        }
        Ok(())
    }

    fn apply(&mut self, word: &str) -> Result<()> {
        let bad = |cause: &str| Error::Option { option: word.to_owned(), cause: cause.to_owned() };
        let (key, value) = word.split_once('=').map_or((word, None), |(key, value)| (key, Some(value)));
        match (key, value) {
            ("ro", None) => self.read_only = true,
            ("rw", None) => self.read_only = false,
            ("allow_other", None) => self.allow_other = true,
            ("default_permissions", None) => self.default_permissions = true,
            ("fsname", Some(name)) if !name.contains(',') => self.fsname = Some(name.to_owned()),
            ("dev", None) => self.flags.remove(MsFlags::MS_NODEV),
            ("nodev", None) => self.flags.insert(MsFlags::MS_NODEV),
            ("suid", None) => self.flags.remove(MsFlags::MS_NOSUID),
            ("nosuid", None) => self.flags.insert(MsFlags::MS_NOSUID),
            ("exec", None) => self.flags.remove(MsFlags::MS_NOEXEC),
            ("noexec", None) => self.flags.insert(MsFlags::MS_NOEXEC),
            ("noatime", None) => self.flags.insert(MsFlags::MS_NOATIME),
            ("nodiratime", None) => self.flags.insert(MsFlags::MS_NODIRATIME),
            ("sync", None) => self.flags.insert(MsFlags::MS_SYNCHRONOUS),
            ("dirsync", None) => self.flags.insert(MsFlags::MS_DIRSYNC),
            ("max_background", Some(count)) => {
                self.max_background =
                    count.parse().ok().filter(|&count| count > 0).ok_or_else(|| bad("expects 1 to 65535"))?;
            }
            ("max_write" | "max_read", Some(bytes)) => {
                self.set_io_bytes(bytes.parse().map_err(|_| bad("expects a number of bytes"))?);
            }
            // Words of fstab, of systemd and of libfuse that say nothing to the kernel.
            ("_netdev" | "nofail" | "auto" | "noauto" | "user" | "users" | "nouser" | "defaults", None)
            | (
                "async" | "atime" | "diratime" | "relatime" | "norelatime" | "nonempty" | "big_writes",
                None,
            )
            | ("async_read" | "auto_cache" | "kernel_cache" | "hard_remove" | "use_ino" | "intr", None) => {}
            (known, _) if known.starts_with("x-") || known == "comment" || known == "subtype" => {}
            ("writeback_cache" | "debug" | "allow_root" | "auto_unmount" | "direct_io", None)
            | ("max_readahead" | "attr_timeout" | "entry_timeout" | "congestion_threshold", Some(_)) => {
                self.ignored.push(word.to_owned());
            }
            _ => return Err(bad("not known; see `juicefs mount --help` for the file system's own flags")),
        }
        Ok(())
    }

    /// Sets the request size, rounded to pages and to what kernels take.
    pub fn set_io_bytes(&mut self, bytes: u32) {
        self.io_bytes = (bytes.clamp(4096, IO_BYTES_MAX) / 4096) * 4096;
    }

    /// Mount flags beyond read-only, e.g. `nosuid` and `nodev` for Kubernetes.
    pub fn add_flags(&mut self, flags: MsFlags) {
        self.flags.insert(flags);
    }

    /// The first column of the mount table.
    #[must_use]
    pub fn source(&self) -> String {
        self.fsname.clone().unwrap_or_else(|| format!("JuiceFS:{}", self.volume_name))
    }

    pub(crate) fn mount_flags(&self) -> MsFlags {
        let mut flags = self.flags;
        flags.set(MsFlags::MS_RDONLY, self.read_only);
        flags
    }

    /// Options of the kernel's fuse file system behind `fd=..`.
    pub(crate) fn kernel_data(&self) -> Vec<String> {
        let mut data = Vec::new();
        if self.default_permissions {
            data.push("default_permissions".to_owned());
        }
        if self.allow_other {
            data.push("allow_other".to_owned());
        }
        data
    }

    /// The same for `fusermount3`, which also wants names and flags as words.
    pub(crate) fn helper_list(&self, subtype: &str) -> Vec<String> {
        let mut list =
            vec![format!("fsname={}", self.source().replace(',', "\\,")), format!("subtype={subtype}")];
        list.extend(self.kernel_data());
        let flags = self.mount_flags();
        for (flag, word) in [
            (MsFlags::MS_RDONLY, "ro"),
            (MsFlags::MS_NOEXEC, "noexec"),
            (MsFlags::MS_NOATIME, "noatime"),
            (MsFlags::MS_SYNCHRONOUS, "sync"),
            (MsFlags::MS_DIRSYNC, "dirsync"),
        ] {
            if flags.contains(flag) {
                list.push(word.to_owned());
            }
        }
        for (flag, word) in [(MsFlags::MS_NOSUID, "suid"), (MsFlags::MS_NODEV, "dev")] {
            if !flags.contains(flag) {
                list.push(word.to_owned());
            }
        }
        list
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_sets_kernel_options_flags_and_names() {
        let mut options = FuseOptions::new("myjfs");
        options.allow_other = false;
        assert_eq!(options.source(), "JuiceFS:myjfs");
        options.apply_list("ro,allow_other,,_netdev,x-systemd.automount,nosuid, max_background=50").unwrap();
        assert!(options.read_only && options.allow_other);
        assert_eq!(options.max_background, 50);
        assert_eq!(options.kernel_data(), ["default_permissions", "allow_other"]);
        assert_eq!(options.mount_flags(), MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV);
        options.apply_list("rw,fsname=other,suid,dev").unwrap();
        assert_eq!(options.mount_flags(), MsFlags::empty());
        assert_eq!(options.source(), "other");
        assert_eq!(
            options.helper_list("juicefs"),
            ["fsname=other", "subtype=juicefs", "default_permissions", "allow_other", "suid", "dev"]
        );
    }

    #[test]
    fn an_unknown_word_is_named() {
        let error = FuseOptions::new("v").apply_list("ro,bogus=1").unwrap_err();
        assert!(error.to_string().contains("bogus=1"), "{error}");
        let error = FuseOptions::new("v").apply_list("max_background=0").unwrap_err();
        assert!(error.to_string().contains("max_background=0"), "{error}");
    }

    #[test]
    fn what_we_do_not_do_is_remembered_for_a_warning() {
        let mut options = FuseOptions::new("v");
        options.apply_list("writeback_cache,debug").unwrap();
        assert_eq!(options.ignored, ["writeback_cache", "debug"]);
    }

    #[test]
    fn request_sizes_are_whole_pages_the_kernel_takes() {
        let mut options = FuseOptions::new("v");
        for (asked, got) in [(0, 4096), (131_073, 131_072), (u32::MAX, 1 << 20)] {
            options.set_io_bytes(asked);
            assert_eq!(options.io_bytes, got);
        }
    }
}
