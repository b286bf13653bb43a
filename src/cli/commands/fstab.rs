//! `mount --update-fstab`: the mount's line in /etc/fstab, and the program that mount(8) calls for it.
//!
//! There is one line for a mount point; a later mount there replaces it where it stands. What is not a line of ours stays
//! as it is, byte for byte.

use anyhow::Context;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use crate::args::MountArgs;
use juicefs_mount::MountOptions;

const FSTAB: &str = "/etc/fstab";
/// What mount(8) calls for the type `juicefs`.
const HELPER: &str = "/sbin/mount.juicefs";

/// Writes the line and links the helper if there is none; what fails is a warning: the mount goes on. `meta_url` is what
/// the line shall say.
pub(super) fn update(args: &MountArgs, meta_url: &str, options: &MountOptions) {
    if !nix::unistd::geteuid().is_root() {
        tracing::warn!("--update-fstab: only root may change {FSTAB}");
        return;
    }
    let linked = link(Path::new(HELPER)).with_context(|| format!("link {HELPER}"));
    let written = write(Path::new(FSTAB), &line(args, meta_url, options), &options.mountpoint)
        .with_context(|| format!("update {FSTAB}"));
    for failure in [linked.err(), written.err()].into_iter().flatten() {
        tracing::warn!("--update-fstab: {failure:#}");
    }
    if meta_url
        .split_once("://")
        .is_some_and(|(_, rest)| rest.split_once('@').is_some_and(|(user, _)| user.contains(':')))
    {
        tracing::warn!("--update-fstab: everybody on this host can read the password in {FSTAB}");
    }
}

fn link(helper: &Path) -> std::io::Result<()> {
    if helper.symlink_metadata().is_ok() {
        return Ok(());
    }
    std::os::unix::fs::symlink(std::env::current_exe()?, helper)
}

/// The fields as the peer writes them: the options by name, those of `-o` in the place of that letter.
fn line(args: &MountArgs, meta_url: &str, options: &MountOptions) -> String {
    let mut words: Vec<(&str, String)> = Vec::new();
    for (name, value) in &args.flags {
        let is_switch = juicefs_mount::flags::find(name).is_some_and(|flag| flag.value.is_empty());
        match (&**name, is_switch, &**value) {
            ("update-fstab", ..) | (_, true, "false") => {}
            (name, true, _) => words.push((name, name.to_owned())),
            ("cache-dir", ..) => {
                let dirs: Vec<_> = options.cache_dirs.iter().map(|dir| dir.to_string_lossy()).collect();
                words.push(("cache-dir", option("cache-dir", &dirs.join(":"))));
            }
            ("bucket", ..) => {
                words.push(("bucket", option("bucket", options.bucket.as_deref().unwrap_or_default())))
            }
            (name, _, value) => words.push((name, option(name, value))),
        }
    }
    if let Some(log) = &args.log {
        let log = std::path::absolute(log).unwrap_or_else(|_| log.clone());
        words.push(("log", option("log", &log.to_string_lossy())));
    }
    words.extend(args.fuse_options.iter().map(|list| ("o", list.clone())));
    words.sort_by_key(|(name, _)| *name);
    let all =
        ["_netdev", "nofail"].map(str::to_owned).into_iter().chain(words.into_iter().map(|(_, word)| word));
    let all: Vec<_> = all.collect();
    let mountpoint = options.mountpoint.to_string_lossy();
    format!("{}  {}  juicefs  {}  0 0", escaped(meta_url), escaped(&mountpoint), escaped(&all.join(",")))
}

/// A comma in a value would begin another option.
fn option(name: &str, value: &str) -> String {
    if value.contains(',') { format!("{name}=\"{value}\"") } else { format!("{name}={value}") }
}

/// As fstab(5) writes blanks.
fn escaped(field: &str) -> String {
    let mut escaped = String::with_capacity(field.len());
    for letter in field.chars() {
        match letter {
            ' ' | '\t' | '\n' | '\\' => escaped.push_str(&format!("\\{:03o}", u32::from(letter))),
            plain => escaped.push(plain),
        }
    }
    escaped
}

