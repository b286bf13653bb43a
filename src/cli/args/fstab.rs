//! The name `mount.juicefs`: what mount(8) calls for a line of fstab, `mount.juicefs META MOUNTPOINT [-sfnvN] -o LIST`,
//! as the same words of `juicefs mount`.

use juicefs_mount::flags;
use std::ffi::{OsStr, OsString};
use std::path::Path;

/// Flags of the command line alone, which fstab may name too.
const OTHER_FLAGS: &[&str] = &["background", "log", "no-syslog"];
/// Words of fstab that speak to mount(8) or to systemd.
const FOR_OTHERS: &[&str] =
    &["_netdev", "auto", "noauto", "nofail", "defaults", "user", "users", "nouser", "owner", "group"];

/// Whether the program was called by that name.
pub(crate) fn is_called(program: &OsStr) -> bool {
    Path::new(program).file_name().is_some_and(|name| name == "mount.juicefs")
}

/// `juicefs mount -d META MOUNTPOINT` with the options of `-o` as flags where they are ours; nothing for a dry run
/// (`-f`).
pub(crate) fn translate(arguments: &[OsString]) -> Option<Vec<OsString>> {
    let mut words: Vec<OsString> = ["juicefs", "mount", "--background"].map(OsString::from).to_vec();
    let mut fuse = Vec::new();
    let mut rest = arguments.iter().skip(1);
    while let Some(word) = rest.next() {
        match word.to_str() {
            Some("-o") => {
                let list = rest.next().and_then(|list| list.to_str()).unwrap_or_default();
                for option in options(list) {
                    match flag(&option) {
                        Some(flag) => words.push(flag.into()),
                        None => fuse.push(option),
                    }
                }
            }
            Some("-f") => return None,
            // sloppy, no mtab, verbose, name space, type: of mount(8).
            Some("-s" | "-n" | "-v") => {}
            Some("-N" | "-t") => drop(rest.next()),
            _ => words.push(word.clone()),
        }
    }
    if !fuse.is_empty() {
        words.extend([OsString::from("-o"), fuse.join(",").into()]);
    }
    Some(words)
}

fn options(list: &str) -> impl Iterator<Item = String> {
    let mut is_quoted = false;
    // As mount(8) has it, a comma between quotes does not end an option.
    let split = list.split(move |letter| {
        is_quoted ^= letter == '"';
        letter == ',' && !is_quoted
    });
    split
        .map(|option| option.replace('"', ""))
        .filter(|option| !option.is_empty() && !FOR_OTHERS.contains(&&**option))
        .filter(|option| !option.starts_with("x-") && !option.starts_with("comment="))
}

/// `--name` or `--name=value` when the option is a flag of `juicefs mount`.
fn flag(option: &str) -> Option<String> {
    let name = option.split('=').next().unwrap_or_default();
    let is_ours = flags::find(name).is_some() || OTHER_FLAGS.contains(&name);
    is_ours.then(|| format!("--{option}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_fstab_is_a_mount_in_the_background() {
        let words: Vec<_> =
            "/sbin/mount.juicefs redis://h/1 /jfs -n -o rw,_netdev,upload-hours=\"1,5\",cache-size=100,read-only,noatime"
                .split(' ')
                .map(OsString::from)
                .collect();
        assert!(is_called(&words[0]) && !is_called(OsStr::new("juicefs")));
        let line = translate(&words).expect("no dry run").join(OsStr::new(" "));
        assert_eq!(
            line,
            "juicefs mount --background redis://h/1 /jfs --upload-hours=1,5 --cache-size=100 --read-only -o rw,noatime"
        );
    }
}
