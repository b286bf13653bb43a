//! Attributes of files that were opened, good for another open for a while without asking (`--open-cache`).
//!
//! An open reads and keeps; any commit of this process that changes a node, any lock taken on it, and a lookup that finds
//! it changed forget it. What
//! other clients change is seen when the time is over: that is what who asks for it gives up.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use juicefs_base::sync::Mutex;

use crate::types::{Attr, Ino};

const SHARDS: usize = 64;

pub(crate) struct OpenCache {
    ttl: Duration,
    /// Of one shard.
    limit: usize,
    shards: Box<[Mutex<Shard>]>,
}

#[derive(Default)]
struct Shard {
    kept: HashMap<Ino, (Attr, Instant)>,
    /// Moves with every forgetting, so that what was asked for before it is not kept after it.
    generation: u64,
}

impl OpenCache {
    pub(crate) fn new(ttl: Duration, limit: usize) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self { ttl, limit: limit.div_ceil(SHARDS).max(1), shards }
    }

    pub(crate) fn is_on(&self) -> bool {
        !self.ttl.is_zero()
    }

    fn shard(&self, ino: Ino) -> &Mutex<Shard> {
        &self.shards[ino.0 as usize % SHARDS]
    }

    pub(crate) fn get(&self, ino: Ino) -> Option<Attr> {
        if !self.is_on() {
            return None;
        }
        let shard = self.shard(ino).lock();
        shard.kept.get(&ino).filter(|(_, at)| at.elapsed() < self.ttl).map(|(attr, _)| *attr)
    }

    /// To be handed to [`Self::keep`] with attributes that are asked for from now on.
    pub(crate) fn generation(&self, ino: Ino) -> u64 {
        self.shard(ino).lock().generation
    }

    /// An open has read these.
    pub(crate) fn keep(&self, ino: Ino, attr: &Attr, asked_at: Instant, generation: u64) {
        if !self.is_on() {
            return;
        }
        let mut shard = self.shard(ino).lock();
        if shard.generation != generation {
            return;
        }
        if shard.kept.len() >= self.limit && !shard.kept.contains_key(&ino) {
            shard.kept.retain(|_, (_, at)| at.elapsed() < self.ttl);
            if shard.kept.len() >= self.limit {
                return;
            }
        }
        shard.kept.insert(ino, (*attr, asked_at));
    }

    /// A lookup has read these: others are out of date.
    pub(crate) fn saw(&self, ino: Ino, attr: &Attr) {
        if self.get(ino).is_some_and(|kept| kept != *attr) {
            self.forget(ino);
        }
    }

    pub(crate) fn forget(&self, ino: Ino) {
        if self.is_on() {
            let mut shard = self.shard(ino).lock();
            shard.generation += 1;
            shard.kept.remove(&ino);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Kind, Time};

    #[test]
    fn what_was_forgotten_meanwhile_is_not_kept() {
        let cache = OpenCache::new(Duration::from_secs(1000), SHARDS);
        let attr = Attr::new(Kind::File, 0o644, 1, 2, Ino::ROOT, Time::default());
        let (ino, now) = (Ino(5), Instant::now());
        let generation = cache.generation(ino);
        cache.keep(ino, &attr, now, generation);
        assert_eq!(cache.get(ino), Some(attr));
        cache.keep(Ino(5 + SHARDS as u64), &attr, now, generation);
        assert_eq!(cache.get(Ino(5 + SHARDS as u64)), None, "one shard keeps one here");
        cache.saw(ino, &attr);
        assert_eq!(cache.get(ino), Some(attr));
        cache.saw(ino, &Attr { length: 7, ..attr });
        cache.keep(ino, &attr, now, generation);
        assert_eq!(cache.get(ino), None);
        let off = OpenCache::new(Duration::ZERO, SHARDS);
        off.keep(ino, &attr, now, 0);
        assert_eq!(off.get(ino), None);
    }
}
