//! Turns of operations inside one process.

use tokio::sync::MutexGuard;

use crate::types::Ino;

const STRIPES: usize = 1024;

/// Turns inside one process, by inode.
pub(crate) struct Stripes(Box<[tokio::sync::Mutex<()>]>);

impl Default for Stripes {
    fn default() -> Self {
        Self((0..STRIPES).map(|_| tokio::sync::Mutex::new(())).collect())
    }
}

impl Stripes {
    fn index(ino: Ino) -> usize {
        // Fibonacci hashing: neighbours fall apart.
        (ino.0.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 54) as usize % STRIPES
    }

    pub(crate) async fn lock(&self, ino: Ino) -> MutexGuard<'_, ()> {
        self.0[Self::index(ino)].lock().await
    }

    /// In the order of the stripes, so that two operations never wait for each other.
    pub(super) async fn lock_both(&self, inos: [Option<Ino>; 2]) -> [Option<MutexGuard<'_, ()>>; 2] {
        let mut stripes = inos.map(|ino| ino.map(Self::index));
        if stripes[0] == stripes[1] {
            stripes[1] = None;
        }
        stripes.sort_unstable();
        let mut guards = [None, None];
        for (guard, stripe) in guards.iter_mut().zip(stripes) {
            if let Some(stripe) = stripe {
                *guard = Some(self.0[stripe].lock().await);
            }
        }
        guards
    }
}
