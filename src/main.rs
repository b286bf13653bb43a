//! The binary `juicefs`: every role of the system behind one command line (`src/cli`).
#![expect(unsafe_code, reason = "the allocator reads its options from an exported symbol")]

/// glibc maps and unmaps every block of 4 MiB, which is paid for in page faults: half of the time of a cold read.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Few arenas, since few threads allocate much; what is freed goes back to the kernel within seconds. Read by jemalloc
/// as a C string (jemalloc(3), `malloc_conf`).
// SAFETY: the name is jemalloc's own for this purpose, the type a thin pointer to a string that ends in NUL.
#[unsafe(export_name = "_rjem_malloc_conf")]
pub static ALLOCATOR_OPTIONS: &[u8; 47] = b"narenas:4,dirty_decay_ms:1000,muzzy_decay_ms:0\0";

fn main() -> std::process::ExitCode {
    juicefs_cli::main()
}
