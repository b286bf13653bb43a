//! One open file of the disk cache, read with `preadv2` so that a read that would wait for the disk can say so.
#![expect(unsafe_code, reason = "preadv2 into spare capacity")]

use super::verify;
use crate::config::ChecksumLevel;
use bytes::Bytes;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::Path;

/// Whether a read may wait for the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    Never,
    Allowed,
}

/// Why there are no bytes.
#[derive(Debug)]
pub(super) enum Problem {
    NotThere,
    WouldWait,
    Damaged(String),
    Io(io::Error),
}

impl From<io::Error> for Problem {
    fn from(cause: io::Error) -> Self {
        match cause.kind() {
            io::ErrorKind::NotFound => Self::NotThere,
            io::ErrorKind::WouldBlock => Self::WouldWait,
            _ => Self::Io(cause),
        }
    }
}

#[derive(Debug)]
pub(super) struct CachedFile {
    file: File,
    size: usize,
    /// Absent if the file has none or nobody wants them.
    sums: Option<Box<[u32]>>,
}

impl CachedFile {
    /// Opens the cached block at `path`, whose data is `size` bytes, and reads its checksums.
    pub(super) fn open(path: &Path, size: usize, level: ChecksumLevel, wait: Wait) -> Result<Self, Problem> {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        let wrong = || Problem::Damaged(format!("{length} bytes can't hold a block of {size}"));
        let extra = length.checked_sub(size as u64).ok_or_else(wrong)?;
        let trailer = verify::trailer_bytes(size, extra).ok_or_else(wrong)?;
        let sums = if trailer > 0 && level != ChecksumLevel::None {
            Some(verify::parse_trailer(&read_at(&file, size, trailer, wait)?))
        } else {
            None
        };
        Ok(Self { file, size, sums })
    }

    /// Bytes `off..off + len` of the block, which lie inside it.
    pub(super) fn read(
        &self,
        off: u32,
        len: u32,
        level: ChecksumLevel,
        wait: Wait,
    ) -> Result<Bytes, Problem> {
        let want = off as usize..off as usize + len as usize;
        let level = if self.sums.is_some() { level } else { ChecksumLevel::None };
        let (range, windows) = verify::plan(level, &want, self.size);
        let data = read_at(&self.file, range.start, range.len(), wait)?;
        if let Some(sums) = &self.sums {
            verify::verify(&data, range.start, windows, sums).map_err(Problem::Damaged)?;
        }
        Ok(Bytes::from(data).slice(want.start - range.start..want.end - range.start))
    }
}

fn read_at(file: &File, at: usize, len: usize, wait: Wait) -> Result<Vec<u8>, Problem> {
    let mut data = Vec::with_capacity(len);
    while data.len() < len {
        let got = match read_once(file, &mut data, at, len, wait) {
            // The file system can't tell (overlay, network): its reads are taken as they are.
            Err(cause) if wait == Wait::Never && cause.raw_os_error() == Some(libc::EOPNOTSUPP) => {
                read_once(file, &mut data, at, len, Wait::Allowed)
            }
            other => other,
        };
        match got {
            Ok(0) if wait == Wait::Never => return Err(Problem::WouldWait),
            Ok(0) => return Err(Problem::Damaged(format!("ends at {}", at + data.len()))),
            Ok(_) => {}
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
            Err(cause) => return Err(cause.into()),
        }
    }
    Ok(data)
}

/// Appends to `data` what one call gives, up to `len` bytes in all.
fn read_once(file: &File, data: &mut Vec<u8>, at: usize, len: usize, wait: Wait) -> io::Result<usize> {
    let have = data.len();
    let spare = &mut data.spare_capacity_mut()[..len - have];
    let vector = libc::iovec { iov_base: spare.as_mut_ptr().cast(), iov_len: spare.len() };
    let flags = if wait == Wait::Never { libc::RWF_NOWAIT } else { 0 };
    let offset = i64::try_from(at + have).map_err(io::Error::other)?;
    // SAFETY: the one vector covers spare capacity that we own; the kernel writes at most its length.
    let got = unsafe { libc::preadv2(file.as_raw_fd(), &raw const vector, 1, offset, flags) };
    let got = usize::try_from(got).map_err(|_| io::Error::last_os_error())?;
    // SAFETY: the kernel has initialised `got` bytes after the first `have`, inside the capacity.
    unsafe { data.set_len(have + got) };
    Ok(got)
}
