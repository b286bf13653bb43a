//! Room of the volume.

use crate::error::Result;
use crate::meta::Meta;
use crate::request::StatFs;
use crate::types::{Caller, Ino};

/// What a volume without a capacity shows, grown while it is four fifths full.
const UNLIMITED_BYTES: u64 = 1 << 50;
/// The same for inodes.
const UNLIMITED_INODES: u64 = 10 << 20;

impl Meta {
    /// The volume's room; directories have none of their own yet.
    ///
    /// # Errors
    /// As the engine's.
    pub async fn statfs(&self, _caller: &Caller, _ino: Ino) -> Result<StatFs> {
        let usage = self.usage().await?;
        let format = self.format();
        Ok(room(
            u64::try_from(usage.space).unwrap_or(0),
            u64::try_from(usage.inodes).unwrap_or(0),
            format.capacity,
            format.inodes,
        ))
    }
}

fn room(used_bytes: u64, used_inodes: u64, capacity: u64, inodes: u64) -> StatFs {
    let mut total_bytes = capacity;
    if capacity == 0 {
        total_bytes = UNLIMITED_BYTES;
        while u128::from(total_bytes) * 8 < u128::from(used_bytes) * 10 {
            total_bytes *= 2;
        }
    }
    let mut avail_inodes = inodes.saturating_sub(used_inodes);
    if inodes == 0 {
        avail_inodes = UNLIMITED_INODES;
        while used_inodes > avail_inodes.saturating_mul(4) {
            avail_inodes *= 2;
        }
    }
    // Over its limit a volume is full, not larger.
    let total_bytes = total_bytes.max(used_bytes);
    StatFs { total_bytes, avail_bytes: total_bytes - used_bytes, used_inodes, avail_inodes }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unlimited_volumes_grow_with_their_content() {
        assert_eq!(room(0, 0, 0, 0).total_bytes, 1 << 50);
        assert_eq!(room(1 << 50, 50 << 20, 0, 0).total_bytes, 1 << 51);
        assert_eq!(room(1 << 50, 50 << 20, 0, 0).avail_inodes, 20 << 20);
    }

    #[test]
    fn a_volume_over_its_limit_is_full() {
        let full = room(5000, 12, 4096, 10);
        assert_eq!((full.avail_bytes, full.avail_inodes), (0, 0));
        let half = room(4096, 5, 8192, 10);
        assert_eq!((half.total_bytes, half.avail_bytes, half.avail_inodes), (8192, 4096, 5));
    }
}
