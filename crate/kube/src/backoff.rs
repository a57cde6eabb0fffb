//! Jittered exponential back-off between attempts to reach the API server.
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

const FIRST: Duration = Duration::from_millis(200);
const LAST: Duration = Duration::from_secs(20);

/// The delays grow from 0.2 s to 20 s; each is drawn between half of the step and all of it, so that many proxies do not come back as one.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The next delay.
    pub fn next(&mut self) -> Duration {
        self.next_with(random())
    }

    fn next_with(&mut self, random: u64) -> Duration {
        let step = FIRST.saturating_mul(1 << self.failures.min(10)).min(LAST);
        self.failures = self.failures.saturating_add(1);
        let half = step / 2;
        half + half.mul_f64(random as f64 / u64::MAX as f64)
    }

    /// Contact again: begin anew.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

/// RandomState is seeded by the system for each thread and differs for each instance: enough for jitter, no dependency needed.
fn random() -> u64 {
    RandomState::new().hash_one(0u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_is_capped_and_resets() {
        let mut low = Backoff::default();
        let mut high = Backoff::default();
        let steps: Vec<_> = (0..40).map(|_| (low.next_with(0), high.next_with(u64::MAX))).collect();
        assert_eq!(steps[0], (FIRST / 2, FIRST));
        assert_eq!(steps[1], (FIRST, FIRST * 2));
        assert_eq!(steps[39], (LAST / 2, LAST));
        low.reset();
        assert_eq!(low.next_with(0), FIRST / 2);
        let mut any = Backoff::default();
        let first = any.next();
        assert!(first >= FIRST / 2 && first <= FIRST);
    }
}
