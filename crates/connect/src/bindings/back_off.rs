//! How long a binding waits before it tries again.

use std::time::Duration;

/// Waits that grow.
#[derive(Clone, Debug)]
pub(super) struct BackOff {
    next: Duration,
    factor: u32,
    max: Duration,
}

impl BackOff {
    /// Waits of `first`, each `factor` times the one before, up to `max`.
    pub(super) fn new(first: Duration, factor: u32, max: Duration) -> BackOff {
        BackOff {
            next: first.min(max),
            factor,
            max,
        }
    }

    /// Returns the next wait.
    pub(super) fn next(&mut self) -> Duration {
        let wait = self.next;
        self.next = wait.saturating_mul(self.factor).min(self.max);
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_bound() {
        let seconds = Duration::from_secs;
        let mut waits = BackOff::new(seconds(1), 2, seconds(5));
        let made: Vec<Duration> = (0..5).map(|_| waits.next()).collect();
        assert_eq!(made, [1, 2, 4, 5, 5].map(seconds));
        let mut waits = BackOff::new(seconds(9), 3, seconds(5));
        assert_eq!(waits.next(), seconds(5));
    }
}
