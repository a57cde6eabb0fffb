//! A worker's random source: fast, seeded once, not for secrets.

use std::{cell::Cell, time::Duration};

/// xoshiro-like mixing over one word (splitmix64): every call gives 64 new bits.
#[derive(Clone, Debug)]
pub struct Random(Cell<u64>);

impl Random {
    /// A source that gives the same numbers for the same seed.
    pub fn seeded(seed: u64) -> Random {
        Random(Cell::new(seed))
    }

    /// The next 64 bits.
    pub fn next(&self) -> u64 {
        let state = self.0.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.0.set(state);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// `duration` and up to so many percent of it more.
    pub fn lengthen(&self, duration: Duration, percent: f64) -> Duration {
        let most = duration.mul_f64(percent.clamp(0.0, 100.0) / 100.0).as_micros();
        duration + Duration::from_micros(self.below(u64::try_from(most).unwrap_or(u64::MAX)))
    }

    /// A number below `bound`; 0 where the bound is 0.
    pub fn below(&self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stays_below_the_bound_and_repeats_by_seed() {
        let (a, b) = (Random::seeded(7), Random::seeded(7));
        for _ in 0..1000 {
            let x = a.below(10);
            assert!(x < 10);
            assert_eq!(x, b.below(10));
        }
        assert_eq!(a.below(0), 0);
    }

    #[test]
    fn a_duration_grows_by_no_more_than_its_percentage() {
        let (random, second) = (Random::seeded(7), Duration::from_secs(1));
        let all: Vec<_> = (0..200).map(|_| random.lengthen(second, 15.0)).collect();
        assert!(all.iter().all(|d| *d >= second && *d < Duration::from_millis(1150)));
        assert!(all.iter().any(|d| *d > Duration::from_millis(1100)) && all.iter().any(|d| *d < Duration::from_millis(1050)));
        assert_eq!(random.lengthen(second, 0.0), second);
    }
}
