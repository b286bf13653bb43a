//! One byte budget that every buffer of a mount draws from (`--buffer-size`).
//!
//! The state is the number of free bytes. Only a [`Lease`] changes it: taken on `acquire`, given back on drop.

use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes are counted in units of this size, so that budgets beyond 4 GiB fit the semaphore's permits.
const UNIT_BYTES: usize = 4096;

/// A bounded number of bytes, shared by clones.
#[derive(Clone, Debug)]
pub struct Budget {
    units: Arc<Semaphore>,
    total_units: usize,
}

/// Bytes taken from a [`Budget`], given back on drop.
#[derive(Debug)]
pub struct Lease {
    permit: OwnedSemaphorePermit,
}

impl Budget {
    #[must_use]
    pub fn new(total_bytes: usize) -> Self {
        let total_units = total_bytes.div_ceil(UNIT_BYTES).clamp(1, u32::MAX as usize);
        Self { units: Arc::new(Semaphore::new(total_units)), total_units }
    }

    /// Waits for `bytes`. A request larger than the whole budget is given the whole budget, so that it waits
    /// for everything else and never for ever.
    pub async fn acquire(&self, bytes: usize) -> Lease {
        let permit = self.units.clone().acquire_many_owned(self.units_of(bytes)).await;
        Lease { permit: permit.expect("the semaphore is never closed") }
    }

    /// `bytes` if they are free now.
    #[must_use]
    pub fn try_acquire(&self, bytes: usize) -> Option<Lease> {
        self.units.clone().try_acquire_many_owned(self.units_of(bytes)).ok().map(|permit| Lease { permit })
    }

    #[must_use]
    pub fn used_bytes(&self) -> usize {
        (self.total_units - self.units.available_permits().min(self.total_units)) * UNIT_BYTES
    }

    #[must_use]
    pub fn total_bytes(&self) -> usize {
        self.total_units * UNIT_BYTES
    }

    fn units_of(&self, bytes: usize) -> u32 {
        u32::try_from(bytes.div_ceil(UNIT_BYTES).min(self.total_units)).unwrap_or(u32::MAX)
    }
}

impl Lease {
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.permit.num_permits() * UNIT_BYTES
    }

    /// Cuts `bytes` off into a lease of their own; `None` if this one holds less.
    pub fn split(&mut self, bytes: usize) -> Option<Self> {
        self.permit.split(bytes.div_ceil(UNIT_BYTES)).map(|permit| Self { permit })
    }

    /// Joins two leases of one budget; leases of different budgets are an invariant's breach and panic.
    pub fn merge(&mut self, other: Self) {
        self.permit.merge(other.permit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_comes_back() {
        let budget = Budget::new(1 << 20);
        let lease = budget.try_acquire(5000).expect("free");
        assert_eq!(lease.bytes(), 8192);
        assert_eq!(budget.used_bytes(), 8192);
        assert!(budget.try_acquire(1 << 20).is_none());
        let mut lease = lease;
        let half = lease.split(4096).expect("held");
        assert!(lease.split(8192).is_none());
        assert_eq!((lease.bytes(), half.bytes(), budget.used_bytes()), (4096, 4096, 8192));
        lease.merge(half);
        assert_eq!(budget.used_bytes(), 8192);
        drop(lease);
        assert_eq!(budget.used_bytes(), 0);
        assert!(budget.try_acquire(usize::MAX).is_some());
    }
}
