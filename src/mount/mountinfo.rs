//! `/proc/self/mountinfo`, parsed: what is mounted where, and how often.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// The type our mounts have in the mount table.
pub const FUSE_TYPE: &str = "fuse.juicefs";

/// One line of the mount table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountEntry {
    pub id: u64,
    pub parent_id: u64,
    /// Device number; `minor` is the fuse connection's number below `/sys/fs/fuse/connections`.
    pub major: u32,
    pub minor: u32,
    /// The directory of the file system that is mounted: other than `/` for bind mounts of a part.
    pub root: PathBuf,
    pub mount_point: PathBuf,
    pub options: String,
    pub fs_type: String,
    pub source: String,
    pub super_options: String,
}

/// The mount table at one moment, in mount order.
#[derive(Clone, Debug, Default)]
pub struct Mountinfo(Vec<MountEntry>);

impl Mountinfo {
    /// The table of this process's mount name space.
    ///
    /// # Errors
    /// `/proc` can't be read.
    pub fn read() -> io::Result<Self> {
        std::fs::read("/proc/self/mountinfo").map(|text| Self::parse(&text))
    }

    /// Lines that do not parse are left out.
    #[must_use]
    pub fn parse(text: &[u8]) -> Self {
        Self(text.split(|&byte| byte == b'\n').filter_map(parse_line).collect())
    }

    /// What a path lookup of exactly `path` reaches: the last mount made there.
    #[must_use]
    pub fn at(&self, path: &Path) -> Option<&MountEntry> {
        self.0.iter().rev().find(|entry| entry.mount_point == path)
    }

    /// All mounts of one device: the first mount and its bind mounts.
    pub fn of_device(&self, major: u32, minor: u32) -> impl Iterator<Item = &MountEntry> {
        self.0.iter().filter(move |entry| entry.major == major && entry.minor == minor)
    }

    /// All mounts below `directory` or on it.
    pub fn below<'a>(&'a self, directory: &'a Path) -> impl Iterator<Item = &'a MountEntry> {
        self.0.iter().filter(move |entry| entry.mount_point.starts_with(directory))
    }

    pub fn iter(&self) -> impl Iterator<Item = &MountEntry> {
        self.0.iter()
    }
}

impl MountEntry {
    /// True for mounts that this program or the peer made.
    #[must_use]
    pub fn is_juicefs(&self) -> bool {
        self.fs_type == FUSE_TYPE || (self.fs_type == "fuse" && self.source.starts_with("JuiceFS:"))
    }

    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.options.split(',').any(|option| option == "ro")
    }
}

/// `36 35 98:0 /root /mount rw,noatime master:1 - ext3 /dev/root rw,errors=continue`
fn parse_line(line: &[u8]) -> Option<MountEntry> {
    let fields: Vec<&[u8]> = line.split(|&byte| byte == b' ').collect();
    // Optional fields end at a single dash.
    let dash = 6 + fields.get(6..)?.iter().position(|field| *field == b"-")?;
    let text = |field: &[u8]| String::from_utf8_lossy(field).into_owned();
    let number = |field: &[u8]| std::str::from_utf8(field).ok()?.parse::<u64>().ok();
    let (major, minor) = std::str::from_utf8(fields[2]).ok()?.split_once(':')?;
    Some(MountEntry {
        id: number(fields[0])?,
        parent_id: number(fields[1])?,
        major: major.parse().ok()?,
        minor: minor.parse().ok()?,
        root: unescape(fields[3]),
        mount_point: unescape(fields[4]),
        options: text(fields[5]),
        fs_type: text(fields.get(dash + 1)?),
        source: unescape(fields.get(dash + 2)?).as_os_str().to_string_lossy().into_owned(),
        super_options: fields.get(dash + 3).map(|field| text(field)).unwrap_or_default(),
    })
}

/// Space, tab, newline and backslash are written as a backslash and three octal digits.
fn unescape(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, after)) = rest.split_first() {
        let octal = after.get(..3).filter(|digits| digits.iter().all(|digit| (b'0'..=b'7').contains(digit)));
        match octal {
            Some(digits) if first == b'\\' => {
                let value = digits.iter().fold(0u32, |value, digit| value * 8 + u32::from(digit - b'0'));
                bytes.push(value.to_le_bytes()[0]);
                rest = &after[3..];
            }
            _ => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}

/// An absolute path without symlinks in its parents. Never asks the last component anything: a dead mount
/// there would answer for ever or not at all.
///
/// # Errors
/// The parent does not exist, or the path ends in `..`.
pub fn resolve(path: &Path) -> io::Result<PathBuf> {
    let absolute = std::path::absolute(path)?;
    let (Some(parent), Some(name)) = (absolute.parent(), absolute.file_name()) else {
        return Ok(absolute);
    };
    let resolved = parent.canonicalize()?.join(name);
    match std::fs::symlink_metadata(&resolved) {
        Ok(metadata) if metadata.file_type().is_symlink() => resolved.canonicalize(),
        _ => Ok(resolved),
    }
}

/// Ends a fuse connection by force: everything that waits for it fails. Needs root and a mounted fusectl.
///
/// # Errors
/// The connection is gone already, or this process may not.
pub fn abort_connection(minor: u32) -> io::Result<()> {
    std::fs::write(format!("/sys/fs/fuse/connections/{minor}/abort"), "1")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[u8] = b"22 28 0:20 / /sys rw,nosuid shared:7 - sysfs sysfs rw\n\
        40 28 0:55 / /mnt/a rw,relatime - fuse.juicefs JuiceFS:my\\040vol rw,user_id=0\n\
        41 28 0:55 /sub /var/lib/pods/x ro,relatime shared:3 master:2 - fuse.juicefs JuiceFS:my\\040vol rw\n\
        garbage\n\
        42 28 0:56 / /mnt/a\\040b\\134c rw - tmpfs none rw\n\
        43 40 0:57 / /mnt/a rw - tmpfs none rw\n";

    #[test]
    fn lines_with_and_without_optional_fields_parse() {
        let table = Mountinfo::parse(TABLE);
        assert_eq!(table.iter().count(), 5);
        let bind = table.at(Path::new("/var/lib/pods/x")).unwrap();
        assert_eq!((bind.id, bind.major, bind.minor), (41, 0, 55));
        assert_eq!(bind.root, Path::new("/sub"));
        assert_eq!(bind.source, "JuiceFS:my vol");
        assert!(bind.is_juicefs() && bind.is_read_only());
        assert_eq!(table.at(Path::new("/sys")).unwrap().super_options, "rw");
    }

    #[test]
    fn the_last_mount_on_a_path_is_the_one_seen() {
        let table = Mountinfo::parse(TABLE);
        assert_eq!(table.at(Path::new("/mnt/a")).unwrap().fs_type, "tmpfs");
        assert!(table.at(Path::new("/mnt")).is_none());
    }

    #[test]
    fn octal_escapes_are_undone() {
        let table = Mountinfo::parse(TABLE);
        assert!(table.at(Path::new("/mnt/a b\\c")).is_some());
        assert_eq!(unescape(b"\\9x\\04"), PathBuf::from("\\9x\\04"));
    }

    #[test]
    fn references_of_a_device_are_counted() {
        let table = Mountinfo::parse(TABLE);
        assert_eq!(table.of_device(0, 55).count(), 2);
        assert_eq!(table.below(Path::new("/mnt")).count(), 3);
    }

    #[test]
    fn this_process_has_a_root_mount() {
        assert!(Mountinfo::read().unwrap().at(Path::new("/")).is_some());
    }
}
