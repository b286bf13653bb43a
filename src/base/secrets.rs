//! Secrets that a process was started with: taken once, then overwritten where `ps` and `/proc` show them.
//!
//! The kernel shows arguments and environment out of this process's own memory, so that overwriting them there hides
//! them from everybody, from children (which inherit the same strings) as from `/proc/PID/environ`. Nothing may read a
//! secret from the environment after [`take_variables`].

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use crate::SecretString;

/// Fields of `/proc/self/stat` behind the name of the program, which ends at the last bracket (proc_pid_stat(5)
/// counts arguments from field 48 and the environment from field 50; the first one behind the bracket is field 3).
const ARGUMENTS_FIELD: usize = 48 - 3;
const ENVIRONMENT_FIELD: usize = 50 - 3;

/// The variables that are set, by name. Their values are gone from the environment afterwards: empty, not unset.
///
/// # Errors
/// `/proc` can't be used: the values are taken and still to be seen.
pub fn take_variables(names: &[&str]) -> (BTreeMap<String, SecretString>, io::Result<()>) {
    let taken = names
        .iter()
        .filter_map(|name| {
            let value = std::env::var(name).ok().filter(|value| !value.is_empty())?;
            Some(((*name).to_owned(), SecretString::from(value)))
        })
        .collect::<BTreeMap<_, _>>();
    let hidden = if taken.is_empty() {
        Ok(())
    } else {
        overwrite("environ", ENVIRONMENT_FIELD, 0, |bytes| values_of(bytes, names))
    };
    (taken, hidden)
}

/// Overwrites passwords of URLs and the values of `flags` (such as `secret-key`) with stars, as the arguments show
/// them from now on. `arguments` are those of the process, read before.
///
/// # Errors
/// `/proc` can't be used: the arguments still show what they showed.
pub fn mask_arguments(arguments: &[OsString], flags: &[&str]) -> io::Result<()> {
    let shown = arguments.iter().map(|argument| argument.as_encoded_bytes()).collect::<Vec<_>>().join(&0);
    if secrets_of(&shown, flags).is_empty() {
        return Ok(());
    }
    overwrite("cmdline", ARGUMENTS_FIELD, b'*', |bytes| secrets_of(bytes, flags))
}

/// `text` with stars for the secrets of `arguments`, for what repeats an argument as it was given.
#[must_use]
pub fn hide_arguments(text: &str, arguments: &[OsString], flags: &[&str]) -> String {
    let given = arguments.iter().map(|argument| argument.as_encoded_bytes()).collect::<Vec<_>>().join(&0);
    secrets_of(&given, flags).into_iter().fold(text.to_owned(), |text, range| {
        match std::str::from_utf8(&given[range]) {
            Ok(secret) if !secret.is_empty() => text.replace(secret, "****"),
            _ => text,
        }
    })
}

fn overwrite(
    shown: &str,
    start_field: usize,
    with: u8,
    find: impl Fn(&[u8]) -> Vec<Range<usize>>,
) -> io::Result<()> {
    let bytes = std::fs::read(format!("/proc/self/{shown}"))?;
    let start = start_of(start_field)?;
    let memory = File::options().write(true).open("/proc/self/mem")?;
    for range in find(&bytes) {
        memory.write_all_at(&vec![with; range.len()], start + range.start as u64)?;
    }
    Ok(())
}

fn start_of(field: usize) -> io::Result<u64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    stat.rsplit_once(')')
        .and_then(|(_, rest)| rest.split_whitespace().nth(field)?.parse().ok())
        .filter(|&start| start > 0)
        .ok_or_else(|| io::Error::other("/proc/self/stat does not tell where arguments lie"))
}

/// Where `NAME=value` of each name has its value, in strings separated by NUL.
fn values_of(strings: &[u8], names: &[&str]) -> Vec<Range<usize>> {
    let mut start = 0;
    let mut found = Vec::new();
    for string in strings.split(|&byte| byte == 0) {
        let is_secret = |name: &&str| {
            string.strip_prefix(name.as_bytes()).is_some_and(|rest| rest.first() == Some(&b'='))
        };
        if let Some(name) = names.iter().find(|name| is_secret(name)) {
            found.push(start + name.len() + 1..start + string.len());
        }
        start += string.len() + 1;
    }
    found
}

