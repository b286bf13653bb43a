//! The bytes of a file in memory that the kernel can take back: a body to upload, however long.
#![expect(unsafe_code, reason = "maps a file of our own")]

use std::fs::File;
use std::io;
use std::num::NonZeroUsize;
use std::ptr::NonNull;

use bytes::Bytes;
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

struct Mapped {
    base: NonNull<u8>,
    bytes: NonZeroUsize,
}

// SAFETY: the mapping is only read, and belongs to whoever holds this.
unsafe impl Send for Mapped {}
// SAFETY: as above.
unsafe impl Sync for Mapped {}

impl AsRef<[u8]> for Mapped {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: mapped with this length until the drop, from a file that nobody shortens: see `bytes`.
        unsafe { std::slice::from_raw_parts(self.base.as_ptr(), self.bytes.get()) }
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: what `bytes` mapped; nobody has a reference any more.
        if let Err(cause) = unsafe { munmap(self.base.cast(), self.bytes.get()) } {
            tracing::warn!(%cause, "munmap of a backup");
        }
    }
}

/// All of `file`, which must have no name: then nobody else can change it, and it lives as long as its bytes.
pub(super) fn bytes(file: &File) -> io::Result<Bytes> {
    let length = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
    let Some(length) = NonZeroUsize::new(length) else { return Ok(Bytes::new()) };
    // SAFETY: a private mapping for reading, of a file that only this process can reach and no longer writes.
    let base = unsafe { mmap(None, length, ProtFlags::PROT_READ, MapFlags::MAP_PRIVATE, file, 0) }?;
    Ok(Bytes::from_owner(Mapped { base: base.cast(), bytes: length }))
}
