//! Room of the volume.

use crate::error::Result;
use crate::meta::Meta;
use crate::port::QuotaRow;
use crate::request::StatFs;
use crate::types::{Caller, Ino, Usage};

/// What a volume without a capacity shows, grown while it is four fifths full.
const UNLIMITED_BYTES: u64 = 1 << 50;
/// The same for inodes.
const UNLIMITED_INODES: u64 = 10 << 20;

impl Meta {
    /// The room of a directory: the volume's, made smaller by the quotas of it and of those above.
    ///
    /// # Errors
    /// As the engine's.
    pub async fn statfs(&self, _caller: &Caller, ino: Ino) -> Result<StatFs> {
        let usage = self.usage().await?;
        let format = self.format();
        let mut room = room(
            u64::try_from(usage.space).unwrap_or(0),
            u64::try_from(usage.inodes).unwrap_or(0),
            format.capacity,
            format.inodes,
        );
        let above = self.quotas_above(self.stored(ino)).await?;
        narrow(&mut room, above.into_iter().filter_map(|key| self.quotas.get(key)));
        Ok(room)
    }
}

/// The nearest quota says what is used; each leaves no more free than it has left.
fn narrow(room: &mut StatFs, quotas: impl Iterator<Item = QuotaRow>) {
    let mut nearest = None;
    for quota in quotas {
        let left = |max: i64, used: i64| u64::try_from(max.saturating_sub(used)).unwrap_or(0);
        let used = Usage { space: quota.used.space.max(0), inodes: quota.used.inodes.max(0) };
        nearest.get_or_insert(used);
        if quota.space_max > 0 {
            room.avail_bytes = room.avail_bytes.min(left(quota.space_max, used.space));
        }
        if quota.inodes_max > 0 {
            room.avail_inodes = room.avail_inodes.min(left(quota.inodes_max, used.inodes));
        }
    }
    if let Some(used) = nearest {
        room.total_bytes = used.space.cast_unsigned() + room.avail_bytes;
        room.used_inodes = used.inodes.cast_unsigned();
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
