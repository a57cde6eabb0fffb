//! How often something happened within the last so long.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

/// Into how many parts the time is divided, which is how exact its end is.
const PARTS: u64 = 16;

/// A count over the last `interval`, by any number of threads.
pub(super) struct Window {
    since: Instant,
    part: Duration,
    /// The number of a part in the upper half, how often it happened then in the lower.
    parts: [AtomicU64; PARTS as usize],
}

impl Window {
    pub(super) fn new(interval: Duration) -> Window {
        let part = (interval / PARTS as u32).max(Duration::from_nanos(1));
        Window { since: Instant::now(), part, parts: Default::default() }
    }

    /// It happens now.
    pub(super) fn add(&self) {
        self.add_at(self.now());
    }

    /// How often it happened.
    pub(super) fn sum(&self) -> u32 {
        self.sum_at(self.now())
    }

    /// The part that it is now; never 0, which stands for a part that was never counted in.
    fn now(&self) -> u32 {
        ((self.since.elapsed().as_nanos() / self.part.as_nanos()) as u32).wrapping_add(1)
    }

    fn add_at(&self, now: u32) {
        let fresh = u64::from(now) << 32 | 1;
        let count = |old: u64| Some(if (old >> 32) as u32 == now { old.saturating_add(u64::from(old as u32 != u32::MAX)) } else { fresh });
        // It never refuses.
        let _ = self.parts[(u64::from(now) % PARTS) as usize].fetch_update(Relaxed, Relaxed, count);
    }

    fn sum_at(&self, now: u32) -> u32 {
        let recent = |part: &u64| u64::from(now.wrapping_sub((part >> 32) as u32)) < PARTS;
        self.parts.iter().map(|part| part.load(Relaxed)).filter(recent).fold(0, |sum: u32, part| sum.saturating_add(part as u32))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_older_than_the_interval_is_gone() {
        let window = Window::new(Duration::from_secs(16));
        let parts = PARTS as u32;
        [1, 1, 5].iter().for_each(|part| window.add_at(*part));
        assert_eq!([1, 5, parts, parts + 1, parts + 4, parts + 5].map(|now| window.sum_at(now)), [2, 3, 3, 1, 1, 0]);
        window.add_at(parts + 1);
        assert_eq!(window.sum_at(parts + 1), 2, "the place of an old part is used again");
        assert_eq!(Window::new(Duration::from_secs(1)).sum_at(PARTS as u32 + 7), 0);
    }
}