/// Where arguments separated by NUL hold secrets.
fn secrets_of(arguments: &[u8], flags: &[&str]) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut start = 0;
    let mut follows_flag = false;
    for argument in arguments.split(|&byte| byte == 0) {
        let end = start + argument.len();
        let name = argument.split(|&byte| byte == b'=').next().unwrap_or_default();
        // One dash or two, as the peer takes them.
        let bare = name.strip_prefix(b"-").map(|name| name.strip_prefix(b"-").unwrap_or(name));
        let is_flag = bare.is_some_and(|bare| flags.iter().any(|flag| flag.as_bytes() == bare));
        if follows_flag {
            found.push(start..end);
        } else if is_flag && name.len() < argument.len() {
            found.push(start + name.len() + 1..end);
        } else if let Some(password) = password_of(argument) {
            found.push(start + password.start..start + password.end);
        }
        follows_flag = is_flag && name.len() == argument.len();
        start = end + 1;
    }
    found
}

/// Where `scheme://user:password@` has its password.
fn password_of(url: &[u8]) -> Option<Range<usize>> {
    let authority = url.windows(3).position(|window| window == b"://")? + 3;
    let rest = &url[authority..];
    let end = rest.iter().position(|&byte| byte == b'/').unwrap_or(rest.len());
    // A password may hold a slash that was not escaped: the last @ ends it.
    let at = rest[..end]
        .iter()
        .rposition(|&byte| byte == b'@')
        .or_else(|| rest.iter().rposition(|&byte| byte == b'@'))?;
    let colon = rest.iter().position(|&byte| byte == b':')?;
    (colon < at).then(|| authority + colon + 1..authority + at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_that_repeats_an_argument_shows_no_secret() {
        let arguments = ["status", "redis://u:pass:w@h/1", "--secret-key", "key"].map(OsString::from);
        let said = hide_arguments("unexpected 'redis://u:pass:w@h/1' and 'key'", &arguments, &["secret-key"]);
        assert_eq!(said, "unexpected 'redis://u:****@h/1' and '****'");
    }

    fn masked(text: &str) -> String {
        let mut bytes = text.as_bytes().to_vec();
        for range in secrets_of(text.as_bytes(), &["secret-key"]) {
            bytes[range].fill(b'*');
        }
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn secrets_in_arguments_are_found_and_nothing_else() {
        for (text, wanted) in [
            ("jfs\0mount\0redis://:pw@h:6379/1\0/mnt\0", "jfs\0mount\0redis://:**@h:6379/1\0/mnt\0"),
            ("mysql://u:p/w@(h)/db", "mysql://u:***@(h)/db"),
            ("redis://h:6379/1\0sqlite3:///a@b\0a:b@c", "redis://h:6379/1\0sqlite3:///a@b\0a:b@c"),
            ("--secret-key\0abc\0name", "--secret-key\0***\0name"),
            ("-secret-key=abc\0--bucket=abc", "-secret-key=***\0--bucket=abc"),
            ("-\0key\0-key\0x\0secret-key\0y", "-\0key\0-key\0x\0secret-key\0y"),
        ] {
            assert_eq!(masked(text), wanted);
        }
    }

    #[test]
    fn values_of_variables_are_found_by_whole_names() {
        let environment = b"A=1\0META_PASSWORD=pw\0META_PASSWORD_FILE=/x\0";
        let found = values_of(environment, &["META_PASSWORD"]);
        assert_eq!((found.len(), found[0].clone()), (1, 18..20));
    }

    #[test]
    fn this_process_knows_where_its_strings_lie() {
        let arguments = start_of(ARGUMENTS_FIELD).unwrap();
        assert!(start_of(ENVIRONMENT_FIELD).unwrap() > arguments);
        let first = std::env::args().next().unwrap();
        let mut bytes = vec![0; first.len()];
        File::open("/proc/self/mem").unwrap().read_exact_at(&mut bytes, arguments).unwrap();
        assert_eq!(bytes, first.as_bytes());
    }
}
