//! A worker's random source: fast, seeded once, not for secrets.

use std::cell::Cell;

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
}
