//! The one door to locks: rooms use these and never `std::sync` locks, so that a scheduler under test can
//! take their place. None of them is poisoned by a panic.

pub use parking_lot::{Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};
