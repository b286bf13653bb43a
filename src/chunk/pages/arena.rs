//! The memory behind dirty pages: one sealed memfd, mapped once, cut into extents of one block each.
//!
//! The file is sparse: an extent costs memory only where it was written, and gives it back when it is punched. Its size
//! never changes (sealed), so no access can fault. Who owns an extent's index owns its bytes.
#![expect(unsafe_code, reason = "maps the memfd and hands out its bytes")]

use nix::fcntl::{FallocateFlags, FcntlArg, SealFlag, fallocate, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;

#[derive(Debug)]
pub(super) struct Arena {
    file: OwnedFd,
    base: NonNull<u8>,
    bytes: usize,
}

// SAFETY: the mapping is plain shared memory without thread affinity; `PagePool` gives every range one owner at a time.
unsafe impl Send for Arena {}
// SAFETY: as above; a range is written only through its single owner and read through shared references afterwards.
unsafe impl Sync for Arena {}

impl Arena {
    pub(super) fn new(bytes: NonZeroUsize) -> nix::Result<Self> {
        let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
        let file = memfd_create(c"juicefs-pages", flags)?;
        let length = i64::try_from(bytes.get()).map_err(|_| nix::errno::Errno::EFBIG)?;
        nix::unistd::ftruncate(&file, length)?;
        let seals = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
        fcntl(&file, FcntlArg::F_ADD_SEALS(seals))?;
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        let mapping = MapFlags::MAP_SHARED | MapFlags::MAP_NORESERVE;
        // SAFETY: a fresh mapping at an address of the kernel's choice aliases nothing.
        let base = unsafe { mmap(None, bytes, protection, mapping, &file, 0) }?;
        Ok(Self { file, base: base.cast(), bytes: bytes.get() })
    }

    /// Copies `data` to `at`.
    ///
    /// # Safety
    /// The caller owns the range and nobody holds a reference into it.
    pub(super) unsafe fn write(&self, at: usize, data: &[u8]) {
        assert!(at.checked_add(data.len()).is_some_and(|end| end <= self.bytes), "inside the arena");
        // SAFETY: the range is inside the mapping (asserted) and the caller's alone, so it can't overlap `data`.
        unsafe { std::ptr::copy_nonoverlapping(data.as_ptr(), self.base.as_ptr().add(at), data.len()) }
    }

    /// The bytes at `at`.
    ///
    /// # Safety
    /// Nobody writes to the range while the reference lives.
    pub(super) unsafe fn bytes(&self, at: usize, len: usize) -> &[u8] {
        assert!(at.checked_add(len).is_some_and(|end| end <= self.bytes), "inside the arena");
        // SAFETY: inside the mapping (asserted), initialised by the kernel, not written meanwhile (caller).
        unsafe { std::slice::from_raw_parts(self.base.as_ptr().add(at), len) }
    }

    /// Gives the memory of a range back; it reads as zeros afterwards.
    pub(super) fn punch(&self, at: usize, len: usize) {
        if len == 0 {
            return;
        }
        let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        let (Ok(at), Ok(len)) = (i64::try_from(at), i64::try_from(len)) else { return };
        if let Err(cause) = fallocate(&self.file, flags, at, len) {
            tracing::warn!("page arena keeps {len} bytes of memory that are free: {cause}");
        }
    }
}

impl AsFd for Arena {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours and every owner of a range holds the arena, so no reference is left.
        if let Err(cause) = unsafe { munmap(self.base.cast(), self.bytes) } {
            tracing::warn!("page arena not unmapped: {cause}");
        }
    }
}