fn write(fstab: &Path, line: &str, mountpoint: &Path) -> anyhow::Result<()> {
    let before = match std::fs::read_to_string(fstab) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        read => read?,
    };
    let after = with_line(&before, line, &escaped(&mountpoint.to_string_lossy()));
    if after == before {
        return Ok(());
    }
    let folder = fstab.parent().context("no folder")?;
    let mut fresh = tempfile::NamedTempFile::new_in(folder)?;
    fresh.write_all(after.as_bytes())?;
    let (mode, owner) = match fstab.metadata() {
        Ok(found) => (found.permissions().mode() & 0o7777, Some((found.uid(), found.gid()))),
        Err(_) => (0o644, None),
    };
    fresh.as_file().set_permissions(std::fs::Permissions::from_mode(mode))?;
    if let Some((uid, gid)) = owner {
        std::os::unix::fs::fchown(fresh.as_file(), Some(uid), Some(gid))?;
    }
    fresh.as_file().sync_all()?;
    match fresh.persist(fstab) {
        Ok(_) => Ok(()),
        // A file that is itself a mount point, as in containers.
        Err(error) if error.error.kind() == std::io::ErrorKind::ResourceBusy => {
            Ok(std::fs::write(fstab, after)?)
        }
        Err(error) => Err(error.error.into()),
    }
}

/// The table with this line in the place of the former one of the mount point, or at its end.
fn with_line(table: &str, line: &str, mountpoint: &str) -> String {
    let is_ours = |found: &str| {
        let fields: Vec<_> = found.split_whitespace().collect();
        fields.len() >= 3 && !fields[0].starts_with('#') && fields[1] == mountpoint && fields[2] == "juicefs"
    };
    let mut lines: Vec<&str> = table.lines().collect();
    match lines.iter().position(|found| is_ours(found)) {
        Some(at) => lines[at] = line,
        None => lines.push(line),
    }
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_written_once_and_replaced_where_it_stands() {
        let table = "# by hand\nUUID=1 / ext4 defaults 0 1";
        let first = with_line(table, "sqlite3:///m.db  /jfs  juicefs  _netdev  0 0", "/jfs");
        assert_eq!(first, format!("{table}\nsqlite3:///m.db  /jfs  juicefs  _netdev  0 0\n"));
        let other = with_line(&first, "redis://h/1  /other  juicefs  _netdev  0 0", "/other");
        let second = with_line(&other, "redis://h/2  /jfs  juicefs  _netdev,ro  0 0", "/jfs");
        assert_eq!(second.lines().count(), 4);
        assert_eq!(second.lines().nth(2), Some("redis://h/2  /jfs  juicefs  _netdev,ro  0 0"));
        assert!(second.starts_with(table));
    }

    #[test]
    fn a_line_says_flags_by_name_and_paths_in_full() {
        let args = MountArgs {
            log: Some("/l.log".into()),
            fuse_options: vec!["nosuid,max_background=60".to_owned()],
            flags: [
                ("writeback", "true"),
                ("update-fstab", "true"),
                ("read-only", "false"),
                ("upload-hours", "1,5"),
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .to_vec(),
            ..MountArgs::default()
        };
        let options = MountOptions { mountpoint: "/mnt/my jfs".into(), ..MountOptions::default() };
        assert_eq!(
            line(&args, "redis://h/1", &options),
            "redis://h/1  /mnt/my\\040jfs  juicefs  \
             _netdev,nofail,log=/l.log,nosuid,max_background=60,upload-hours=\"1,5\",writeback  0 0"
        );
    }

    #[test]
    fn a_table_is_replaced_with_its_rights() {
        let folder = tempfile::tempdir().unwrap();
        let fstab = folder.path().join("fstab");
        write(&fstab, "a  /jfs  juicefs  x  0 0", Path::new("/jfs")).unwrap();
        std::fs::set_permissions(&fstab, std::fs::Permissions::from_mode(0o640)).unwrap();
        write(&fstab, "b  /jfs  juicefs  x  0 0", Path::new("/jfs")).unwrap();
        assert_eq!(std::fs::read_to_string(&fstab).unwrap(), "b  /jfs  juicefs  x  0 0\n");
        assert_eq!(fstab.metadata().unwrap().permissions().mode() & 0o777, 0o640);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
