//! Which attributes the kernel may still believe.
//!
//! Every answer with attributes of a file is noted for as long as the kernel may keep them. An open that finds
//! others must have the kernel forget first: it would read up to the end that it believes in, and append there.
//! Notes are kept in two generations; one that was full makes every missing note count as unknown.

use crate::files::Shape;
use juicefs_base::sync::Mutex;
use juicefs_meta::Ino;
use std::collections::HashMap;
use std::time::{Duration, Instant};

const NOTES_MAX: usize = 50_000;

#[derive(Default)]
struct Generation {
    notes: HashMap<Ino, Shape>,
    is_full: bool,
}

struct Generations {
    now: Generation,
    before: Generation,
    began: Instant,
}

/// Notes of what the kernel was told.
pub(crate) struct Told {
    /// How long the kernel keeps attributes.
    ttl: Duration,
    generations: Mutex<Generations>,
}

impl Told {
    pub(crate) fn new(ttl: Duration) -> Self {
        let (now, before) = Default::default();
        Self { ttl, generations: Mutex::new(Generations { now, before, began: Instant::now() }) }
    }

    /// The kernel is told this shape.
    pub(crate) fn note(&self, ino: Ino, shape: Shape) {
        if self.ttl.is_zero() {
            return;
        }
        let mut generations = self.generations.lock();
        generations.turn(self.ttl);
        let now = &mut generations.now;
        if now.notes.len() >= NOTES_MAX && !now.notes.contains_key(&ino) {
            now.is_full = true;
        } else {
            now.notes.insert(ino, shape);
        }
    }

    /// Whether the kernel may believe anything but `shape`; if so the caller has it forget.
    pub(crate) fn is_outdated(&self, ino: Ino, shape: Shape) -> bool {
        if self.ttl.is_zero() {
            return false;
        }
        let mut generations = self.generations.lock();
        generations.turn(self.ttl);
        let Generations { now, before, .. } = &*generations;
        match now.notes.get(&ino).or_else(|| before.notes.get(&ino)) {
            Some(told) => *told != shape,
            None => now.is_full || before.is_full,
        }
    }
}

impl Generations {
    fn turn(&mut self, ttl: Duration) {
        let age = self.began.elapsed();
        if age < ttl {
            return;
        }
        // After two the last note is too old as well.
        let last = std::mem::take(&mut self.now);
        self.before = if age < 2 * ttl { last } else { Generation::default() };
        self.began = Instant::now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use juicefs_meta::{Attr, Kind, Time};

    fn shape(length: u64) -> Shape {
        Shape::of(&Attr { length, ..Attr::new(Kind::File, 0o644, 0, 0, Ino(1), Time::default()) })
    }

    #[test]
    fn only_what_was_told_lately_can_be_outdated() {
        let told = Told::new(Duration::from_secs(1000));
        assert!(!told.is_outdated(Ino(2), shape(1)));
        told.note(Ino(2), shape(1));
        assert!(!told.is_outdated(Ino(2), shape(1)));
        assert!(told.is_outdated(Ino(2), shape(2)));
        for ino in 0..NOTES_MAX as u64 + 10 {
            told.note(Ino(ino + 10), shape(1));
        }
        assert!(told.is_outdated(Ino(9), shape(1)), "it may have been told what did not fit");
        let off = Told::new(Duration::ZERO);
        off.note(Ino(2), shape(1));
        assert!(!off.is_outdated(Ino(2), shape(2)));
    }
}
