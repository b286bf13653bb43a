//! What a mount process asks of the kernel for itself, before its first thread.
#![expect(unsafe_code, reason = "mallopt has no safe wrapper")]

use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::ops::Range;
use std::os::unix::fs::FileExt;

/// From this size on an allocation is a mapping of its own and goes back to the kernel when it is freed.
/// glibc would raise the limit after the first large free and then keep a 16 MiB request buffer per thread.
const MMAP_THRESHOLD_BYTES: i32 = 1 << 20;
/// Free memory kept at the top of the heap.
const TRIM_THRESHOLD_BYTES: i32 = 2 << 20;
/// Heaps shared by all threads.
const ARENAS_MAX: i32 = 2;

/// Settles memory, open files and out-of-memory priority. What the kernel refuses is left as it is.
pub(crate) fn prepare(disable_thp: bool) {
    for (parameter, value) in [
        (nix::libc::M_MMAP_THRESHOLD, MMAP_THRESHOLD_BYTES),
        (nix::libc::M_TRIM_THRESHOLD, TRIM_THRESHOLD_BYTES),
        (nix::libc::M_ARENA_MAX, ARENAS_MAX),
    ] {
        // SAFETY: mallopt only stores a number; it is called before other threads allocate.
        unsafe { nix::libc::mallopt(parameter, value) };
    }
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < hard
    {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
    if disable_thp {
        let _ = prctl::set_thp_disable(true);
    }
    // Everything on the mount hangs when this process is chosen; only root may lower the score.
    let _ = std::fs::write("/proc/self/oom_score_adj", "-1000");
}

/// Overwrites passwords of URLs in this process's arguments, as `ps` shows them, with stars. What can't be
/// overwritten stays: `META_PASSWORD` is the way that never shows one.
pub(crate) fn mask_password_in_arguments() {
    let Ok(arguments) = std::fs::read("/proc/self/cmdline") else { return };
    let Some(start) = arguments_start() else { return };
    let Ok(memory) = std::fs::OpenOptions::new().write(true).open("/proc/self/mem") else { return };
    for range in passwords(&arguments) {
        let stars = vec![b'*'; range.len()];
        let _ = memory.write_all_at(&stars, start + range.start as u64);
    }
}

/// Field 48 of `/proc/self/stat`; the second field is in brackets and may hold spaces.
fn arguments_start() -> Option<u64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(45)?.parse().ok().filter(|&start| start > 0)
}

/// Where `scheme://user:password@` has its password, in arguments separated by NUL.
fn passwords(arguments: &[u8]) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut start = 0;
    for argument in arguments.split(|&byte| byte == 0) {
        if let Some(scheme) = argument.windows(3).position(|window| window == b"://") {
            let authority = scheme + 3;
            let rest = &argument[authority..];
            let end = rest.iter().position(|&byte| byte == b'/').unwrap_or(rest.len());
            // A password may hold a slash that was not escaped: the last @ ends it.
            let at = rest[..end]
                .iter()
                .rposition(|&byte| byte == b'@')
                .or_else(|| rest.iter().rposition(|&byte| byte == b'@'));
            let colon = rest.iter().position(|&byte| byte == b':');
            if let (Some(at), Some(colon)) = (at, colon)
                && colon < at
            {
                found.push(start + authority + colon + 1..start + authority + at);
            }
        }
        start += argument.len() + 1;
    }
    found
}

/// No core dumps and no ptrace by the same user: the process holds other people's keys.
pub(crate) fn hide_memory() {
    let _ = prctl::set_dumpable(false);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_in_arguments_are_found_and_nothing_else() {
        let masked = |text: &str| {
            let mut bytes = text.as_bytes().to_vec();
            for range in passwords(text.as_bytes()) {
                bytes[range].fill(b'*');
            }
            String::from_utf8(bytes).unwrap()
        };
        assert_eq!(
            masked("jfs\0mount\0redis://:pw@h:6379/1\0/mnt\0"),
            "jfs\0mount\0redis://:**@h:6379/1\0/mnt\0"
        );
        assert_eq!(masked("mysql://u:p/w@(h)/db"), "mysql://u:***@(h)/db");
        assert_eq!(
            masked("redis://h:6379/1\0sqlite3:///a@b\0a:b@c"),
            "redis://h:6379/1\0sqlite3:///a@b\0a:b@c"
        );
        assert!(arguments_start().is_some());
    }
}
