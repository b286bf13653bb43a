//! The first exchange of a session: which capabilities of the kernel are taken.

use super::channel::Channel;
use super::dispatch::opcode;
use super::wire::{Body, Fields};
use crate::options::FuseOptions;
use juicefs_base::Errno;
use std::io;

/// Bytes of readahead asked for; the kernel gives what it allows.
pub const READAHEAD_BYTES: u32 = 1 << 20;

const MAJOR: u32 = 7;
/// Linux 5.4; older kernels lay their answers out in other ways.
const MINOR_MIN: u32 = 31;
/// What the layouts in this folder are of.
const MINOR: u32 = 40;

/// Capabilities (`FUSE_*` of the INIT flags).
mod capability {
    pub(super) const ASYNC_READ: u64 = 1;
    pub(super) const POSIX_LOCKS: u64 = 1 << 1;
    pub(super) const BIG_WRITES: u64 = 1 << 5;
    pub(super) const DONT_MASK: u64 = 1 << 6;
    pub(super) const FLOCK_LOCKS: u64 = 1 << 10;
    pub(super) const AUTO_INVAL_DATA: u64 = 1 << 12;
    pub(super) const DO_READDIRPLUS: u64 = 1 << 13;
    pub(super) const READDIRPLUS_AUTO: u64 = 1 << 14;
    pub(super) const ASYNC_DIO: u64 = 1 << 15;
    pub(super) const PARALLEL_DIROPS: u64 = 1 << 18;
    pub(super) const MAX_PAGES: u64 = 1 << 22;
    pub(super) const CACHE_SYMLINKS: u64 = 1 << 23;
    pub(super) const INIT_EXT: u64 = 1 << 30;
    pub(super) const HAS_RESEND: u64 = 1 << 39;
}

/// Capabilities taken when the kernel has them. Left out on purpose: WRITEBACK_CACHE (other clients would see stale
/// lengths), HANDLE_KILLPRIV (the kernel strips suid and sgid itself and sends the mode, but for direct writes,
/// which carry a flag), ATOMIC_O_TRUNC (the open would cut a running program before the kernel refuses it with
/// ETXTBSY), EXPORT_SUPPORT and POSIX_ACL (not done), DONT_MASK (the kernel applies the umask) unless a mask is set.
fn wanted(options: &FuseOptions) -> u64 {
    use capability as c;
    let umask = if options.umask.is_some() { c::DONT_MASK } else { 0 };
    let names = c::PARALLEL_DIROPS | c::DO_READDIRPLUS | c::READDIRPLUS_AUTO | c::CACHE_SYMLINKS;
    let data = c::ASYNC_READ | c::BIG_WRITES | c::AUTO_INVAL_DATA | c::ASYNC_DIO | c::MAX_PAGES;
    let locks = c::POSIX_LOCKS | c::FLOCK_LOCKS;
    names | data | locks | c::INIT_EXT | c::HAS_RESEND | umask
}

/// Answers INIT.
///
/// # Errors
/// A kernel whose protocol is not spoken here, or one that has let go of the mount.
pub(super) fn shake_hands(channel: &Channel, buffer: &mut [u8], options: &FuseOptions) -> io::Result<()> {
    loop {
        let Some(message) = channel.receive(buffer)? else {
            return Err(io::Error::new(io::ErrorKind::NotConnected, "unmounted before it was served"));
        };
        let bad = |cause: &str| io::Error::new(io::ErrorKind::InvalidData, cause.to_owned());
        let (header, mut fields) = Fields::of(message).map_err(|_| bad("INIT is cut off"))?;
        if header.opcode != opcode::INIT {
            channel.answer(header.unique, Err(Errno::EIO));
            return Err(bad("the mount has been served before"));
        }
        let init = Offer::read(&mut fields).map_err(|_| bad("INIT is cut off"))?;
        if init.major > MAJOR {
            // The kernel asks again in our version.
            let mut body = Body::default();
            body.u32(MAJOR).u32(MINOR).pad(56);
            channel.answer(header.unique, Ok(body.as_slice()));
            continue;
        }
        if init.major < MAJOR || init.minor < MINOR_MIN {
            channel.answer(header.unique, Err(Errno::EPROTO));
            return Err(bad(&format!(
                "the kernel speaks FUSE {}.{}; Linux 5.4 or newer is needed",
                init.major, init.minor
            )));
        }
        channel.answer(header.unique, Ok(init.answer(options).as_slice()));
        tracing::debug!(
            minor = init.minor,
            offered = format!("{:#x}", init.capabilities),
            "fuse session opened"
        );
        return Ok(());
    }
}

/// What the kernel says of itself.
struct Offer {
    major: u32,
    minor: u32,
    readahead_bytes: u32,
    capabilities: u64,
}

impl Offer {
    fn read(fields: &mut Fields<'_>) -> Result<Self, super::wire::Short> {
        let (major, minor) = (fields.u32()?, fields.u32()?);
        let (readahead_bytes, low) = (fields.u32()?, fields.u32()?);
        let mut capabilities = u64::from(low);
        if capabilities & capability::INIT_EXT != 0 {
            capabilities |= u64::from(fields.u32()?) << 32;
        }
        Ok(Self { major, minor, readahead_bytes, capabilities })
    }

    fn answer(&self, options: &FuseOptions) -> Body {
        let taken = wanted(options) & self.capabilities;
        let readahead_bytes = READAHEAD_BYTES.min(self.readahead_bytes);
        let page_bytes = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok().flatten();
        let page_bytes = page_bytes.and_then(|bytes| u32::try_from(bytes).ok()).unwrap_or(4096);
        let pages = options.io_bytes.max(readahead_bytes).div_ceil(page_bytes);
        let mut body = Body::with_capacity(64);
        body.u32(MAJOR).u32(MINOR).u32(readahead_bytes).u32(taken as u32);
        body.u16(options.max_background).u16(options.max_background - options.max_background / 4);
        body.u32(options.io_bytes);
        // Times are exact to the nanosecond.
        body.u32(1);
        body.u16(u16::try_from(pages).unwrap_or(u16::MAX)).u16(0).u32((taken >> 32) as u32).pad(28);
        body
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_offered_is_taken() {
        let mut options = FuseOptions::new("v");
        options.set_io_bytes(1 << 20);
        let mut offer = Offer { major: 7, minor: 31, readahead_bytes: 131_072, capabilities: 0 };
        let said = |offer: &Offer| {
            let body = offer.answer(&options);
            assert_eq!(body.len(), 64);
            let field = |at: usize| u32::from_ne_bytes(body.as_slice()[at..at + 4].try_into().unwrap());
            (field(8), u64::from(field(12)) | u64::from(field(32)) << 32, field(20))
        };
        assert_eq!(said(&offer), (131_072, 0, 1 << 20));
        offer.capabilities = u64::MAX;
        let (_, taken, _) = said(&offer);
        assert_eq!(taken, wanted(&options));
        assert_eq!(taken & (capability::DONT_MASK | 1 << 16 | 1 << 3 | 1 << 20), 0);
    }
}
