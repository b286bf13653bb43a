//! How long to wait before try `n`.

use std::time::Duration;

/// A random pause below `(attempt + 1)^2` milliseconds, as the peer's transactions take: fifty collisions in a
/// row cost about 21 s.
#[must_use]
pub fn quadratic_jitter(attempt: u32) -> Duration {
    let bound_ms = u64::from(attempt + 1).pow(2);
    Duration::from_micros(rand::random_range(0..bound_ms * 1000))
}

/// Doubling pauses from `first`, at most `most`, each with up to a quarter taken off at random so that
/// clients that failed together do not come back together.
#[must_use]
pub fn doubling(attempt: u32, first: Duration, most: Duration) -> Duration {
    let full = first.saturating_mul(1 << attempt.min(16)).min(most);
    full - full.mul_f64(rand::random_range(0.0..0.25))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_stay_below_their_bounds() {
        for attempt in 0..60 {
            assert!(quadratic_jitter(attempt) < Duration::from_millis(u64::from(attempt + 1).pow(2)));
            let pause = doubling(attempt, Duration::from_millis(10), Duration::from_secs(3));
            assert!(pause <= Duration::from_secs(3) && pause >= Duration::from_millis(7));
        }
    }
}
