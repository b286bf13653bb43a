//! What a mount process asks of the kernel for itself, before its first thread.
#![expect(unsafe_code, reason = "mallopt has no safe wrapper")]

use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

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

/// No core dumps and no ptrace by the same user: the process holds other people's keys.
pub(crate) fn hide_memory() {
    let _ = prctl::set_dumpable(false);
}
