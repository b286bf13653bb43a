//! Which block leaves, and when: limits in bytes and items, the share of the disk that stays free, and age.

use super::disk::{CacheDir, Index, now_s};
use crate::config::Eviction;
use crate::layout::BlockId;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How old a look at the free space may be.
const SPACE_AGE: Duration = Duration::from_secs(1);

/// What the file system below a directory has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Space {
    /// Bytes below the share that must stay free.
    lacking_bytes: u64,
    lacking_inodes: u64,
}

impl CacheDir {
    /// Evicts until `bytes` more fit into every limit; whether they do.
    pub(super) fn make_room(&self, bytes: u64) -> bool {
        let Some(Space { mut lacking_bytes, mut lacking_inodes }) = self.space() else { return false };
        loop {
            let mut index = self.index.lock();
            let over_bytes = index.bytes + bytes > self.most_bytes;
            let over_items =
                self.most_items > 0 && index.blocks.len() as u64 >= self.most_items + u64::from(bytes == 0);
            if !over_bytes && !over_items && lacking_bytes == 0 && lacking_inodes == 0 {
                self.is_full.store(false, Ordering::Relaxed);
                return true;
            }
            let Some(victim) = victim(&index, self.eviction) else {
                if lacking_bytes > 0 || lacking_inodes > 0 {
                    *self.last_space.lock() = Some((Instant::now(), None));
                    self.say_full();
                }
                return false;
            };
            let before = index.bytes;
            index.remove(victim);
            let freed = before - index.bytes;
            drop(index);
            self.remove(victim);
            self.counters.evictions.add(victim.size as usize);
            lacking_bytes = lacking_bytes.saturating_sub(freed);
            lacking_inodes = lacking_inodes.saturating_sub(1);
        }
    }

    /// Once, until there is room again.
    fn say_full(&self) {
        if self.scanned.load(Ordering::Acquire) && !self.is_full.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "cache directory {} takes no more blocks: its disk has less free than --free-space-ratio {}",
                self.root.display(),
                self.free_ratio
            );
        }
    }

    /// What is to be said at the start of a disk that is too full already.
    pub(super) fn space_notice(&self) -> Option<String> {
        let fs = nix::sys::statvfs::statvfs(&self.root).ok()?;
        let share = |free: u64, total: u64| if total == 0 { 1.0 } else { free as f64 / total as f64 };
        let space = share(fs.blocks_available(), fs.blocks());
        let inodes = share(fs.files_available(), fs.files());
        (space < self.free_ratio || inodes < self.free_ratio).then(|| {
            format!(
                "not enough space ({:.0}% free) or inodes ({:.0}% free) for caching in {}: {:.0}% must stay free, so \
                 nothing new is cached there; make room or lower --free-space-ratio",
                space * 100.0,
                inodes * 100.0,
                self.root.display(),
                self.free_ratio * 100.0
            )
        })
    }

    /// Removes what was not used for longer than the age limit, a bounded number at a time.
    pub(super) fn expire_old(&self) {
        if self.expire.is_zero() {
            return;
        }
        let oldest_allowed = u64::from(now_s()).saturating_sub(self.expire.as_secs());
        for _ in 0..100_000 {
            let oldest = self.index.lock().blocks.oldest().map(|(block, used_s)| (block, *used_s));
            let Some((block, used_s)) = oldest else { return };
            if u64::from(used_s) >= oldest_allowed {
                return;
            }
            self.remove(block);
            self.counters.evictions.add(block.size as usize);
        }
    }

    /// What must be freed now; `None` while the disk is too full and nothing here can change that.
    fn space(&self) -> Option<Space> {
        const ENOUGH: Space = Space { lacking_bytes: 0, lacking_inodes: 0 };
        let mut last = self.last_space.lock();
        if let Some((at, space)) = *last
            && at.elapsed() < SPACE_AGE
        {
            return space;
        }
        // What is lacking is evicted by who measured; the others go on until the next look.
        *last = Some((Instant::now(), Some(ENOUGH)));
        drop(last);
        Some(self.measure().unwrap_or(ENOUGH))
    }

    /// Whether less is free than has to stay so.
    pub(super) fn is_short_of_room(&self) -> bool {
        self.measure().is_some_and(|space| space.lacking_bytes > 0 || space.lacking_inodes > 0)
    }

    fn measure(&self) -> Option<Space> {
        let fs = nix::sys::statvfs::statvfs(&self.root).ok()?;
        let lacking = |free: u64, total: u64| ((total as f64 * self.free_ratio) as u64).saturating_sub(free);
        Some(Space {
            lacking_bytes: lacking(fs.blocks_available(), fs.blocks()).saturating_mul(fs.fragment_size()),
            lacking_inodes: lacking(fs.files_available(), fs.files()),
        })
    }
}

/// Who leaves next. The list is in order of use under every policy, but only `Lru` follows it strictly.
fn victim(index: &Index, eviction: Eviction) -> Option<BlockId> {
    let blocks = &index.blocks;
    match eviction {
        Eviction::None => None,
        Eviction::Lru => blocks.oldest().map(|(block, _)| block),
        Eviction::TwoRandom => {
            let pick = || blocks.at(rand::random_range(0..blocks.len().max(1)));
            let (one, other) = (pick()?, pick()?);
            Some(if one.1 <= other.1 { one.0 } else { other.0 })
        }
    }
}
